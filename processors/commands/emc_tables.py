"""Make the calorimeter tables of the particle identification from control samples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jpsi_lnv.analysis.errors import IncompleteError, NtupleError
from jpsi_lnv.processors.cluster.backends import EXECUTORS, cluster_options, make_executors
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.console import FILE, refuse_unused, show, wrote

if TYPE_CHECKING:
    from jpsi_lnv.processors.books.fileset import FileEntry


@click.command("emc-tables")
@click.argument("sources", metavar="FILE...", nargs=-1, required=True)
@click.option("--datasets", help="Shell patterns of dataset names of a fileset, separated by commas.")
@click.option(
    "--pions-every",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Look for pions in every N-th event only: recorded decays give 400 pions per electron, 32 bytes each.",
)
@click.option("--output", type=FILE, default=Path("emc_pid.json"), help="File of the tables.")
@click.option("--executor", type=click.Choice(EXECUTORS), default="futures", help="What runs the chunks.")
@cluster_options
@click.option("--chunksize", type=click.IntRange(1), default=100_000, help="Largest number of events of a chunk.")
def command(
    *,
    sources: tuple[str, ...],
    datasets: str | None,
    pions_every: int,
    output: Path,
    executor: str,
    where: ClusterOptions,
    chunksize: int,
) -> None:
    """Make the calorimeter tables, in bins of p [GeV/c] and |cos theta|, from control samples in FILEs.

    A FILE is an ntuple, recorded or simulated, by path or address, or a completed fileset (*.json). In all of them
    electrons of J/psi -> 2(e+ e-) and pions of J/psi -> 2(pi+ pi-) are looked for by tag and probe: three tracks
    identified by dE/dx, TOF and E/p [c] leave the fourth its species, and the 4C fit agrees. What the generator or
    the calorimeter says of the fourth is not asked. Every bin needs 300 tracks of each.

    Of simulation the share of right probes is shown, as information.
    """
    from jpsi_lnv.analysis.objects import emc_pid  # noqa: PLC0415 - keeps `lnv --help` fast
    from jpsi_lnv.analysis.objects.emc_pid import to_json  # noqa: PLC0415
    from jpsi_lnv.analysis.selection.emc_probes import EMC_CONTROL  # noqa: PLC0415
    from jpsi_lnv.processors import emc_probes  # noqa: PLC0415

    if not any(source.endswith(emc_probes.FILESET_SUFFIX) for source in sources):
        refuse_unused(["datasets"], "without a fileset, which names them")
    files = emc_probes.read_files(sources, datasets)
    of_runs = origin(files)
    select = partial(emc_probes.select_item, pions_every=pions_every)
    found = _select(emc_probes.work_items(files, chunksize), select, executor, where)
    tracks = emc_probes.tracks_of(found)
    samples = emc_probes.samples(found, [emc_pid.occupancy(t) for t in tracks])
    show(samples)
    made_from = of_runs | {
        "files": [Path(f.path).name for f in files],
        "pions_every": pions_every,
        "cuts": dataclasses.asdict(EMC_CONTROL),
        "samples": samples.rows,
    }
    content = to_json(emc_pid.build(*tracks), made_from)
    _write(output, content)
    wrote(output)


def origin(files: list[FileEntry]) -> dict[str, Any]:
    """Return whether the runs of files are simulated, and the first and the last of them.

    Raises:
        NtupleError: Some are simulated and some are not.
    """
    runs = sorted(run for file in files if file.runs for run in file.runs)
    if not runs:
        return {}
    if runs[0] < 0 < runs[-1]:
        msg = f"got recorded and simulated events (runs {runs[0]} to {runs[-1]}); wanted tables made of one of both"
        raise NtupleError(msg)
    numbers = [abs(run) for run in runs]
    return {"is_simulation": runs[0] < 0, "runs": [min(numbers), max(numbers)]}


def _select(
    items: list[Any], select: Callable[[Any], dict[str, Any]], executor: str, where: ClusterOptions
) -> dict[str, Any]:
    """Return the merged result of all chunks.

    Raises:
        IncompleteError: A chunk could not be processed.
    """
    failed: list[dict[str, Any]] = []
    with make_executors(executor, where) as make:
        run = make("processing", sum(len(i) for i in items), lambda group: failed.extend(group.get("failed", [])))
        merged, _ = run(items, select, None)
    if failed:
        msg = f"{len(failed)} of {len(items)} chunks failed, no tables were made; the first: {failed[0]['message']}"
        raise IncompleteError(msg)
    found: dict[str, Any] = merged["out"]
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write the tables in one line: a change of them is one line of a comparison.

    Raises:
        NtupleError: The file cannot be written.
    """
    try:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"{path}: cannot write: {error.strerror}; choose another --output"
        raise NtupleError(msg) from error
