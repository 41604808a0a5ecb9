"""Compare the package's results with the second implementation: `python tests/reference/agreement.py FILESET RESULTS`.

FILESET is the plain one beside its ntuples, RESULTS a directory in which run, systematics, background and limits were
written from it. Writes a page for the docs where a third argument names one; ends with 1 where a number differs.
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import analysis
from jpsi_lnv.analysis import results

EMC_TABLES = Path(__file__).parents[2] / "analysis" / "objects" / "emc_pid.json"
WITHIN = 1e-9  # relative, of what is no count
CONTROLS = ("tracking", "pid", "misid")


@dataclass(frozen=True)
class Row:
    """One number by both; where it is many, how many and the sum of them."""

    what: str
    where: str
    product: float | None
    reference: float | None
    difference: float
    n: int = 1

    @property
    def agrees(self):
        return self.difference == 0 if isinstance(self.product, int) else self.difference <= WITHIN


def of_counts(what, where, product, reference):
    """Return the row of many counts, each of which must be equal."""
    product, reference = (np.ravel(of).astype(int) for of in (product, reference))
    off = int(np.abs(product - reference).max(initial=0))
    return Row(what, where, int(product.sum()), int(reference.sum()), off, len(product))


def of_number(what, where, product, reference):
    """Return the row of one number, or of none."""
    if product is None or reference is None:
        return Row(what, where, product, reference, 0.0 if product is reference else math.inf)
    scale = abs(product) or 1.0
    return Row(what, where, product, reference, abs(product - reference) / scale)


def named(mass):
    return "overall" if mass is None else f"{mass:g} GeV/c²"


def compare(fileset, directory):
    """Return all rows."""
    mine = analysis.run(fileset, EMC_TABLES)
    merged = results.read(directory / "accumulator.zip")
    files = (json.loads((directory / f"{n}.json").read_text()) for n in ("background", "systematics", "limits"))
    background, systematics, limits = files
    return [
        *counts(merged, mine),
        *(row for of in background["channels"] for row in backgrounds(of, mine)),
        *(row for of in systematics["tables"] for row in uncertainties(of, mine)),
        *(row for of in limits["limits"] for row in limit(of, mine)),
    ]


def counts(merged, mine):
    """Compare cut flows, probes, and tracks taken for others."""
    for name, flow in mine["cutflow"].items():
        found = merged.datasets[name].selections["search"].cutflow
        yield of_counts("cut flow", name, [*found.values()], [*flow.values()])
    sides = {"data": 0, "control": 1}
    for name, dataset in merged.datasets.items():
        for selection, found in dataset.selections.items():
            sample = selection.removeprefix("control_")
            if selection.startswith("control_"):
                of = mine["controls"][sample][sides[dataset.metadata.kind]]
                for histogram, reference in of.items():
                    yield of_counts(f"{sample}: {histogram}", name, found.histograms[histogram].values(), reference)
            if sample in mine["flows"]:
                flow = mine["flows"][sample][sides[dataset.metadata.kind]]
                yield of_counts(f"{sample}: cut flow", name, [found.cutflow[step] for step in flow], [*flow.values()])
            if selection == "misid":
                of, histograms = mine["misid"][name], found.histograms
                yield of_counts("misid: roles of tracks", name, histograms["roles"].values(), of["roles"])
                combinations = np.zeros(histograms["combinations"].shape)
                for species, n in of["combinations"].items():
                    combinations[species] = n
                yield of_counts("misid: combinations", name, histograms["combinations"].values(), combinations)
                passed = found.cutflow["kinematic_candidates"]
                yield of_counts("misid: candidates", name, [passed], [len(of["candidates"])])


def backgrounds(of, mine):
    """Compare count, size and factors of every process of a channel."""
    reference, where = mine["background"][of["m_majorana"]], named(of["m_majorana"])
    yield of_counts("background: processes", where, [len(of["processes"])], [len(reference)])
    for process in of["processes"]:
        m, tau, factors = reference[process["name"]]
        yield of_number(f"background m: {process['name']}", where, process["m"], float(m))
        yield of_number(f"background τ: {process['name']}", where, process["tau"], float(tau))
        for name in sorted({*factors, *process["factors"]}):
            widths = process["factors"].get(name), factors.get(name)
            yield of_number(f"background κ: {process['name']}, {name}", where, *widths)


def uncertainties(of, mine):
    """Compare the table of systematic uncertainties of a channel."""
    reference, where = mine["uncertainty"][of["m_majorana"]], named(of["m_majorana"])
    yield of_counts("uncertainty: rows", where, [len(of["rows"])], [len(reference)])
    for row in of["rows"]:
        yield of_number(f"uncertainty: {row['source']}", where, row["value"], float(reference[row["source"]]))


def limit(of, mine):
    """Compare one limit and, once for both methods, what it is made of."""
    reference, where = mine["limits"][of["m_majorana"]], named(of["m_majorana"])
    if of["method"] == "rolke":
        yield of_counts("N obs", where, [of["n_obs"]], [reference["n_obs"]])
        for name in ("n_bkg", "n_bkg_sigma", "efficiency", "delta_sys", "n_jpsi"):
            yield of_number(name, where, of[name], float(reference[name]))
    yield of_number(f"N up, {of['method']}", where, of["n_up"], reference[of["method"]])


GROUPS = {
    "Cut flows of the search": lambda row: row.what == "cut flow",
    "Control samples": lambda row: (
        row.what.split(":")[0] in {"ee", "eeee", "conversion", *("kkpi0", "kkpipi", "ppbarpipi")}
    ),
    "Tracks taken for others": lambda row: row.what.startswith("misid"),
    "Background processes": lambda row: row.what.startswith("background"),
    "Systematic uncertainties": lambda row: row.what.startswith("uncertainty"),
    "What enters the limits, and both limits": lambda _: True,
}
HEAD = """# The analysis, written twice

`tests/reference/` holds a second implementation of the whole search, from ntuples and their fileset to both limits:
{n_lines} lines of plain numpy, one event after the other, without numba, dask or any code of the package; it reads one
file of numbers of it, the calibration of the calorimeter. `analysis.py` there is the shortest definition of the
analysis. What the publication and BOSS say is written from them. Where they leave a choice (control samples, rates of
misidentification, the estimate of a background, averages over it) it follows the package's definition, with its code
read for them: there it checks that the package computes what it says, and not whether the choice is a good one.

A test runs both on a small set; this page is of the set `{name}` and was made by

    python tests/reference/agreement.py {fileset} {results} docs/written_twice.md

It covers the defaults: one file format, simulated or open data, the search, all control samples, exclusive, continuum
and inclusive background, every row of the table of uncertainties, the profile likelihood and CLs. Not covered:
blinding, other options, periods with samples of their own, expected limits, the scan between masses, the cross-check
methods. A count is compared bin by bin and must be equal; of other numbers the largest relative difference is given,
and must be below {within:g}. The numbers of points, weights and random numbers by which an average is taken are part
of the definition: both use the same.

{n_rows} comparisons of {n_numbers} numbers; {n_off} differ.
"""


def page(rows, **words):
    """Return the page."""
    n_off = sum(not row.agrees for row in rows)
    lines = [HEAD.format(n_rows=len(rows), n_numbers=sum(r.n for r in rows), n_off=n_off, within=WITHIN, **words)]
    for title, belongs in GROUPS.items():
        of, rows = [r for r in rows if belongs(r)], [r for r in rows if not belongs(r)]
        lines += [f"## {title}\n", "| what | where | numbers | package | second | largest difference |"]
        lines += ["|:--|:--|--:|--:|--:|--:|", *map(line, of), ""]
    return "\n".join(lines)


def line(row):
    values = (
        ("–" if v is None else str(v) if isinstance(v, int) else f"{v:.10g}") for v in (row.product, row.reference)
    )
    return f"| {row.what} | {row.where} | {row.n} | {' | '.join(values)} | {row.difference:.0e} |".replace("0e+00", "0")


def main():
    fileset, directory = map(Path, sys.argv[1:3])
    rows = compare(fileset, directory)
    sources = [p for p in Path(__file__).parent.glob("*.py") if not p.name.startswith(("test_", "agreement"))]
    words = {
        "n_lines": sum(len(p.read_text().splitlines()) for p in sources),
        "name": fileset.parent.name,
        "fileset": f"samples/{fileset.parent.name}/fileset.json",
        "results": "results",
    }
    for path in sys.argv[3:]:
        Path(path).write_text(page(rows, **words), encoding="utf-8")
    off = [row for row in rows if not row.agrees]
    print(*off, f"{len(rows)} comparisons, {len(off)} differ", sep="\n")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
