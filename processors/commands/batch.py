"""Write the job script of a run in shares, for SLURM, HTCondor or IHEP's hep_sub: no job connects to another one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, read_preset
from jpsi_lnv.processors.console import DIRECTORY, FILE, console, wrote

CALL: Final = "from jpsi_lnv.processors.cli import main; main()"
# Number of a share, from 1, in a job's script.
SHARE: Final = "$share"
SCRIPT: Final = "job.sh"
SUBMIT_FILE: Final = "job.sub"
LOGS: Final = "logs"


@click.command()
@click.argument("fileset", metavar="FILESET", type=FILE)
@click.argument("arguments", metavar="[-- OPTION...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--cluster", type=click.Choice(["slurm", "htcondor", "hep_sub"]), required=True, help="Batch system.")
@click.option("--site", type=FILE, help="TOML file of site presets, with a table of the batch system.")
@click.option("--parts", type=click.IntRange(1), required=True, help="Number of jobs, each with a share of the chunks.")
@click.option("--output", type=DIRECTORY, default=Path("shares"), help="Directory of the script and of the shares.")
def command(
    *, fileset: Path, arguments: tuple[str, ...], cluster: str, site: Path | None, parts: int, output: Path
) -> None:
    """Write the script of jobs that do a run over FILESET in shares, and say how to submit and merge them.

    What follows `--` are options of `lnv run`. A job that is submitted again keeps what it had finished.
    """
    preset = read_preset(ClusterOptions(cluster=cluster, site=site))
    output = output.resolve()
    (output / LOGS).mkdir(parents=True, exist_ok=True)
    script = output / SCRIPT
    script.write_text(job_script(fileset.resolve(), parts, output, arguments, preset, DIRECTIVES[cluster]))
    script.chmod(0o755)
    wrote(script)
    if cluster == "htcondor":
        (output / SUBMIT_FILE).write_text(_submit_file(script, parts, preset))
        wrote(output / SUBMIT_FILE)
    merge = f"lnv merge {shlex.quote(str(fileset))} {shlex.quote(str(output))}/[0-9]*"
    for line in (f"submit: {SUBMIT[cluster](script, parts, preset)}", f"then:   {merge}"):
        console().print(line, markup=False, soft_wrap=True)


def job_script(
    fileset: Path,
    parts: int,
    output: Path,
    arguments: tuple[str, ...],
    preset: Mapping[str, Any],
    directives: Callable[[int, Path, Mapping[str, Any]], list[str]],
) -> str:
    """Return the script of a job.

    Args:
        fileset: Completed fileset.
        parts: Number of shares.
        output: Directory of the shares.
        arguments: Options of `lnv run`.
        preset: The site's table of the batch system.
        directives: Gives the lines that the batch system reads.
    """
    call = [sys.executable, "-c", CALL, "run", str(fileset), "--executor", "iterative", "--resume", *arguments]
    lines = [
        "#!/usr/bin/env bash",
        *directives(parts, output, preset),
        # The arrays of SLURM count in a variable; the others give the number, from 0, as an argument.
        "share=${SLURM_ARRAY_TASK_ID:-$(( ${1:?got no number of a share} + 1 ))}",
        *preset.get("job_script_prologue", []),
        f'exec {shlex.join(call)} --part "{SHARE}/{parts}" --output {shlex.quote(str(output))}/"{SHARE}"',
    ]
    return "\n".join(lines) + "\n"


def _slurm(parts: int, output: Path, preset: Mapping[str, Any]) -> list[str]:
    given = {"partition": "queue", "account": "account", "mem": "memory", "time": "walltime"}
    options = [f"--{name}={_slurm_size(preset[key])}" for name, key in given.items() if key in preset]
    fixed = [f"--array=1-{parts}", "--ntasks=1", "--cpus-per-task=1", f"--output={output / LOGS}/%a.log"]
    return [f"#SBATCH {option}" for option in (*fixed, *options, *preset.get("job_extra_directives", []))]


def _slurm_size(value: str) -> str:
    """Return a size as SLURM reads it: 4G for 4GB; anything else as it is."""
    return value[:-1] if value.endswith(("KB", "MB", "GB", "TB")) else value


def _none(parts: int, output: Path, preset: Mapping[str, Any]) -> list[str]:  # noqa: ARG001 they stand elsewhere
    return []


def _submit_file(script: Path, parts: int, preset: Mapping[str, Any]) -> str:
    given = {"request_memory": "memory", "request_disk": "disk"}
    extra = preset.get("job_extra_directives", {})
    lines = [
        f"executable = {script}",
        "arguments = $(Process)",
        f"output = {script.parent / LOGS}/$(Process).out",
        f"error = {script.parent / LOGS}/$(Process).err",
        f"log = {script.parent / LOGS}/jobs.log",
        "request_cpus = 1",
        *(f"{name} = {preset[key]}" for name, key in given.items() if key in preset),
        *(f"{name} = {value}" for name, value in extra.items()),
        f"queue {parts}",
    ]
    return "\n".join(lines) + "\n"


def _hep_sub(script: Path, parts: int, preset: Mapping[str, Any]) -> str:
    options = {"-g": "group", "-mem": "memory", "-wt": "walltime", "-os": "os"}
    chosen = [word for flag, key in options.items() if key in preset for word in (flag, str(preset[key]))]
    logs = f"{script.parent / LOGS}/%{{ProcId}}"
    words = ["hep_sub", str(script), "-argu", "%{ProcId}", "-n", str(parts), *chosen, "-o", logs, "-e", logs]
    return shlex.join(words)


DIRECTIVES: Final = {"slurm": _slurm, "htcondor": _none, "hep_sub": _none}
SUBMIT: Final[dict[str, Callable[[Path, int, Mapping[str, Any]], str]]] = {
    "slurm": lambda script, parts, preset: f"sbatch {shlex.quote(str(script))}",  # noqa: ARG005
    "htcondor": lambda script, parts, preset: f"condor_submit {shlex.quote(str(script.parent / SUBMIT_FILE))}",  # noqa: ARG005
    "hep_sub": _hep_sub,
}
