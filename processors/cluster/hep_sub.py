"""IHEP's HepJob as a batch system of dask-jobqueue: `hep_sub` submits jobs, `hep_rm` removes them.

HepJob takes its options on the command line and runs an executable script from the shared file system, so the script
of the workers stays where the logs are; each job gets the name of its worker as argument (EPJ Web Conf. 245 (2020)
03026). What was not tried at IHEP is said in docs/howto_ihep.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from dask_jobqueue.core import Job, JobQueueCluster

from jpsi_lnv.analysis.documents import digest
from jpsi_lnv.processors.cluster.clusters import hep_sub_options

# dask-jobqueue looks up whatever is not given in a configuration of the batch system's name.
dask.config.update_defaults({"jobqueue": {"hep_sub": dask.config.get("jobqueue.slurm")}})
# Name of the worker in the script: the first argument of the job.
NAME = '"$1"'


class HepSubJob(Job):
    """One job of HepJob.

    Args:
        scheduler: Address of the scheduler.
        name: Name of the worker.
        group: Group that the job is accounted to.
        walltime: Class of the wall time, such as ``short`` or ``mid``.
        os: Operating system of the node.
        more: Arguments of dask-jobqueue's jobs; ``job_extra_directives`` are further words of the command.
    """

    submit_command: Any = "hep_sub"
    cancel_command: Any = "hep_rm"
    config_name: Any = "hep_sub"
    job_id_regexp = r"submitted to cluster (?P<job_id>\d+)"

    def __init__(
        self,
        scheduler: str | None = None,
        name: str | None = None,
        group: str | None = None,
        walltime: str | None = None,
        os: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(scheduler=scheduler, name=NAME, **more)
        self.name = name
        self.job_header = ""
        preset = {"group": group, "memory": f"{self.worker_memory}B", "walltime": walltime, "os": os}
        self._options = hep_sub_options({key: value for key, value in preset.items() if value is not None})
        self._options += self.job_extra_directives
        self._directory = Path(self.log_directory or ".").absolute()

    @contextmanager
    def job_file(self) -> Iterator[str]:
        """Write the script that all workers of a cluster run, where nodes can read it."""
        script = self._directory / f"worker-{digest(self.job_script())}.sh"
        if not script.exists():
            script.write_text(self.job_script())
            script.chmod(0o700)
        yield str(script)

    async def _submit_job(self, script_filename: str) -> str:
        log = str(self._directory / f"{self.name}.log")
        words = [self.submit_command, script_filename, "-argu", str(self.name), "-o", log, "-e", log, *self._options]
        return str(await self._call(words))


class HepSubCluster(JobQueueCluster):
    """A cluster whose workers are jobs of HepJob; its arguments are those of the job and of dask-jobqueue."""

    job_cls: type[Job] = HepSubJob
