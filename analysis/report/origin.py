"""How a result came to be: files and events of each dataset, failed chunks, versions, cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jpsi_lnv.analysis.datasets import SIMULATED
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.report import source as sources
from jpsi_lnv.analysis.report.drawing import Section, present
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import PLACE, PLACES, Field, Table, count, decay, fixed, located
from jpsi_lnv.analysis.results import Results

BOOKS_AT: Final = f"{ACCUMULATOR}/bookkeeping.json#"
MADE_AT: Final = f"{ACCUMULATOR}/manifest.json#/provenance"
# What is said of a run as a whole, and how it is called.
_TOTALS: Final = {"wall_time_s": "wall time [s]", "cpu_time_s": "CPU time [s]", "chunks": "chunks"}
_BOOKS: Final = (
    Field("dataset", "dataset"),
    Field("process", "process", decay),
    Field("sqrt_s", "√s", fixed(4), "GeV"),
    Field("files", "files", count),
    Field("files_skipped", "skipped files", count),
    Field("events_expected", "events expected", count),
    Field("events_processed", "processed", count),
    Field("events_skipped", "skipped", count),
    Field("produced_used", "produced", count),
    Field("state", "state"),
)
_FAILED: Final = (
    Field("dataset", "dataset"),
    Field("file", "file"),
    Field("start", "from entry", count),
    Field("stop", "to", count),
    Field("attempts", "attempts", count),
    Field("message", "cause"),
)
_PROVENANCE: Final = (Field("what", "what"), Field("value", "value"))
_CALIBRATION: Final = (
    Field("name", "calibration"),
    Field("source", "from"),
    Field("constants", "constants"),
    Field("digest", "digest"),
    Field("datasets", "datasets"),
)
_CUTS: Final = (Field("name", "cut"), Field("then", "of this result"), Field("now", "now"))


def section(source: Source) -> Section:
    """Return the section of the origin."""
    return Section(
        "origin",
        "Origin",
        "Which events the result is made of, and with which code.",
        tables=present(
            books(source.results), failures(source), changed_cuts(source), calibrations(source), provenance(source)
        ),
    )


def books(results: Results) -> Table:
    """Return files and events per dataset."""
    datasets = results.bookkeeping.get("datasets", {})
    rows = (
        {"dataset": name, "state": _state(d), **_described(results, name), **d, PLACE: f"{BOOKS_AT}/datasets/{name}"}
        for name, d in datasets.items()
    )
    return Table(
        name="bookkeeping",
        title="Files and events",
        fields=_BOOKS,
        rows=tuple(rows),
        note="every event is covered once" if results.is_complete else "INCOMPLETE",
    )


def _state(books: Mapping[str, Any]) -> str:
    if books["files_skipped"]:
        return "files skipped"
    return "ok" if books.get("events_processed") == books["events_expected"] else "INCOMPLETE"


def _described(results: Results, name: str) -> dict[str, Any]:
    if name not in results.datasets:
        return {}
    metadata = results.datasets[name].metadata
    at = f"{ACCUMULATOR}/manifest.json#/datasets/{name}/metadata/sqrt_s"
    return {"process": metadata.process or None, "sqrt_s": metadata.sqrt_s, PLACES: {"sqrt_s": at}}


def failures(source: Source) -> Table | None:
    """Return the chunks that failed and the files that were left out; None if there are none."""
    content = source.results.bookkeeping
    rows = [
        row for key in ("failed_chunks", "skipped_files") for row in located(content.get(key, []), f"{BOOKS_AT}/{key}")
    ]
    return Table("failures", "Failed chunks and skipped files", _FAILED, tuple(rows)) if rows else None


def changed_cuts(source: Source) -> Table | None:
    """Return the cuts of the result that are not the present ones; None if all are."""
    changed = sources.changed_cuts(source.results)
    rows = tuple({"name": name, "then": then, "now": now} for name, (then, now) in changed.items())
    return Table("changed_cuts", "Cuts that differ from the present ones", _CUTS, rows) if rows else None


def calibrations(source: Source) -> Table | None:
    """Return the calibrations in force with the datasets that they were for; None for a result that does not say."""
    of_dataset: Mapping[str, Mapping[str, Any]] = source.results.provenance.get("calibration") or {}
    digests = dict.fromkeys(c["digest"] for c in of_dataset.values())
    rows = []
    for digest in digests:
        names = [name for name, c in of_dataset.items() if c["digest"] == digest]
        found = of_dataset[names[0]]
        place = f"{MADE_AT}/calibration/{names[0]}"
        rows.append({**found, "constants": ", ".join(found["constants"]), "datasets": ", ".join(names), PLACE: place})
    note = f"{SIMULATED}: constants of the package's own simulation"
    return Table("calibration", "Calibration in force", _CALIBRATION, tuple(rows), note=note) if rows else None


def provenance(source: Source) -> Table:
    """Return commit, digests and versions, the opening of the box, and what the run took."""
    stored, totals = source.results.provenance, source.results.bookkeeping.get("totals", {})
    of_code = {key: stored.get(key) for key in ("commit", "source_digest", "fileset_digest", "cuts_digest", "python")}
    rows = (
        *_origins(MADE_AT, "{}", of_code),
        *_origins(f"{MADE_AT}/packages", "{} version", stored.get("packages", {})),
        *_origins(f"{MADE_AT}/unblinding", "unblinding: {}", stored.get("unblinding") or {}),
        *_origins(f"{MADE_AT}/opened", "shown: {}", stored.get("opened") or {}),
        *_origins(f"{BOOKS_AT}/totals", "{}", {key: totals[key] for key in _TOTALS if key in totals}),
    )
    return Table("provenance", "Where the result comes from", _PROVENANCE, rows)


def _origins(at: str, words: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per value, with its place."""
    return [
        {
            "what": words.format(_TOTALS.get(key, key.replace("_", " "))),
            "value": value,
            PLACES: {"value": f"{at}/{key}"},
        }
        for key, value in values.items()
    ]
