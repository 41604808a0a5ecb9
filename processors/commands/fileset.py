"""Complete and check filesets: entries, UUID, size, checksum and produced events per file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from analysis.datasets import DatasetMetadata
from analysis.errors import FilesetError
from processors import fileset as filesets
from processors import verify
from processors.console import print_table, write_json
from processors.progress import bar


@click.group()
def command() -> None:
    """Complete and check filesets."""


@command.command()
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Where to write the completed fileset.")
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
    print_table(f"{output}", rows(completed))


def _files(name: str, entry: Any, directory: Path) -> dict[str, str]:
    """Return the files of one dataset: absolute path -> tree."""
    filesets.check_name(name)
    found = {}
    for pattern, tree in filesets.raw_files(name, entry).items():
        paths = list(filesets.expand(pattern, directory))
        if not paths:
            msg = f"dataset {name!r}: no file matches {pattern} (looked from {directory})"
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
        described = verify.describe(path, tree)
        entries.append(filesets.FileEntry(path=path, **described | {"clusters": tuple(described["clusters"])}))
        advance(1)
    return filesets.Dataset(name, record, tuple(entries))


def rows(fileset: filesets.Fileset) -> list[dict[str, Any]]:
    """Return one line per dataset for the table before a run."""
    return [
        {
            "dataset": d.name,
            "kind": d.metadata.kind,
            "sqrt_s": d.metadata.sqrt_s,
            "files": len(d.files),
            "events": d.num_entries,
            "produced": d.n_produced,
            "MB": round(d.size / 1e6, 1),
            "blind": "yes" if d.metadata.is_blind else "no",
        }
        for d in fileset.values()
    ]
