"""For notebooks and shells: events to explore, and a run whose result stays in memory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coffea.nanoevents import NanoEventsFactory

from jpsi_lnv.analysis import cards
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.blinding import BlindingError
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.books.unblinding import FROZEN
from jpsi_lnv.processors.cluster.backends import make_executors
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.plugin import load
from jpsi_lnv.processors.run import RunOptions, process, ready, to_results


def read_fileset(fileset: str | Path, datasets: str | None = None) -> dict[str, Any]:
    """Return a completed fileset in the form that coffea's own `Runner` takes.

    Args:
        fileset: Completed fileset.
        datasets: Shell patterns of dataset names, separated by commas; None: all.

    Raises:
        FilesetError: The fileset is not usable, or has no such dataset.
    """
    chosen = filesets.select(filesets.load(fileset), datasets)
    return {
        name: {"files": {f.path: f.object_path for f in dataset.files}, "metadata": dataset.metadata.to_dict()}
        for name, dataset in chosen.items()
    }


def open_events(fileset: str | Path, dataset: str, *, n_events: int | None = None) -> Any:
    """Return events of a dataset's first file as `events.Track`, `events.Shower` and `events.Gen`, read at first use.

    Args:
        fileset: Completed fileset.
        dataset: Name of the dataset.
        n_events: Events to open; None: all of the file.

    Raises:
        FilesetError: The fileset is not usable or has no such dataset.
        BlindingError: The dataset is blind: its events as they are would show what is in the box.
    """
    found = filesets.load(fileset)
    if dataset not in found or not found[dataset].files:
        msg = f"{fileset}: got dataset {dataset!r}, wanted one with files of {sorted(found)}"
        raise FilesetError(msg)
    chosen = found[dataset]
    if chosen.metadata.is_blind:
        msg = f"dataset {dataset!r} is blind: its events as they are would show the box; run selections over it"
        raise BlindingError(msg)
    factory = NanoEventsFactory.from_root(
        {chosen.files[0].path: chosen.files[0].object_path},
        schemaclass=BesSchema,
        entry_stop=n_events,
        metadata=chosen.metadata.to_dict() | {"dataset": dataset},
        mode="virtual",
    )
    return factory.events()


def run(
    fileset: str | Path,
    datasets: str | None = None,
    *,
    executor: str = "iterative",
    where: ClusterOptions | None = None,
    card: str | Path | None = None,
    cuts: Cuts | None = None,
    max_chunks: int | None = None,
    chunksize: int = 100_000,
    trust_units: bool = False,
    frozen: Path = FROZEN,
    plugin: Path | None = None,
) -> Results:
    """Run the selections over a fileset and return the merged result, as `lnv run` writes it.

    Args:
        fileset: Completed fileset.
        datasets: Shell patterns of dataset names, separated by commas; None: all.
        executor: ``iterative``, ``futures`` or ``dask``.
        where: The cluster, for ``dask``; None: two processes on this machine.
        card: Channel card, a file or the name of one of the package; None: the publication's.
        cuts: Cuts to apply instead of the card's.
        max_chunks: Chunks per dataset; None: all.
        chunksize: Largest number of events of a chunk.
        trust_units: Go on where numbers cannot be what their units say.
        frozen: File of `lnv freeze`, which makes the box of blind data; without it, the package's own cuts do.
        plugin: Python file with selections of one's own (`processors.plugin`).

    Raises:
        LnvError: The fileset, a file or the cluster is not usable.
    """
    chosen = filesets.select(filesets.load(fileset), datasets)
    with ExitStack() as stack:
        parts = Path(stack.enter_context(TemporaryDirectory(prefix="lnv-")))
        make = stack.enter_context(make_executors(executor, where or ClusterOptions()))
        channel = cards.read(card or cards.DEFAULT)
        options = RunOptions(
            output=parts,
            card=channel,
            cuts=cuts or channel.cuts,
            max_chunks=max_chunks,
            chunksize=chunksize,
            verification="size",
            trust_units=trust_units,
            box=unblinding.box(frozen),
            plugin=load(plugin),
        )
        chosen, processor = ready(chosen, options, frozen)
        return to_results(process(chosen, processor, options, make), options)
