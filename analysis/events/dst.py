"""Reads BOSS `.dst` files without BOSS: the columns of the table, in the form that `NtupleWriter.extend` takes.

Only the branches that are needed are read, each basket once, and of rejected events nothing but what the preselection
looks at is decoded. What `dst_records` does not know how to read, pybes3 reads.

Traps of the format, all seen in a real file: collections are not in the order of the tracks, only the links count; a
TOF record without a hit has time 9999; only the first of six TOF resolutions is filled; a generated event begins
before the J/psi.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import dst_truth, schema
from jpsi_lnv.analysis.events.columns import ArrayColumns, Columns, Jagged
from jpsi_lnv.analysis.events.dst_baskets import Baskets, UnknownLayoutError, fetch, numbers
from jpsi_lnv.analysis.events.dst_records import (
    DamageError,
    Layouts,
    Placing,
    Records,
    collect,
    place_arrays,
    place_objects,
    place_pairs,
)
from jpsi_lnv.analysis.events.dst_tracks import (
    TOF_ALL,
    TOF_CLUSTER,
    TOF_COUNTER,
    TOF_RAW,
    Event,
    helix_columns,
    muon_columns,
    pid_columns,
    shower_columns,
    start_times,
    tof_columns,
    track_columns,
    track_numbers,
    v0_columns,
)
from jpsi_lnv.analysis.events.inspection import opened
from jpsi_lnv.analysis.events.run_table import RunTable

EVENT_TREE: Final = "Event"
JOB_TREE: Final = "JobInfoTree"
RUN: Final = "TEvtHeader/m_runId"
EVENT: Final = "TEvtHeader/m_eventId"
TIME: Final = "TEvtHeader/m_time"
_RAW: Final = "TDigiEvent"


class Collection(NamedTuple):
    """A branch of objects: its path in the tree, their class, and what finds them in the file's bytes."""

    path: str
    kind: str
    place: Placing = place_arrays


COLLECTIONS: Final = {
    "links": Collection("TEvtRecObject/m_evtRecTrackCol", "TEvtRecTrack"),
    "kal": Collection("TDstEvent/m_mdcKalTrackCol", "TMdcKalTrack"),
    "mdc": Collection("TDstEvent/m_mdcTrackCol", "TMdcTrack"),
    "dedx": Collection("TDstEvent/m_mdcDedxCol", "TMdcDedx"),
    "tof": Collection("TDstEvent/m_tofTrackCol", "TTofTrack"),
    "emc": Collection("TDstEvent/m_emcTrackCol", "TEmcTrack"),
}
# Group of columns -> the collections that it needs beside those.
_EXT: Final = Collection("TDstEvent/m_extTrackCol", "TExtTrack")
OF_GROUP: Final[dict[str, dict[str, Collection]]] = {
    "pid": {"ext": _EXT},
    "ends": {},
    "muon": {"muc": Collection("TDstEvent/m_mucTrackCol", "TMucTrack"), "ext": _EXT},
    "v0": {"vee": Collection("TEvtRecObject/m_evtRecVeeVertexCol", "TEvtRecVeeVertex")},
}
PARTICLES: Final = Collection("TMcEvent/m_mcParticleCol", "TMcParticle")
HITS: Final = Collection("EventNavigator/m_mcMdcTracks", "pair<int,int>", place_pairs)
VERTEX: Final = Collection("TEvtRecObject/m_evtRecPrimaryVertex", "TEvtRecPrimaryVertex", place_objects)
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
        keep: Groups of columns that are read beside the rest, of `schema.GROUPS`.
        fallbacks: Branch -> why it was read by pybes3 and not by the own reader.
    """

    def __init__(self, path: str, file: Any, tree: Any, keep: Sequence[str] = ()) -> None:
        self.path = path
        self.keep = tuple(keep)
        self.n_events = int(tree.num_entries)
        self.source: uuid.UUID = tree.file.uuid
        self.fallbacks: dict[str, str] = {}
        self._file = file
        self._tree = tree
        self._baskets: dict[str, Baskets] = {}
        self._layouts: dict[str, Layouts] = {}

    @cached_property
    def is_simulation(self) -> bool | None:
        """Whether its run numbers are negative, as those of simulation are; None without events."""
        return bool(self._numbers(RUN, 0, 1)[0] < 0) if self.n_events else None

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
        """(x, y, z) in cm: the mean vertex of the file, for events without a vertex of their own.

        Without any valid vertex it is the common origin of the tracks.
        """
        first = np.arange(min(SPOT_EVENTS, self.n_events))
        positions = self.vertices(first)
        positions = positions[~np.isnan(positions[:, 0])]
        if len(positions):
            x, y, z = positions.mean(axis=0)
            return float(x), float(y), float(z)
        return spot_of_tracks(self.records(COLLECTIONS["kal"], first).column("m_zhelix", len(schema.HELIX)))

    def vertices(self, entries: IntArray) -> FloatArray:
        """Return the fitted primary vertices of some events in cm, ``(E, 3)``; NaN where the fit failed."""
        vertex = self.records(VERTEX, entries)
        return np.where(vertex.column("m_isValid").astype(bool)[:, None], vertex.column("m_vtx", _N_AXES), np.nan)

    def read(
        self, start: int, stop: int, runs: RunTable, choose: Callable[[Columns], BoolArray] | None = None
    ) -> dict[str, AnyArray | Jagged]:
        """Return events `start` to `stop` in the columns of the table.

        Simulation has `Gen` and `Track_gen`, data have not.

        Args:
            start: First event.
            stop: One more than the last event.
            runs: Conditions of the runs.
            choose: Preselection, ``(E,)``: it sees the event scalars, and of the tracks charge and pion helix; the rest
                is decoded for what it chooses. None: all events.

        Raises:
            NtupleError: The file is damaged, or a run is not in the run table.
        """
        with _damage(self.path, f", events {start} to {stop}"):
            columns = self._read(np.arange(start, stop), runs, choose)
        # Now and not with the next events: until then the writer needs memory.
        for branch in self._baskets.values():
            branch.forget(stop)
        return columns

    def _read(
        self, entries: IntArray, runs: RunTable, choose: Callable[[Columns], BoolArray] | None
    ) -> dict[str, AnyArray | Jagged]:
        collections = COLLECTIONS | {name: c for group in self.keep for name, c in OF_GROUP[group].items()}
        objects = [*collections.values(), *((PARTICLES, HITS) if self.is_simulation else ())]
        self._fetch([*(c.path for c in objects), RUN, EVENT, *([TIME] if "pid" in self.keep else [])], entries)
        scalars = self._scalars(entries, runs)
        first = {name: self.records(COLLECTIONS[name], entries) for name in ("links", "kal", "mdc")}
        if choose is not None:
            chosen = choose(_preview(scalars, *helix_columns(**first)))
            if not chosen.all():
                entries, scalars = entries[chosen], {name: values[chosen] for name, values in scalars.items()}
                first = {name: records.select(chosen) for name, records in first.items()}
        found = first | {n: self.records(c, entries) for n, c in collections.items() if n not in first}
        event = Event(**found)
        offsets, tracks = track_columns(event)
        columns = dict(scalars) | self._groups(event, entries, tracks)
        if self.is_simulation:
            particles, hits = self.records(PARTICLES, entries), self.records(HITS, entries)
            gen_offsets, gen, place = dst_truth.gen_columns(particles)
            columns |= _named("Gen", gen_offsets, gen)
            tracks["gen"] = dst_truth.match_tracks(hits, particles, place, *track_numbers(event))
        columns |= _named("Track", offsets, tracks)
        return columns | _named("Shower", *shower_columns(event))

    def _groups(self, event: Event, entries: IntArray, tracks: dict[str, AnyArray]) -> dict[str, AnyArray | Jagged]:
        """Return the columns of the groups that are kept; what is of `Track` is added to the tracks."""
        columns: dict[str, AnyArray | Jagged] = {}
        if event.ext is not None and "pid" in self.keep:
            tracks |= _fitting("Track", pid_columns(event, event.ext))
            kinds = TOF_ALL if "ends" in self.keep else TOF_RAW | TOF_COUNTER | TOF_CLUSTER
            offsets, records = tof_columns(event, kinds)
            columns |= _named("Tof", offsets, _fitting("Tof", records))
            columns |= _fitting("", {"t0": start_times(event), "time": self._times(entries)})
        if event.ext is not None and event.muc is not None:
            tracks |= _fitting("Track", muon_columns(event, event.muc, event.ext))
        if event.vee is not None:
            offsets, pairs = v0_columns(event.links, event.vee)
            columns |= _named("V0", offsets, _fitting("V0", pairs))
        return columns

    def records(self, collection: Collection, entries: IntArray) -> Records:
        """Return a collection of some events.

        Args:
            collection: One of this module's.
            entries: (E,) events, rising.

        Raises:
            NtupleError: The branch is damaged.
        """
        self._fetch([collection.path], entries)
        if collection.path not in self.fallbacks:
            try:
                return self._collect(collection, entries)
            except UnknownLayoutError as error:
                self.fallbacks[collection.path] = str(error)
        return self._fallback(collection, entries)

    def _collect(self, collection: Collection, entries: IntArray) -> Records:
        kind, branch = collection.kind, self._branch(collection.path)
        if kind not in self._layouts:
            self._layouts[kind] = Layouts(kind, self._tree.file.streamers.get(kind, {}))
        layouts = self._layouts[kind]
        try:
            return collect(branch, entries, collection.place, layouts)
        except UnknownLayoutError:
            # pybes3 believes the counts of bytes: they must be right in all that it will read.
            if len(entries):
                collect(branch, np.arange(entries[0], entries[-1] + 1), collection.place, layouts)
            raise

    def _fallback(self, collection: Collection, entries: IntArray) -> Records:
        """Read a branch by pybes3, which reads all events between the first and the last."""
        try:
            from jpsi_lnv.analysis.events import dst_fallback  # noqa: PLC0415 needs pybes3, an optional extra
        except ImportError:
            reason = self.fallbacks[collection.path]
            msg = f"{self.path}, branch {collection.path}: {reason}; that needs pybes3: pip install 'jpsi-lnv[bes3]'"
            raise NtupleError(msg) from None
        return dst_fallback.read(self._tree[collection.path], entries)

    def _fetch(self, paths: Sequence[str], entries: IntArray) -> None:
        """Read the baskets of some events, all branches in one request."""
        branches = []
        for path in (path for path in paths if path not in self.fallbacks):
            try:
                branches.append(self._branch(path))
            except UnknownLayoutError as error:
                self.fallbacks[path] = str(error)
        if len(entries):
            fetch(self._tree.file.source, branches, int(entries[0]), int(entries[-1]) + 1)

    def _branch(self, path: str) -> Baskets:
        if path not in self._baskets:
            self._baskets[path] = Baskets(self.path, self._tree[path])
        return self._baskets[path]

    def _numbers(self, path: str, start: int, stop: int) -> AnyArray:
        """Return a branch of integers."""
        try:
            branch = self._branch(path)
        except UnknownLayoutError:
            return np.asarray(self._tree[path].array(library="np", entry_start=start, entry_stop=stop))
        fetch(self._tree.file.source, [branch], start, stop)
        return numbers(branch, start, stop, ">i4")

    def _times(self, entries: IntArray) -> AnyArray:
        """Return when the events were taken, (E,) in s since 1970; the file counts without a sign."""
        if not len(entries):
            return np.empty(0, np.int64)
        times = self._numbers(TIME, int(entries[0]), int(entries[-1]) + 1)[entries - entries[0]]
        return times.astype(np.int32).view(np.uint32).astype(np.int64)

    def _scalars(self, entries: IntArray, runs: RunTable) -> dict[str, AnyArray]:
        span = (int(entries[0]), int(entries[-1]) + 1) if len(entries) else (0, 0)
        run, event = (self._numbers(path, *span) for path in (RUN, EVENT))
        conditions = runs.look_up(run)
        ip = conditions.ip
        if np.isnan(ip).any():
            ip = np.where(np.isnan(ip), self.vertices(entries), ip)
        if np.isnan(ip).any():
            ip = np.where(np.isnan(ip), self.spot, ip)
        axes = {f"ip_{axis}": ip[:, i] for i, axis in enumerate("xyz")}
        named = {"run": run, "event": event, **axes}
        return named | {n: getattr(conditions, n) for n in ("sqrt_s", "field", "period")} | dict(conditions.optional)


@contextmanager
def open_dst(path: str, keep: Sequence[str] = ()) -> Iterator[Dst]:
    """Open a `.dst`.

    Args:
        path: Path, or address (``root://``, ``https://``).
        keep: Groups of columns to read beside the rest, of `schema.GROUPS`.

    Raises:
        NtupleError: The file is absent, not a ROOT file, damaged, without events, or not a `.dst`; the message says
            what was found.
    """
    with ExitStack() as stack:
        with _damage(path):
            file = stack.enter_context(opened(path))
            dst = Dst(path, file, _event_tree(path, file, keep), keep)
        yield dst


@contextmanager
def _damage(path: str, where: str = "") -> Iterator[None]:
    """Turn what uproot says of a file on many lines into one."""
    try:
        yield
    except NtupleError:
        raise
    except DamageError as error:
        msg = f"{path}{where}: is damaged: {error}"
        raise NtupleError(msg) from error
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise NtupleError(msg) from error
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        msg = f"{path}{where}: cannot be read as a ROOT file, or is damaged: {type(error).__name__}: {reason}"
        raise NtupleError(msg) from error


def _fitting(collection: str, columns: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Return columns with 0 where the file has no number that fits: nothing is selected on these."""
    return {n: _fit(values, schema.BRANCHES[schema.branch(collection, n)][1]) for n, values in columns.items()}


def _fit(values: AnyArray, column: schema.Column) -> AnyArray:
    wanted = np.dtype(column.dtype)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            return schema.rounded(np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0), column.bits)
    limits = np.iinfo(wanted)
    return np.where((values >= limits.min) & (values <= limits.max), values, 0).astype(wanted)


def _preview(scalars: dict[str, AnyArray], offsets: IntArray, tracks: dict[str, AnyArray]) -> ArrayColumns:
    """Return the columns that a preselection looks at, as the file will hold them."""
    named = scalars | {schema.branch("Track", name): values for name, values in tracks.items()}
    values = {name: array.astype(schema.BRANCHES[name][1].dtype) for name, array in named.items()}
    return ArrayColumns(values, {"Track": offsets}, len(offsets) - 1)


def _named(collection: str, offsets: IntArray, columns: dict[str, AnyArray]) -> dict[str, AnyArray | Jagged]:
    return {schema.branch(collection, name): (offsets, values) for name, values in columns.items()}


def _event_tree(path: str, file: Any, keep: Sequence[str]) -> Any:
    found = {key.partition(";")[0]: name for key, name in file.classnames().items()}
    if found.get(EVENT_TREE) != "TTree":
        content = ", ".join(f"{name} ({kind})" for name, kind in found.items()) or "nothing"
        msg = f"{path}: got a ROOT file with {content}; wanted a BOSS .dst with the tree {EVENT_TREE!r}; "
        msg += "ntuples of your own need --mapping"
        raise NtupleError(msg)
    tree = file[EVENT_TREE]
    _check_branches(path, set(tree.keys()), keep)
    return tree


def _check_branches(path: str, branches: set[str], keep: Sequence[str]) -> None:
    missing = [c.path for c in COLLECTIONS.values() if c.path not in branches]
    if missing and any(name.startswith(_RAW) for name in branches):
        msg = f"{path}: got raw hits ({_RAW}), as of an .rtraw; wanted a .dst: reconstruct it with BOSS first"
        raise NtupleError(msg)
    if missing:
        msg = f"{path}: the tree {EVENT_TREE!r} lacks {', '.join(missing)}; wanted a BOSS .dst"
        raise NtupleError(msg)
    for group in keep:
        missing = [c.path for c in OF_GROUP[group].values() if c.path not in branches]
        if missing:
            msg = f"{path}: the tree {EVENT_TREE!r} lacks {', '.join(missing)}; leave {group!r} out of what is kept"
            raise NtupleError(msg)


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
        weighted = direction * np.square(weight)[:, None]
        x, y = np.linalg.solve(weighted.T @ direction, weighted.T @ dr)
        weight = 1.0 / np.sqrt(1.0 + np.square((dr - direction @ (x, y)) / SPOT_RESOLUTION))
    return float(x), float(y), float(np.median(dz))
