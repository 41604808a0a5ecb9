"""Plant faults in what decides a result and see whether the suite catches them: mutation testing.

    python tests/mutants.py map [--kernels]     which tests reach which lines, and what each costs
    python tests/mutants.py run [--kernels]     try mutants; when it is stopped and called again it goes on
    python tests/mutants.py report              print the table by room, and what survived

A mutant is a function with one operation changed (`planted.py`). The tests are imported once; for each mutant a
process is forked off in which the function gets the changed code and which runs the tests that reach the changed line
until one fails: the cheap ones first, and those that caught a mutant of the same module. Compiled kernels cannot be
changed so: they, and only they, are mutated with `--kernels`, in their Python form. What runs in other processes
(services, clusters, commands started as programs) catches nothing here, and what is made at import, as defaults of
arguments and tables of constants, is not mutated. A mutant that no test can tell from the original stands with the
reason in `mutants_equivalent.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import os
import resource
import signal
import sys
import time
import types
from collections import Counter, defaultdict
from functools import _lru_cache_wrapper
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from planted import Mutant, mutants_of

TESTS = Path(__file__).parent
ROOT = TESTS.parent

PLACE = ROOT / "samples" / "mutants"
RESULTS, EQUIVALENT = PLACE / "results.jsonl", TESTS / "mutants_equivalent.json"
BOX = "analysis/selection/blinding.py"
ROOMS = {
    "selection": ["analysis/selection/*.py", "analysis/kinematics.py", "analysis/channel.py"],
    "candidates": ["analysis/candidates.py"],
    "fit": ["analysis/kinfit/*.py"],
    "identification": ["analysis/objects/*.py"],
    "blinding": [BOX, "processors/books/unblinding.py"],
    "limits": ["analysis/limits/*.py", "analysis/optimization.py", "analysis/majorana.py"],
    "normalisation": ["analysis/normalization.py", "analysis/efficiency.py"],
    "background": ["analysis/background.py", "analysis/background_checks.py", "analysis/misid_rates.py"],
    "systematics": ["analysis/systematics/*.py"],
    "ledger": ["processors/books/ledger.py", "processors/books/chunks.py", "analysis/results.py"],
    "checkpoints": ["processors/books/checkpoints.py", "analysis/derived.py"],
    "files": [
        *("processors/books/verify.py", "processors/books/fileset.py", "analysis/datasets.py"),
        *("analysis/events/plausibility.py", "analysis/events/content.py", "analysis/events/columns.py"),
    ],
}
# Tests that start programs, of which nothing is seen here, and clusters, which are these fixtures.
IGNORED = ("services", "notebooks", "benchmarks", "reference", "report/test_image_regression.py", "test_pages.py")
IGNORED += (
    "processors/test_environments.py",
    "processors/test_closed_box.py",
    "faults/test_process_faults.py",
    "test_upstream.py",
    "simulation",
)
IGNORED += ("faults/test_signals.py", *(f"events/test_dst_{name}.py" for name in ("bad_input", "groups", "reader")))
IGNORED += ("report/test_documentation.py", "report/test_pictures.py", "report/test_m_ke_figure.py", "paper")
CLUSTERS = {"quick_workers", "cluster", "client"}
LAST = ("faults", "report", "events", "processors")
OF_KERNELS = ("kinfit", "objects", "selection", "test_candidates.py", "test_kinematics.py")
# Seconds of processor time: of the dearest test that is tried, and of all that are tried on one mutant.
DEAREST, BUDGET = 10.0, 15.0
# Seconds after which a process hangs.
PATIENCE = 300
# Seconds after which the map is written while it is made: a run can begin with a part.
WRITTEN_EVERY = 60


def modules(room: str) -> list[str]:
    """Return the paths of a room's modules; the box is a room of its own."""
    found = [str(path.relative_to(ROOT)) for pattern in ROOMS[room] for path in sorted(ROOT.glob(pattern))]
    return [name for name in found if not name.endswith("__init__.py") and (room == "blinding" or name != BOX)]


def sample(room: str, number: int) -> list[Mutant]:
    """Return mutants of a room, drawn by a digest of what they are: a change elsewhere draws no others."""
    made = [mutant for name in modules(room) for mutant in mutants_of(ROOT, name)]
    return sorted(made, key=lambda mutant: hashlib.sha256(mutant.key.encode()).digest())[:number]


class Mapper:
    """Plugin of pytest that records which lines a test and a shared fixture reach, and what they cost."""

    def __init__(self, path: Path, *, of_all: bool) -> None:
        import coverage

        self.path, self.all = path, of_all
        self.known = json.loads(path.read_text()) if path.exists() else {"tests": {}, "seconds": {}, "lines": {}}
        where = [str(ROOT / half) for half in ("analysis", "processors")]
        self.coverage = coverage.Coverage(data_file=None, source=where, messages=False, config_file=False)
        self.seconds: dict[str, float] = defaultdict(float)
        self.fixtures: dict[str, list[str]] = {}
        self.bad: set[str] = set()
        self.stack = [("", time.process_time())]
        self.written = time.monotonic()
        self.coverage.start()

    def _enter(self, *stack: tuple[str, float]) -> None:
        """Go on in another context, which is the last of these."""
        name, since = self.stack[-1]
        now = time.process_time()
        self.seconds[name] += now - since
        self.stack = [*stack[:-1], (stack[-1][0], now)]
        self.coverage.switch_context(stack[-1][0])

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        """Give what a shared fixture reaches to it, not to the test that happens to be the first."""
        if fixturedef.scope == "function":
            return (yield)
        self._enter(*self.stack, (f"{fixturedef.baseid}:{fixturedef.argname}", 0.0))
        try:
            return (yield)
        finally:
            self._enter(*self.stack[:-1])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Record a test; what is done here is not in its time."""
        self.fixtures[item.nodeid] = list(getattr(item, "fixturenames", ()))
        self._enter(*self.stack, (item.nodeid, 0.0))
        try:
            return (yield)
        finally:
            self._enter(*self.stack[:-1])
            if time.monotonic() - self.written > WRITTEN_EVERY:
                self.write()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Record what cannot catch anything."""
        if report.outcome != "passed":
            self.bad.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write all."""
        self.coverage.stop()
        self.write(whole=self.all)

    def write(self, *, whole: bool = False) -> None:
        """Write what is known."""
        data = self.coverage.get_data()
        shared = [name for name in self.seconds if name and name not in self.fixtures]
        tests = {}
        for test, names in self.fixtures.items():
            used = [one for one in shared if one.rpartition(":")[2] in names]
            used = [one for one in used if test.startswith(one.rpartition(":")[0])]
            cost = sum(self.seconds[one] for one in (test, *used))
            if test not in self.bad and cost < DEAREST:
                tests[test] = {"cost": cost, "own": self.seconds[test], "shared": used}
        lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for path in data.measured_files():
            for line, reached in data.contexts_by_lineno(path).items():
                lines[str(Path(path).relative_to(ROOT))][str(line)] = [name for name in reached if name]
        for module, of in self.known["lines"].items():
            for line, reached in of.items():
                lines[module][line] += [name for name in reached if name not in self.seconds]
        tests |= {test: of for test, of in self.known["tests"].items() if test not in self.fixtures}
        content = {"whole": whole, "tests": tests, "seconds": self.known["seconds"] | self.seconds, "lines": lines}
        # Whoever reads it meanwhile reads a whole one.
        (part := self.path.with_suffix(".part")).write_text(json.dumps(content))
        part.replace(self.path)
        self.written = time.monotonic()


class Planter:
    """Plugin of pytest that runs tests on one mutant after the other instead of running all."""

    def __init__(self, path: Path, mutants: list[tuple[str, Mutant]]) -> None:
        self.map = json.loads(path.read_text())
        self.mutants = mutants
        self.kills: Counter[tuple[str, str]] = Counter()
        self.sound: dict[str, bool] = {}
        self.failed = ""
        self.functions: dict[str, list[types.FunctionType]] = defaultdict(list)
        self.caches: list[Any] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant."""
        self.items = {item.nodeid: item for item in session.items}
        for room in ROOMS:
            for name in modules(room):
                import_module("jpsi_lnv." + name.removesuffix(".py").replace("/", "."))
        for one in gc.get_objects():
            if isinstance(one, types.FunctionType):
                self.functions[os.path.realpath(one.__code__.co_filename)].append(one)
            elif isinstance(one, _lru_cache_wrapper) and str(one.__module__).startswith("jpsi_lnv"):
                self.caches.append(one)
        gc.freeze()
        for room, mutant in self.mutants:
            tests = self.chosen(mutant)
            began = time.monotonic()
            if not tests and not self.map.get("whole"):
                continue
            outcome, by = self.tried(mutant, tests) if tests else ("survived", "no test reaches it")
            record = {"key": mutant.key, "room": room, "outcome": outcome, "by": by, "tests": len(tests)}
            record |= {"line": mutant.lines[-1], "body": digest(mutant), "seconds": round(time.monotonic() - began, 2)}
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")
        return True

    def chosen(self, mutant: Mutant) -> list[str]:
        """Return the tests to run, in their order."""
        lines = self.map["lines"].get(mutant.module, {})
        reached = {name for line in mutant.lines for name in lines.get(str(line), ())}
        tests = self.map["tests"]
        found = [name for name in self.items if name in tests and reached & {name, *tests[name]["shared"]}]
        found = [name for name in found if self.sound.get(name, True)]
        found.sort(key=lambda name: tests[name]["cost"] / (1 + 3 * self.kills[mutant.module, name]))
        kept, fixtures, spent = [], set(), 0.0
        for name in found:
            new = {*tests[name]["shared"]} - fixtures
            cost = tests[name]["own"] + sum(self.map["seconds"][one] for one in new)
            if spent + cost <= BUDGET:
                spent, fixtures = spent + cost, fixtures | new
                kept.append(name)
        return kept

    def tried(self, mutant: Mutant, tests: list[str]) -> tuple[str, str]:
        """Return what became of a mutant, and by which test; a test that fails on the original too does not count."""
        outcome, by = self.forked(tests, mutant)
        if outcome != "caught" or not by:
            return outcome, by
        if by not in self.sound:
            self.sound[by] = self.forked([by], None)[0] == "survived"
        if not self.sound[by]:
            return self.tried(mutant, [name for name in tests if name != by])
        self.kills[mutant.module, by] += 1
        return outcome, by

    def forked(self, tests: list[str], mutant: Mutant | None) -> tuple[str, str]:
        """Run tests in a process of their own until one fails."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.child(writer, tests, mutant)
        os.close(writer)
        # Counted in sleeps: a time in which this process is stopped is none.
        for _ in range(100 * PATIENCE):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                break
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        words = os.read(reader, 1 << 16).decode().split()
        os.close(reader)
        if words and words[-1] in ("survived", "unmade"):
            return words.pop(), ""
        # Without a word it died or hung in the test that it began last.
        begun = [word for word in words if word.isdigit()]
        return "caught", tests[int(begun[-1])] if begun else ""

    def child(self, writer: int, tests: list[str], mutant: Mutant | None) -> None:
        """Run tests and say which failed; never returns."""
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (4 * int(BUDGET), 4 * int(BUDGET) + 5))
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
        said = "survived"
        try:
            if mutant:
                self.plant(mutant)
        except ValueError:
            tests, said = [], "unmade"
        for number, (name, after) in enumerate(zip(tests, [*tests, None][1:], strict=True)):
            os.write(writer, f"{number} ".encode())
            item, following = self.items[name], self.items[after] if after else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                said = "caught"
                break
        os.write(writer, said.encode())
        os._exit(0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take note of a failure."""
        if report.failed:
            self.failed = report.nodeid

    def plant(self, mutant: Mutant) -> None:
        """Give the changed code to every function that has the old one, and forget what was computed with it."""
        path = os.path.realpath(ROOT / mutant.module)
        new: dict[tuple[str, int], types.CodeType] = {}
        waiting = [compile(mutant.changed(), path, "exec")]
        while waiting:
            code = waiting.pop()
            new[code.co_qualname, code.co_firstlineno] = code
            waiting += [one for one in code.co_consts if isinstance(one, types.CodeType)]
        changed = 0
        for function in self.functions[path]:
            code = function.__code__
            other = new.get((code.co_qualname, code.co_firstlineno), code)
            other = other.replace(co_filename=code.co_filename)
            if other != code:
                function.__code__ = other
                changed += 1
        if not changed:
            raise ValueError(mutant.key)
        for one in self.caches:
            one.cache_clear()


def digest(mutant: Mutant) -> str:
    """Return the digest of a mutant's function as it is in the code."""
    return hashlib.sha256(mutant.body.encode()).hexdigest()[:12]


def done() -> dict[str, dict[str, Any]]:
    """Return the last record of each mutant."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}


def waiting(rooms: list[str], number: int, *, kernels: bool, again: bool) -> list[tuple[str, Mutant]]:
    """Return the mutants that are to be tried, in turns of the rooms."""
    known, turns = done(), []
    for room in rooms:
        for turn, mutant in enumerate(sample(room, number)):
            old = known.get(mutant.key)
            new = old is None or old["body"] != digest(mutant) or (again and old["outcome"] == "survived")
            if new and mutant.in_kernel == kernels:
                turns.append((turn, room, mutant))
    return [(room, mutant) for _, room, mutant in sorted(turns, key=lambda one: one[:2])]


def report(number: int) -> None:
    """Print the table by room and the survivors."""
    known, equivalent = done(), json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    total: Counter[str] = Counter()
    survivors = []
    print("| room | made | caught | equivalent | survived | not tried |\n|---|---|---|---|---|---|")
    for room in ROOMS:
        found: Counter[str] = Counter()
        for mutant in sample(room, number):
            record = known.get(mutant.key)
            outcome = record["outcome"] if record and record["body"] == digest(mutant) else "not tried"
            if outcome == "survived" and mutant.key in equivalent:
                outcome = "equivalent"
            elif outcome == "survived":
                survivors.append(f"{mutant.module}:{mutant.lines[-1]} {mutant.key.partition(':')[2]} ({record['by']})")
            found[outcome] += 1
        print(row(room, found))
        total += found
    print(row("all", total) + "\n")
    print("\n".join(survivors))


def row(room: str, found: Counter[str]) -> str:
    """Return a row of the table; what could not be made is none."""
    made = found["caught"] + found["equivalent"] + found["survived"]
    counted = max(made - found["equivalent"], 1)
    caught = f"{found['caught']} ({100 * found['caught'] / counted:.1f} %)"
    return f"| {room} | {made} | {caught} | {found['equivalent']} | {found['survived']} | {found['not tried']} |"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["map", "run", "report"])
    parser.add_argument("tests", nargs="*", help="map only these, and keep what is known of the others")
    parser.add_argument("--kernels", action="store_true", help="compiled functions, in their Python form")
    parser.add_argument("--room", nargs="+", choices=ROOMS, default=list(ROOMS), help="only these")
    parser.add_argument("--number", type=int, default=150, help="mutants of each room")
    parser.add_argument("--again", action="store_true", help="try survivors again")
    options = parser.parse_args()
    if options.task == "report":
        report(options.number)
        return 0
    if options.kernels and os.environ.get("NUMBA_DISABLE_JIT") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"NUMBA_DISABLE_JIT": "1"})
    path = PLACE / ("map_kernels.json" if options.kernels else "map.json")
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    paths = options.tests or [str(TESTS / name) for name in (OF_KERNELS if options.kernels else (".",))]
    PLACE.mkdir(parents=True, exist_ok=True)
    arguments = [*paths, *(f"--ignore={TESTS / name}" for name in IGNORED), "-s", "-q", "-p", "no:cacheprovider"]
    arguments += ["--timeout", "100", "--basetemp", str(PLACE / f"temporary_{options.task}_{path.stem}")]
    if options.task == "map":
        return pytest.main(arguments, plugins=[Mapper(path, of_all=not options.tests), InOrder()])
    mutants = waiting(options.room, options.number, kernels=options.kernels, again=options.again)
    return pytest.main(arguments, plugins=[Planter(path, mutants), InOrder()])


class InOrder:
    """Plugin of pytest that leaves out the tests that start clusters, and takes those that start processes last."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the tests."""
        kept = [item for item in items if not CLUSTERS & set(getattr(item, "fixturenames", ()))]
        items[:] = sorted(kept, key=lambda item: [name in item.path.parts for name in LAST])


if __name__ == "__main__":
    sys.exit(main())
