"""The fast kernels on flat columns agree with the plain geometry, chunk by chunk."""

import numpy as np
import pivot
import pytest
from distances import r_xy_r_z
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import kinematics
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.objects import tracks

pytestmark = pytest.mark.fast


@pytest.fixture
def chunk(helices):
    """Helices (T, 5), covariances (T, 15), the frame of 60 events, and the event of each track."""
    rng = np.random.default_rng(11)
    n_tracks = rng.integers(0, 8, 60)
    n_tracks[5] = 40
    offsets = np.concatenate([[0], np.cumsum(n_tracks)])
    h, cov = helices(offsets[-1], 12)
    x, y, z = rng.normal(0, [[0.3], [0.2], [1.0]], (3, 60))
    frame = tracks.EventFrame(offsets, x, y, z, rng.choice([0.9, 1.0], 60))
    return h, cov, frame, np.repeat(np.arange(60), n_tracks)


def expected(chunk):
    h, cov, frame, event = chunk
    ip = np.stack([frame.x, frame.y, frame.z], axis=1)
    return pivot.move_pivot(h, cov, ip[event], frame.field[event])


def momentum_columns(cov):
    return [cov[:, int(name.removeprefix("cov"))] for name in tracks.MOMENTUM_COVARIANCE]


def test_momenta_are_those_at_the_interaction_point(chunk):
    h, cov, frame, _ = chunk
    p, v = tracks.momenta_at_ip(h.T, momentum_columns(cov), frame)
    p_plain, v_plain = kinematics.momentum_and_covariance(*expected(chunk))
    np.testing.assert_allclose(p, p_plain, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(v, v_plain, rtol=1e-9, atol=1e-15)
    assert (fourc.check_tracks(p[:, None], v[:, None]) == fourc.Status.OK).all()


def test_momenta_of_chosen_tracks_in_any_order(chunk):
    h, cov, frame, _ = chunk
    chosen = np.random.default_rng(13).permutation(len(h))[::3]
    full = tracks.momenta_at_ip(h.T, momentum_columns(cov), frame)
    for order in (chosen, np.sort(chosen), chosen[:0]):
        for some, every in zip(tracks.momenta_at_ip(h.T, momentum_columns(cov), frame, order), full, strict=True):
            np.testing.assert_array_equal(some, every[order])


def test_distances_to_the_interaction_point(chunk):
    h, _, frame, _ = chunk
    r_xy, r_z = r_xy_r_z(h.T, frame)
    moved, _ = expected(chunk)
    np.testing.assert_allclose(r_xy, np.abs(moved[:, 0]), atol=1e-9)
    np.testing.assert_allclose(r_z, np.abs(moved[:, 3]), atol=1e-9)


def test_float32_columns_are_computed_in_float64(chunk):
    h, cov, frame, _ = chunk
    h32, cov32 = h.astype(np.float32), cov.astype(np.float32)
    p, v = tracks.momenta_at_ip(h32.T, momentum_columns(cov32), frame)
    p64, v64 = tracks.momenta_at_ip(h32.astype(np.float64).T, momentum_columns(cov32.astype(np.float64)), frame)
    np.testing.assert_allclose(p, p64, rtol=1e-14)
    np.testing.assert_allclose(v, v64, rtol=1e-9, atol=1e-18)


def test_simple_quantities():
    assert tracks.cos_theta([0.0, 1.0, -1.0]) == pytest.approx([0.0, 0.5**0.5, -(0.5**0.5)])
    assert tracks.momentum([2.0, -2.0], [0.0, 1.0]) == pytest.approx([0.5, 0.5**0.5])
    assert np.isinf(tracks.momentum(0.0, 1.0))


def test_no_tracks():
    frame = tracks.EventFrame(np.zeros(4, dtype=np.int64), *np.zeros((3, 3)), np.ones(3))
    p, v = tracks.momenta_at_ip(np.empty((5, 0)), np.empty((10, 0)), frame)
    assert p.shape == (0, 3)
    assert v.shape == (0, 6)
    assert r_xy_r_z(np.empty((5, 0)), frame)[0].shape == (0,)


def test_broken_helices_are_flagged_not_raised(chunk):
    h, cov, frame, _ = chunk
    h[0, 2], h[1, 0], h[2, 2] = 0.0, np.nan, np.inf
    p, v = tracks.momenta_at_ip(h.T, momentum_columns(cov), frame)
    assert (fourc.check_tracks(p[:3, None], v[:3, None]) != fourc.Status.OK).all()
    assert (fourc.check_tracks(p[3:, None], v[3:, None]) == fourc.Status.OK).all()


def columns_of(chunk, suffixes):
    h, cov, frame, _ = chunk
    arrays = {"ip_x": frame.x, "ip_y": frame.y, "ip_z": frame.z, "field": frame.field}
    for k, suffix in enumerate(suffixes):
        scaled = h * np.array([1, 1, 1 + 0.01 * k, 1, 1])
        arrays |= {f"Track_{n}{suffix}": scaled[:, i].astype(np.float32) for i, n in enumerate(schema.HELIX)}
        arrays |= {f"Track_{n}{suffix}": cov[:, i].astype(np.float32) for i, n in enumerate(schema.COVARIANCE)}
    return ArrayColumns(arrays, {"Track": frame.offsets}, len(frame.x))


def test_one_momentum_per_hypothesis_where_the_file_has_them(chunk):
    columns = columns_of(chunk, ("", "_e", "_k", "_p"))
    frame = tracks.read_frame(columns)
    p, v = tracks.read_momenta(columns, frame)
    assert p.shape == (len(chunk[0]), 3, 3)
    assert v.shape == (len(chunk[0]), 3, 6)
    pt = np.hypot(p[..., 0], p[..., 1])
    np.testing.assert_allclose(pt[:, 1] / pt[:, 0], 1.01, rtol=1e-5)  # electron, pion, kaon
    np.testing.assert_allclose(pt[:, 1] / pt[:, 2], 1.02, rtol=1e-5)


def test_one_momentum_for_all_otherwise(chunk):
    columns = columns_of(chunk, ("",))
    p, v = tracks.read_momenta(columns, tracks.read_frame(columns))
    assert p.shape == (len(chunk[0]), 1, 3)
    assert v.shape == (len(chunk[0]), 1, 6)


def test_real_tracks_have_usable_momenta_under_every_hypothesis(boss_file):
    from jpsi_lnv.analysis.events.dst import open_dst
    from jpsi_lnv.analysis.events.run_table import Conditions, uniform

    with open_dst(str(boss_file)) as dst:
        read = dst.read(0, 10, uniform(Conditions(sqrt_s=3.097)))
    arrays = {name: value[1] if isinstance(value, tuple) else value for name, value in read.items()}
    columns = ArrayColumns(arrays, {"Track": read["Track_kappa"][0]}, 10)
    frame = tracks.read_frame(columns)
    p, v = tracks.read_momenta(columns, frame)
    assert p.shape == (19, 3, 3)
    assert (fourc.check_tracks(p, v) == fourc.Status.OK).all()
    r_xy, _ = r_xy_r_z(tracks.read_helix(columns), frame)
    assert np.median(r_xy) < 0.05


def plain_is_good(h, frame, cuts):
    r_xy, r_z = r_xy_r_z(h.T, frame)
    in_acceptance = np.abs(tracks.cos_theta(h[:, 4])) < cuts.cos_theta_max
    return in_acceptance & (r_xy < cuts.r_xy_max) & (r_z < cuts.r_z_max)


@given(seed=st.integers(0, 10**6), near=st.sampled_from([0.01, 0.3, 1.0, 5.0]), shift=st.sampled_from([0.0, 0.2, 3.0]))
def test_good_tracks_are_those_of_the_full_formulae(seed, near, shift):
    rng = np.random.default_rng(seed)
    n_tracks = rng.integers(0, 6, 40)
    n = n_tracks.sum()
    h = np.stack(
        [
            rng.normal(0, near, n),
            rng.uniform(0, 2 * np.pi, n),
            rng.choice([-1, 1], n) / rng.uniform(0.03, 2.0, n),
            rng.normal(0, 10 * near, n),
            rng.normal(0, 2, n),
        ],
        axis=1,
    )
    x, y, z = shift * rng.normal(0, 1, (3, 40))
    frame = tracks.EventFrame(np.concatenate([[0], np.cumsum(n_tracks)]), x, y, z, rng.choice([0.9, 1.0], 40))
    np.testing.assert_array_equal(tracks.is_good(h.T, frame, SELECTION), plain_is_good(h, frame, SELECTION))


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_helix_is_not_good(column, value):
    h = np.array([[0.01, 1.0, 2.0, 0.1, 0.2]])
    frame = tracks.EventFrame(np.array([0, 1]), *np.zeros((3, 1)), np.ones(1))
    assert tracks.is_good(h.T, frame, SELECTION).tolist() == [True]
    h[0, column] = value
    assert tracks.is_good(h.T, frame, SELECTION).tolist() == [False]


def test_a_straight_track_is_not_good():
    h = np.array([[0.01, 1.0, 0.0, 0.1, 0.2]])
    frame = tracks.EventFrame(np.array([0, 1]), *np.zeros((3, 1)), np.ones(1))
    assert tracks.is_good(h.T, frame, SELECTION).tolist() == [False]


@given(limit=st.floats(0.01, 1.0), steps=st.integers(-3, 3), sign=st.sampled_from([-1.0, 1.0]))
def test_the_polar_angle_is_decided_as_by_its_cosine_at_the_edge_too(limit, steps, sign):
    tanl = sign * min(limit / np.sqrt(1.0 - limit * limit), 1e9) if limit < 1.0 else sign * 1e9
    for _ in range(abs(steps)):
        tanl = np.nextafter(tanl, np.copysign(np.inf, steps))
    assert tracks._is_inside(tanl, limit) == (abs(tracks.cos_theta(tanl)) < limit)
