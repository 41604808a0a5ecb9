"""A client of its own, to be killed: run the counting processor with slow chunks.

Usage: run_client.py FILESET OUTPUT WHERE SECONDS DIGEST, where WHERE is ``iterative`` or the address of a scheduler and
DIGEST stands for the source's, so that it is the one of the process that resumes.
"""

import sys
import time
from functools import partial
from pathlib import Path

from run_cases import run

from jpsi_lnv.analysis import provenance
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import IterativeExecutor


def main(fileset: str, output: str, where: str, seconds: str, digest: str) -> None:
    provenance.source_digest = lambda: digest

    def slow(events):  # type: ignore[no-untyped-def]
        time.sleep(float(seconds))

    if where == "iterative":
        run(Path(fileset), Path(output), IterativeExecutor, action=slow)
        return
    with connect(ClusterOptions(cluster=where)) as client:
        run(Path(fileset), Path(output), partial(DaskExecutor, client=client), action=slow)


if __name__ == "__main__":
    main(*sys.argv[1:])
