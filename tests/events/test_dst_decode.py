"""Decoding all baskets at once gives what pybes3 gives basket by basket."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import awkward as ak
import pytest

from jpsi_lnv.analysis.events.dst import COLLECTIONS, HITS, PARTICLES, Dst
from jpsi_lnv.analysis.events.dst_records import read
from jpsi_lnv.analysis.events.run_table import Conditions, uniform

pytestmark = pytest.mark.fast

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "skim.py"


@pytest.fixture(scope="module")
def large(boss_file, tmp_path_factory):
    """The real file with each of its baskets many times: 10 events per basket, as the benchmark makes it."""
    spec = importlib.util.spec_from_file_location("benchmark_skim", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.N_COPIES = 7
    with benchmark.large_file(boss_file, tmp_path_factory.mktemp("large")) as opened:
        yield opened


@pytest.mark.parametrize("path", [*COLLECTIONS.values(), PARTICLES, HITS])
@pytest.mark.parametrize(("start", "stop"), [(0, 70), (0, 10), (13, 47), (30, 30), (69, 70), (20, 40)])
def test_the_same_records(large, path, start, stop):
    branch = large[2][path]
    wanted = branch.array(array_cache=None)[start:stop]
    got = read(branch, start, stop)
    assert got.offsets.tolist() == [0, *ak.to_numpy(ak.num(wanted)).cumsum().tolist()]
    assert ak.array_equal(ak.Array(got.content), ak.flatten(wanted), check_parameters=False)


def test_all_columns_across_baskets(large):
    path, file, tree = large
    dst = Dst(path, file, tree)
    runs = uniform(Conditions(sqrt_s=3.097))
    columns = dst.read(7, 33, runs)
    assert columns["event"].tolist() == [*range(7, 10), *range(10), *range(10), *range(3)]
    assert len(columns["Track_kappa"][0]) == 27
    assert columns["Track_gen"][1].shape == columns["Track_kappa"][1].shape
