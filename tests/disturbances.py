"""Disturb runs at random and print what became of them, a line per place and kind of disturbance.

Usage: python tests/disturbances.py [--number 200] [--first 0] [--places local,tcp,tls,slurm]. The status is not 0 if a
result was wrong or a run hung.
"""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

import slurm
from disturbances import HUNG, WRONG, disturb, plan, possible, table
from run_cases import make_fileset, run, write_site

from jpsi_lnv.processors.work.executors import IterativeExecutor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--places", default="local,tcp,tls,slurm")
    given = parser.parse_args()
    chosen = [d for d in plan(given.first + given.number)[given.first :] if d[0] in given.places.split(",")]
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    outcomes = []
    with ExitStack() as stack:
        stack.callback(lambda: print(table(outcomes)))
        # The socket of munge must have a short path.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dist", ignore_cleanup_errors=True)))
        fileset = make_fileset(scratch / "samples", {"signal": [350, 0, 420], "other": [500, 230]})
        reference = run(fileset, scratch / "reference", IterativeExecutor)[0]
        site = None
        if any(place == "slurm" and not possible(place, what) for place, what, _ in chosen):
            node = stack.enter_context(slurm.slurm_node(scratch / "node"))
            site = write_site(scratch / "site.toml", node)
        for place, what, seed in chosen:
            if why := possible(place, what):
                print(f"{seed:4} {place:6} {what}: left out, {why}", flush=True)
                continue
            directory = scratch / str(seed)
            directory.mkdir()
            outcomes.append(disturb(place, what, seed, directory, fileset, reference, site))
            last = outcomes[-1]
            print(f"{seed:4} {place:6} {what}: {last.word} in {last.seconds:.1f} s  {last.why[:100]}", flush=True)
    return int(any(outcome.word in (WRONG, HUNG) for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
