"""What the identification needs beside the columns of a file: constants by range of runs.

Without a calibration of their own, simulated events are identified with the tables of the package, which are made of
its own simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.analysis.objects.emc_pid import EmcTables
from jpsi_lnv.analysis.objects.networks import Network
from jpsi_lnv.analysis.objects.tofcorr import TofCorr

# The name by which metadata ask for the package's own tables.
SIMULATED: Final = "simulated"
LAST_RUN: Final = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Constants:
    """Constants of the identification; None: what needs them cannot be asked for.

    Attributes:
        emc: Tables, or a network of the layout `networks.EMC`.
        tofcorr: Parameters of the times of flight, for ``pid_tof = "tofcorr"``.
        muc: A network of the layout `networks.MUC`.
    """

    emc: EmcTables | Network | None = None
    tofcorr: TofCorr | None = None
    muc: Network | None = None


@dataclass(frozen=True)
class RunRange:
    """Constants of the runs `first` to `last`, both among them; numbers without sign."""

    first: int
    last: int
    constants: Constants


@dataclass(frozen=True)
class Calibration:
    """Constants of a dataset's runs, either recorded or simulated ones.

    Attributes:
        name: The file, or `SIMULATED`.
        digest: Of all constants.
        ranges: In rising order of runs, none of which stands in two.
    """

    name: str
    digest: str
    ranges: tuple[RunRange, ...]

    def parts(self, run: AnyArray) -> list[tuple[Constants, BoolArray]]:
        """Return the constants of the events of a chunk, each with a mask of shape (events,).

        Args:
            run: (E,) run numbers; the sign does not count.

        Raises:
            CalibrationError: A run is in no range.
        """
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


@cache
def simulated() -> Calibration:
    """Return the package's own constants, which serve for all runs."""
    return Calibration(SIMULATED, emc_pid.digest(), (RunRange(0, LAST_RUN, Constants(emc=emc_pid.load())),))
