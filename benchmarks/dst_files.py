"""Makes large BOSS `.dst` files out of a small real one, for benchmarks and tests; needs ROOT (`make root`) and g++.

Kept of the real file are classes, branches, compression and the size of baskets. An event is one of the real ones,
drawn at random, and a part of the events are two or three laid over each other, for the multiplicities of inclusive
J/psi decays. Its measured numbers are scaled by a random factor within 1 %, one per event: else zlib would find the
same few events again and again, which a real file does not have. With ROOT's automatic flush after 30 MB clusters end
at common events; BOSS 6.6.4's ROOT 5.24 had none (``flush=0``). No event has a primary vertex of its own if the real
ones have not.

Run: BES_SAMPLES=<directory> python -m benchmarks.dst_files OUTPUT.dst --events 50000 [--data] [--no-flush]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FLUSH = -30_000_000
# Parts of the events that are two and three real ones.
OVERLAID = (0.25, 0.10)
# What ROOT does: make classes of what the file says of them, compile, call.
_SESSION = """
import json, sys
import ROOT
ROOT.gErrorIgnoreLevel = ROOT.kError
source, calls = sys.argv[1], json.loads(sys.argv[2])
file = ROOT.TFile.Open(source)
file.MakeProject("boss", "*", "recreate++")
file.Close()
ROOT.gInterpreter.AddIncludePath("boss")
ROOT.gSystem.AddIncludePath("-Iboss -O2")
ROOT.gSystem.AddLinkedLibs("boss/boss.so")
if not ROOT.gSystem.CompileMacro("dst_files.cpp", "kO"):
    sys.exit("dst_files.cpp does not compile")
print("RESULT", json.dumps([getattr(ROOT, name)(*arguments) for name, *arguments in calls]))
"""


def root_calls(source: Path, calls: Sequence[Sequence[Any]]) -> list[float]:
    """Call functions of dst_files.cpp in a process of ROOT's and return what they return.

    Args:
        source: A file that describes BOSS's classes.
        calls: Name and arguments of each.
    """
    python = os.environ["ROOT_PYTHON"]
    find = "import importlib.util as u; print(u.find_spec('ROOT').submodule_search_locations[0])"
    home = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
    places = {"ROOTSYS": home, "LD_LIBRARY_PATH": f"{home}/lib", "PATH": f"{home}/bin:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(HERE / "dst_files.cpp", directory)
        call = [python, "-W", "ignore", "-c", _SESSION, str(source.resolve()), json.dumps(calls)]
        done = subprocess.run(call, check=False, capture_output=True, text=True, cwd=directory, env=os.environ | places)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not results:
        msg = f"ROOT ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return json.loads(results[-1].removeprefix("RESULT "))


def making(
    source: Path, target: Path, n_events: int, *, is_data: bool = False, flush: int = FLUSH, seed: int = 1
) -> list[Any]:
    """Return the call of `root_calls` that makes a file; a seed of 0 would let ROOT draw one."""
    names = str(source.resolve()), str(target.resolve())
    return ["make_file", *names, n_events, *OVERLAID, is_data, flush, seed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--data", action="store_true", help="without truth, run numbers of data")
    parser.add_argument("--no-flush", action="store_true", help="baskets of 3.2 MB each")
    arguments = parser.parse_args()
    source = Path(os.environ["BES_SAMPLES"]) / "test_full_mc_evt_1.dst"
    flush = 0 if arguments.no_flush else FLUSH
    root_calls(source, [making(source, arguments.target, arguments.events, is_data=arguments.data, flush=flush)])


if __name__ == "__main__":
    main()
