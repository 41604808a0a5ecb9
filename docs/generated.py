"""Hook of mkdocs: puts tables made from the code into the pages, and leaves pages without content out of the menu."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis.datasets import CONTINUUM as CONTINUUM_KIND
from jpsi_lnv.analysis.datasets import DATA, KINDS, DatasetMetadata
from jpsi_lnv.analysis.events.schema import COLLECTIONS, META, Column
from jpsi_lnv.analysis.objects.networks import MUC_FILE
from jpsi_lnv.analysis.report import closure, render, selection
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed, percent, significant, yes_no
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.analysis.simulation.final_states import FINAL_STATES
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE, NOMINAL, DetectorParameters
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM, CONTROLS, NOT_SIMULATED, Process
from jpsi_lnv.processors.books.fileset import FileEntry
from jpsi_lnv.processors.commands.calibration import misidentification_of_muons

_STEPS: Final = (Field("name", "step"), Field("rule", "requirement on an event"))
_OF_COLUMNS: Final = (
    Field("name", "branch"),
    Field("dtype", "type"),
    Field("unit", "unit"),
    Field("meaning", "meaning"),
    Field("required", "required", yes_no),
    Field("group", "group"),
)


_PARAMETERS: Final = (
    Field("meaning", "meaning"),
    Field("nominal", "value", str),
    Field("data_like", "data-like, if it differs"),
    Field("range", "range"),
    Field("unit", "unit"),
    Field("source", "source"),
)
_PROCESSES: Final = (
    Field("name", "name"),
    Field("process", "process"),
    Field("branching_fraction", "branching fraction", str),
    Field("source", "PDG identifiers, or source"),
)
_FINAL_STATES: Final = (
    Field("name", "final state"),
    Field("fraction", "fraction", str),
    Field("error", "+-", str),
    Field("source", "PDG identifiers"),
)
_NOT_SIMULATED: Final = (
    Field("process", "process"),
    Field("n_expected", "expected", lambda value: f"{value:.0e}"),
    Field("source", "source"),
)
_CONTINUUM: Final = (
    Field("process", "process"),
    Field("value", "cross section [pb]", str),
    Field("sqrt_s", "at [GeV]", str),
    Field("source", "source"),
)

_MARKER: Final = re.compile(r"<!-- generated: (\w+)(?: (\w+))? -->")


def modules(package: str) -> str:
    """Return the lines by which mkdocstrings finds every module of a package."""
    found = sorted(Path(package).rglob("*.py"))
    names = [".".join(("jpsi_lnv", *p.with_suffix("").parts)) for p in found if p.stem != "__init__"]
    return "\n".join(f"::: {name}" for name in names)


def steps() -> Table:
    """Return the steps of the selection in their order."""
    rows = ({"name": s.name, "rule": (s.rule.__doc__ or "").splitlines()[0]} for s in SECTION_III)
    return Table("steps", "Steps of the selection", _STEPS, tuple(rows))


def columns(collection: str) -> Table:
    """Return the columns of one collection of the ntuple, such as ``Track``; event scalars have no name."""
    return _columns(collection or "event scalars", COLLECTIONS[collection], f"{collection}_" if collection else "")


def meta() -> Table:
    """Return the columns of the tree that says what an ntuple was made of."""
    return _columns("Meta", META, "")


def _columns(title: str, listed: tuple[Column, ...], prefix: str) -> Table:
    rows = [
        {
            "name": prefix + c.name,
            "dtype": c.dtype,
            "unit": c.unit,
            "meaning": c.meaning,
            "required": c.required,
            "group": c.group,
        }
        for c in listed
    ]
    return Table(f"columns_{title.lower().replace(' ', '_')}", f"Columns: {title}", _OF_COLUMNS, tuple(rows))


def parameters() -> Table:
    """Return every parameter of the detector with its source."""
    rows = []
    for field in dataclasses.fields(DetectorParameters):
        nominal, data_like = getattr(NOMINAL, field.name), getattr(DATA_LIKE, field.name)
        changed = "" if nominal == data_like else f"{data_like:g}"
        described = {key: field.metadata[key] for key in ("meaning", "unit", "source")}
        likely = field.metadata["range"]
        described["range"] = f"{likely[0]:g} to {likely[1]:g}" if likely else ""
        rows.append({"nominal": f"{nominal:g}", "data_like": changed, **described})
    return Table("parameters", "Parameters of the detector", _PARAMETERS, tuple(rows))


def processes() -> Table:
    """Return the simulated J/psi decays with their branching fractions."""
    named = {**BACKGROUNDS, **CONTROLS}
    return Table(
        "processes",
        "Simulated decays of the J/psi",
        _PROCESSES,
        tuple(_process(name, c) for name, c in named.items()),
    )


def _process(name: str, process: Process) -> dict[str, str]:
    source = ", ".join(f.pdg_id or f.source for f in process.fractions)
    value = f"{process.branching_fraction:.3g}"
    return {"name": name, "process": process.reaction, "branching_fraction": value, "source": source}


def not_simulated() -> Table:
    """Return the processes that are numbers, not samples."""
    rows = tuple(dataclasses.asdict(estimate) for estimate in NOT_SIMULATED)
    return Table("not_simulated", "Processes that are not simulated", _NOT_SIMULATED, rows)


def read_as_muon() -> Table:
    """Return how often the package's own network of the muon chambers reads tracks of the simulation as muons."""
    return misidentification_of_muons(json.loads(MUC_FILE.read_text(encoding="utf-8"))["made_from"]["read_as_muon"])


def continuum() -> Table:
    """Return the processes off the resonance with their cross sections."""
    rows = tuple(
        {
            "process": process.reaction,
            "value": f"{c.value:g} ± {c.error:g}",
            "sqrt_s": f"{c.sqrt_s:g}",
            "source": c.source,
        }
        for process, c in CONTINUUM.values()
    )
    return Table("continuum", "Processes off the resonance; they fall with a power of s", _CONTINUUM, rows)


def final_states() -> Table:
    """Return the measured final states of inclusive decays with their fractions."""
    rows = tuple(
        {
            "name": row.name,
            "fraction": f"{row.fraction:.3g}",
            "error": f"{row.error:.2g}",
            "source": ", ".join(f.pdg_id for f in row.fractions),
        }
        for row in FINAL_STATES
    )
    return Table("final_states", "Measured final states of the J/psi", _FINAL_STATES, rows)


_WRONG_WAYS: Final = (
    Field("method", "method"),
    Field("coverage", "smallest coverage", fixed(3)),
    Field("at", "where (s, b, τ, δ, κ)"),
    Field("n", "falls with n", count),
    Field("b", "rises with b", count),
    Field("width", "falls with the width of b", count),
    Field("delta", "falls with δ", count),
    Field("kappa", "falls with κ", count),
)


def measured_coverage() -> dict[str, Any]:
    """Return what `benchmarks.limit_coverage` found, by method."""
    path = Path(__file__).parents[1] / "benchmarks/limit_coverage.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def coverage() -> Table:
    """Return the smallest coverage of every method, and how often it moves the wrong way."""
    rows = []
    for method, found in measured_coverage().items():
        least = min(found["coverage"], key=lambda row: row["coverage"])
        at = ", ".join(f"{least[key]:g}" for key in ("signal", "b", "tau", "delta", "kappa"))
        rows.append({"method": method, "coverage": least["coverage"], "at": at, **found.get("wrong_ways", {})})
    return Table("coverage", "Smallest coverage, and wrong ways", _WRONG_WAYS, tuple(rows))


def coverage_map() -> Table:
    """Return the smallest coverage of every method in every side band, efficiency and factor."""
    found = measured_coverage()
    rows: dict[tuple[float, ...], dict[str, Any]] = {}
    for method, of in found.items():
        for row in of["coverage"]:
            at = {key: row[key] for key in ("tau", "delta", "kappa")}
            rows.setdefault(tuple(at.values()), at)[method] = row["coverage"]
    first = (
        Field("tau", "τ", significant(3)),
        Field("delta", "δ", percent(0), "%"),
        Field("kappa", "κ", significant(3)),
    )
    fields = (*first, *(Field(method, method, fixed(3)) for method in found))
    return Table("coverage_map", "Smallest coverage over signals and backgrounds", fields, tuple(rows.values()))


# Key of a fileset's metadata -> its unit, and who reads it.
_KEYS: Final = {
    "kind": ("", "every command"),
    "sqrt_s": ("GeV", "`lnv run` (four-momentum of the beams, box), continuum scaling"),
    "is_simulation": ("", "`lnv run` (closed box), the report's headline"),
    "process": ("", "background, topology, report"),
    "part_of": ("", "background"),
    "m_majorana": ("GeV/c²", "limits and systematics per mass"),
    "majorana_mode": ("", "limits and systematics per mass"),
    "branching_fraction": ("", "background"),
    "branching_fraction_sigma": ("", "background"),
    "luminosity": ("pb⁻¹", "background (continuum)"),
    "n_jpsi": ("", "limits, background, optimize; a number, or names of published data sets"),
    "blind": ("", "`lnv run`"),
    "open_reason": ("", "`lnv run`, the report"),
    "selections": ("", "`lnv run`"),
    "period": ("", "limits and background per data-taking period"),
    "calibration": ("", "`lnv run`, `lnv freeze`, the report"),
}


def _meanings(record: type) -> dict[str, str]:
    """Return what the docstring of a record says of its attributes."""
    found = re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w+:|^ {4}\Z)", f"{record.__doc__}", re.S | re.M)
    return {name: " ".join(text.split()) for name, text in found}


def file_keys() -> str:
    """Return the keys of a file of a completed fileset as a table."""
    known = {name: words for name, words in _meanings(FileEntry).items() if name != "path"}
    return "\n".join(["| key | meaning |", "|---|---|", *(f"| `{name}` | {words} |" for name, words in known.items())])


def fileset_keys() -> str:
    """Return the keys of a fileset's metadata as a table: unit, default, meaning, and who reads it."""
    lines = ["| key | unit | default | meaning | read by |", "|---|---|---|---|---|"]
    words = _meanings(DatasetMetadata)
    for field in dataclasses.fields(DatasetMetadata):
        unit, readers = _KEYS[field.name]
        lines.append(f"| `{field.name}` | {unit} | {_default(field)} | {words[field.name]} | {readers} |")
    return "\n".join(lines)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.name == "is_simulation":
        return f"`true`; must be stated for kinds `{DATA}` and `{CONTINUUM_KIND}`"
    if field.default is dataclasses.MISSING:
        return "must be stated"
    return "none" if field.default in (None, "") else f"`{json.dumps(field.default)}`"


# Reports that are published with the pages, where they were made: name, where it lies, how it is made.
_REPORTS: Final = (
    ("demo", "results/report.html", "make run"),
    ("paper", "results/paper/report.html", "make paper"),
)
_ROOT: Final = Path(__file__).parents[1]
# Where `make notebooks` leaves them as pages, with their pictures.
_NOTEBOOKS: Final = "results/notebooks"


def reports() -> str:
    """Return a line per report: a link to it, or how it is made."""
    return "\n".join(_report(name, _ROOT / path, command) for name, path, command in _REPORTS)


def _report(name: str, path: Path, command: str) -> str:
    if not path.exists():
        return f"* the report of the sample set `{name}` is not here: `{command}` makes it"
    size = path.stat().st_size / 1e6
    return f'* <a href="{name}.html">the report of the sample set {name}</a> ({size:.1f} MB), of `{command}`'


def notebooks() -> str:
    """Return a line per notebook: its title, and a link to it where it was run."""
    lines = []
    for script in sorted((_ROOT / "notebooks").glob("*.py")):
        title = next(line[4:] for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("# # "))
        is_there = (_ROOT / _NOTEBOOKS / f"{script.stem}.md").exists()
        link = f'<a href="{script.stem}/">{title}</a>' if is_there else f"{title}: not run here, `make notebooks` does"
        lines.append(f"* {link} (`notebooks/{script.name}`)")
    return "\n".join(lines)


def on_files(files: Any, config: Any) -> Any:
    """Take the notebooks that were run as pages, with their pictures."""
    from mkdocs.structure.files import File  # noqa: PLC0415 this function is called by mkdocs alone

    for path in sorted((_ROOT / _NOTEBOOKS).rglob("*.*")):
        name = path.relative_to(_ROOT / _NOTEBOOKS).as_posix()
        files.append(File.generated(config, f"notebooks/{name}", abs_src_path=str(path)))
    return files


def on_post_build(config: Any) -> None:
    """Put the reports that were made beside the pages."""
    for name, path, _ in _REPORTS:
        if (_ROOT / path).exists():
            target = Path(config["site_dir"], "reports", f"{name}.html")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_ROOT / path, target)


_TABLES: Final[dict[str, Callable[..., str]]] = {
    "cuts": selection.markdown,
    "modules": modules,
    "reports": reports,
    "notebooks": notebooks,
    "fileset": fileset_keys,
    "file": file_keys,
    "kinds": lambda: "; ".join(f"`{name}`: {words}" for name, words in KINDS.items()) + ".",
    "steps": lambda: render.markdown(steps()),
    "columns": lambda collection="": render.markdown(columns(collection)),
    "final_states": lambda: render.markdown(final_states()),
    "not_simulated": lambda: render.markdown(not_simulated()),
    "processes": lambda: render.markdown(processes()),
    "continuum": lambda: render.markdown(continuum()),
    "read_as_muon": lambda: render.markdown(read_as_muon()),
    "parameters": lambda: render.markdown(parameters()),
    "meta": lambda: render.markdown(meta()),
    "coverage": lambda: render.markdown(coverage()),
    "coverage_map": lambda: render.markdown(coverage_map()),
    "closure": lambda: render.markdown(closure.row_table()),
    "relations": lambda: render.markdown(closure.relation_table()),
}


def on_config(config: Any) -> Any:
    """Leave out what is in the menu but not written yet."""
    docs = Path(config["docs_dir"])
    config["nav"] = [section for entry in config["nav"] if (section := _existing(entry, docs))]
    return config


def _existing(entry: dict[str, Any], docs: Path) -> dict[str, Any] | None:
    ((title, content),) = entry.items()
    if isinstance(content, str):
        return entry if (docs / content).exists() else None
    pages = [page for child in content if (page := _existing(child, docs))]
    return {title: pages} if pages else None


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every ``<!-- generated: name -->`` by its table."""
    return _MARKER.sub(lambda match: _TABLES[match[1]](*filter(None, match.groups()[1:])), markdown)
