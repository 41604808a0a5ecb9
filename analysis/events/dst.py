"""Reads BOSS `.dst` files without BOSS: the columns of the table, in the form that `NtupleWriter.extend` takes.

pybes3 reads the objects; its known faults (the order of `m_mdcTrackCol.m_err`, and a pivot move that ignores the
charge) are worked around: the first in `dst_tracks.mdc_covariance`, the second by not using it. Only the branches that
are needed are read.

Traps of the format, all seen in a real file: collections are not in the order of the tracks, only the links count; a
TOF record without a hit has time 9999; only the first of six TOF resolutions is filled; a generated event begins
before the J/psi.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Final

import numpy as np
import uproot

from jpsi_lnv.analysis.arrays import AnyArray, IntArray
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import dst_truth, schema
from jpsi_lnv.analysis.events.blocks import Jagged
from jpsi_lnv.analysis.events.dst_records import NO_LINK, Records, read
from jpsi_lnv.analysis.events.dst_tracks import Event, shower_columns, track_columns
from jpsi_lnv.analysis.events.dst_vertex import find_spot, vertices
from jpsi_lnv.analysis.events.run_table import RunTable

EVENT_TREE: Final = "Event"
JOB_TREE: Final = "JobInfoTree"
RUN: Final = "TEvtHeader/m_runId"
EVENT: Final = "TEvtHeader/m_eventId"
COLLECTIONS: Final = {
    "links": "TEvtRecObject/m_evtRecTrackCol",
    "kal": "TDstEvent/m_mdcKalTrackCol",
    "mdc": "TDstEvent/m_mdcTrackCol",
    "dedx": "TDstEvent/m_mdcDedxCol",
    "tof": "TDstEvent/m_tofTrackCol",
    "emc": "TDstEvent/m_emcTrackCol",
}
PARTICLES: Final = "TMcEvent/m_mcParticleCol"
HITS: Final = "EventNavigator/m_mcMdcTracks"
_RAW: Final = "TDigiEvent"


class Dst:
    """An open `.dst`; made by `open_dst`.

    Attributes:
        path: Path or address.
        n_events: Events in the tree.
        source: UUID of the file.
        is_simulation: Whether its run numbers are negative, as those of simulation are.
    """

    def __init__(self, path: str, file: Any, tree: Any) -> None:
        self.path = path
        self.n_events = int(tree.num_entries)
        self.source: uuid.UUID = tree.file.uuid
        self.is_simulation = bool(tree[RUN].array(library="np", entry_stop=1)[0] < 0)
        self._file = file
        self._tree = tree

    @cached_property
    def n_job(self) -> int | None:
        """Events that the jobs which wrote the file say to have processed; None if they do not say."""
        if JOB_TREE not in self._file:
            return None
        # One list per job: pairs of run and number of events.
        lists = self._file[JOB_TREE]["JobInfo/m_totEvtNo"].array(library="np")
        return sum(int(n) for pairs in lists for n in list(pairs)[1::2]) or None

    @cached_property
    def spot(self) -> tuple[float, float, float]:
        """(x, y, z) in cm: the mean vertex of the file, for events without a vertex of their own."""
        return find_spot(self._tree)

    def read(self, start: int, stop: int, runs: RunTable) -> dict[str, AnyArray | Jagged]:
        """Return events `start` to `stop` in the columns of the table.

        Simulation has `Gen` and `Track_gen`, data have not.

        Raises:
            NtupleError: The file is damaged, or a run is not in the run table.
        """
        with _damage(self.path, f", events {start} to {stop}"):
            return self._read(start, stop, runs)

    def _read(self, start: int, stop: int, runs: RunTable) -> dict[str, AnyArray | Jagged]:
        tree = self._tree
        event = Event(**{name: read(tree[path], start, stop) for name, path in COLLECTIONS.items()})
        columns: dict[str, AnyArray | Jagged] = dict(self._scalars(start, stop, runs))
        offsets, tracks = track_columns(event)
        if self.is_simulation:
            particles, hits = read(tree[PARTICLES], start, stop), read(tree[HITS], start, stop)
            gen_offsets, gen, place = dst_truth.gen_columns(particles)
            columns |= _named("Gen", gen_offsets, gen)
            tracks["gen"] = dst_truth.match_tracks(hits, particles, place, *_track_numbers(event.links))
        columns |= _named("Track", offsets, tracks)
        return columns | _named("Shower", *shower_columns(event))

    def _scalars(self, start: int, stop: int, runs: RunTable) -> dict[str, AnyArray]:
        run, event = (self._tree[b].array(library="np", entry_start=start, entry_stop=stop) for b in (RUN, EVENT))
        conditions = runs.look_up(run)
        ip = conditions.ip
        if np.isnan(ip).any():
            ip = np.where(np.isnan(ip), vertices(self._tree, start, stop), ip)
        if np.isnan(ip).any():
            ip = np.where(np.isnan(ip), self.spot, ip)
        axes = {f"ip_{axis}": ip[:, i] for i, axis in enumerate("xyz")}
        named = {"run": run, "event": event, **axes}
        return named | {name: getattr(conditions, name) for name in ("sqrt_s", "field", "period")}


@contextmanager
def open_dst(path: str) -> Iterator[Dst]:
    """Open a `.dst`.

    Args:
        path: Path, or address (``root://``, ``https://``).

    Raises:
        NtupleError: The file is absent, not a ROOT file, damaged, without events, or not a `.dst`; the message says
            what was found.
    """
    _require_pybes3()
    with ExitStack() as stack:
        with _damage(path):
            file = stack.enter_context(uproot.open({path: None}))
            dst = Dst(path, file, _event_tree(path, file))
        yield dst


@contextmanager
def _damage(path: str, where: str = "") -> Iterator[None]:
    """Turn what uproot says of a file on many lines into one."""
    try:
        yield
    except NtupleError:
        raise
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise NtupleError(msg) from error
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        msg = f"{path}{where}: cannot be read as a ROOT file, or is damaged: {type(error).__name__}: {reason}"
        raise NtupleError(msg) from error


def _track_numbers(links: Records) -> tuple[IntArray, AnyArray]:
    number = links.column("m_mdcTrackId")
    is_track = number != NO_LINK
    return links.event[is_track], number[is_track]


def _named(collection: str, offsets: IntArray, columns: dict[str, AnyArray]) -> dict[str, AnyArray | Jagged]:
    return {schema.branch(collection, name): (offsets, values) for name, values in columns.items()}


def _event_tree(path: str, file: Any) -> Any:
    found = {key.partition(";")[0]: name for key, name in file.classnames().items()}
    if found.get(EVENT_TREE) != "TTree":
        content = ", ".join(f"{name} ({kind})" for name, kind in found.items()) or "nothing"
        msg = f"{path}: got a ROOT file with {content}; wanted a BOSS .dst with the tree {EVENT_TREE!r}"
        raise NtupleError(msg)
    tree = file[EVENT_TREE]
    _check_branches(path, tree)
    if not tree.num_entries:
        msg = f"{path}: the tree {EVENT_TREE!r} has no events; leave the file out"
        raise NtupleError(msg)
    return tree


def _check_branches(path: str, tree: Any) -> None:
    branches = set(tree.keys())
    missing = [name for name in COLLECTIONS.values() if name not in branches]
    if missing and any(name.startswith(_RAW) for name in branches):
        msg = f"{path}: got raw hits ({_RAW}), as of an .rtraw; wanted a .dst: reconstruct it with BOSS first"
        raise NtupleError(msg)
    if missing:
        msg = f"{path}: the tree {EVENT_TREE!r} lacks {', '.join(missing)}; wanted a BOSS .dst"
        raise NtupleError(msg)


def _require_pybes3() -> None:
    try:
        import pybes3  # noqa: F401, PLC0415 an optional extra; it registers BOSS's classes with uproot
    except ImportError:
        msg = "reading .dst files needs pybes3: pip install 'jpsi-lnv[bes3]'"
        raise NtupleError(msg) from None
