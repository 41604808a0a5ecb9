"""Compile all kernels once, into a directory that can be shipped, for every CPU of x86-64-v3."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from jpsi_lnv import CPU
from jpsi_lnv.analysis import arrays
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.processors.console import PATH, console

CALL = "from jpsi_lnv.processors.cli import main; main()"


@click.command()
@click.argument("directory", metavar="DIRECTORY", type=PATH)
def command(directory: Path) -> None:
    """Fill DIRECTORY with the machine code of the kernels, by simulating the set `ci` and running over it.

    Named `kernels` in the package, or by the environment variable JPSI_LNV_KERNELS, it saves every job the compilation,
    on each CPU of x86-64-v3 (AVX2, since 2013). It is for this version of the package, wherever that lies, and for the
    same versions of Python and numba.
    """
    with TemporaryDirectory(prefix="jpsi_lnv_warm_") as scratch:
        cache = Path(scratch, "cache")
        environment = os.environ | CPU | {arrays.DIRECTORY: str(cache)}
        samples, completed = f"{scratch}/samples", f"{scratch}/fileset.json"
        for call in (
            ["simulate", "--set", "ci", "--output", samples, "--executor", "iterative"],
            ["fileset", "complete", f"{samples}/ci/fileset.json", "--output", completed],
            ["run", completed, "--test", "--executor", "iterative", "--output", f"{scratch}/results"],
        ):
            done = subprocess.run(  # noqa: S603 this program, with arguments of its own
                [sys.executable, "-c", CALL, *call], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                msg = f"`lnv {' '.join(call)}` ended with status {done.returncode}: {done.stderr.strip()[-500:]}"
                raise ResultsError(msg)
        arrays.ship(cache, directory)
    files = [path for path in directory.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    console().print(f"{directory}: {len(files)} files, {size / 1e6:.1f} MB", soft_wrap=True)
