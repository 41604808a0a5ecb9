"""A client of its own, to be killed: run the counting processor with slow chunks."""

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from forked import server
from run_cases import run

from jpsi_lnv.analysis import provenance
from jpsi_lnv.processors import cli
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor


def main(fileset: Path, output: Path, seconds: float, digest: str, options: dict[str, Any]) -> None:
    """Run; `digest` stands for the source's, so that it is the one of the process that resumes."""
    provenance.source_digest = lambda: digest
    signal.signal(signal.SIGTERM, cli._stop)

    def slow(events):  # type: ignore[no-untyped-def]
        time.sleep(seconds)

    if "cluster" not in options:
        server()
    with connect(ClusterOptions(**options)) as client:
        run(fileset, output, partial(DaskExecutor, client=client), action=slow)
