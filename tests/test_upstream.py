"""The defects of other libraries are still there, as the page says; where one is gone, what goes round it can go."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
# Program and what it printed: the block of text before each program of the page.
PROGRAM = re.compile(r"\n\n((?:    .+\n)+)\n``` { .python }\n--8<-- \"docs/upstream/(\w+)\.py\"")
SHOWN = PROGRAM.findall((DOCS / "upstream.md").read_text())


def test_every_program_is_shown():
    assert {name for _, name in SHOWN} == {path.stem for path in (DOCS / "upstream").glob("*.py")}


@pytest.mark.parametrize(("printed", "name"), SHOWN, ids=[name for _, name in SHOWN])
def command(name, request):
    """Return what runs a program: a Python that has the library, and its arguments."""
    program = str(DOCS / "upstream" / f"{name}.py")
    library = name.partition("_")[0]
    if library == "root":
        return [os.environ.get("ROOT_PYTHON") or pytest.skip("ROOT is not installed: make root"), program]
    pytest.importorskip(library, reason=f"{library} is not installed: make install-all")
    files = [str(request.getfixturevalue("boss_file"))] if name == "pybes3_errors" else []
    return [sys.executable, program, *files]


@pytest.mark.parametrize(("printed", "name"), SHOWN, ids=[name for _, name in SHOWN])
def test_the_defect_is_still_there(printed, name, request):
    done = subprocess.run(command(name, request), capture_output=True, text=True, timeout=120, check=False)
    said = [line for line in done.stdout.splitlines() if "got " in line]
    assert said == [line.strip() for line in printed.splitlines()], done.stderr
