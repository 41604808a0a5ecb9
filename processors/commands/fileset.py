"""Complete and check filesets: entries, UUID, size, checksum and produced events per file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, get_args

import click

from jpsi_lnv.analysis import outputs
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.duplicates import Duplicate, find
from jpsi_lnv.processors.console import bar, show
from jpsi_lnv.processors.options import PATH

SHOWN_MAX: Final = 5


@click.group()
def command() -> None:
    """Complete and check filesets."""


@command.command()
@click.argument("source", metavar="FILE", type=PATH)
@click.option("--output", type=PATH, required=True, help="Where to write the completed fileset.")
def complete(source: Path, output: Path) -> None:
    """Add entries, UUID, size, checksum and produced events of every file to a plain fileset.

    FILE has the form {dataset: {"files": {path: "Events"}, "metadata": {...}}}, paths relative to it; shell patterns
    such as "samples/signal_*.root" are expanded. The completed form has paths relative to where it is written.
    """
    raw = filesets.read_raw(source)
    names = {name: _files(name, entry, source.resolve().parent) for name, entry in raw.items()}
    with bar("completing", sum(len(f) for f in names.values()), unit="files") as advance:
        completed = {name: _complete(name, raw[name]["metadata"], files, advance) for name, files in names.items()}
    filesets.refuse_repetition(completed)
    write_json(output, filesets.to_raw(completed, output.resolve().parent))
    show(filesets.table(str(output), completed))


def _files(name: str, entry: Any, directory: Path) -> dict[str, str]:
    """Return the files of one dataset: absolute path -> tree."""
    filesets.check_name(name)
    found = {}
    for pattern, tree in filesets.raw_files(name, entry).items():
        paths = list(filesets.expand(pattern, directory))
        if not paths:
            msg = f"dataset {name!r}: no file matches {pattern} (looked from {directory}); mend it in the fileset"
            raise FilesetError(msg)
        for path in paths:
            if path in found:
                msg = f"dataset {name!r}: file {path} is listed twice; its events would count twice: remove one"
                raise FilesetError(msg)
            found[path] = tree["object_path"] if isinstance(tree, dict) else str(tree)
    return found


def _complete(name: str, metadata: Any, files: dict[str, str], advance: Any) -> filesets.Dataset:
    record = DatasetMetadata.from_dict(name, metadata)
    entries = []
    for path, tree in files.items():
        described = _describe(name, path, tree)
        entries.append(filesets.FileEntry(path=path, **described | {"clusters": tuple(described["clusters"])}))
        advance(1)
    return filesets.Dataset(name, record, tuple(entries))


def _describe(dataset: str, path: str, tree: str) -> dict[str, Any]:
    try:
        return verify.describe(path, tree)
    except NtupleError as error:
        msg = f"dataset {dataset!r}, file {error}"
        raise NtupleError(msg) from error


@command.command()
@click.argument("source", metavar="FILESET", type=PATH)
@click.option("--output", type=PATH, default=Path("results"), help="Directory for fileset_check.json.")
@click.option("--verify", "how", type=click.Choice(get_args(verify.How)), default="sha256", help="Check of each file.")
@click.option("--duplicates", is_flag=True, help="Look for (run, event) pairs that repeat, which takes a full pass.")
@click.option("--datasets", help="Shell patterns of dataset names, separated by commas.")
def check(source: Path, output: Path, how: verify.How, duplicates: bool, datasets: str | None) -> None:
    """Compare every file of a completed FILESET with what it says, and look for events that are there twice.

    In data a (run, event) pair may not repeat among all files of a dataset; simulation repeats event numbers from job
    to job, so there it may not repeat within a file.
    """
    fileset = filesets.select(filesets.load(source), datasets)
    bad = _bad_files(fileset, how)
    repeated = _repeated_pairs(fileset) if duplicates and not bad else []
    show(filesets.table(str(source), fileset))
    write_json(output / outputs.FILESET_CHECK, {"bad_files": bad, "duplicates": [asdict(d) for d in repeated]})
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


def _bad_files(fileset: filesets.Fileset, how: verify.How) -> list[str]:
    """Return a line per file that is not the one of the fileset."""
    bad = []
    checks = verify.checks(fileset, how, verify.Verified(verify.default_cache()))
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
