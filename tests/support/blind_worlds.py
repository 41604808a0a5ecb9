"""Pairs of files that differ in nothing but what is planted in the box, and everything that a run over one tells."""

from __future__ import annotations

import dataclasses
import io
import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hist
import numpy as np
from blocks import concatenate

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.derived import BOOKKEEPING
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import Block, NtupleWriter, make_block
from jpsi_lnv.analysis.events.schema import EVENT
from jpsi_lnv.analysis.selection import blinding
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.checkpoints import LOCK
from jpsi_lnv.processors.run import RunOptions, finish, process, to_results
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor
from jpsi_lnv.processors.work.rows import Rows

SQRT_S = 3.0969
# Metadata of recorded events.
RECORDED_METADATA = {"kind": "data", "is_simulation": False, "calibration": "simulated"}
# What may be seen besides signal outside the box, events of each process.
N_SIGNAL = 2000
VISIBLE = {"kkpipi": 80, "eeee": 30, "ee": 40, "kkpi0": 40, "ppbarpipi": 40}
EVENTS_OF_PROCESS = 100_000
# Pieces between which hidden and visible events alternate.
PIECES = 5
# Steps that count hidden events as any other, by selection.
EARLY = {
    "search": ("good_tracks", "four_tracks_zero_charge", "confidence_levels"),
    "control_ppbarpipi": ("four_tracks",),
    "control_kkpipi": ("four_tracks",),
}
# What books say of the machine and of the file's bytes.
VOLATILE = re.compile(r"(time_s|memory|bytes)")
# How coffea names a file in a traceback.
IDENTITY = re.compile(r"fileuuid=b([\"']).*?\1(?=,)")
# Numbers with a unit of them, in what is printed.
MEASURED = re.compile(r"\d[\d\u202f.,]*\s*(s|B|kB|MB|GB|%|events/s)\b")


@dataclass(frozen=True)
class World:
    """One choice of visible events, with so many hidden ones or, in their places, as many events without a track."""

    n_hidden: int
    with_hidden: filesets.FileEntry
    without: filesets.FileEntry


def simulate(name: str, n_events: int, *, has_truth: bool, seed: int, cuts: Cuts = SELECTION) -> Block:
    """Return seeded events of a process, with numbers that no other process has: all are recorded in the same runs."""
    of = {"signal": processes.signal(cuts.channel), **processes.BACKGROUNDS, **processes.CONTROLS}[name]
    keep = ("muon",) if Species.MU in cuts.channel.species else ()
    recipe = production.Recipe(processes=((of, 1.0),), sqrt_s=SQRT_S, has_truth=has_truth, keep=keep)
    block = make_block(production.make_block(recipe, name, 0, n_events, seed))
    first = EVENTS_OF_PROCESS * ["signal", *VISIBLE].index(name)
    return dataclasses.replace(block, values=block.values | {"event": block.values["event"] + first})


def view_of(block: Block, cuts: Cuts = SELECTION) -> SearchEvents:
    """Return the search's view of events."""
    return SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, SQRT_S)


def without_tracks(block: Block) -> Block:
    """Return the events with nothing in them but their scalars."""
    scalars = {column.name: block.values[column.name] for column in EVENT if column.name in block.values}
    nothing = {name: values[:0] for name, values in block.values.items() if name not in scalars}
    return Block(block.n_events, {n: np.zeros_like(o) for n, o in block.offsets.items()}, nothing | scalars)


def make_worlds(
    directory: Path, numbers: tuple[int, ...], *, has_truth: bool, seed: int = 31, cuts: Cuts = SELECTION
) -> list[World]:
    """Write the files of one world per number of hidden events, those in the box of some requirements.

    The hidden ones have as many good tracks as the decay and no more: then every step that counts them counts them
    alike.
    """
    signal = simulate("signal", N_SIGNAL, has_truth=has_truth, seed=seed, cuts=cuts)
    view = view_of(signal, cuts)
    inside = blinding.in_box(view, cuts)
    boxed = signal.select(inside & (view.n_good == len(cuts.channel.slots)))
    outside = signal.select(~inside & view.has_candidate)
    others = [simulate(name, n, has_truth=has_truth, seed=seed, cuts=cuts) for name, n in VISIBLE.items()]
    visible = concatenate([outside, *others])
    worlds = []
    for n in numbers:
        hidden = boxed.cut(0, n)
        files = [
            write(directory / f"{word}_{n}_{has_truth}.root", alternate(visible, planted))
            for word, planted in (("with", hidden), ("without", without_tracks(hidden)))
        ]
        worlds.append(World(n, *files))
    return worlds


def alternate(visible: Block, planted: Block) -> Block:
    """Return both kinds of events, piece by piece."""
    pieces = []
    for i in range(PIECES):
        for block in (visible, planted):
            edges = [round(k * block.n_events / PIECES) for k in (i, i + 1)]
            pieces.append(block.cut(*edges))
    return concatenate(pieces)


def write(path: Path, block: Block) -> filesets.FileEntry:
    """Write events and return the entry of their file in a fileset."""
    with NtupleWriter(path) as writer:
        writer.extend(block)
        writer.add_source(n_produced=block.n_events, n_stored=block.n_events)
    return verify.describe(str(path))


def tell(file: filesets.FileEntry, metadata: Mapping[str, Any], output: Path, **options: Any) -> dict[str, Any]:
    """Run over one file, and return everything that comes of it: value by name, arrays of numbers for histograms.

    Results, books, what is printed and logged, every group of chunks as it is stored, every file that is left with its
    size, what is in the stored parts, and progress.
    """
    steps: list[int] = []
    groups: list[Any] = []

    def make(stage: str, total: int, sink: Any) -> IterativeExecutor:
        def spy(group: dict[str, Any]) -> None:
            groups.append({"out": group["out"], "failed": [str(f["message"]) for f in group.get("failed", [])]})
            sink(group)

        return IterativeExecutor(sink=spy, advance=steps.append)

    printed = io.StringIO()
    told: dict[str, Any] = {"steps": steps, "groups": groups}
    try:
        declared = DatasetMetadata.from_dict("d", dict(metadata))
        fileset = {"d": filesets.Dataset("d", declared, (file,))}
        chosen = RunOptions(output=output, verification="none", trust_units=True, **options)
        with logged(printed), redirect_stdout(printed), redirect_stderr(printed):
            books = process(fileset, SearchProcessor(chosen.cuts, box=chosen.box), chosen, make)
            result = to_results(books, chosen)
            told |= {"results": result.datasets, "books": result.bookkeeping}
            finish(books, chosen)
    except LnvError as error:
        told["error"] = str(error).replace(str(output), "OUTPUT")
    text = printed.getvalue().replace(str(output), "OUTPUT")
    told["printed"] = MEASURED.sub("#", text.replace(file.path, "FILE"))
    parts = [results.load(io.BytesIO(p.read_bytes().partition(b"\n")[2])) for p in sorted(output.rglob("*.part"))]
    told |= {"parts": [part.datasets for part in parts], "sizes": sizes(output)}
    return {
        name: anonymous(value, file) if isinstance(value, str) else value
        for name, value in flatten("", told)
        if not VOLATILE.search(name)
    }


@contextmanager
def logged(stream: io.StringIO) -> Iterator[None]:
    """Write there whatever any logger says."""
    root, handler = logging.getLogger(), logging.StreamHandler(stream)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def sizes(output: Path) -> dict[str, Any]:
    """Return the bytes of every file that is left, and of every member of the archives; books hold times."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in output.rglob("*") if p.is_file() and p.name not in {BOOKKEEPING, LOCK}):
        if path.suffix == ".zip":
            members = zipfile.ZipFile(path).infolist()
            found[path.name] = {
                m.filename: (m.file_size, m.compress_size) for m in members if m.filename != BOOKKEEPING
            }
        else:
            found.setdefault(path.suffix or path.name, []).append(path.stat().st_size)
    return found


def anonymous(text: str, file: filesets.FileEntry) -> str:
    """Return a text without what names the file."""
    return IDENTITY.sub("UUID", text.replace(file.path, "FILE").replace(file.uuid, "UUID"))


def flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every number, text and array in something, with a name for each."""
    if isinstance(value, Rows):
        value = value.columns
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, hist.Hist):
        yield name, value.values(flow=True)
    elif isinstance(value, Mapping):
        yield f"{name}/keys", sorted(str(key) for key in value if name.rpartition("/")[2] != "files")
        for i, (key, inner) in enumerate(value.items()):
            yield from flatten(f"{name}/{i if name.endswith('/files') else key}", inner)
    elif isinstance(value, (list, tuple)):
        yield f"{name}/length", len(value)
        for i, inner in enumerate(value):
            yield from flatten(f"{name}/{i}", inner)
    elif hasattr(value, "n_entries"):
        yield name, [list(span) for span in value]
    else:
        yield name, value


def is_early(name: str) -> bool:
    """Return whether a number is one of a step that counts hidden events, in the search under a variation too."""
    *_, selection, kind, step = ["", "", *name.split("/")]
    return kind == "cutflow" and step in EARLY.get("search" if selection.startswith("search") else selection, ())


def difference(told: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of everything, early steps aside, that two runs tell differently."""
    names = [name for name in told.keys() | other.keys() if not is_early(name)]
    return sorted(name for name in names if not _is_same(told.get(name), other.get(name)))


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return type(a) is type(b) and a == b


def shifts(told: dict[str, Any], other: dict[str, Any]) -> dict[str, int]:
    """Return by how much each early step counts more in one run than in the other."""
    return {name: told[name] - other[name] for name in told if is_early(name)}
