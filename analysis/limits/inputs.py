"""What a limit is made of, each number with a word on where it comes from, and what it is: an interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.sideband import Background, SideBand

# Name of the uncertainty of an efficiency whose sources are not told apart.
EFFICIENCY: Final = "efficiency"


@dataclass(frozen=True, kw_only=True)
class LimitInputs:
    """The numbers that enter one upper limit.

    Attributes:
        n_obs: Observed events; None while the data are blinded or absent.
        n_bkg: Expected background events.
        n_bkg_sigma: Standard uncertainty of `n_bkg`, in events.
        side_bands: The same background as it was counted, process by process; without any, `n_bkg` and its uncertainty
            are read as one (`SideBand.from_mean`).
        efficiency: Selected over produced signal events, in (0, 1].
        delta_sys: Relative standard uncertainty of the efficiency (and of all that scales the yield), a fraction.
        n_jpsi: Number of J/psi in the data.
        m_majorana: Mass of the Majorana neutrino in GeV/c^2; None for the overall search.
        provenance: Name of a field -> where its value comes from.
    """

    n_obs: int | None
    n_bkg: float
    n_bkg_sigma: float = 0.0
    side_bands: tuple[SideBand, ...] = ()
    efficiency: float
    delta_sys: float
    n_jpsi: float
    m_majorana: float | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if self.n_obs is not None:
            checks.counts("n_obs", self.n_obs)
        checks.non_negative("n_bkg", self.n_bkg)
        checks.non_negative("n_bkg_sigma", self.n_bkg_sigma)
        checks.efficiency("efficiency", self.efficiency)
        checks.non_negative("delta_sys", self.delta_sys)
        checks.positive("n_jpsi", self.n_jpsi)
        _ = self.background

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the inputs of a record of `limits.json`.

        Raises:
            ValueError: A number is missing or impossible.
        """
        bands = tuple(SideBand.from_dict(band) for band in record.get("side_bands", ()))
        names = [f.name for f in dataclasses.fields(cls) if f.name in record and f.name != "side_bands"]
        return cls(side_bands=bands, **{name: record[name] for name in names})

    @property
    def efficiency_sigma(self) -> float:
        """Absolute standard uncertainty of the efficiency."""
        return self.delta_sys * self.efficiency

    @property
    def background(self) -> Background:
        """What is known of the background, for methods that average over it.

        Raises:
            ValueError: A background of nothing has an uncertainty and no side band.
        """
        if self.side_bands:
            return Background(self.side_bands)
        if self.n_bkg_sigma == 0.0:
            return Background(known=self.n_bkg)
        return Background((SideBand.from_mean("background", self.n_bkg, self.n_bkg_sigma),))

    def without_observation(self) -> LimitInputs:
        """Return the inputs as they are before the data are looked at."""
        return dataclasses.replace(self, n_obs=None, provenance={**self.provenance, "n_obs": "hidden on request"})


@dataclass(frozen=True)
class Interval:
    """An interval of the produced signal yield mu = events/efficiency.

    Attributes:
        lower: Lower end; zero where the data are compatible with no signal.
        upper: Upper end; inf if the efficiency is too uncertain to exclude any yield.
        confidence_level: As a fraction; what it means is said by the method that made the interval.
    """

    lower: float
    upper: float
    confidence_level: float
