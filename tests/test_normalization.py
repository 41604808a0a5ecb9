"""Weights, numbers of J/psi and the continuum scaling against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import normalization
from jpsi_lnv.analysis.constants import M_JPSI, N_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult

pytestmark = pytest.mark.fast


def dataset(n_passed=5, n_produced=1000, selection="search", **metadata):
    record = DatasetMetadata.from_dict("d", {"kind": "signal", "sqrt_s": M_JPSI, "is_simulation": True} | metadata)
    found = {selection: SelectionResult({"all": n_produced, "signal_region": n_passed})}
    return DatasetResult(record, n_produced, n_produced, found)


def results(**datasets):
    return Results(datasets, {}, {"complete": True})


def test_the_periods_add_up_to_the_published_total():
    assert math.fsum(p.n_jpsi for p in normalization.PERIODS.values()) == pytest.approx(N_JPSI, rel=1e-4)
    assert pytest.approx(3083) == normalization.LUMINOSITY_JPSI


@pytest.mark.parametrize(
    ("points", "scale"),
    [
        ([(3.080, 167)], 18.26),
        ([(3.650, 410)], 10.45),
        ([(3.682, 404)], 10.79),
        ([(3.080, 167), (3.650, 410), (3.682, 404)], 4.11),
    ],
)
def test_continuum_scale(points, scale):
    assert normalization.continuum_scale(points) == pytest.approx(scale, abs=0.01)


@given(st.floats(3.0, 4.0), st.floats(1.0, 1000.0))
def test_splitting_a_luminosity_changes_nothing(sqrt_s, luminosity):
    whole = normalization.continuum_scale([(sqrt_s, luminosity)])
    assert normalization.continuum_scale([(sqrt_s, luminosity / 4)] * 4) == pytest.approx(whole)


def test_no_luminosity_is_an_error():
    with pytest.raises(ValueError, match="no luminosity"):
        normalization.continuum_scale([])


def test_events_off_the_resonance_stand_for_those_on_it():
    found = results(
        a=dataset(2, kind="continuum", sqrt_s=3.080, luminosity=167.0, blind=False),
        b=dataset(0, kind="continuum", sqrt_s=3.650, luminosity=410.0, blind=False),
    )
    band = normalization.side_bands(found, N_JPSI)["continuum"]
    assert (band.n, 1 / band.tau) == (2, pytest.approx(normalization.continuum_scale([(3.08, 167.0), (3.65, 410.0)])))
    chosen = normalization.side_bands(found, N_JPSI, survivors=lambda search: min(search.n_passed, 1))
    assert chosen["continuum"].n == 1
    assert normalization.side_bands(found, 2 * N_JPSI)["continuum"].tau == pytest.approx(band.tau / 2)


def test_inclusive_events_stand_for_as_many_jpsi_as_were_generated():
    found = results(i=dataset(3, n_produced=5000, kind="inclusive"))
    assert normalization.side_bands(found, 1e6) == {"inclusive": normalization.SideBand(3, 0.005)}


def test_datasets_of_one_period_add_up():
    stated = {"a": (2009, 1e6), "b": (2018, 4e6), "c": (2009, 2e6)}
    data = {name: dataset(kind="data", period=period, n_jpsi=n) for name, (period, n) in stated.items()}
    assert normalization.n_jpsi_by_period(results(**data)) == {2009: 3e6, 2018: 4e6}


def test_without_side_bands_there_are_none():
    assert normalization.side_bands(results(), N_JPSI) == {}


def test_a_blind_side_band_is_hidden():
    found = results(a=dataset(0, kind="continuum", sqrt_s=3.080, luminosity=167.0))
    assert normalization.side_bands(found, N_JPSI)["continuum"].n is None
    found = results(
        a=dataset(0, kind="continuum", sqrt_s=3.080, luminosity=167.0),
        b=dataset(0, kind="continuum", sqrt_s=3.650, luminosity=410.0, blind=False),
    )
    assert normalization.side_bands(found, N_JPSI)["continuum"].n is None


def test_continuum_without_luminosity_is_refused():
    with pytest.raises(ResultsError, match="'a': kind 'continuum' without 'luminosity'"):
        normalization.side_bands(results(a=dataset(kind="continuum", sqrt_s=3.080)), N_JPSI)


def test_the_number_of_jpsi_comes_from_the_data_or_the_publication():
    with pytest.raises(ResultsError, match=r"got no data, which say how many .* give --n-jpsi, such as 2009\+2012"):
        normalization.n_jpsi(results())
    assert normalization.n_jpsi(results(), 2e9).value == 2e9
    many = results(a=dataset(kind="data", n_produced=40_000))
    with pytest.raises(ResultsError, match=r"got --n-jpsi 10087, for 40000 events; wanted .* is it in millions\?"):
        normalization.n_jpsi(many, 10_087)
    count = normalization.n_jpsi(results(a=dataset(kind="data", n_jpsi=1e6), b=dataset(kind="data", n_jpsi=3e6)))
    assert count.value == 4e6
    assert count.sigma / count.value == pytest.approx(44 / 10087)
    with pytest.raises(ResultsError, match=r"b of kind 'data' do not say .* metadata .*2009\+2012\+2017-2019"):
        normalization.n_jpsi(results(a=dataset(kind="data", n_jpsi=1e6), b=dataset(kind="data")))


def test_exclusive_weights():
    background = dataset(n_produced=100_000, kind="background", branching_fraction=7e-3)
    assert normalization.exclusive_weights({"b": background}, 1e10) == pytest.approx({"b": 700})
    with pytest.raises(ResultsError, match="lack 'branching_fraction'"):
        normalization.exclusive_weights({"b": dataset(kind="background")}, 1e10)
    with pytest.raises(ResultsError, match="0 generated events"):
        normalization.exclusive_weights({"b": dataset(0, 0, kind="background", branching_fraction=1.0)}, 1e10)


def exclusive(n_produced=1000, process="J/psi -> 2(K+ K-)", branching_fraction=1e-3, **metadata):
    given = metadata | {"process": process, "branching_fraction": branching_fraction}
    return dataset(n_produced=n_produced, kind="background", **given)


def test_datasets_of_one_process_are_one_sample():
    """A production more is no process more: all events of a process stand for B N(J/psi) together."""
    samples = {"a": exclusive(1000), "b": exclusive(3000), "other": exclusive(500, process="J/psi -> 2(pi+ pi-)")}
    weights = normalization.exclusive_weights(samples, 1e10)
    assert weights == pytest.approx({"a": 2500, "b": 2500, "other": 20_000})


def test_background_of_periods_stands_for_their_jpsi():
    samples = {"a": exclusive(1000, period=2009), "b": exclusive(3000, period=2009), "c": exclusive(500, period=2018)}
    weights = normalization.exclusive_weights(samples, 4e9, {2009: 100.0, 2018: 300.0})
    assert weights == pytest.approx({"a": 250, "b": 250, "c": 6000})
    total = math.fsum(weights[name] * samples[name].n_produced for name in samples)
    assert total == pytest.approx(1e-3 * 4e9)
    of_one = {"c": samples["c"], "other": exclusive(500, process="J/psi -> 2(pi+ pi-)")}
    assert normalization.exclusive_weights(of_one, 4e9) == pytest.approx({"c": 8000, "other": 8000})


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (exclusive(process=""), r"\['b'\] of \['a', 'b'\]: metadata lack 'process'; add it"),
        (exclusive(branching_fraction=2e-3), "branching fractions {'a': 0.001, 'b': 0.002}; wanted the same"),
        (exclusive(period=2009), r"'a': period None is none of .*give every one of \['a', 'b'\]"),
    ],
)
def test_datasets_that_may_count_twice_are_refused(second, problem):
    with pytest.raises(ResultsError, match=problem):
        normalization.exclusive_weights({"a": exclusive(), "b": second}, 1e10)


def test_a_period_without_background_is_named():
    samples = {"a": exclusive(period=2009), "b": exclusive(period=2012)}
    with pytest.raises(ResultsError, match=r"\['a', 'b'\]: no dataset for the periods \[2018\].*leave 'period' out"):
        normalization.exclusive_weights(samples, 1e10)


def test_signal_samples_add_up():
    of = normalization.signal_efficiency({"a": dataset(10, 100), "b": dataset(50, 300)})
    assert (of.n_passed, of.n_total) == (60, 400)
    with pytest.raises(ResultsError, match="no signal dataset"):
        normalization.signal_efficiency({})
    with pytest.raises(ResultsError, match="'a': no selection 'search'"):
        normalization.signal_efficiency({"a": dataset(selection="control_ee")})
    with pytest.raises(ResultsError, match=r"\['a'\] are of one period"):
        normalization.signal_efficiency({"a": dataset(period=2009)})


def test_periods_are_weighted_by_their_jpsi():
    samples = {str(p): dataset(n, 1000, period=p) for p, n in ((2009, 100), (2012, 200), (2018, 300))}
    value, sigma = normalization.period_efficiency(samples)
    assert value == pytest.approx((224 * 0.1 + 1088.5 * 0.2 + 8774 * 0.3) / 10086.5)
    assert 0 < sigma < 0.02
    with pytest.raises(ResultsError, match=r"no dataset for the periods \[2009\]"):
        normalization.period_efficiency({k: v for k, v in samples.items() if k != "2009"})
    with pytest.raises(ResultsError, match="period 1999"):
        normalization.period_efficiency({"a": dataset(period=1999)})
