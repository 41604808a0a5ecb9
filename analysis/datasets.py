"""What a dataset is: the metadata that a fileset carries and every later stage reads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jpsi_lnv.analysis.constants import M_JPSI, N_JPSI, N_JPSI_OF, PERIOD_RUNS
from jpsi_lnv.analysis.errors import FilesetError

DATA: Final = "data"
SIGNAL: Final = "signal"
MAJORANA: Final = "majorana"
BACKGROUND: Final = "background"
INCLUSIVE: Final = "inclusive"
CONTINUUM: Final = "continuum"
CONTROL: Final = "control"
KINDS: Final = {
    DATA: "recorded events, or pseudo-data that stand for them",
    SIGNAL: "phase-space signal simulation",
    MAJORANA: "signal simulation through a Majorana neutrino of one mass",
    BACKGROUND: "simulation of one background channel",
    INCLUSIVE: "simulation of all decays",
    CONTINUUM: "events taken off the resonance",
    CONTROL: "simulation of a control channel",
}
# Names of the selections, as metadata list them and a result stores them.
SEARCH: Final = "search"
CONTROL_EE: Final = "control_ee"
CONTROL_EEEE: Final = "control_eeee"
CONTROL_CONVERSION: Final = "control_conversion"
CONTROL_KKPI0: Final = "control_kkpi0"
CONTROL_KKPIPI: Final = "control_kkpipi"
CONTROL_PPBARPIPI: Final = "control_ppbarpipi"
# All control samples, in the order in which a skim names them.
CONTROL_SELECTIONS: Final = (
    CONTROL_EE,
    CONTROL_EEEE,
    CONTROL_CONVERSION,
    CONTROL_KKPI0,
    CONTROL_KKPIPI,
    CONTROL_PPBARPIPI,
)
MISID: Final = "misid"
MISID_FAILED: Final = "misid_failed"
TOPOLOGY: Final = "topology"
VARIATIONS: Final = "variations"
HELIX_PULLS: Final = "helix_pulls"
PID_CHI: Final = "pid_chi"
# The calibration that is no file: constants of the package's own simulation.
SIMULATED: Final = "simulated"
# Selections that look at photons: they need the collection `Shower`, which a file may lack.
PHOTON_SELECTIONS: Final = (CONTROL_EE, CONTROL_KKPI0, PID_CHI)
HOW_WITHOUT_PHOTONS: Final = (
    f"add them, or leave what reads showers out of 'selections' of the metadata ({', '.join(PHOTON_SELECTIONS)})"
)
MAJORANA_MODES: Final = ("2nu", "1nu")
# Difference in GeV of a file's energies to that of its dataset: the energy of the beams varies by less.
SQRT_S_TOLERANCE: Final = 0.005
# Characters that a reason to show recorded events has at least.
REASON_LENGTH_MIN: Final = 10
# Energy in GeV that no e+e- collider at the J/psi reaches (BEPCII: 5.6): a larger number is one in MeV.
SQRT_S_MAX: Final = 10.0
# More J/psi than any collider can make: a larger number is none of J/psi.
N_JPSI_MAX: Final = 1e15
# Events of data per J/psi at most: beside the decays of the J/psi there are Bhabha events, cosmic rays and beam gas.
EVENTS_MAX: Final = 3.0
# How to say how many J/psi data hold.
HOW_N_JPSI: Final = (
    f'give "n_jpsi" in the metadata of the fileset, a number or names of published data sets: "{"+".join(N_JPSI_OF)}", '
    "or --n-jpsi to the commands that normalise"
)


@dataclass(frozen=True, kw_only=True)
class DatasetMetadata:
    """Metadata of one dataset.

    Attributes:
        kind: One of `KINDS`.
        sqrt_s: Centre-of-mass energy in GeV.
        is_simulation: Whether the events are simulated (pseudo-data are data that are simulated).
        process: The decay or reaction, for people; background datasets of the same one are one sample.
        part_of: Process of whose events these are the only ones that can be background, such as those with a converted
            photon: its own sample then counts no background.
        m_majorana: Mass of the Majorana neutrino in GeV/c^2, for kind ``majorana``.
        majorana_mode: ``2nu`` for J/psi -> nu nu, ``1nu`` for J/psi -> nu K e.
        branching_fraction: Branching fraction of the simulated J/psi decay chain, for weights.
        branching_fraction_sigma: Its standard uncertainty, as absolute number; None: known.
        luminosity: Integrated luminosity in pb^-1, for kind ``continuum``.
        n_jpsi: Number of J/psi the dataset stands for, for kind ``data``.
        blind: Whether events in the box are hidden; None: data and continuum are, simulation is not.
        open_reason: Why recorded events are shown that would be blind otherwise; it goes into the result.
        selections: Processors that run on it.
        period: Data-taking period, where the dataset has one.
        calibration: File with the constants of its runs, or `SIMULATED` for those of the package's own simulation,
            which simulated events have anyway.
    """

    kind: str
    sqrt_s: float
    is_simulation: bool = True
    process: str = ""
    part_of: str | None = None
    m_majorana: float | None = None
    majorana_mode: str | None = None
    branching_fraction: float | None = None
    branching_fraction_sigma: float | None = None
    luminosity: float | None = None
    n_jpsi: float | None = None
    blind: bool | None = None
    open_reason: str | None = None
    selections: tuple[str, ...] = (SEARCH,)
    period: int | None = None
    calibration: str | None = None

    @property
    def is_blind(self) -> bool:
        """Whether events in the box are hidden: recorded and pseudo-data unless the fileset says otherwise."""
        return self.is_recorded_kind if self.blind is None else self.blind

    @property
    def is_recorded_kind(self) -> bool:
        """Whether the kind is one of recorded events, which pseudo-data stand for."""
        return self.kind in (DATA, CONTINUUM)

    def contradictions(
        self, runs: tuple[int, int] | None, sqrt_s: tuple[float, float] | None, lacks: Sequence[str] = ()
    ) -> Iterator[str]:
        """Return in what the metadata and what events say of themselves contradict each other.

        Args:
            runs: Smallest and largest run number; None: not known.
            sqrt_s: Smallest and largest centre-of-mass energy in GeV; None: not known.
            lacks: Collections that the events do not have, of those that they may lack.
        """
        if lacks and (selections := [name for name in self.selections if name in PHOTON_SELECTIONS]):
            yield f"has no columns of {', '.join(lacks)}, which {', '.join(selections)} read; {HOW_WITHOUT_PHOTONS}"
        if runs is not None and runs[0] < 0 and not self.is_simulation:
            yield (
                f"runs are negative ({runs[0]} to {runs[1]}), those of simulation; wanted recorded events, "
                'as "is_simulation": false says: mend the metadata or take the file out'
            )
        if runs is not None and runs[1] > 0 and self.is_simulation and not self.is_recorded_kind:
            yield (
                f"runs are positive ({runs[0]} to {runs[1]}), those of recorded events; wanted simulation, whose runs "
                f"are negative, as kind {self.kind!r} says: mend the metadata (recorded events that are shown say "
                '"is_simulation": false and "open_reason"), or the sign of the runs'
            )
        if runs is not None and self.period in PERIOD_RUNS:
            first, last = PERIOD_RUNS[self.period]
            if min(map(abs, runs)) < first or max(map(abs, runs)) > last:
                yield (
                    f"runs are {runs[0]} to {runs[1]}; wanted those of period {self.period} of the metadata, {first} "
                    f"to {last}: mend the period, or take the file out"
                )
        # Written so that an energy that is no number differs.
        if sqrt_s is not None and not max(abs(value - self.sqrt_s) for value in sqrt_s) <= SQRT_S_TOLERANCE:
            low, high = sqrt_s
            got = f"{low:.4f} to {high:.4f}" if high > low else f"{low:.4f}"
            yield (
                f"events have a centre-of-mass energy of {got} GeV; wanted "
                f"{self.sqrt_s} GeV within {SQRT_S_TOLERANCE} GeV, the sqrt_s of the metadata: mend one of them"
            )

    def too_few_jpsi(self, n_events: int) -> Iterator[str]:
        """Return what is wrong with a number of J/psi that cannot have given so many events.

        Args:
            n_events: Events of the dataset.
        """
        if self.n_jpsi is not None and (reason := doubted_n_jpsi(self.n_jpsi, n_events)):
            yield f"metadata 'n_jpsi' is {self.n_jpsi:.6g}, {reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON types."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return fields | {"selections": list(self.selections)}

    @classmethod
    def from_dict(cls, dataset: str, metadata: Mapping[str, Any]) -> DatasetMetadata:
        """Check the metadata of `dataset` and return them as a record.

        Raises:
            FilesetError: A key is missing, unknown or has a value that means nothing; dataset and key are named.
        """
        if not isinstance(metadata, Mapping):
            msg = f"dataset {dataset!r}: metadata are {metadata!r}; wanted an object such as {{'kind': …, 'sqrt_s': …}}"
            raise FilesetError(msg)
        known = {f.name for f in dataclasses.fields(cls)}
        must_say = metadata.get("kind") in (DATA, CONTINUUM)
        for key in ("kind", "sqrt_s", *(("is_simulation",) if must_say else ())):
            if key not in metadata:
                say = ": false for recorded events, true for pseudo-data" if key == "is_simulation" else ""
                msg = f"dataset {dataset!r}: metadata lack {key!r}; got {sorted(metadata)}; add it to the fileset{say}"
                raise FilesetError(msg)
        if unknown := sorted(set(metadata) - known):
            msg = f"dataset {dataset!r}: unknown metadata key {unknown[0]!r}; known are {sorted(known)}"
            raise FilesetError(msg)
        selections = metadata.get("selections", (SEARCH,))
        if not isinstance(selections, (list, tuple)):
            msg = f"dataset {dataset!r}: metadata 'selections' is {selections!r}; wanted a list of names"
            raise FilesetError(msg)
        record = cls(**{**metadata, "selections": tuple(selections), "n_jpsi": published(metadata.get("n_jpsi"))})
        record._check(dataset)
        return record

    @classmethod
    def of_chunk(cls, metadata: Mapping[str, Any]) -> DatasetMetadata:
        """Return the metadata of the dataset that a chunk belongs to, from what coffea puts into `events.metadata`."""
        known = {f.name for f in dataclasses.fields(cls)}
        return cls.from_dict(metadata["dataset"], {k: v for k, v in metadata.items() if k in known})

    def _check(self, dataset: str) -> None:
        wanted = {
            "kind": (isinstance(self.kind, str) and self.kind in KINDS, f"one of {sorted(KINDS)}"),
            "sqrt_s": (_is_positive(self.sqrt_s, SQRT_S_MAX), f"an energy between 0 and {SQRT_S_MAX:g} GeV"),
            "m_majorana": (
                _is_positive(self.m_majorana, M_JPSI) if self.kind == MAJORANA else self.m_majorana is None,
                f"a mass between 0 and {M_JPSI:g} GeV/c^2 with kind 'majorana' only",
            ),
            "majorana_mode": (
                self.majorana_mode in MAJORANA_MODES if self.kind == MAJORANA else self.majorana_mode is None,
                f"one of {MAJORANA_MODES} with kind 'majorana' only",
            ),
            "luminosity": (self.luminosity is None or _is_positive(self.luminosity), "a positive luminosity in pb^-1"),
            "branching_fraction": (
                self.branching_fraction is None or _is_positive(self.branching_fraction, 1.0),
                "a fraction between 0 and 1, not percent",
            ),
            "branching_fraction_sigma": (
                self.branching_fraction_sigma is None
                or (self.branching_fraction is not None and _is_positive(self.branching_fraction_sigma, 1.0)),
                "a positive uncertainty beside a 'branching_fraction', absolute",
            ),
            "part_of": (self.part_of is None or isinstance(self.part_of, str), "the name of a process"),
            "process": (isinstance(self.process, str), "a text"),
            "selections": (all(isinstance(name, str) for name in self.selections), "a list of names"),
            "period": (self.period is None or type(self.period) is int, "a year"),
            "calibration": (
                self.calibration is None or (isinstance(self.calibration, str) and self.calibration != ""),
                f"the name of a file, or {SIMULATED!r}",
            ),
            "blind": (self.blind is None or isinstance(self.blind, bool), "true or false"),
            "open_reason": (
                self.open_reason is None or is_reason(self.open_reason),
                f"a reason in words, of at least {REASON_LENGTH_MIN} characters",
            ),
            "is_simulation": (
                isinstance(self.is_simulation, bool)
                and (self.is_simulation or self.is_recorded_kind or self.open_reason is not None),
                f"true or false, and true unless the kind is {DATA!r} or {CONTINUUM!r} or there is an 'open_reason'",
            ),
            "n_jpsi": (
                self.n_jpsi is None or _is_positive(self.n_jpsi, N_JPSI_MAX),
                f"a number of J/psi up to {N_JPSI_MAX:g}, or names of published data sets: {'+'.join(N_JPSI_OF)}",
            ),
        }
        for key, (is_right, want) in wanted.items():
            if not is_right:
                msg = f"dataset {dataset!r}: metadata {key!r} is {getattr(self, key)!r}; wanted {want}"
                raise FilesetError(msg)


def published(n_jpsi: Any) -> Any:
    """Return the number of J/psi of published data sets that are named, such as ``2009+2012``; else what was given."""
    names = n_jpsi.split("+") if isinstance(n_jpsi, str) else []
    if not names or not set(names) <= set(N_JPSI_OF) or len(set(names)) < len(names):
        return n_jpsi
    # The published total is rounded otherwise than the sum of its parts.
    return N_JPSI if set(names) == set(N_JPSI_OF) else math.fsum(N_JPSI_OF[name][0] for name in names)


def doubted_n_jpsi(n_jpsi: float, n_events: int) -> str:
    """Return why a number of J/psi cannot be one, as the end of a sentence; empty if it can.

    Args:
        n_jpsi: The number.
        n_events: Events of the data that it is of.
    """
    if EVENTS_MAX * n_jpsi >= n_events:
        return ""
    return (
        f"for {n_events} events; wanted at least one for {EVENTS_MAX:g} events: is it in millions? Give it in full "
        f"({1e6 * n_jpsi:g}), or names of published data sets, {'+'.join(N_JPSI_OF)}"
    )


def is_reason(text: object) -> bool:
    """Return whether a text is long enough to be the reason why recorded events are shown."""
    return isinstance(text, str) and len(text.strip()) >= REASON_LENGTH_MIN


def mass_mev(m_majorana: float) -> float:
    """Return a mass of GeV/c^2 in MeV/c^2 to a tenth, a key that compares exactly."""
    return round(1000.0 * m_majorana, 1)


def mass_text(m_majorana: float) -> str:
    """Return a mass in GeV/c^2 as 0.575, or as 0.5875 where it has tenths of MeV."""
    return f"{m_majorana:.4f}".removesuffix("0")


def _is_positive(value: object, largest: float = math.inf) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) and 0 < value <= largest
