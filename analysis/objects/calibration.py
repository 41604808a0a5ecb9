"""What the identification needs beside the columns of a file: constants by range of runs.

Without a calibration of their own, simulated events are identified with the tables of the package, which are made of
its own simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import numpy as np
from annotated_types import Ge

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.datasets import SIMULATED, DatasetMetadata
from jpsi_lnv.analysis.documents import Form, digest
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.events.columns import Change, Columns, VariedColumns, of_event
from jpsi_lnv.analysis.events.run_table import BEAM_P4, RunTable, read_run_table, refuse_overlap
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.objects import chi_correction, emc_pid, helix_correction, networks, tofcorr
from jpsi_lnv.analysis.objects.chi_correction import DEDX, ChiCorrection, Corrections
from jpsi_lnv.analysis.objects.emc_pid import EmcTables
from jpsi_lnv.analysis.objects.helix_correction import ChunkCorrection, HelixCorrection
from jpsi_lnv.analysis.objects.networks import Network
from jpsi_lnv.analysis.objects.tofcorr import TofCorr

T = TypeVar("T")
# Resolutions in ns of the package's simulation: of both layers of the barrel together, which falls from the middle to
# the ends, by powers of z in cm, and of the end caps' scintillators.
SIGMA_BARREL: Final = (0.0659, 0.0, -2.04e-6)
SIGMA_ENDCAP: Final = 0.099
LAST_RUN: Final = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Constants:
    """Constants of the identification; None: what needs them cannot be asked for.

    Attributes:
        emc: Tables, or a network of the layout `networks.EMC`.
        tofcorr: Parameters of the times of flight, for ``pid_tof = "tofcorr"``.
        muc: A network of the layout `networks.MUC`.
        chi: Corrections of chi of dE/dx and of the time of flight.
        helix: Corrections of helices, for simulated events.
    """

    emc: EmcTables | Network | None = None
    tofcorr: TofCorr | None = None
    muc: Network | None = None
    chi: Corrections | None = None
    helix: HelixCorrection | None = None


def given(constants: T | None, name: str) -> T:
    """Return constants that there are.

    Raises:
        CalibrationError: There are none.
    """
    if constants is None:
        msg = (
            f"the cuts ask for constants {name!r}, which the calibration of these runs does not have: "
            "name one that has, as 'calibration' of the dataset's metadata"
        )
        raise CalibrationError(msg)
    return constants


@dataclass(frozen=True)
class RunRange:
    """Constants of the runs `first` to `last`, both among them; numbers without sign."""

    first: int
    last: int
    constants: Constants

    def holds(self, lowest: int, highest: int) -> bool:
        """Whether all runs between two of one sign are among these."""
        numbers = sorted((abs(lowest), abs(highest)))
        return lowest * highest >= 0 and self.first <= numbers[0] and numbers[1] <= self.last


@dataclass(frozen=True)
class Calibration:
    """Constants of a dataset's runs, either recorded or simulated ones.

    Attributes:
        name: The file, or `SIMULATED`.
        digest: Of all constants.
        ranges: In rising order of runs, none of which stands in two.
        source: Where it is from, in words.
        run_table: Interaction points, their spread and the beams' four-momentum; None: those of the files.
    """

    name: str
    digest: str
    ranges: tuple[RunRange, ...]
    source: str = ""
    run_table: RunTable | None = None

    def parts(self, run: AnyArray) -> list[tuple[Constants, BoolArray]]:
        """Return the constants of the events of a chunk, each with a mask of shape (events,).

        Args:
            run: (E,) run numbers; the sign does not count.

        Raises:
            CalibrationError: A run is in no range.
        """
        if len(self.ranges) == 1 and len(run) and self.ranges[0].holds(int(run.min()), int(run.max())):
            return [(self.ranges[0].constants, np.ones(len(run), dtype=np.bool_))]
        number = np.abs(run.astype(np.int64))
        row = np.searchsorted([r.first for r in self.ranges], number, side="right") - 1
        is_outside = (row < 0) | (number > np.array([r.last for r in self.ranges])[row])
        if is_outside.any():
            ranges = ", ".join(f"{r.first}-{r.last}" for r in self.ranges)
            msg = (
                f"run {number[is_outside][0]} is not in {self.name}; got constants of the runs {ranges}: add its range"
            )
            raise CalibrationError(msg)
        return [(self.ranges[i].constants, row == i) for i in np.unique(row)]

    def helix_correction(self, run: AnyArray) -> ChunkCorrection | None:
        """Return what corrects the helices of a chunk's simulated events; None: nothing does.

        Args:
            run: (E,) run numbers, of which those of simulation are negative.
        """
        if not any(r.constants.helix for r in self.ranges) or not (run < 0).any():
            return None
        return ChunkCorrection([(c.helix, events & (run < 0)) for c, events in self.parts(run) if c.helix])

    def summary(self) -> dict[str, Any]:
        """Return name, digest and source, and which constants there are for any run, as JSON types."""
        names = [f.name for f in fields(Constants)]
        kinds = [n for n in names if any(getattr(r.constants, n) is not None for r in self.ranges)]
        kinds += ["run_table"] if self.run_table else []
        return {"name": Path(self.name).name, "digest": self.digest, "source": self.source, "constants": kinds}

    def without_helix(self) -> Calibration:
        """Return the same without corrections of helices."""
        return replace(self, ranges=tuple(replace(r, constants=replace(r.constants, helix=None)) for r in self.ranges))


@cache
def simulated() -> Calibration:
    """Return the package's own constants, which serve for all runs."""
    times = tofcorr.without_corrections(SIGMA_BARREL, SIGMA_ENDCAP)
    constants = Constants(emc_pid.load(), times, networks.of_package())
    return Calibration(SIMULATED, _own_stamp(), (RunRange(0, LAST_RUN, constants),))


def _own_stamp() -> str:
    """Return the digest of the tables and the network that come with the package."""
    return digest(*(file.read_bytes() for file in (emc_pid.PATH, networks.MUC_FILE)))


def of_dataset(dataset: str, metadata: DatasetMetadata) -> Calibration:
    """Return the calibration that the metadata of a dataset name; of simulated events, the package's own without any.

    Raises:
        CalibrationError: Recorded events have none by name, or the file is not usable; dataset and file are named.
        NtupleError: The run table that the file names is not usable.
    """
    if metadata.calibration is None and not metadata.is_simulation:
        msg = (
            f"dataset {dataset!r}: recorded events, and no 'calibration' in the metadata; wanted a file of constants "
            f"(see `lnv calibration import`), or {SIMULATED!r} by name for those of the package's own simulation"
        )
        raise CalibrationError(msg)
    if metadata.calibration in (None, SIMULATED):
        return simulated()
    try:
        return read(metadata.calibration, is_simulation=metadata.is_simulation)
    except CalibrationError as error:
        msg = f"dataset {dataset!r}: {error}"
        raise CalibrationError(msg) from None


FORMAT: Final = "jpsi-lnv calibration 1"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Constants of a range of runs, as a file names them: the names of other files beside it."""

    first: Annotated[int, Ge(0)]
    last: Annotated[int, Ge(0)]
    simulation: bool
    emc: str | None = None
    tofcorr: str | None = None
    muc: str | None = None
    chi: str | None = None
    helix: str | None = None

    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class _File:
    """A calibration as its file has it."""

    format: Literal["jpsi-lnv calibration 1"]
    source: str
    ranges: list[_Entry]
    run_table: str | None = None

    __pydantic_config__: ClassVar = {"extra": "forbid"}


_FORM: Final = Form(
    "calibration",
    f'wanted {{"format": "{FORMAT}", "source": TEXT, "ranges": [{{"first": RUN, "last": RUN, "simulation": BOOL, '
    '"emc", "tofcorr", "muc", "chi", "helix": FILE}], "run_table": FILE}; '
    "import BOSS's parameters with `lnv calibration import`",
    CalibrationError,
    content=_File,
)


def read(path: str | Path, *, is_simulation: bool) -> Calibration:
    """Return the calibration of recorded or of simulated events.

    Args:
        path: JSON; the files that it names are found from its directory.
        is_simulation: Which of its ranges count.

    Raises:
        CalibrationError: A file is absent or damaged, ranges overlap, or constants are those of other runs.
        NtupleError: The run table is not usable.
    """
    content: _File = _FORM.read(path)
    entries = sorted((e for e in content.ranges if e.simulation == is_simulation), key=lambda e: e.first)
    kind = "simulated" if is_simulation else "recorded"
    if not entries:
        raise _FORM.fault(path, f"has no ranges of {kind} runs")
    if wrong := next((e for e in entries if e.last < e.first), None):
        raise _FORM.fault(path, f"has a range from run {wrong.first} to {wrong.last}")
    refuse_overlap(entries, f"calibration {path}, {kind} runs", CalibrationError)
    directory = Path(path).parent
    ranges = tuple(RunRange(e.first, e.last, _constants(e, directory)) for e in entries)
    table = None if content.run_table is None else read_run_table(directory / content.run_table)
    return Calibration(str(path), _stamp(Path(path), content), ranges, content.source, table)


def _stamp(path: Path, content: _File) -> str:
    """Return the digest of a calibration: that of its file and of all that it names, for both kinds of runs."""
    named = {file for e in content.ranges for file in _files(e).values()}
    named |= {content.run_table} if content.run_table else set()
    files = [path.parent / file for file in sorted(named)]
    if absent := next((file for file in files if not file.is_file()), None):
        raise _FORM.fault(path, f"names {absent}, which is absent")
    return digest(*(file.read_bytes() for file in (path, *files)))


def stamp(name: str | Path | None) -> str:
    """Return the digest of a calibration by its file, or of the package's own for None and `SIMULATED`.

    Raises:
        CalibrationError: The file, or one that it names, is absent or damaged.
    """
    return _own_stamp() if name in (None, SIMULATED) else _stamp(Path(name), _FORM.read(name))


def kinds(path: str | Path) -> list[bool]:
    """Return which kinds of events a file has ranges of: False for recorded, True for simulated ones.

    Raises:
        CalibrationError: The file is absent or damaged.
    """
    content: _File = _FORM.read(path)
    return sorted({entry.simulation for entry in content.ranges})


def _files(entry: _Entry) -> dict[str, str]:
    named = {name: getattr(entry, name) for name in ("emc", "tofcorr", "muc", "chi", "helix")}
    return {name: file for name, file in named.items() if file is not None}


def _constants(entry: _Entry, directory: Path) -> Constants:
    files = {name: str(directory / file) for name, file in _files(entry).items()}
    loaders: dict[str, Callable[[str], Any]] = {
        "emc": lambda file: _emc(file, entry),
        "tofcorr": tofcorr.load,
        "muc": partial(networks.load, is_simulation=entry.simulation),
        "chi": chi_correction.load,
        "helix": lambda file: helix_correction.of_runs(helix_correction.read(file), entry.first, entry.last, file),
    }
    of_package = simulated().ranges[0].constants if entry.simulation else Constants()
    return replace(of_package, **{name: loaders[name](file) for name, file in files.items()})


def _emc(path: str, entry: _Entry) -> EmcTables | Network:
    """Return tables or a network, as the file says that it holds."""
    if _ANY.read(path).get("format") == emc_pid.FORMAT:
        return emc_pid.load_for(path, entry.first, entry.last, is_simulation=entry.simulation)
    return networks.load(path)


_ANY: Final = Form("constants of the EMC", "make them with `lnv emc-tables` or import them", CalibrationError)


def applied(columns: Columns, calibration: Calibration) -> Columns:
    """Return a chunk with what a calibration says of its columns.

    Its run table gives interaction points, their spread and the beams' four-momentum; chi of dE/dx is corrected.

    Raises:
        CalibrationError: A run is in no range, or its period is not that of the run table.
        NtupleError: A run is not in the run table.
    """
    changes = _of_runs(columns, calibration) | _of_dedx(columns, calibration)
    return VariedColumns(columns, changes) if changes else columns


def _of_runs(columns: Columns, calibration: Calibration) -> dict[str, Change]:
    if calibration.run_table is None:
        return {}
    run, period = columns.scalar("run"), columns.scalar("period")
    found = calibration.run_table.look_up(run)
    if differs := np.flatnonzero(found.period != period).tolist():
        at = differs[0]
        msg = (
            f"run {run[at]}: the file says period {period[at]}, {calibration.run_table.source} {found.period[at]}; "
            "wanted the table of these runs: mend it, or the fileset that names it"
        )
        raise CalibrationError(msg)
    p4 = dict(zip(BEAM_P4, initial_four_momentum(found.sqrt_s).T, strict=True))
    point = {f"ip_{axis}": found.ip[:, i] for i, axis in enumerate("xyz") if not np.isnan(found.ip).any()}
    values = p4 | point | dict(found.optional)
    return {name: partial(_constant, value=value) for name, value in values.items()}


def _constant(columns: Columns, value: AnyArray) -> AnyArray:  # noqa: ARG001 what a change is called with
    return value


def _of_dedx(columns: Columns, calibration: Calibration) -> dict[str, Change]:
    if not any(r.constants.chi for r in calibration.ranges):
        return {}
    found = [(c.chi.get(DEDX, {}), events) for c, events in calibration.parts(columns.scalar("run")) if c.chi]
    names = {name for of, _ in found for name in of}
    return {f"Track_dedx_chi_{name}": partial(_dedx_of_parts, name=name, parts=found) for name in names}


def _dedx_of_parts(
    columns: Columns, name: str, parts: Sequence[tuple[Mapping[str, ChiCorrection], BoolArray]]
) -> AnyArray:
    chi: AnyArray = columns.flat("Track", f"dedx_chi_{name}")
    for of, events in parts:
        if name in of:
            changed = chi_correction.corrected(columns, chi, name, of[name])
            chi = np.where(of_event(columns.offsets("Track"), events), changed, chi)
    return chi
