"""Groups of chunks: their sizes, their sums, and what becomes of one that fails as a whole."""

import os
import signal
import uuid
from collections import Counter

import hist
import numpy as np
import pytest
from coffea.processor import accumulate
from coffea.processor.executor import WorkItem
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work import dask_loop, executors
from jpsi_lnv.processors.work.dask_loop import DaskExecutor, DaskLoop, GroupTask
from jpsi_lnv.processors.work.executors import GROUP_MAX, group_size, merge

pytestmark = pytest.mark.usefixtures("quick_workers")

N_ITEMS = 100


def work_items(n):
    file_uuid = uuid.uuid4().bytes
    return [WorkItem("data", "f.root", "Events", i, i + 1, file_uuid) for i in range(n)]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("n_waiting", "n_threads", "size"),
    [
        (0, 1, 1),
        (1, 1, 1),
        (63, 1, 1),
        (64, 2, 2),
        (640, 2, 20),
        (10_000, 2, 20),
        (10_000, 1000, 2),
        (40_000, 1000, 10),
    ],
)
def test_sizes_of_groups(n_waiting, n_threads, size):
    assert group_size(n_waiting, n_threads) == size


@pytest.mark.fast
@given(st.integers(1, 20_000), st.integers(0, 300))
def test_groups_take_every_chunk_and_get_smaller_towards_the_end(n_chunks, n_threads):
    sizes, waiting = [], n_chunks
    while waiting:
        sizes.append(group_size(waiting, n_threads))
        waiting -= sizes[-1]
    assert sum(sizes) == n_chunks
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= GROUP_MAX
    assert sizes[-1] == 1


def a_result(n):
    counts = hist.Hist(hist.axis.Integer(0, 5), storage=hist.storage.Int64()).fill([n % 5])
    return {"out": {f"dataset {n % 3}": {"n": 1, "sum": n, "h": counts, "seen": {n}}}, "failed": [n]}


@pytest.mark.fast
@given(st.integers(1, 70))
def test_sums_are_those_of_coffea_and_leave_the_results_alone(n):
    results = [a_result(i) for i in range(n)]
    assert merge(results) == accumulate([a_result(i) for i in range(n)])
    assert results == [a_result(i) for i in range(n)]


@pytest.mark.fast
def test_no_result_is_copied_often(monkeypatch):
    """Of 1000 results each is in about log2(1000) additions, not in 500 on average."""
    sizes = []

    def add(results):
        sizes.append(sum(r["n"] for r in results))
        return {"n": sizes[-1]}

    monkeypatch.setattr(executors, "accumulate", add)
    assert merge({"n": 1} for _ in range(1023)) == {"n": 1023}
    assert sum(sizes) <= 1023 * 11


@pytest.mark.fast
def test_a_group_is_the_sum_of_its_items():
    assert GroupTask(a_result, 60.0)(range(7)) == (merge(map(a_result, range(6, -1, -1))), [])


@pytest.mark.fast
def test_a_late_group_hands_back_what_it_has_not_begun():
    items = list(range(7))
    assert GroupTask(a_result, 0.0)(items) == (a_result(6), [0, 1, 2, 3, 4, 5])
    assert items == list(range(7))


@pytest.fixture(scope="module")
def client():
    with connect(ClusterOptions(workers=2)) as client:
        client.wait_for_workers(2)
        yield client


def test_every_item_is_in_one_group_and_counts_for_the_progress(client):
    advanced = []
    with DaskLoop(client, lambda item: {"items": Counter([item.entrystart])}, advanced.append, 60.0) as loop:
        parts = list(loop.groups(work_items(N_ITEMS)))
    assert merge(parts)["items"] == Counter(range(N_ITEMS))
    assert sum(advanced) == N_ITEMS
    assert max(advanced) == group_size(N_ITEMS, 2) > 1
    assert len(advanced) == len(parts) < N_ITEMS


def test_what_late_groups_hand_back_is_processed_once(client, monkeypatch):
    monkeypatch.setattr(dask_loop, "GROUP_SECONDS", 0.0)
    advanced = []
    with DaskLoop(client, lambda item: {"items": Counter([item.entrystart])}, advanced.append, 60.0) as loop:
        parts = list(loop.groups(work_items(N_ITEMS)))
    assert merge(parts)["items"] == Counter(range(N_ITEMS))
    assert advanced == [1] * N_ITEMS == [len(part["items"]) for part in parts]


def test_an_error_outside_the_guard_fails_every_chunk_of_its_group(client):
    def unlucky(item):
        if item.entrystart == 1:
            raise RuntimeError("cannot be unpacked")
        return {"out": {"n": np.int64(1)}}

    with DaskLoop(client, unlucky, lambda _: None, 60.0) as loop:
        total = merge(loop.groups(work_items(N_ITEMS)))
    size = group_size(N_ITEMS, 2)
    assert [record["start"] for record in sorted(total["failed"], key=lambda r: r["start"])] == list(range(size))
    assert total["out"]["n"] == N_ITEMS - size


def test_a_chunk_that_kills_its_worker_is_found_in_its_group():
    def deadly(item):
        if item.entrystart == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"out": {"data": Counter([item.entrystart])}, "metrics": {}}

    with connect(ClusterOptions(workers=2)) as own:
        own.wait_for_workers(2)
        result, _ = DaskExecutor(client=own)(work_items(N_ITEMS), deadly, None)
    assert [(record["start"], record["kind"]) for record in result["failed"]] == [(1, "KilledWorker")]
    assert result["out"]["data"] == Counter(i for i in range(N_ITEMS) if i != 1)
