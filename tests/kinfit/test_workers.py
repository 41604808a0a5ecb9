"""The kernels on dask workers and in threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from distributed import Client, LocalCluster

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.kinfit import fourc, kernels

pytestmark = pytest.mark.usefixtures("quick_workers")

E, PI, K, P, _ = Species


def fit_and_report(p, v, cand, p4_total):
    """Fit on a worker; return the result and how often the kernel came from the cache and was compiled."""
    fit = fourc.cascade(p, v, cand, KKEE.assignments, p4_total)
    stats = kernels.fit_cascade.stats
    return fit.chi2, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


def test_kernels_load_from_the_cache_in_dask_workers(toys, p4_total):
    sample = toys((K, PI, K, PI), 500, 61)
    arguments = (sample.p, sample.v, sample.cand, p4_total)
    here, _, _ = fit_and_report(*arguments)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        results = client.run(fit_and_report, *arguments)
    assert len(results) == 2
    for chi2, hits, misses in results.values():
        np.testing.assert_array_equal(chi2, here)
        assert (hits, misses) == (1, 0)


def test_a_new_process_compiles_nothing(toys):
    code = (
        "import numpy as np\n"
        "from jpsi_lnv.analysis.kinfit import fourc, kernels\n"
        "from jpsi_lnv.analysis.channel import KKEE\n"
        "p, v = np.ones((4, 1, 3)), np.ones((4, 1, 6))\n"
        "fourc.fit4c(p, v, np.arange(4), KKEE.assignments, np.ones(4))\n"
        "print(sum(kernels.fit_all.stats.cache_misses.values()))\n"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first.strip() in {"0", "1"}
    assert second.strip() == "0"


@pytest.mark.fast
def test_two_threads_give_identical_results(signal_toys, p4_total):
    def fit(_):
        return fourc.fit4c(signal_toys.p, signal_toys.v, signal_toys.cand, KKEE.assignments, p4_total)

    alone = fit(0)
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(fit, range(4)):
            np.testing.assert_array_equal(result.chi2, alone.chi2)
            np.testing.assert_array_equal(result.status, alone.status)
