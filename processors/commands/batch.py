"""Write the job script of a command in shares, for SLURM, HTCondor or hep_sub: no job connects to another one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.processors.cluster.clusters import BATCH, ClusterOptions, hep_sub_options, read_preset
from jpsi_lnv.processors.console import DIRECTORY, FILE, console, wrote

CALL: Final = "from jpsi_lnv.processors.cli import main; main()"
# Number of a share, from 1, in a job's script.
SHARE: Final = "$share"
SCRIPT: Final = "job.sh"
SUBMIT_FILE: Final = "job.sub"
LOGS: Final = "logs"


@dataclass(frozen=True)
class Shared:
    """A command whose work can be shared out.

    Attributes:
        options: What a job calls it with besides a user's options and the share.
        has_output: Whether each share has a directory of its own, which `lnv merge` takes.
        again: What the command is called with at the end, if it is called again then.
    """

    options: tuple[str, ...]
    has_output: bool = False
    again: tuple[str, ...] = ()


COMMANDS: Final = {
    "run": Shared(("--executor", "iterative", "--resume"), has_output=True),
    "simulate": Shared(("--executor", "iterative", "--if-missing"), again=("--if-missing",)),
    "skim": Shared(("--executor", "iterative")),
}


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--cluster", type=click.Choice(list(BATCH)), required=True, help="Batch system.")
@click.option("--site", type=FILE, help="TOML file of site presets, with a table of the batch system.")
@click.option("--parts", type=click.IntRange(1), required=True, help="Number of jobs, each with a share of the work.")
@click.option(
    "--output", type=DIRECTORY, default=Path("shares"), help="Directory of the script, its logs and the shares."
)
@click.argument("name", metavar="run|simulate|skim", type=click.Choice(list(COMMANDS)))
@click.argument("arguments", metavar="ARGUMENT...", nargs=-1, type=click.UNPROCESSED)
def command(
    *, cluster: str, site: Path | None, parts: int, output: Path, name: str, arguments: tuple[str, ...]
) -> None:
    """Write the script of jobs that do a command in shares, and say how to submit and finish them.

    The command is `lnv run FILESET`, `lnv simulate` or `lnv skim FILE...` with its options; jobs work where this is
    called. A job that is submitted again keeps what it had finished.
    """
    if COMMANDS[name].has_output and (not arguments or arguments[0].startswith("-")):
        msg = f"got {' '.join((name, *arguments[:1]))}; wanted FILESET next to {name}, and its options after that"
        raise click.UsageError(msg)
    preset = read_preset(ClusterOptions(cluster=cluster, site=site))
    output = output.resolve()
    (output / LOGS).mkdir(parents=True, exist_ok=True)
    script = output / SCRIPT
    script.write_text(job_script(name, arguments, parts, output, preset, DIRECTIVES[cluster]))
    script.chmod(0o755)
    wrote(script)
    if cluster == "htcondor":
        (output / SUBMIT_FILE).write_text(_submit_file(script, parts, preset))
        wrote(output / SUBMIT_FILE)
    for line in (f"submit: {SUBMIT[cluster](script, parts, preset)}", f"then:   {_last(name, arguments, output)}"):
        console().print(line, markup=False, soft_wrap=True)


def job_script(
    name: str,
    arguments: tuple[str, ...],
    parts: int,
    output: Path,
    preset: Mapping[str, Any],
    directives: Callable[[int, Path, Mapping[str, Any]], list[str]],
) -> str:
    """Return the script of a job.

    Args:
        name: One of `COMMANDS`.
        arguments: What follows the command's name.
        parts: Number of shares.
        output: Directory of the logs and the shares.
        preset: The site's table of the batch system.
        directives: Gives the lines that the batch system reads.
    """
    call = shlex.join([sys.executable, "-c", CALL, name, *arguments, *COMMANDS[name].options])
    own = f' --output {shlex.quote(str(output))}/"{SHARE}"' if COMMANDS[name].has_output else ""
    lines = [
        "#!/usr/bin/env bash",
        *directives(parts, output, preset),
        # The arrays of SLURM count in a variable; the others give the number, from 0, as an argument.
        "share=${SLURM_ARRAY_TASK_ID:-$(( ${1:?got no number of a share} + 1 ))}",
        *preset.get("job_script_prologue", []),
        f"cd {shlex.quote(str(Path.cwd()))} || exit",
        f'exec {call} --part "{SHARE}/{parts}"{own}',
    ]
    return "\n".join(lines) + "\n"


def _last(name: str, arguments: tuple[str, ...], output: Path) -> str:
    """Return the command that makes one result of all shares."""
    if COMMANDS[name].has_output:
        return f"lnv merge {shlex.quote(arguments[0])} {shlex.quote(str(output))}/[0-9]*"
    return shlex.join(["lnv", name, *arguments, *COMMANDS[name].again])


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
    logs = f"{script.parent / LOGS}/%{{ProcId}}"
    words = ["hep_sub", str(script), "-argu", "%{ProcId}", "-n", str(parts), *hep_sub_options(preset)]
    return shlex.join([*words, "-o", logs, "-e", logs, *preset.get("job_extra_directives", [])])


DIRECTIVES: Final = {"slurm": _slurm, "htcondor": _none, "hep_sub": _none}
SUBMIT: Final[dict[str, Callable[[Path, int, Mapping[str, Any]], str]]] = {
    "slurm": lambda script, parts, preset: f"sbatch {shlex.quote(str(script))}",  # noqa: ARG005
    "htcondor": lambda script, parts, preset: f"condor_submit {shlex.quote(str(script.parent / SUBMIT_FILE))}",  # noqa: ARG005
    "hep_sub": _hep_sub,
}
