"""Helices of simulated tracks move by what their correction says, whatever the chunks are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.constants import M_JPSI, Species
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.objects import helix_correction, tracks
from jpsi_lnv.analysis.objects.calibration import Calibration, Constants, RunRange
from jpsi_lnv.analysis.objects.helix_correction import PARAMETERS, VARIANCES, Entry
from jpsi_lnv.analysis.simulation import processes, production

pytestmark = pytest.mark.fast

MEAN = np.array([0.3, -0.2, 0.1])
WIDTH = np.array([1.1, 1.3, 1.2])


def correction(species="k", charges=(1, -1), first=1, last=99999):
    return [
        Entry(
            first=first,
            last=last,
            species=species,
            charge=charge,
            mean=tuple(charge * MEAN),
            width=tuple(WIDTH),
            control_sample="made up",
            source="this test",
        )
        for charge in charges
    ]


def calibration(entries):
    found = helix_correction.of_runs(entries, 1, 99999, "a file")
    return Calibration("a file", "", (RunRange(1, 99999, Constants(helix=found)),))


@pytest.fixture(scope="module")
def block():
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=M_JPSI)
    return make_block(production.make_block(recipe, "signal", 0, 4000, 4))


def columns_of(block):
    return ArrayColumns(block.values, block.offsets, block.n_events)


def shifts(columns, species, chosen=None):
    """Return the changes of phi0, kappa, tan(lambda) in units of their errors, (T, 3)."""
    chosen = np.arange(columns.offsets("Track")[-1]) if chosen is None else chosen
    found = calibration(correction()).helix_correction(columns.scalar("run"))
    moved = dict(zip(("dr", "phi0", "kappa", "dz", "tanl"), found.helix(columns, species, "", chosen), strict=True))
    for name in ("dr", "dz"):
        assert moved[name] is columns.flat("Track", name)
    return np.stack(
        [
            (moved[n] - columns.flat("Track", n)) / np.sqrt(columns.flat("Track", v))
            for n, v in zip(PARAMETERS, VARIANCES, strict=True)
        ],
        axis=1,
    )


@pytest.mark.parametrize("charge", [1, -1])
def test_parameters_move_independently_by_mean_and_width(block, charge):
    columns = columns_of(block)
    moves = shifts(columns, Species.K)[columns.flat("Track", "charge") == charge]
    extra = np.sqrt(WIDTH**2 - 1)
    for i in range(3):
        assert stats.kstest((moves[:, i] - charge * MEAN[i]) / extra[i], "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(moves.T), np.eye(3), atol=4 / np.sqrt(len(moves)))


def test_species_without_numbers_and_tracks_that_are_not_chosen_stay(block):
    columns = columns_of(block)
    assert not shifts(columns, Species.PI).any()
    chosen = np.array([7, 3, 20])
    moves = shifts(columns, Species.K, chosen)
    assert np.flatnonzero(moves.any(axis=1)).tolist() == [3, 7, 20]
    np.testing.assert_array_equal(moves[chosen], shifts(columns, Species.K)[chosen])


def test_any_chunk_gives_the_same_numbers(block):
    whole = shifts(columns_of(block), Species.K)
    ends = ((0, 1234), (1234, 1235), (1235, block.n_events))
    parts = [shifts(columns_of(block.cut(*of)), Species.K) for of in ends]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_recorded_events_stay(block):
    columns = columns_of(block)
    assert calibration(correction()).helix_correction(-columns.scalar("run")) is None
    mixed = np.where(np.arange(block.n_events) % 2, columns.scalar("run"), -columns.scalar("run"))
    half = ArrayColumns(dict(block.values) | {"run": mixed}, block.offsets, block.n_events)
    moved = shifts(half, Species.K).any(axis=1)
    event = np.searchsorted(block.offsets["Track"], np.arange(len(moved)), side="right") - 1
    np.testing.assert_array_equal(moved, mixed[event] < 0)


def test_each_hypothesis_gets_a_helix_of_its_own(block):
    columns = columns_of(block)
    frame = tracks.read_frame(columns)
    plain, _ = tracks.read_momenta(columns, frame)
    found = calibration(correction()).helix_correction(columns.scalar("run"))
    p, v = tracks.read_momenta(columns, frame, correction=found)
    assert plain.shape[1] == 1
    assert p.shape[1:] == (3, 3)
    assert v.shape[1:] == (3, 6)
    for species in (Species.E, Species.PI):
        np.testing.assert_allclose(p[:, species], plain[:, 0], rtol=1e-12)
    assert (p[:, Species.K] != plain[:, 0]).any(axis=1).all()


def test_a_calibration_without_helix_corrections_can_be_had(block):
    found = calibration(correction())
    assert found.without_helix().helix_correction(columns_of(block).scalar("run")) is None
    assert found.helix_correction(columns_of(block).scalar("run")) is not None
