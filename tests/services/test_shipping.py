"""Workers without our packages, or with older ones, get the source of the client."""

import os
import subprocess
import sys
import sysconfig
import threading
from functools import partial
from pathlib import Path

import pytest
from hand_cluster import hand_cluster
from run_cases import assert_same, run

from jpsi_lnv.analysis.errors import IncompleteError
from jpsi_lnv.analysis.provenance import source_digest
from jpsi_lnv.processors.cluster import preflight
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.cluster.preflight import prepare, refusals, scheduler_source
from jpsi_lnv.processors.work import guard
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import ClusterError
from jpsi_lnv.processors.work.guard import LOADED_DIGEST

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An interpreter that has the dependencies but not our packages.

    A path in a .pth file is added without the .pth files that lie there, so an editable installation is not found.
    """
    directory = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    python = directory / "bin" / "python"
    scheme = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    purelib = Path(subprocess.run(scheme, check=True, capture_output=True, text=True).stdout.strip())
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    probe = "import coffea, importlib.util as u; assert u.find_spec('jpsi_lnv') is None, u.find_spec('jpsi_lnv')"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([str(python), "-c", probe], cwd=directory, env=environment, check=True)
    return str(python)


@pytest.fixture
def same_source():
    if source_digest.__wrapped__() != LOADED_DIGEST:
        pytest.skip("the source was edited while the tests ran: run them again")


@pytest.mark.parametrize("nanny", [False, True])
def test_bare_workers_get_the_source(small_fileset, reference, bare_python, tmp_path, same_source, nanny):
    with (
        hand_cluster(tmp_path, python=bare_python, nanny=nanny) as cluster,
        connect(ClusterOptions(cluster=cluster.address)) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        assert "ModuleNotFoundError" in scheduler_source(client)
        prepare(client, 60, is_ours=False)
        assert scheduler_source(client) == LOADED_DIGEST
        assert list(refusals(client).values()) == ["", ""]
        cluster.start_worker()
        client.wait_for_workers(3, timeout=60)
        assert list(refusals(client).values()) == ["", "", ""]
        result, _ = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client))
    assert_same(result, reference)


def test_a_worker_keeps_its_own_analysis(small_fileset, reference, bare_python, tmp_path, same_source):
    (tmp_path / "analysis.py").write_text("WHOSE = 'mine'\n")
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "__init__.py").write_text("WHOSE = 'mine'\n")

    def owners():
        import analysis
        import processors

        return analysis.WHOSE, processors.WHOSE, id(analysis)

    with (
        hand_cluster(tmp_path, n_workers=1, python=bare_python) as cluster,
        connect(ClusterOptions(cluster=cluster.address)) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        before = client.run(owners)
        prepare(client, 60, is_ours=True)
        assert client.run(owners) == before
        result, _ = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client))
        assert client.run(owners) == before
    assert {owner[:2] for owner in before.values()} == {("mine", "mine")}
    assert_same(result, reference)


def test_stale_workers_are_renewed(tmp_path, bare_python, monkeypatch, same_source):
    with hand_cluster(tmp_path, n_workers=1) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        client.wait_for_workers(1, timeout=60)

        def grow_old():
            from jpsi_lnv.processors.work import guard

            guard.LOADED_DIGEST = "an older one"

        def loaded_digest():
            from jpsi_lnv.processors.work import guard

            return guard.LOADED_DIGEST

        client.run(grow_old)
        prepare(client, 60, is_ours=False)
        assert list(refusals(client).values()) == [""]
        assert list(client.run(loaded_digest).values()) == [LOADED_DIGEST]


def test_a_client_that_is_older_than_its_source_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "LOADED_DIGEST", "an older one")
    with connect(ClusterOptions(workers=1)) as client, pytest.raises(ClusterError, match="restart this process"):
        prepare(client, 60, is_ours=False)


def test_a_cluster_without_workers_is_an_error(tmp_path):
    with (
        hand_cluster(tmp_path, n_workers=0) as cluster,
        connect(ClusterOptions(cluster=cluster.address)) as client,
        pytest.raises(ClusterError, match="no worker came within 1 s"),
    ):
        prepare(client, 1, is_ours=False)


def test_a_worker_that_comes_with_another_source_does_not_work(small_fileset, tmp_path):
    with connect(ClusterOptions(workers=2)) as client:
        prepare(client, 60, is_ours=True)

        def grow_old():
            from jpsi_lnv.processors.work import guard

            guard.LOADED_DIGEST = "a newer one"

        client.run(grow_old)
        executor = partial(DaskExecutor, client=client)
        with pytest.raises(IncompleteError, match=r"files could not be compared.*has source a newer one"):
            run(small_fileset, tmp_path / "r", executor, skip_bad_files=True)
        result, books = run(small_fileset, tmp_path / "r", executor, verification="none", max_failures=100)
    assert not result.is_complete
    assert result.bookkeeping["totals"]["events_processed"] == 0
    assert {record["kind"] for record in books.failed} == {"SourceError"}


@pytest.fixture
def other_scipy(tmp_path):
    """The environment of a worker that says that it has another scipy."""
    record = tmp_path / "other" / "scipy-0.1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.1\n")
    return {"PYTHONPATH": os.pathsep.join([str(record.parent), *sys.path])}


@pytest.mark.parametrize("is_late", [False, True])
def test_a_worker_with_other_packages_is_sent_away_and_named(
    small_fileset, reference, tmp_path, other_scipy, caplog, is_late
):
    with hand_cluster(tmp_path, n_workers=1) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        if is_late:
            prepare(client, 60, is_ours=True)
            cluster.start_worker(**other_scipy)
        else:
            cluster.start_worker(**other_scipy)
            client.wait_for_workers(2, timeout=60)
            prepare(client, 60, is_ours=True)
        assert cluster.workers[1].wait(60) == 0
        result, _ = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client))
    assert_same(result, reference)
    assert "was sent away: it has scipy 0.1 (wanted" in caplog.text


def test_if_no_worker_fits_the_reason_is_told(tmp_path, other_scipy):
    with hand_cluster(tmp_path, n_workers=0) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        cluster.start_worker(**other_scipy)
        with pytest.raises(ClusterError, match=r"1 worker\(s\) do not fit this process: .*scipy 0\.1 \(wanted"):
            prepare(client, 10, is_ours=True)


def test_other_packages_on_a_worker_of_others_are_refused(tmp_path, other_scipy):
    with hand_cluster(tmp_path, n_workers=0) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        cluster.start_worker(**other_scipy)
        with pytest.raises(ClusterError, match=r"scipy 0\.1 \(wanted .*give them the same versions"):
            prepare(client, 60, is_ours=False)


def test_a_late_worker_of_others_with_other_packages_touches_no_chunk(small_fileset, tmp_path, other_scipy):
    with hand_cluster(tmp_path, n_workers=1) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        prepare(client, 60, is_ours=False)
        cluster.start_worker(**other_scipy)
        client.wait_for_workers(2, timeout=60)
        cluster.kill_worker(0)
        make = partial(DaskExecutor, client=client)
        with pytest.raises(IncompleteError, match=r"has scipy 0\.1 \(wanted .*--resume"):
            run(small_fileset, tmp_path / "r", make, verification="none", max_failures=3)


def test_a_worker_that_dies_while_it_is_admitted_is_no_error(tmp_path):
    """Killed at ten moments of the preflight: the other one is found, or waited for."""
    for k in range(10):
        with (
            hand_cluster(tmp_path, n_workers=2) as cluster,
            connect(ClusterOptions(cluster=cluster.address)) as client,
        ):
            client.wait_for_workers(2, timeout=60)
            end_of_worker = threading.Timer(0.03 * k, cluster.kill_worker, [0])
            end_of_worker.start()
            prepare(client, 60, is_ours=False)
            end_of_worker.join()


@pytest.mark.fast
def test_versions_are_compared_where_both_are_known(monkeypatch):
    here = {"numpy": "2.0", "python": "3.11.7"}
    monkeypatch.setattr(guard, "loaded_versions", lambda: here)
    assert guard.other_versions(here | {"jpsi-lnv": "1.0"}) == ""
    assert guard.other_versions(here | {"numpy": "1.0"}) == "numpy 2.0 (wanted 1.0)"
