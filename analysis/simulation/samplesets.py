"""The sample sets: which datasets, how many events, in which files; and the fileset that describes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from jpsi_lnv.analysis.channel import KKEE, Channel
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import CONTROL_CONVERSION, CONTROL_EEEE, CONTROL_KKPIPI, DatasetMetadata, mass_mev
from jpsi_lnv.analysis.documents import digest
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.analysis.simulation import processes as decays
from jpsi_lnv.analysis.simulation import raw
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM, CONTROLS, Process, majorana, masses
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS, Recipe, converted_share, n_blocks

FILE_BLOCKS: Final = 24  # four chunks of the default size: each file is described once per worker
DEFAULT_SEED: Final = 20_260_501
# Masses of the Majorana neutrino in GeV/c^2: 39 points, as in the publication.
MAJORANA_MASSES: Final = tuple(round(0.575 + 0.025 * i, 3) for i in range(39))
# Below this mass the efficiency falls steeply: more events, so that its fit is as good there as elsewhere.
STEEP_BELOW: Final = 0.65
N_MAJORANA: Final = 10_000
N_MAJORANA_STEEP: Final = 50_000
DEMO_MASSES: Final = (0.575, 0.700, 0.900, 1.200, 1.500)
# Off-resonance samples: energy in GeV, integrated luminosity in pb^-1, periods.
CONTINUUM_POINTS: Final[Mapping[str, tuple[float, float, tuple[int, ...]]]] = MappingProxyType(
    {
        "continuum_3080": (3.080, 167.0, (2009, 2012, 2018)),
        "continuum_3650": (3.650, 410.0, (2018,)),
        "continuum_3682": (3.682, 404.0, (2018,)),
    }
)
# Two-track events need a conversion to be seen by the search: they have samples of their own.
CONTINUUM_FOUR_TRACKS: Final = ("kkpipi", "pipipipi", "kkkk", "ppbarpipi", "eeee")
PSEUDO_DATA_PROCESSES: Final = (
    "kkpipi",
    "pipipipi",
    "kkkk",
    "eeee",
    "pipipi0",
    "omegapipi",
    "phipipi",
    "kkstar",
    "kskpi",
    "kkee",
)
# K+ K- e+ e- and K+ K- pi+ pi- come nearest to the search; the others need more tracks to be taken for others.
DEMO_BACKGROUNDS: Final = ("kkpipi", "pipipipi", "kkkk", "eeee", "kkee", "kskpi")
# Backgrounds that are control samples too, and the selection that runs on them: 2(e+ e-) and conversions have electrons
# as slow as the signal's, K+ K- pi+ pi- competes with other hypotheses as the signal does.
CONTROL_BACKGROUNDS: Final[Mapping[str, str]] = MappingProxyType(
    {"eeee": CONTROL_EEEE, "ee_converted": CONTROL_CONVERSION, "kkpipi": CONTROL_KKPIPI}
)
INJECTED_SIGNAL: Final = 6
PROCESS_NAMES: Final = ("signal", *BACKGROUNDS, *CONTROLS)


class SampleSetError(LnvError):
    """A sample set that cannot be made as asked."""


@dataclass(frozen=True)
class Dataset:
    """One dataset of a sample set: name, number of events, what they are, and the metadata of the fileset."""

    name: str
    n_events: int
    recipe: Recipe
    metadata: DatasetMetadata


@dataclass(frozen=True)
class SampleSet:
    """A named collection of datasets that are made together."""

    name: str
    seed: int
    datasets: tuple[Dataset, ...]


@dataclass(frozen=True)
class FileJob:
    """One file to write: its path relative to the set's directory, and the blocks of the dataset that it holds."""

    path: str
    dataset: Dataset
    first_block: int
    last_block: int
    seed: int

    @property
    def first_event(self) -> int:
        """Number of the file's first event within the dataset."""
        return self.first_block * BLOCK_EVENTS

    @property
    def n_events(self) -> int:
        """Number of events of the file."""
        return min(self.last_block * BLOCK_EVENTS, self.dataset.n_events) - self.first_event


def _jpsi(name: str, n_events: int, process: Process, kind: str, selections: tuple[str, ...] = ("search",)) -> Dataset:
    represented = _represented(process)
    metadata = DatasetMetadata(
        kind=kind,
        sqrt_s=M_JPSI,
        process=process.reaction,
        part_of=process.part_of,
        branching_fraction=represented,
        branching_fraction_sigma=represented * process.relative_error if represented else None,
        selections=selections,
    )
    return Dataset(name, n_events, Recipe(processes=((process, 1.0),), sqrt_s=M_JPSI), metadata)


def _represented(process: Process) -> float | None:
    """Return the branching fraction that the events of a process stand for; None for the signal."""
    fraction = process.branching_fraction
    return fraction * converted_share(process, M_JPSI) if fraction and process.is_converted else fraction


def signal(n_events: int, selections: tuple[str, ...] = ("search",), channel: Channel = KKEE) -> Dataset:
    """Return the phase-space signal of a channel, half of it charge-conjugated."""
    return _jpsi("signal", n_events, decays.signal(channel), "signal", selections)


def majorana_point(mass: float, mode: str, n_events: int, channel: Channel = KKEE) -> Dataset:
    """Return the signal of a channel through a Majorana neutrino of a mass in GeV/c^2.

    Raises:
        SampleSetError: The mass is outside the kinematic range of the mode.
    """
    try:
        process = majorana(mass, mode, channel)
    except ValueError as error:
        raise SampleSetError(str(error)) from error
    dataset = _jpsi(f"majorana_{mode}_{_in_name(mass)}", n_events, process, "majorana")
    metadata = dataclasses.replace(dataset.metadata, m_majorana=mass, majorana_mode=mode)
    return dataclasses.replace(dataset, metadata=metadata)


def _points(masses_wanted: Sequence[float], mode: str, n_events: int, channel: Channel) -> tuple[Dataset, ...]:
    """Return the signal through neutrinos of all masses that a channel can have; none if it has no pairs."""
    low, high = masses(mode, channel) if channel.pairs else (0.0, 0.0)
    return tuple(majorana_point(m, mode, n_events, channel) for m in masses_wanted if low < m < high)


def _in_name(mass: float) -> str:
    """Return a mass as in the name of a dataset: 0575 for 0.575 GeV/c^2, 0587p5 for 0.5875."""
    return f"{mass_mev(mass):06.1f}".removesuffix(".0").replace(".", "p")


def background(name: str, n_events: int) -> Dataset:
    """Return an exclusive background by the name of its process."""
    return _jpsi(name, n_events, BACKGROUNDS[name], "background", ("search", "misid", "topology"))


def control(name: str, n_events: int) -> Dataset:
    """Return the simulation of a control process, which its own selection and the search run on."""
    return _jpsi(name, n_events, CONTROLS[name], "control", ("search", f"control_{name}", "misid"))


def inclusive(n_events: int) -> Dataset:
    """Return inclusive J/psi decays from Pythia (needs the extra `sim`)."""
    metadata = DatasetMetadata(
        kind="inclusive",
        sqrt_s=M_JPSI,
        process="J/psi -> anything",
        branching_fraction=1.0,
        selections=("search", "misid", "topology"),
    )
    return Dataset("inclusive", n_events, Recipe(processes=((None, 1.0),), sqrt_s=M_JPSI), metadata)


def continuum(name: str) -> Dataset:
    """Return the four-track processes off the resonance, as many events as the luminosity of the data gives."""
    sqrt_s, luminosity, years = CONTINUUM_POINTS[name]
    parts = [CONTINUUM[process] for process in CONTINUUM_FOUR_TRACKS]
    processes = tuple((process, cross_section.at(sqrt_s)) for process, cross_section in parts)
    n_events = round(luminosity * sum(share for _, share in processes))
    metadata = DatasetMetadata(
        kind="continuum",
        sqrt_s=sqrt_s,
        process="e+ e- -> four charged tracks, pseudo-data",
        luminosity=luminosity,
        blind=False,
    )
    recipe = Recipe(processes=processes, sqrt_s=sqrt_s, parameters=DATA_LIKE, years=years, has_truth=False)
    return Dataset(name, n_events, recipe, metadata)


def pseudo_data(
    n_events: int, n_signal: int = INJECTED_SIGNAL, blind: bool = False, channel: Channel = KKEE
) -> Dataset:
    """Return a mixture of J/psi backgrounds by branching fraction, with signal events, as data look like.

    Args:
        n_events: Number of events.
        n_signal: Expected number of signal events among them.
        blind: Whether the search may show the signal box.
        channel: The channel whose signal it is.
    """
    parts = [BACKGROUNDS[name] for name in PSEUDO_DATA_PROCESSES]
    total = sum(process.branching_fraction or 0.0 for process in parts)
    processes: list[tuple[Process | None, float]] = [(c, c.branching_fraction or 0.0) for c in parts]
    processes.append((decays.signal(channel), total * n_signal / (n_events - n_signal)))
    metadata = DatasetMetadata(
        kind="data",
        sqrt_s=M_JPSI,
        process=f"pseudo-data: {len(parts)} kinds of J/psi decays; {n_signal} signal events injected",
        n_jpsi=float(round(n_events / total)),
        blind=blind,
    )
    recipe = Recipe(processes=tuple(processes), sqrt_s=M_JPSI, parameters=DATA_LIKE, has_truth=False)
    return Dataset("pseudo_data", n_events, recipe, metadata)


def exclusive(name: str, n_events: int, channel: Channel = KKEE) -> Dataset:
    """Return one of `PROCESS_NAMES`: the phase-space signal of a channel, a background or a control process."""
    if name == "signal":
        return signal(n_events, channel=channel)
    return control(name, n_events) if name in CONTROLS else background(name, n_events)


def control_of_background(name: str, selection: str, n_events: int) -> Dataset:
    """Return a background as a control sample, which its own selection runs on alone."""
    made = background(name, n_events)
    metadata = dataclasses.replace(made.metadata, kind="control", selections=(selection,), part_of=None)
    return dataclasses.replace(made, name=f"{name}_control", metadata=metadata)


def controls(n_events: int) -> tuple[Dataset, ...]:
    """Return the simulation of every control sample, and pseudo-data of each."""
    others = (control_of_background(name, of, n_events) for name, of in CONTROL_BACKGROUNDS.items())
    made = (*(control(name, n_events) for name in CONTROLS), *others)
    return (*made, *map(control_data, made))


def control_data(made: Dataset) -> Dataset:
    """Return pseudo-data of a control sample, made with the data-like detector."""
    recipe = dataclasses.replace(made.recipe, parameters=DATA_LIKE, has_truth=False)
    own = tuple(name for name in made.metadata.selections if name.startswith("control_"))
    metadata = dataclasses.replace(
        made.metadata, kind="data", blind=False, branching_fraction=None, branching_fraction_sigma=None, selections=own
    )
    return Dataset(f"{made.name.removesuffix('_control')}_data", made.n_events, recipe, metadata)


def _ci(channel: Channel) -> tuple[Dataset, ...]:
    return (
        signal(10_000, channel=channel),
        *_points((0.575, 0.900, 1.500), "2nu", 3_000, channel),
        *_points((0.900,), "1nu", 3_000, channel),
        *(background(name, 4_000) for name in DEMO_BACKGROUNDS),
        *controls(4_000),
        continuum("continuum_3080"),
        pseudo_data(8_000, channel=channel),
    )


def _demo(channel: Channel) -> tuple[Dataset, ...]:
    return (
        signal(40_000, channel=channel),
        *_points(DEMO_MASSES, "2nu", 10_000, channel),
        *_points(DEMO_MASSES, "1nu", 10_000, channel),
        # Of two-track decays only conversions can be background: a sample of all of them would bound it poorly.
        *(background(name, 20_000) for name in (*DEMO_BACKGROUNDS, "ee_converted")),
        *controls(50_000),
        *(continuum(name) for name in CONTINUUM_POINTS),
        pseudo_data(60_000, channel=channel),
    )


def _paper(channel: Channel) -> tuple[Dataset, ...]:
    return (
        signal(100_000, ("search", "variations"), channel),
        *(
            point
            for mode in ("2nu", "1nu")
            for m in MAJORANA_MASSES
            for point in _points((m,), mode, N_MAJORANA_STEEP if m < STEEP_BELOW else N_MAJORANA, channel)
        ),
        *(background(name, 100_000) for name in BACKGROUNDS),
        *controls(200_000),
        *(continuum(name) for name in CONTINUUM_POINTS),
        inclusive(1_000_000),
        pseudo_data(500_000, blind=True, channel=channel),
    )


SETS: Final[Mapping[str, Callable[[Channel], tuple[Dataset, ...]]]] = MappingProxyType(
    {"ci": _ci, "demo": _demo, "paper": _paper}
)


def sample_set(name: str, seed: int = DEFAULT_SEED, channel: Channel = KKEE) -> SampleSet:
    """Return a sample set by name, with the signal of a channel.

    Raises:
        SampleSetError: There is no such set.
    """
    if name not in SETS:
        msg = f"sample set: got {name!r}, wanted one of {sorted(SETS)}"
        raise SampleSetError(msg)
    return SampleSet(set_name(name, channel), seed, SETS[name](channel))


def set_name(name: str, channel: Channel) -> str:
    """Return the name of a set that holds signal of a channel: of others than the publication's it has theirs."""
    return name if channel == KKEE else f"{name}_{channel.name}"


def with_columns(samples: SampleSet, keep: tuple[str, ...], *, has_hypotheses: bool) -> SampleSet:
    """Return the set with groups of raw columns, and with a helix per mass hypothesis or one.

    Raises:
        SampleSetError: A group is not simulated.
    """
    if unknown := [group for group in keep if group not in raw.GROUPS]:
        msg = f"columns to keep: got {unknown[0]!r}, which is not simulated; wanted some of {', '.join(raw.GROUPS)}"
        raise SampleSetError(msg)
    recipes = (dataclasses.replace(d.recipe, keep=keep, has_hypotheses=has_hypotheses) for d in samples.datasets)
    made = (dataclasses.replace(d, recipe=recipe) for d, recipe in zip(samples.datasets, recipes, strict=True))
    return dataclasses.replace(samples, datasets=tuple(made))


def file_jobs(samples: SampleSet) -> tuple[FileJob, ...]:
    """Return the files of a sample set.

    Raises:
        SampleSetError: A dataset has no events.
    """
    jobs = []
    for dataset in samples.datasets:
        if dataset.n_events <= 0:
            msg = f"dataset {dataset.name!r}: got {dataset.n_events} events, wanted at least one"
            raise SampleSetError(msg)
        blocks = n_blocks(dataset.n_events)
        for k, first in enumerate(range(0, blocks, FILE_BLOCKS)):
            last = min(first + FILE_BLOCKS, blocks)
            jobs.append(FileJob(f"{dataset.name}_{k}.root", dataset, first, last, samples.seed))
    return tuple(jobs)


def fileset(samples: SampleSet, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Return the plain fileset of a sample set, file names behind a prefix such as ``samples/demo/``."""
    out: dict[str, dict[str, Any]] = {d.name: {"files": {}, "metadata": d.metadata.to_dict()} for d in samples.datasets}
    for job in file_jobs(samples):
        out[job.dataset.name]["files"][prefix + job.path] = TREE
    return out


def code_digest() -> str:
    """Return a digest of the simulation's code: samples of another version are made again."""
    return digest(*(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


def job_digest(job: FileJob, code: str) -> str:
    """Return a digest of all that the content of a file depends on."""
    recipe = job.dataset.recipe
    content = (job.path, job.n_events, job.first_block, job.last_block, job.seed, repr(recipe), code)
    return digest(repr(content))
