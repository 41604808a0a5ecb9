"""Disturb runs at random and print what became of them, a line per place and kind of disturbance.

Usage: python tests/disturbances.py [--number 200] [--first 0] [--places local,tcp,tls,slurm] [--results FILE]. What
became of each is added to FILE, a line of JSON per disturbance; those of the same source that are there are not done
again. The status is not 0 if a result was wrong or a run hung.
"""

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

import slurm
from disturbances import HUNG, WRONG, Outcome, disturb, plan, possible, table
from run_cases import make_fileset, run, write_site

from jpsi_lnv.analysis.provenance import source_digest
from jpsi_lnv.processors.work.executors import IterativeExecutor


def known(results: Path | None) -> list[Outcome]:
    """Return what former calls found of this source."""
    lines = map(json.loads, results.read_text().splitlines() if results and results.exists() else ())
    return [Outcome(**line["outcome"]) for line in lines if line["source"] == source_digest()]


def note(results: Path | None, outcome: Outcome) -> None:
    """Print what became of a disturbance, and add it to a file."""
    what, why = f"{outcome.place:6} {outcome.what}", outcome.why[:100]
    print(f"{outcome.seed:4} {what}: {outcome.word} in {outcome.seconds:.1f} s  {why}", flush=True)
    if results:
        with results.open("a") as file:
            file.write(json.dumps({"source": source_digest(), "outcome": dataclasses.asdict(outcome)}) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--places", default="local,tcp,tls,slurm")
    parser.add_argument("--results", type=Path, help="file of what became of them")
    given = parser.parse_args()
    outcomes = known(given.results)
    done = {outcome.seed for outcome in outcomes}
    wanted = [d for d in plan(given.first + given.number)[given.first :] if d[0] in given.places.split(",")]
    chosen = [(place, what, seed) for place, what, seed in wanted if seed not in done]
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
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
            note(given.results, outcomes[-1])
    return int(any(outcome.word in (WRONG, HUNG) for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
