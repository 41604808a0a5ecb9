"""Complete and check filesets: entries, UUID, size, checksum and produced events per file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, get_args

import click

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.analysis.events import inspection
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.verify import Duplicate, find
from jpsi_lnv.processors.console import DIRECTORY, FILE, PATH, bar, show

SHOWN_MAX: Final = 5


@click.group()
def command() -> None:
    """Complete and check filesets."""


@command.command()
@click.argument("source", metavar="FILE", type=PATH)
@click.option("--output", type=FILE, required=True, help="File of the completed fileset.")
def complete(source: Path, output: Path) -> None:
    """Read every file of a plain fileset through, and add its entries, UUID, size, checksum and produced events.

    FILE has the form {dataset: {"files": {path: "Events"}, "metadata": {...}}}, paths relative to it; shell patterns
    such as "samples/signal_*.root" are expanded. The completed form has paths relative to where it is written.

    Instead of "Events", {"object_path": "Events", "n_produced": N} says how many events were generated for a simulated
    file that does not say so itself.
    """
    raw = filesets.read_raw(source)
    plain = {name: _plain(name, entry, source.resolve().parent) for name, entry in raw.items()}
    inspected = verify.Inspected(verify.memory(verify.INSPECTED, output.resolve().parent))
    verified = verify.Verified(verify.memory(verify.VERIFIED, output.resolve().parent))
    # Before the files are read: what changes later has another.
    stamps = {path: verify.stamp(path) for _, files in plain.values() for path in files if Path(path).is_file()}
    with bar("completing", sum(len(files) for _, files in plain.values()), unit="files") as advance:
        completed, faults = _complete(plain, inspected, advance)
    inspected.save()
    verified.add({f.path: [f.sha256, stamps[f.path]] for d in completed.values() for f in d.files if f.path in stamps})
    inspection.raise_faults(str(source), [*faults, *filesets.too_few_jpsi(completed)])
    filesets.refuse_repetition(completed)
    write_json(output, filesets.to_raw(completed, output.resolve().parent))
    show(filesets.table(str(output), completed))
    for name, file in ((d.name, f) for d in completed.values() for f in d.files):
        for doubt in file.doubts:
            click.echo(f"warning: dataset {name!r}, file {file.path}: {doubt}", err=True)


# Absolute path or address -> what the plain fileset says of a file: its tree and, where the file does not, its events.
Files = dict[str, dict[str, Any]]


def _plain(name: str, entry: Any, directory: Path) -> tuple[DatasetMetadata, Files]:
    """Return the metadata and the files of one dataset."""
    filesets.check_name(name)
    files: Files = {}
    for pattern, value in filesets.raw_files(name, entry).items():
        paths = list(filesets.expand(pattern, directory))
        if not paths:
            msg = f"dataset {name!r}: no file matches {pattern} (looked from {directory}); mend it in the fileset"
            raise FilesetError(msg)
        for path in paths:
            if path in files:
                msg = f"dataset {name!r}: file {path} is listed twice; its events would count twice: remove one"
                raise FilesetError(msg)
            files[path] = filesets.plain_file(value, f"{name!r}, file {pattern}")
    return filesets.read_metadata(name, entry["metadata"], directory), files


def _complete(
    plain: dict[str, tuple[DatasetMetadata, Files]], inspected: verify.Inspected, advance: Callable[[int], None]
) -> tuple[filesets.Fileset, list[str]]:
    """Return the completed datasets, and a line for everything that is wrong with any file."""
    completed: filesets.Fileset = {}
    faults = []
    for name, (metadata, files) in plain.items():
        entries = []
        for path, stated in files.items():
            try:
                entries.append(verify.describe(path, **stated, metadata=metadata, inspected=inspected))
            except NtupleError as error:
                faults.append(f"dataset {name!r}, file {error}")
            advance(1)
        completed[name] = filesets.Dataset(name, metadata, tuple(entries))
    return completed, faults


@command.command()
@click.argument("source", metavar="FILESET", type=PATH)
@click.option("--output", type=DIRECTORY, default=Path("results"), help="Directory of fileset_check.json.")
@click.option("--verify", "how", type=click.Choice(get_args(verify.How)), default="sha256", help="Check of each file.")
@click.option("--duplicates", is_flag=True, help="Look for (run, event) pairs that repeat, which takes a full pass.")
@click.option("--datasets", help="Shell patterns of dataset names, separated by commas.")
def check(source: Path, output: Path, how: verify.How, duplicates: bool, datasets: str | None) -> None:
    """Compare every file of a completed FILESET with what it says, and look for events that are there twice.

    In data a (run, event) pair may not repeat among all files of a dataset; simulation repeats event numbers from job
    to job, so there it may not repeat within a file.
    """
    fileset = filesets.select(filesets.load(source), datasets)
    bad = _bad_files(fileset, how, verify.Verified(verify.memory(verify.VERIFIED, output)))
    repeated = _repeated_pairs(fileset) if duplicates and not bad else []
    show(filesets.table(str(source), fileset))
    write_json(output / derived.FILESET_CHECK, {"bad_files": bad, "duplicates": [asdict(d) for d in repeated]})
    if bad:
        msg = f"{len(bad)} bad file(s): " + "; ".join(bad[:SHOWN_MAX])
        raise NtupleError(msg)
    if repeated:
        first = repeated[0]
        msg = (
            f"{len(repeated)} (run, event) pair(s) repeat; the first: run {first.run}, event {first.event} of dataset "
            f"{first.dataset!r} in {', '.join(first.files)}; remove the file that was added twice"
        )
        raise FilesetError(msg)
    click.echo("all files are as the fileset says" + (", no event is there twice" if duplicates else ""))


def _bad_files(fileset: filesets.Fileset, how: verify.How, verified: verify.Verified) -> list[str]:
    """Return a line per file that is not the one of the fileset."""
    bad = []
    checks = verify.checks(fileset, how, verified)
    with bar("verifying", sum(len(c) for c in checks), unit="bytes") as advance:
        for each in checks if how != "none" else ():
            try:
                verify.check_file(each)
            except (OSError, NtupleError) as error:
                bad.append(f"dataset {each.dataset!r}: {error}")
            advance(len(each))
    return bad


def _repeated_pairs(fileset: filesets.Fileset) -> list[Duplicate]:
    with bar("looking for duplicates", sum(d.num_entries for d in fileset.values())) as advance:
        return [pair for dataset in fileset.values() for pair in find(dataset, advance)]
