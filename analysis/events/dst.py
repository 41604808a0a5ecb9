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

import awkward as ak
import numpy as np
import uproot

from jpsi_lnv.analysis.arrays import AnyArray, FloatArray, IntArray
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import dst_truth, schema
from jpsi_lnv.analysis.events.columns import Jagged
from jpsi_lnv.analysis.events.dst_records import NO_LINK, Records, read
from jpsi_lnv.analysis.events.dst_tracks import Event, shower_columns, track_columns
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
VERTEX: Final = "TEvtRecObject/m_evtRecPrimaryVertex"
# The mean is that of the first events, so that it does not depend on how a file is cut into chunks.
SPOT_EVENTS: Final = 2_000
# Tracks that pass the origin farther away than this in cm come from decays and interactions.
SPOT_DR_MAX: Final = 1.0
SPOT_DZ_MAX: Final = 10.0
# Resolution of dr in cm, from which on a track counts less in the fit (Cauchy weights).
SPOT_RESOLUTION: Final = 0.02
SPOT_ITERATIONS: Final = 20
_N_AXES: Final = 3


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


def vertices(tree: Any, start: int, stop: int) -> FloatArray:
    """Return the fitted primary vertices in cm, ``(E, 3)``; NaN where the fit failed."""
    vertex = tree[VERTEX].array(entry_start=start, entry_stop=stop, array_cache=None)
    position = ak.to_numpy(vertex["m_vtx"]).reshape(-1, _N_AXES)
    is_valid = ak.to_numpy(vertex["m_isValid"]).astype(bool)
    return np.where(is_valid[:, None], position, np.nan)


def find_spot(tree: Any) -> tuple[float, float, float]:
    """Return the mean primary vertex of a file in cm; without any, the common origin of its tracks.

    A track that comes from (x, y) near the origin has dr = x cos phi0 + y sin phi0: a linear fit over all tracks, in
    which tracks of decays and interactions count little, gives the beam spot. z is the median of dz.
    """
    stop = min(SPOT_EVENTS, int(tree.num_entries))
    positions = vertices(tree, 0, stop)
    positions = positions[~np.isnan(positions[:, 0])]
    if len(positions):
        x, y, z = positions.mean(axis=0)
        return float(x), float(y), float(z)
    return spot_of_tracks(read(tree[COLLECTIONS["kal"]], 0, stop).column("m_zhelix", len(schema.HELIX)))


def spot_of_tracks(helix: FloatArray) -> tuple[float, float, float]:
    """Return the common origin of tracks with helices ``(T, 5)`` in cm; (0, 0, 0) if they are too few."""
    dr, phi0, _, dz, _ = helix.T
    is_near = (np.abs(dr) < SPOT_DR_MAX) & (np.abs(dz) < SPOT_DZ_MAX)
    if np.count_nonzero(is_near) < _N_AXES:
        return 0.0, 0.0, 0.0
    dr, dz = dr[is_near], dz[is_near]
    direction = np.stack([np.cos(phi0[is_near]), np.sin(phi0[is_near])], axis=1)
    weight = np.ones(len(dr))
    for _ in range(SPOT_ITERATIONS):
        (x, y), *_ = np.linalg.lstsq(direction * weight[:, None], dr * weight, rcond=None)
        weight = 1.0 / np.sqrt(1.0 + np.square((dr - direction @ (x, y)) / SPOT_RESOLUTION))
    return float(x), float(y), float(np.median(dz))
