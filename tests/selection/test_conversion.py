"""The conversion veto: geometry of made-up pairs, and what it rejects and loses on simulated events."""

import dataclasses
import itertools
import math

import hist
import numpy as np
import pytest
from distances import r_xy_r_z
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis.constants import M_JPSI, P_TO_RADIUS
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection import conversion, misid
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTROLS, SIGNAL
from jpsi_lnv.analysis.simulation.production import Recipe, make_block

FIELD = 1.0


def helix_through(point, phi, pt, charge, tanl):
    """Return the helix (pivot at the origin) of a track that passes a point with the azimuth phi."""
    rho = charge * pt * P_TO_RADIUS / FIELD
    cx, cy = point[0] - rho * math.sin(phi), point[1] + rho * math.cos(phi)
    phi0 = math.atan2(-charge * cy, -charge * cx)
    turn = math.remainder(phi - phi0 - math.pi / 2, 2 * math.pi)
    return rho - charge * math.hypot(cx, cy), phi0, charge / pt, point[2] - rho * tanl * turn, tanl


def find_pairs(offsets, charge, is_electron, is_partner):
    """Return the pairs of the electrons that a mask selects."""
    electrons = np.flatnonzero(is_electron)
    event = np.searchsorted(offsets, electrons, side="right") - 1
    return conversion.find_pairs(offsets, charge, electrons, event, is_partner)


def pair_geometry(first, second):
    helix = np.array([first, second]).T
    one, two = np.array([0]), np.array([1])
    pairs = conversion.geometry(one, two, np.array([0]), helix, np.array([FIELD]))
    return conversion.Pairs(*(values[0] for values in pairs))


momenta = st.floats(0.06, 1.0)
angles = st.floats(-math.pi, math.pi)


@pytest.mark.fast
@given(radius=st.floats(1.0, 30.0), phi=angles, pts=st.tuples(momenta, momenta), tanl=st.floats(-2, 2))
def test_a_conversion_is_found_where_it_happened(radius, phi, pts, tanl):
    point = (radius * math.cos(phi), radius * math.sin(phi), 0.5)
    pair = pair_geometry(*(helix_through(point, phi, pt, q, tanl) for pt, q in zip(pts, (1, -1), strict=True)))
    assert pair.radius == pytest.approx(radius, abs=1e-6)
    assert pair.delta_xy == pytest.approx(0.0, abs=1e-9)
    # Parallel legs of different momenta: little more than twice the electron mass.
    assert pair.m_ee < 0.02 * max(pts) / min(pts)


@pytest.mark.fast
@given(phi=angles, opening=st.floats(0.5, 3.0), pts=st.tuples(momenta, momenta))
def test_circles_of_prompt_wide_angle_pairs_overlap(phi, opening, pts):
    pair = pair_geometry(
        helix_through((0, 0, 0), phi, pts[0], 1, 0.1), helix_through((0, 0, 0), phi + opening, pts[1], -1, -0.1)
    )
    assert pair.delta_xy < -SELECTION.conversion_delta_xy_max
    assert not conversion.is_conversion(conversion.Pairs(*(np.array([x]) for x in pair)), SELECTION)[0]


@pytest.mark.fast
def test_separate_circles_have_a_gap():
    left, right = helix_through((-1, 0, 0), math.pi / 2, 0.3, 1, 0), helix_through((1, 0, 0), math.pi / 2, 0.3, -1, 0)
    pair = pair_geometry(left, right)
    assert pair.delta_xy == pytest.approx(2.0)
    assert pair.radius == pytest.approx(0.0, abs=1e-9)


@pytest.mark.fast
@given(turn=angles, seed=st.integers(0, 10**6))
def test_rotation_and_exchange_change_nothing(turn, seed):
    rng = np.random.default_rng(seed)
    first, second = (
        np.array([rng.normal(0, 0.2), rng.uniform(0, 6), q / rng.uniform(0.1, 1), rng.normal(), rng.normal()])
        for q in (1, -1)
    )
    pair = np.array(pair_geometry(first, second)[2:])
    rotated = [h + np.array([0, turn, 0, 0, 0]) for h in (first, second)]
    np.testing.assert_allclose(pair_geometry(*rotated)[2:], pair, atol=1e-7)
    np.testing.assert_allclose(pair_geometry(second, first)[2:], pair, atol=1e-7)


@pytest.mark.fast
@settings(max_examples=settings.default.max_examples // 2)
@given(n_tracks=st.lists(st.integers(0, 8), max_size=6), seed=st.integers(0, 10**6))
def test_every_pair_of_opposite_charge(n_tracks, seed):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(n_tracks)]).astype(np.int64)
    charge = rng.choice([-1, 1], offsets[-1]).astype(np.int8)
    is_electron, is_partner = rng.random((2, offsets[-1])) < 0.5
    expected = [
        (e, p, event)
        for event, (start, stop) in enumerate(itertools.pairwise(offsets))
        for e in range(start, stop)
        for p in range(start, stop)
        if is_electron[e] and is_partner[p] and charge[e] == -charge[p]
    ]
    found = find_pairs(offsets, charge, is_electron, is_partner)
    assert list(zip(*map(np.ndarray.tolist, found), strict=True)) == expected


@pytest.mark.fast
def test_kaons_can_be_left_out_as_partners():
    point = (3.2, 0.0, 0.0)
    helix = np.array([helix_through(point, 0.0, 0.3, -1, 0.2), helix_through(point, 0.0, 0.2, 1, 0.2)]).T
    mask = np.array([True, False])
    arguments = (np.array([0, 2]), np.array([-1, 1]), helix, np.ones(1), mask, np.ones(2, bool), ~mask)
    assert conversion_electrons(*arguments, SELECTION).tolist() == [True, False]
    without = dataclasses.replace(SELECTION, conversion_partners="not_kaons")
    assert conversion_electrons(*arguments, without).tolist() == [False, False]


@pytest.mark.fast
def test_closest_pair_of_a_candidate():
    electron, m_ee, radius = np.array([3, 0, 3, 1]), np.array([0.2, 0.5, 0.1, 0.3]), np.array([1.0, 2.0, 3.0, 4.0])
    pairs = conversion.Pairs(electron, electron, radius, m_ee, m_ee)
    candidates = np.array([[0, 3], [0, 1], [2, 2]])
    assert conversion.closest_radius(pairs, candidates).tolist() == [3.0, 4.0, np.inf]
    nothing = conversion.Pairs(*(np.zeros(0, dtype=p.dtype) for p in pairs))
    assert conversion.closest_radius(nothing, candidates[:0]).shape == (0,)


@pytest.mark.fast
def test_nearest_pair_of_an_electron():
    electron, m_ee = np.array([3, 0, 3, 1]), np.array([0.2, 0.5, 0.1, 0.3])
    pairs = conversion.Pairs(electron, electron, 10 * m_ee, -m_ee, m_ee)
    found = conversion.nearest(pairs, np.array([3, 1, 2]))
    np.testing.assert_array_equal(found["m_ee"], [0.1, 0.3, np.nan])
    np.testing.assert_array_equal(found["radius"], [1.0, 3.0, np.nan])
    np.testing.assert_array_equal(found["delta_xy"], [-0.1, -0.3, np.nan])
    nothing = pairs.of(np.zeros(4, dtype=bool))
    assert np.isnan(conversion.nearest(nothing, np.array([3]))["m_ee"]).all()
    assert conversion.nearest(nothing, np.zeros(0, dtype=int))["m_ee"].shape == (0,)


@pytest.mark.fast
def test_an_electron_without_a_pair_has_none_beside_the_only_one():
    one = conversion.Pairs(*(np.array([x]) for x in (3, 3, 1.0, 0.1, 0.2)))
    np.testing.assert_array_equal(conversion.nearest(one, np.array([3, 5]))["m_ee"], [0.2, np.nan])


@pytest.mark.fast
@pytest.mark.parametrize(
    ("variable", "limit"),
    [
        ("delta_xy", "conversion_delta_xy_max"),
        ("radius", "conversion_radius_min"),
        ("radius", "conversion_radius_max"),
        ("m_ee", "conversion_m_ee_max"),
    ],
)
def test_a_pair_at_a_limit_of_the_veto_is_no_conversion(variable, limit):
    inside = conversion.Pairs(*(np.array([x]) for x in (0, 1, 3.0, 0.0, 0.01)))
    at_limit = inside._replace(**{variable: np.array([getattr(SELECTION, limit)])})
    assert conversion.is_conversion(inside, SELECTION)
    assert not conversion.is_conversion(at_limit, SELECTION)
    shown = conversion.in_turn(at_limit, SELECTION)
    after = {"delta_xy": ("radius", "m_ee"), "radius": ("m_ee",), "m_ee": ()}[variable]
    assert [name for name, values in shown.items() if not len(values)] == list(after)


@pytest.mark.fast
def test_each_variable_is_shown_of_the_pairs_that_those_before_it_take_for_conversions():
    four = np.arange(4)
    pairs = conversion.Pairs(
        four, four, np.array([3.0, 3.0, 1.0, 3.0]), np.array([0.1, -1.0, 0.1, 0.0]), np.array([0.01, 0.02, 0.03, 0.2])
    )
    found = conversion.in_turn(pairs, SELECTION)
    assert found["delta_xy"].tolist() == [0.1, -1.0, 0.1, 0.0]
    assert found["radius"].tolist() == [3.0, 1.0, 3.0]
    assert found["m_ee"].tolist() == [0.01, 0.2]
    assert conversion.is_conversion(pairs, SELECTION).tolist() == [True, False, False, False]


@pytest.mark.fast
def test_no_tracks():
    nothing = np.zeros(0, dtype=bool)
    arguments = (np.zeros(3, np.int64), np.zeros(0, np.int8), np.empty((5, 0)), np.ones(2), nothing, nothing, nothing)
    assert conversion_electrons(*arguments, SELECTION).shape == (0,)


def conversion_electrons(offsets, charge, helix, field, is_electron, is_good, is_kaon, cuts):
    """Return the electrons (T,) that form a conversion with any partner, as the search decides it."""
    is_partner = is_good if cuts.conversion_partners == "all" else is_good & ~is_kaon
    found = find_pairs(offsets, charge, is_electron, is_partner)
    pairs = conversion.geometry(*found, helix, field)
    vetoed = np.zeros(len(charge), dtype=bool)
    vetoed[pairs.electron[conversion.is_conversion(pairs, cuts)]] = True
    return vetoed


class Sample:
    """Simulated events with what made their tracks."""

    def __init__(self, channel, n):
        recipe = Recipe(processes=((channel, 1.0),), sqrt_s=M_JPSI)
        block = make_block(recipe, "conversion", 0, n, 17)
        arrays = {name: value[1] if isinstance(value, tuple) else value for name, value in block.items()}
        gen_offsets = block["Gen_pdg_id"][0]
        columns = ArrayColumns(arrays, {"Track": block["Track_kappa"][0], "Gen": gen_offsets}, n)
        self.frame = tracks.read_frame(columns)
        self.helix = tracks.read_helix(columns)
        self.charge = columns.flat("Track", "charge")
        self.event = np.repeat(np.arange(n), np.diff(self.frame.offsets))
        r_xy, r_z = r_xy_r_z(self.helix, self.frame)
        in_acceptance = np.abs(tracks.cos_theta(self.helix[4])) < SELECTION.cos_theta_max
        self.is_good = in_acceptance & (r_xy < SELECTION.r_xy_max) & (r_z < SELECTION.r_z_max)
        row = gen_offsets[self.event] + columns.flat("Track", "gen")
        self.mother = columns.flat("Gen", "mother")[row]
        mother_row = gen_offsets[self.event] + np.maximum(self.mother, 0)
        self.is_of_photon = (columns.flat("Gen", "pdg_id")[mother_row] == 22) & (self.mother >= 0)
        self.radius = np.hypot(columns.flat("Gen", "vx")[row], columns.flat("Gen", "vy")[row])
        self.is_electron = (np.abs(columns.flat("Gen", "pdg_id")[row]) == 11) & self.is_good

    def pairs(self, is_electron, is_partner):
        found = find_pairs(self.frame.offsets, self.charge, is_electron, is_partner)
        return conversion.geometry(*found, self.helix, self.frame.field)


def test_conversions_are_rejected():
    sample = Sample(CONTROLS["kkpi0"], 60_000)
    is_leg = sample.is_electron & sample.is_of_photon & (sample.radius > 2.0)
    pairs = sample.pairs(is_leg, is_leg)
    is_same = sample.mother[pairs.electron] == sample.mother[pairs.partner]
    assert np.count_nonzero(is_same) > 1000
    assert conversion.is_conversion(pairs, SELECTION)[is_same].mean() > 0.90


def test_legs_of_a_photon_are_found_by_what_was_generated():
    recipe = Recipe(processes=((BACKGROUNDS["ee_converted"], 1.0),), sqrt_s=M_JPSI)
    block = make_block(recipe, "conversion", 0, 2000, 17)
    arrays = {name: value[1] if isinstance(value, tuple) else value for name, value in block.items()}
    offsets = {"Track": block["Track_kappa"][0], "Gen": block["Gen_pdg_id"][0]}
    columns = ArrayColumns(arrays, offsets, 2000)
    sample = Sample(BACKGROUNDS["ee_converted"], 2000)
    photon = misid.converted_photon(columns)
    is_leg = (np.abs(columns.flat("Gen", "pdg_id")) == 11)[
        offsets["Gen"][sample.event] + columns.flat("Track", "gen")
    ] & sample.is_of_photon
    np.testing.assert_array_equal(photon != misid.NO_PARTICLE, is_leg)
    found = misid.conversions(SearchEvents(columns, SELECTION, M_JPSI))
    gaps = found["conversion_delta_xy"]
    assert gaps.sum() > 200
    touching = gaps[hist.loc(-SELECTION.conversion_delta_xy_max) : hist.loc(SELECTION.conversion_delta_xy_max) : sum]
    assert touching > 0.95 * gaps.sum(flow=True)


def test_signal_is_kept():
    sample = Sample(SIGNAL, 16_000)
    is_electron = sample.is_electron & (sample.radius < 1.0)
    vetoed = conversion_electrons(
        sample.frame.offsets,
        sample.charge,
        sample.helix,
        sample.frame.field,
        is_electron,
        sample.is_good,
        ~sample.is_electron,
        SELECTION,
    )
    lost = len(np.unique(sample.event[vetoed])) / len(np.unique(sample.event[is_electron]))
    assert lost < 0.02


def test_most_prompt_dalitz_pairs_are_kept():
    sample = Sample(BACKGROUNDS["pipipi0_dalitz"], 16_000)
    is_leg = sample.is_electron & ~sample.is_of_photon & (sample.radius < 1.0)
    pairs = sample.pairs(is_leg, is_leg)
    assert len(pairs.electron) > 1000
    assert conversion.is_conversion(pairs, SELECTION).mean() < 0.25


def test_the_radius_alone_would_veto_prompt_pairs():
    sample = Sample(SIGNAL, 4_000)
    pairs = sample.pairs(sample.is_electron & (sample.radius < 1.0), sample.is_good)
    assert (pairs.radius > 2.0).mean() > 0.95
    assert conversion.is_conversion(pairs, SELECTION).mean() < 0.01
