"""Compiles peer_rdataframe.cpp and runs it on what comes by standard input: a line `file tables passing` per run.

The first argument is the directory that keeps the library.

Needs a Python with ROOT (`make root`) and a C++ compiler; benchmarks/peers.py starts it.
"""

import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import ROOT  # noqa: E402 after the warnings of its alpha version are silenced

SOURCE = Path(__file__).with_suffix(".cpp")


def main() -> None:
    build = sys.argv[1]  # keeps the library for the next time
    ROOT.gROOT.SetBatch(True)
    ROOT.gSystem.SetBuildDir(build, True)
    ROOT.gSystem.AddIncludePath(f"-I{SOURCE.parent} -O3")
    if not ROOT.gSystem.CompileMacro(str(SOURCE), "kO"):
        sys.exit(f"{SOURCE}: does not compile")
    print("READY", ROOT.__version__, flush=True)
    for line in sys.stdin:
        path, tables, passing = line.rstrip("\n").split("\t")
        ROOT.peer_rdataframe(path, tables, passing)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
