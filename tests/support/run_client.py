"""A client of its own, to be killed: run the counting processor with slow chunks.

Usage: run_client.py FILESET OUTPUT SECONDS DIGEST OPTIONS, where OPTIONS are those of the cluster as JSON and DIGEST
stands for the source's, so that it is the one of the process that resumes.
"""

import json
import signal
import sys
import time
from functools import partial
from pathlib import Path

from run_cases import run

from jpsi_lnv.analysis import provenance
from jpsi_lnv.processors import cli
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor


def main(fileset: str, output: str, seconds: str, digest: str, options: str) -> None:
    provenance.source_digest = lambda: digest
    signal.signal(signal.SIGTERM, cli._terminate)

    def slow(events):  # type: ignore[no-untyped-def]
        time.sleep(float(seconds))

    with connect(ClusterOptions(**json.loads(options))) as client:
        run(Path(fileset), Path(output), partial(DaskExecutor, client=client), action=slow)


if __name__ == "__main__":
    main(*sys.argv[1:])
