"""What a skim leaves behind: the table of its files and the fileset of its ntuples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.console import write_json
from jpsi_lnv.processors.selections import REGISTRY
from jpsi_lnv.processors.skim_plan import SkimItem, SkimOptions, is_done, read_records

FILESET: Final = "fileset.json"
SEARCH: Final = "search"
CONTROL: Final = "control_"
# Energies in GeV that count as one, and the digits of a float32 that are kept.
SQRT_S_TOLERANCE: Final = 1e-4
SQRT_S_DIGITS: Final = 5


def rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per input file: where its events are and how many were kept."""
    keys = ("n_events", "n_produced", "n_stored")
    return [
        {"file": source["path"], "ntuple": record["output"], **{key: source[key] for key in keys}}
        for record in records
        for source in record["sources"]
    ]


def job_warnings(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line per file whose job processed more events than the file holds: it has been filtered before."""
    return [
        f"{s['path']}: the job that wrote it processed {s['n_job']} events, the file holds {s['n_events']}; "
        f"normalised to {s['n_produced']} (see --count)"
        for record in records
        for s in record["sources"]
        if s["n_job"] is not None and s["n_job"] != s["n_events"]
    ]


def make_fileset(items: Sequence[SkimItem], options: SkimOptions, kind: str | None) -> Path:
    """Write the completed fileset of a skim, beside the ntuples; other datasets in it stay.

    Args:
        items: Outputs of the skim; those that are done enter.
        options: How the skim was done.
        kind: Kind of the dataset; None: ``data`` or, for simulation, ``inclusive``.

    Returns:
        Its path.

    Raises:
        FilesetError: The outputs do not make one dataset.
        NtupleError: An output cannot be read.
    """
    path = options.output / FILESET
    items = [item for item in items if is_done(item)]
    sources = [source for record in read_records(items) for source in record["sources"]]
    is_simulation = sources[0]["is_simulation"]
    metadata = DatasetMetadata.from_dict(
        options.dataset,
        {
            "kind": kind or ("inclusive" if is_simulation else "data"),
            "sqrt_s": _one_sqrt_s([value for source in sources for value in source["sqrt_s"]]),
            "is_simulation": is_simulation,
            "selections": selections(options.preselection),
        },
    )
    entries = tuple(filesets.FileEntry(path=str(i.output), **verify.describe(str(i.output))) for i in items)
    dataset = filesets.Dataset(options.dataset, metadata, entries)
    others = filesets.read_raw(path) if path.exists() else {}
    return write_json(path, others | filesets.to_raw({options.dataset: dataset}, options.output))


def selections(preselection: str) -> list[str]:
    """Return the selections that can run on a skim: the search, and the control samples unless they were cut away."""
    return [name for name in REGISTRY if name == SEARCH or (preselection != SEARCH and name.startswith(CONTROL))]


def _one_sqrt_s(values: Sequence[float]) -> float:
    """Return the centre-of-mass energy that all events have; a dataset has one."""
    if max(values) - min(values) > SQRT_S_TOLERANCE:
        msg = f"got centre-of-mass energies from {min(values):.5f} to {max(values):.5f} GeV; skim them apart"
        raise FilesetError(msg)
    return round(values[0], SQRT_S_DIGITS)
