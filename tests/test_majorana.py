"""The search at one mass: the pairing of K and e, intervals that share nothing, samples of one mass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis import majorana
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results

pytestmark = pytest.mark.fast


def candidates(*rows):
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return dict(zip(KKEE.pair_names, columns.T, strict=True))


def test_the_pairing_of_least_difference_is_taken():
    table = candidates([1.20, 1.21, 1.0, 1.3], [0.8, 0.9, 1.201, 1.199])
    assert majorana.paired_masses(table).tolist() == [[1.20, 1.21], [1.201, 1.199]]


def test_both_masses_must_lie_in_the_interval():
    table = candidates([1.2, 1.2, 2, 3], [1.2, 1.2124, 2, 3], [1.2, 1.2126, 2, 3], [1.1874, 1.2, 2, 3])
    assert majorana.in_interval(majorana.paired_masses(table), 1.2).tolist() == [True, True, False, False]
    assert majorana.count(table, 1.2) == 2


def test_the_intervals_of_a_scan_share_no_candidate():
    rng = np.random.default_rng(1)
    centre = rng.uniform(0.57, 1.53, 3000)
    table = candidates(*np.stack([centre, centre + rng.normal(0, 0.003, 3000), centre + 1, centre + 2], axis=-1))
    masses = majorana.paired_masses(table)
    inside = np.stack([majorana.in_interval(masses, 0.575 + 0.025 * i) for i in range(39)])
    assert inside.sum(axis=0).max() == 1


@settings(max_examples=settings.default.max_examples // 2)
@given(st.lists(st.floats(0.5, 2.5), min_size=4, max_size=4))
def test_exchanging_kaons_or_electrons_changes_nothing(row):
    m11, m22, m12, m21 = row
    for other in ([m12, m21, m11, m22], [m22, m11, m21, m12]):
        found = sorted(majorana.paired_masses(candidates(other))[0])
        is_tie = abs(abs(m11 - m22) - abs(m12 - m21)) < 1e-12
        assert is_tie or found == sorted(majorana.paired_masses(candidates(row))[0])


def test_missing_mass_columns_are_named():
    with pytest.raises(ResultsError, match="m_k1e1"):
        majorana.count({"run": np.zeros(1)}, 1.2)


def test_any_pair_belongs_to_a_mass_where_that_is_asked_for():
    table = candidates([1.20, 1.7, 1.0, 1.3], [0.8, 0.9, 1.201, 1.199], [1.0, 1.1, 1.5, 1.6])
    assert majorana.belongs(table, 1.2).tolist() == [False, True, False]
    assert majorana.belongs(table, 1.2, "any").tolist() == [True, True, False]
    assert majorana.count(table, 1.2, "any") == 2
    assert majorana.count(candidates(), 1.2, "any") == 0


def test_no_candidates_are_no_counts():
    assert majorana.count(candidates(), 1.2) == 0


def test_samples_of_one_mass_belong_together_in_increasing_order():
    def sample(mass, mode, period=None):
        of = DatasetMetadata(kind="majorana", sqrt_s=M_JPSI, m_majorana=mass, majorana_mode=mode, period=period)
        return DatasetResult(of, 1, 1, {})

    samples = {"b": sample(1.2, "2nu", 2009), "c": sample(1.2, "2nu", 2012), "a": sample(0.575, "2nu")}
    found = majorana.by_mass(Results(samples | {"other": sample(0.7, "1nu")}, {}, {}))
    assert [(mass, list(datasets)) for mass, datasets in found.items()] == [(575, ["a"]), (1200, ["b", "c"])]
