"""A run stops when too many covariances of a dataset are bad."""

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.kinfit.kernels import count_status
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.books.ledger import CovarianceError, Covariances

pytestmark = pytest.mark.fast


def status(**counts):
    return {"search": {"status": counts}, "ledger": {"n_events": 1}}


def test_counts_add_up_over_groups():
    covariances = Covariances()
    for _ in range(9):
        covariances.add({"a": status(ok=99, bad_covariance=1, skipped=1000), "b": status(ok=100)})
    with pytest.raises(CovarianceError, match=r"dataset 'a': 11 of 1001 fits \(1\.1%\)"):
        covariances.add({"a": status(ok=99, bad_covariance=2)})


@pytest.mark.parametrize(("wall", "rate"), [(4.0, "250"), (0.0, "0")])
def test_the_speed_is_events_per_second(wall, rate):
    totals = {"events_read": 1000, "chunks": 3, "bytes_read": 2_000_000, "columns_read": ["run"], "events_resumed": 0}
    totals |= {"wall_time_s": wall, "cpu_time_s": 2.0, "peak_memory_bytes": {}, "chunks_retried": 0}
    assert ledger._costs(totals) == [
        f"1000 events in 3 chunks, 2.0 MB of 1 columns in {wall:.1f} s ({rate} events/s, CPU 2.0 s)"
    ]


def test_what_most_memory_a_worker_took_is_said():
    totals = {"events_read": 0, "chunks": 0, "bytes_read": 0, "columns_read": [], "events_resumed": 0}
    totals |= {"wall_time_s": 1.0, "cpu_time_s": 0.0, "peak_memory_bytes": {"a": 5e8, "b": 7e8}, "chunks_retried": 0}
    assert ledger._costs(totals)[1:] == ["peak memory of 2 worker(s): 700 MB at most"]


def test_the_most_frequent_cause_comes_first():
    where = {"dataset": "d", "file": "f.root", "start": 0, "stop": 9, "attempts": 1, "is_ours": True}
    said = ledger.describe_failures([where | {"message": words} for words in ("rare", "often", "often")])
    assert [line.split()[0] for line in said] == ["2", "1"]


def test_each_dataset_counts_alone():
    covariances = Covariances()
    covariances.add({"good": status(ok=10_000)})
    with pytest.raises(CovarianceError, match="dataset 'bad'"):
        covariances.add({"bad": status(ok=200, bad_covariance=3)})


def test_nothing_is_said_of_a_handful_of_fits():
    Covariances().add({"a": status(ok=100, bad_covariance=50)})
    Covariances().add({"a": {"other": {"cutflow": {}}}, "b": {}})


def misread(columns):
    """Return the covariances of a reader that unpacks the upper triangle as a lower one, as pybes3 0.5.6 does."""
    full = np.empty((len(columns[0]), 5, 5))
    for (row, column), values in zip(zip(*np.tril_indices(5), strict=True), columns, strict=True):
        full[:, row, column] = full[:, column, row] = values
    return list(full[:, *np.triu_indices(5)].T)


@pytest.mark.parametrize("is_misread", [False, True])
def test_a_triangle_in_the_wrong_order_is_noticed(is_misread):
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "test", 0, 3000, 5))
    names = [f"Track_cov{i}" for i in range(15)]
    values = dict(block.values)
    if is_misread:
        values |= zip(names, misread([values[n] for n in names]), strict=True)
    view = SearchEvents(ArrayColumns(values, block.offsets, block.n_events), SELECTION, M_JPSI)
    results = {"signal": {"search": {"status": count_status(view.best.status)}}}
    if is_misread:
        with pytest.raises(CovarianceError, match="upper triangle"):
            Covariances().add(results)
    else:
        Covariances().add(results)


def test_the_run_is_given_up_after_storing_the_group():
    from jpsi_lnv.processors.run import _sink

    class Parts:
        saved = 0

        def save(self, group):
            self.saved += 1

    parts = Parts()
    store = _sink(parts, 5)
    store({"out": {"a": status(ok=500)}})
    with pytest.raises(CovarianceError):
        store({"out": {"a": status(bad_covariance=500)}})
    assert parts.saved == 2
