"""The selection on simulated events: invariances, boundaries, and what may not depend on anything."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.schema import COVARIANCE, HELIX
from jpsi_lnv.analysis.selection import steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III

pytestmark = pytest.mark.fast

SQRT_S = 3.0969


def flow(columns, cuts=SELECTION, sqrt_s=SQRT_S):
    view = SearchEvents(columns, cuts, sqrt_s)
    return steps.count(SECTION_III, steps.apply(SECTION_III, view))


def changed(columns, **arrays):
    return ArrayColumns({**columns._arrays, **arrays}, columns._offsets, columns.n_events)


def events_of(columns, first, last):
    """Return a range of the events, as a chunk would hold it."""
    offsets = {name: o[first : last + 1] - o[first] for name, o in columns._offsets.items()}
    arrays = {}
    for name, values in columns._arrays.items():
        owner = next((c for c in columns._offsets if name.startswith(f"{c}_")), None)
        bounds = columns._offsets[owner][[first, last]] if owner else (first, last)
        arrays[name] = values[slice(*bounds)]
    return ArrayColumns(arrays, offsets, last - first)


def conjugated_and_mirrored(columns):
    """Return the events with every charge conjugated and y -> -y: a symmetry of detector and beams."""
    sign = dict(zip(HELIX, (-1, -1, -1, 1, 1), strict=True))
    pairs = [(a, b) for i, a in enumerate(HELIX) for b in HELIX[i:]]
    new = {f"Track_{n}": -columns.flat("Track", n) for n in ("dr", "kappa", "charge", "emc_y")}
    new["Track_phi0"] = (np.pi - columns.flat("Track", "phi0").astype(float)) % (2 * np.pi)
    new |= {
        f"Track_{n}": columns.flat("Track", n) * sign[a] * sign[b] for n, (a, b) in zip(COVARIANCE, pairs, strict=True)
    }
    return changed(columns, ip_y=-columns.scalar("ip_y"), Shower_y=-columns.flat("Shower", "y"), **new)


def test_signal_passes_and_counts_fall(signal):
    counts = list(flow(signal).values())
    assert counts == sorted(counts, reverse=True)
    assert 0.08 < counts[-1] / counts[0] < 0.30


@pytest.mark.parametrize("sample", ["signal", "four_electrons"])
def test_conjugation_with_a_mirror_leaves_the_cut_flow_unchanged(sample, request):
    columns = request.getfixturevalue(sample)
    loose = dataclasses.replace(SELECTION, cl_e_ratio_min=0.5, e_over_p_hadron_max=1.5)
    for cuts in (SELECTION, loose):
        assert flow(conjugated_and_mirrored(columns), cuts) == flow(columns, cuts)


def test_rotation_about_z_with_the_beams_at_rest_in_x_is_seen(signal):
    """The crossing angle singles out +x: the same tracks turned by 180 degrees do not fit."""
    turned = changed(
        signal,
        Track_phi0=(signal.flat("Track", "phi0").astype(float) + np.pi) % (2 * np.pi),
        ip_x=-signal.scalar("ip_x"),
        ip_y=-signal.scalar("ip_y"),
    )
    assert flow(turned)["charge_pattern"] == flow(signal)["charge_pattern"]
    assert flow(turned)["signal_region"] < 0.1 * flow(signal)["signal_region"]


@pytest.mark.parametrize("size", [1, 333, 1999])
def test_chunks_add_up(signal, size):
    total = dict.fromkeys(flow(signal), 0)
    n = 4000 if size > 1 else 60
    for first in range(0, n, size):
        for name, count in flow(events_of(signal, first, min(first + size, n))).items():
            total[name] += count
    assert total == flow(events_of(signal, 0, n))


def test_no_events(signal):
    assert set(flow(events_of(signal, 0, 0)).values()) == {0}


def test_order_of_tracks_does_not_matter(signal):
    offsets = signal.offsets("Track")
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in itertools.pairwise(offsets)]).astype(int)
    arrays = {k: v[order] if k.startswith("Track_") else v for k, v in signal._arrays.items()}
    assert flow(ArrayColumns(arrays, signal._offsets, signal.n_events)) == flow(signal)


@pytest.mark.parametrize(
    ("name", "tighter"),
    [
        ("cos_theta_max", 0.8), ("r_xy_max", 0.3), ("cl_e_ratio_min", 0.999), ("chi2_4c_max", 10.0),
        ("e_over_p_hadron_max", 0.5), ("m_signal_min", 3.09), ("e_over_p_electron_min", 0.95),
    ],
)  # fmt: skip
def test_a_tighter_cut_never_gains_events_at_its_step(signal, name, tighter):
    loose, tight = flow(signal), flow(signal, dataclasses.replace(SELECTION, **{name: tighter}))
    assert tight["signal_region"] < loose["signal_region"]


def test_measured_mass_is_not_the_fitted_one(signal):
    view = SearchEvents(signal, SELECTION, SQRT_S)
    fitted = view.fitted_p4[view.best.has_chi2].sum(axis=1)
    mass = np.sqrt(fitted[:, 3] ** 2 - (fitted[:, :3] ** 2).sum(axis=1))
    np.testing.assert_allclose(mass, SQRT_S, atol=1e-5)
    assert 0.003 < np.std(view.best_mass[view.best.chi2_4c < 20]) < 0.02


def test_both_pairings_share_the_energy(signal):
    view = SearchEvents(signal, SELECTION, SQRT_S)
    good = view.best.has_chi2
    assert (view.pair_masses[good] > 0.49).all()
    assert (view.pair_masses[good][:, :2].sum(axis=1) < SQRT_S + 1e-6).all()


def test_mass_window_moves_with_the_energy(signal):
    view = SearchEvents(signal, SELECTION, 3.65)
    nominal = SearchEvents(signal, SELECTION, SQRT_S)
    np.testing.assert_allclose(view.mass, nominal.mass * SQRT_S / 3.65, rtol=1e-12)
    np.testing.assert_allclose(nominal.mass.max(), (nominal.mass * SQRT_S / M_JPSI).max(), rtol=1e-12)


def test_without_the_fit_columns_nothing_is_read_for_hopeless_events(signal):
    """Events that fail before the fit never ask for a covariance."""
    without = {k: v for k, v in signal._arrays.items() if not k.startswith("Track_cov")}
    hopeless = ArrayColumns(
        without | {"Track_emc_energy": np.zeros_like(signal.flat("Track", "emc_energy"))},
        signal._offsets,
        signal.n_events,
    )
    assert flow(hopeless)["electrons"] == 0
