"""chi of tagged tracks is standard normal after the calibration that the control samples give, in every period."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import hist
import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis import datasets, results
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.objects import calibration
from jpsi_lnv.analysis.selection import misid
from jpsi_lnv.analysis.selection import pid_chi as selection
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.simulation import production, samplesets
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE, NOMINAL
from jpsi_lnv.analysis.systematics import pid_chi
from jpsi_lnv.processors.cli import main

SAMPLES = {"ee": 8_000, "eeee": 8_000, "kkpi0": 8_000, "kkpipi": 12_000, "ppbarpipi": 8_000}
PERIODS = (2009, 2012, 2018)


@cache
def block(name, detector, period, seed=1):
    recipe = samplesets.exclusive(name, SAMPLES[name]).recipe
    recipe = replace(recipe, keep=("pid",), parameters=detector, years=(period,))
    return make_block(production.make_block(recipe, name, 0, SAMPLES[name], seed))


def of_sample(name, kind, detector, constants, seed=1):
    """Return what the selection finds in a sample, of the same events in every period."""
    metadata = DatasetMetadata(kind=kind, sqrt_s=M_JPSI, blind=False, selections=(datasets.PID_CHI,))
    total = {}
    for period in PERIODS:
        made = block(name, detector, period, seed)
        columns = ArrayColumns(made.values, made.offsets, made.n_events)
        columns = calibration.applied(columns, constants) if constants else columns
        chunk = Chunk(columns, "d", metadata, SELECTION, SELECTION, constants)
        found = selection.select(chunk)[datasets.PID_CHI]["histograms"]
        total = {key: total[key] + h for key, h in found.items()} if total else found
    selections = {datasets.PID_CHI: results.SelectionResult(cutflow={"all": 1}, histograms=total)}
    return results.DatasetResult(metadata, 1, 1, selections)


def result(constants=None, seed=1):
    """Return a result of simulated control samples and of pseudo-data of them."""
    constants = constants or {}
    sides = {"data": DATA_LIKE, "control": NOMINAL}
    found = {
        f"{name}_{kind}": of_sample(name, kind, detector, constants.get(kind), seed)
        for kind, detector in sides.items()
        for name in SAMPLES
    }
    in_force = {kind: of.summary() for kind, of in constants.items()}
    return results.Results(found, bookkeeping={"complete": True}, provenance={"calibration": in_force})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The directory of the calibrations that the command writes, and the result that they are of."""
    directory, before = tmp_path_factory.mktemp("chi"), result()
    results.write(directory / "accumulator.zip", before)
    with pytest.raises(SystemExit) as caught:
        main(["chi-corrections", "--output", str(directory)])
    assert caught.value.code == 0
    return directory, before


@pytest.fixture(scope="module")
def calibrations(written):
    """The calibrations of pseudo-data and of simulation."""
    names = {"data": "data.json", "control": "simulation.json"}
    return {kind: calibration.read(written[0] / "chi" / n, is_simulation=True) for kind, n in names.items()}


def test_chi_is_normal_after_calibration_in_every_period_and_subsystem(written, calibrations, capsys):
    directory, before = written
    after = result(calibrations)
    of = pid_chi.samples(after)
    assert len(of) == len(PERIODS) * 3 * len(selection.SUBSYSTEMS) * len(calibrations)
    assert [(s.kind, s.period, s.species, s.subsystem, s.n, s.mean, s.rms) for s in of if not s.is_met] == []
    # Without it, the time of flight is wider than its quoted error, and as BOSS widens it narrower.
    wrong = {(s.subsystem, s.kind) for s in pid_chi.samples(before) if not s.is_met}
    assert {("record", "control"), ("tof12e", "control"), ("tofcorr", "control"), ("dedx", "data")} <= wrong
    for species in ("e", "pi", "k"):
        assert of_all_periods(pid_chi.samples(before), "control", species, "dedx").is_met
    results.write(directory / "after.zip", after)
    with pytest.raises(SystemExit) as caught:
        main(
            [
                "chi-corrections",
                "--accumulator",
                str(directory / "after.zip"),
                "--output",
                str(directory),
                "--allow-incomplete",
            ]
        )
    assert caught.value.code == 0
    shown = capsys.readouterr()
    assert "was in force" in shown.err
    assert "wrote" not in shown.out


def of_all_periods(samples, kind, species, subsystem):
    """Put the periods of a sample together.

    Kaons' dE/dx is 0.7 % wider than normal, by the error of the momentum that the curve is taken at (300 000 probes of
    five other seeds): within the tolerance of 2 %, but only two standard uncertainties of a single period from it.
    """
    of = [s for s in samples if (s.kind, s.species, s.subsystem) == (kind, species, subsystem)]
    n = np.array([s.n for s in of])
    mean = np.average([s.mean for s in of], weights=n)
    square = np.average([s.rms**2 + s.mean**2 for s in of], weights=n)
    return replace(of[0], n=int(n.sum()), mean=float(mean), rms=float(np.sqrt(square - mean**2)))


def test_corrections_of_one_sample_hold_on_another(written, calibrations):
    """Events of another seed: 144 numbers within 3.5 uncertainties, of which the corrections have as much as these."""
    n_measured = {(s.kind, s.period, s.species, s.subsystem): s.n for s in pid_chi.samples(written[1])}
    pulls = []
    for s in pid_chi.samples(result(calibrations, seed=2)):
        both = np.sqrt(1.0 + s.n / n_measured[s.kind, s.period, s.species, s.subsystem])
        pulls.append(np.array([s.mean / s.error, (s.rms - pid_chi.RMS) / s.rms_error]) / both)
        assert abs(s.mean) < 0.04
        assert s.rms == pytest.approx(pid_chi.RMS, abs=0.03)
    assert len(pulls) == len(n_measured) == 72
    assert np.abs(pulls).max() < 3.5


def test_probes_are_what_they_are_taken_for():
    """Of the probes, what the generator says is their species: the calorimeter and all identification unasked."""
    right = dict.fromkeys(("e", "pi", "k"), 0)
    n = dict.fromkeys(right, 0)
    for name in SAMPLES:
        made = block(name, NOMINAL, 2018)
        columns = ArrayColumns(made.values, made.offsets, made.n_events)
        chunk = Chunk(columns, "d", DatasetMetadata(kind="control", sqrt_s=M_JPSI), SELECTION)
        truth = misid.true_species(columns)
        for species, tracks in selection.probes(chunk.events):
            n[species] += len(tracks)
            right[species] += np.count_nonzero(truth[tracks] == misid.SPECIES.index(species))
    assert min(n.values()) > 3000
    assert all(right[s] / n[s] > 0.95 for s in n), (right, n)


def test_offset_and_width_of_a_normal_distribution_are_its_own():
    """Whatever its width is beside the bins, whose own spread is taken off."""
    for offset, width in ((0.2, 1.1), (-0.5, 0.7)):
        counts = 1e6 * np.diff(stats.norm.cdf(pid_chi.CHI.edges, offset, width))
        assert pid_chi.solve(counts) == pytest.approx((offset, width), abs=1e-6)


def test_offset_and_width_are_found_of_a_sample_with_tails():
    rng = np.random.default_rng(3)
    drawn = 0.3 + 0.8 * rng.normal(size=200_000) * np.where(rng.random(200_000) < 0.03, 3.0, 1.0)
    counts, _ = np.histogram(drawn, selection.CHI.edges)
    offset, width = pid_chi.solve(counts)
    inside = (drawn - offset) / width
    inside = inside[np.abs(inside) < 4]
    assert inside.mean() == pytest.approx(0.0, abs=0.01)
    assert inside.std() == pytest.approx(stats.truncnorm(-4, 4).std(), abs=0.005)


def test_a_file_without_records_and_a_calibration_without_constants_leave_variants_out():
    made = block("ee", NOMINAL, 2018)
    values = {name: v for name, v in made.values.items() if not name.startswith("Tof_")}
    plain = ArrayColumns(values, made.offsets, made.n_events)
    metadata = DatasetMetadata(kind="control", sqrt_s=M_JPSI)
    found = selection.select(Chunk(plain, "d", metadata, SELECTION))[datasets.PID_CHI]["histograms"]
    filled = {name for name, h in found.items() if h.sum() > 0}
    assert filled == {"dedx", "record"}
    bare = replace(calibration.simulated(), ranges=(calibration.RunRange(0, 99999, calibration.Constants()),))
    search = Chunk(plain, "d", metadata, SELECTION, SELECTION, bare).events
    assert not selection.has_variant(search, "tofcorr")


def test_datasets_of_a_kind_add_up():
    one, other = (hist.Hist(hist.axis.Integer(0, 2)).fill([0] * n) for n in (1, 2))
    metadata = DatasetMetadata(kind="control", sqrt_s=M_JPSI, selections=(datasets.PID_CHI,))
    found = results.Results(
        {
            name: results.DatasetResult(
                metadata,
                1,
                1,
                {datasets.PID_CHI: results.SelectionResult({"all": 1}, dict.fromkeys(pid_chi.SUBSYSTEMS, filled))},
            )
            for name, filled in (("a", one), ("b", other))
        },
        {},
        {},
    )
    for total in pid_chi.summed(found, "control").values():
        assert total.values().tolist() == [3.0, 0.0]


def test_a_result_without_the_selection_says_what_to_add():
    with pytest.raises(ResultsError, match=r"kind 'data' or 'control' with selection 'pid_chi': add it"):
        pid_chi.samples(results.Results({}, {}, {}))
