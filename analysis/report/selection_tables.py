"""Tables of the selection: cut flows, the overview of all datasets, the selected candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jpsi_lnv.analysis.candidate_table import M_KE
from jpsi_lnv.analysis.efficiency import binomial_sigma
from jpsi_lnv.analysis.report.source import SEARCH, Source
from jpsi_lnv.analysis.report.tables import Field, Table, count, file_name, fixed, percent
from jpsi_lnv.analysis.results import DatasetResult
from jpsi_lnv.analysis.selection.steps import ALL_EVENTS, SECTION_III

TITLES: Final = {ALL_EVENTS: "events read"} | {step.name: step.title for step in SECTION_III}
CANDIDATES_SHOWN: Final = 30

_CUTFLOW: Final = (
    Field("title", "after"),
    Field("n", "events", count),
    Field("efficiency_step", "step", percent(2), "%"),
    Field("efficiency", "total", percent(3), "%"),
    Field("efficiency_error", "±", percent(3), "%"),
)
_OVERVIEW: Final = (
    Field("dataset", "dataset"),
    Field("kind", "kind"),
    Field("n_produced", "produced", count),
    Field("n", "selected", count),
    Field("efficiency", "ε", percent(3), "%"),
    Field("efficiency_error", "±", percent(3), "%"),
)
_CANDIDATES: Final = (
    Field("dataset", "dataset"),
    Field("run", "run", str),
    Field("event", "event", str),
    Field("m_kkee", "M(KKee)", fixed(4), "GeV/c²"),
    *(Field(name, f"M({name[2:4].upper()[0]}{name[3]} e{name[5]})", fixed(3), "GeV/c²") for name in M_KE),
    Field("chi2_kkee", "χ²₄C", fixed(1)),
)


def binomial_error(passed: int, total: int) -> float | None:
    """Return the binomial standard error of passed/total; None of nothing."""
    return float(binomial_sigma(passed, total)) if total > 0 else None


def cutflow_rows(cutflow: Mapping[str, int], n_produced: int) -> list[dict[str, Any]]:
    """Return one row per step: events, efficiency of the step and of all steps so far with its binomial error.

    Args:
        cutflow: Step -> events that pass it and all before.
        n_produced: Events produced, what total efficiencies refer to.
    """
    rows = []
    before = n_produced
    for step, n in cutflow.items():
        rows.append(
            {
                "step": step,
                "title": TITLES.get(step, step.replace("_", " ")),
                "n": n,
                "efficiency_step": n / before if before else None,
                "efficiency": n / n_produced if n_produced else None,
                "efficiency_error": binomial_error(n, n_produced),
            }
        )
        before = n
    return rows


def cutflow(name: str, dataset: DatasetResult, selection: str = SEARCH) -> Table:
    """Return the cut flow of one dataset."""
    metadata = dataset.metadata
    hidden = "; events in the signal region are hidden from every row but the first" if metadata.is_blind else ""
    return Table(
        name=file_name(f"cutflow_{name}" if selection == SEARCH else f"cutflow_{name}_{selection}"),
        title=f"Cut flow of {name}" + ("" if selection == SEARCH else f", {selection}"),
        fields=_CUTFLOW,
        rows=tuple(cutflow_rows(dataset.selections[selection].cutflow, dataset.n_produced)),
        note=f"{metadata.process or metadata.kind}: {count(dataset.n_produced)} events produced{hidden}",
    )


def overview(source: Source) -> Table:
    """Return what the whole selection leaves of every dataset."""
    return Table(
        name="datasets",
        title="What the selection leaves of every dataset",
        fields=_OVERVIEW,
        rows=tuple(_overview_row(name, d) for name, d in source.results.ran(SEARCH).items()),
        note="efficiency: selected over produced events, with its binomial error",
    )


def _overview_row(name: str, dataset: DatasetResult) -> dict[str, Any]:
    passed = dataset.selections[SEARCH].n_passed
    return {
        "dataset": name,
        "kind": dataset.metadata.kind + (", blind" if dataset.metadata.is_blind else ""),
        "n_produced": dataset.n_produced,
        "n": passed,
        "efficiency": passed / dataset.n_produced if dataset.n_produced else None,
        "efficiency_error": binomial_error(passed, dataset.n_produced),
    }


def candidates(source: Source, *kinds: str) -> Table:
    """Return the first selected candidates of the datasets of some kinds."""
    listed = [
        {"dataset": name} | {key: values[i].item() for key, values in search.candidates.items()}
        for name, search in source.searches(*kinds).items()
        for i in range(len(next(iter(search.candidates.values()), ())))
    ]
    left = len(listed) - CANDIDATES_SHOWN
    return Table(
        name="candidates",
        title="Selected candidates",
        fields=_CANDIDATES,
        rows=tuple(listed[:CANDIDATES_SHOWN]),
        note="masses of K e pairs after the fit" + (f"; {left} more in the accumulator" if left > 0 else ""),
    )


def cutflow_record(source: Source) -> dict[str, Any]:
    """Return the content of `cutflow.json`: per dataset what it is, and the rows of its cut flow in order."""
    return {
        name: {
            "kind": d.metadata.kind,
            "is_blind": d.metadata.is_blind,
            "n_produced": d.n_produced,
            "n_events": d.n_events,
            "steps": cutflow_rows(d.selections[SEARCH].cutflow, d.n_produced),
        }
        for name, d in source.results.ran(SEARCH).items()
    }
