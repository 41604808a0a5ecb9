"""Small ntuples, filesets, a counting processor and runs over them, for the tests of runs, faults and services."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hist
import numpy as np

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.events.schema import BRANCHES
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.run import RunOptions, process, to_results
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import GuardedExecutor

METADATA = {"kind": "signal", "sqrt_s": 3.097, "is_simulation": True, "process": "test"}


def write_ntuple(
    path: Path,
    n_events: int,
    seed: int,
    *,
    n_produced: int | None = None,
    baskets: int = 100,
    change: Callable[[Any], Any] = lambda values: values,
    run: int | None = None,
) -> Path:
    """Write a file of random events, with two tracks and one shower each; `change` is applied to columns of floats."""
    rng = np.random.default_rng(seed)
    offsets = {"Track": 2 * np.arange(n_events + 1), "Shower": np.arange(n_events + 1)}
    columns: dict[str, Any] = {}
    for name, (collection, column) in BRANCHES.items():
        if not column.required:
            continue
        n = int(offsets[collection][-1]) if collection else n_events
        is_integer = np.issubdtype(np.dtype(column.dtype), np.integer)
        values = np.ones(n, dtype=np.int8) if is_integer else change(rng.uniform(0.1, 1.0, n))
        columns[name] = (offsets[collection], values) if collection else values
    columns["run"] = np.full(n_events, -seed if run is None else run)
    columns["sqrt_s"] = np.full(n_events, METADATA["sqrt_s"])
    columns["event"] = np.arange(n_events)
    with NtupleWriter(path, basket_events=baskets) as writer:
        writer.extend(columns)
        writer.add_source(n_produced=2 * n_events if n_produced is None else n_produced, n_stored=n_events)
    return path


def make_fileset(directory: Path, datasets: dict[str, list[int]], **metadata: Any) -> Path:
    """Write ntuples of the given numbers of events and their completed fileset; return the fileset's path."""
    completed = {}
    seed = 1
    for name, sizes in datasets.items():
        files = []
        for k, n in enumerate(sizes):
            path = write_ntuple(directory / f"{name}_{k}.root", n, seed)
            seed += 1
            files.append(verify.describe(str(path)))
        record = DatasetMetadata.from_dict(name, METADATA | {"selections": ["count"]} | metadata)
        completed[name] = filesets.Dataset(name, record, tuple(files))
    target = directory / "fileset.json"
    target.write_text(json.dumps(filesets.to_raw(completed, directory)))
    return target


SITE = """
[slurm]
queue = "debug"
walltime = "00:10:00"
{common}
[hep_sub]
group = "physics"
walltime = "short"
{common}
"""
COMMON = """
cores = 1
processes = 1
memory = "2GB"
interface = "lo"
python = "{python}"
local_directory = "{directory}"
log_directory = "{directory}/logs"
job_script_prologue = ["export SLURM_CONF={node}"]
maximum_jobs = 2
"""


def write_site(path: Path, node: Path) -> Path:
    """Write the presets of a SLURM node of our own, which has a configuration file; return their path."""
    common = COMMON.format(python=sys.executable, directory=path.parent, node=node)
    path.write_text(SITE.format(common=common))
    return path


def counting_processor(action: Callable[[Any], None] | None = None) -> SearchProcessor:
    """Return a processor whose selection "count" counts events, fills two histograms and keeps one event in fifty.

    Both are defined here so that workers get them by value: they cannot import the tests.
    """

    class Acting(SearchProcessor):
        def process(self, events: Any) -> dict[str, Any]:
            found = super().process(events)
            if action is not None:
                action(events)
            return found

    return Acting(selections={"count": counting()})


def counting(action: Callable[[Any], None] | None = None) -> Selection:
    """Return the selection that counts."""

    def count(chunk: Chunk) -> dict[str, Found]:
        if action is not None:
            action(chunk)
        columns = chunk.events.columns
        kappa = columns.flat("Track", "kappa").astype(float)
        counts = hist.Hist(hist.axis.Regular(20, 0, 1, name="kappa"), storage=hist.storage.Int64())
        counts.fill(kappa)
        weighted = hist.Hist(hist.axis.Regular(20, 0, 1, name="kappa"), storage=hist.storage.Weight())
        weighted.fill(kappa, weight=kappa)
        run, event = (columns.scalar(name).astype(np.int64) for name in ("run", "event"))
        kept = event % 50 == 0
        selection = {
            "cutflow": {"all": chunk.n_read, "kept": int(kept.sum())},
            "histograms": {"counts": counts, "weighted": weighted},
            "status": {"seen": len(kappa)},
            "candidates": {"run": run[kept], "event": event[kept]},
        }
        return {"count": selection}

    return Selection(count)


def assert_same(a: Any, b: Any) -> None:
    """Compare two results: counts and unweighted histograms exactly, weighted sums to 1e-12, candidates in order."""
    assert a.datasets.keys() == b.datasets.keys()
    for name, left in a.datasets.items():
        right = b.datasets[name]
        assert (left.n_events, left.n_produced) == (right.n_events, right.n_produced)
        assert left.selections.keys() == right.selections.keys()
        for s, selection in left.selections.items():
            other = right.selections[s]
            assert selection.cutflow == other.cutflow
            assert selection.status == other.status
            assert selection.histograms.keys() == other.histograms.keys()
            for h, histogram in selection.histograms.items():
                if histogram.storage_type is hist.storage.Int64:
                    assert histogram == other.histograms[h]
                else:
                    ours, theirs = histogram.view(flow=True), other.histograms[h].view(flow=True)
                    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-12)
                    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-12)
            for column, values in selection.candidates.items():
                np.testing.assert_array_equal(values, other.candidates[column])


def run(
    fileset: Path | filesets.Fileset,
    output: Path,
    make: Callable[..., GuardedExecutor],
    *,
    action: Callable[[Any], None] | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Run the counting processor over a fileset; return its result and its books.

    Args:
        fileset: Completed fileset, or its path.
        output: Directory of the run.
        make: Executor class with its arguments bound.
        action: Called with the events of every chunk, to make trouble.
        options: Fields of `RunOptions`.
    """
    loaded = filesets.load(fileset) if isinstance(fileset, Path) else fileset
    # The files hold random numbers, which are of no unit.
    own = {"chunksize": 100, "trust_units": True}
    chosen = RunOptions(output=output, cache=output / "verified.json", **own | options)
    books = process(loaded, counting_processor(action), chosen, lambda _stage, _total, sink: make(sink=sink))
    return to_results(books, chosen), books
