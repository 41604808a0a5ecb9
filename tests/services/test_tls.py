"""Encrypted clusters: by certificate files and by temporary keys; whoever has no key is refused."""

import shutil
from functools import partial

import pytest
from distributed import Client
from hand_cluster import hand_cluster, make_certificates, tls_options, tls_words
from run_cases import assert_same, run

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import ClusterError

pytestmark = pytest.mark.usefixtures("quick_workers")


def options(address, certificates):
    return ClusterOptions(cluster=address, **tls_options(certificates))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl not installed: make ci-packages")
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


def test_a_cluster_by_certificate_files(small_fileset, reference, certificates, tmp_path):
    with hand_cluster(tmp_path, tls=tls_words(certificates)) as cluster:
        with connect(options(cluster.address, certificates)) as client:
            client.wait_for_workers(2, timeout=60)
            assert all(address.startswith("tls://") for address in client.scheduler_info()["workers"])
            result, _ = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client))
        assert_same(result, reference)

        with pytest.raises(ClusterError, match="no connection"), connect(ClusterOptions(cluster=cluster.address)):
            pass
        foreign = make_certificates(tmp_path / "foreign")
        with pytest.raises(ClusterError, match="no connection"), connect(options(cluster.address, foreign)):
            pass
        plain = cluster.address.replace("tls://", "tcp://")
        with pytest.raises(ClusterError, match="no connection"), connect(ClusterOptions(cluster=plain)):
            pass


def test_a_local_cluster_with_temporary_keys(small_fileset, reference, tmp_path):
    with connect(ClusterOptions(workers=2)) as client:
        result, _ = run(small_fileset, tmp_path, partial(DaskExecutor, client=client))
        address = client.scheduler.address
        assert address.startswith("tls://")
        with pytest.raises(OSError, match=r"(?i)connect"):
            Client(address.replace("tls://", "tcp://"), timeout=5)
    assert_same(result, reference)
