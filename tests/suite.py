"""Run the whole suite: a module in one process, three at once, for two cores, because tests of services mostly wait.

Usage: python tests/suite.py [arguments of pytest]. The last line sums the outcomes.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

TOGETHER = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


def run(*arguments: str) -> tuple[int, Counter[str]]:
    """Run tests; return pytest's status and the counts of their outcomes."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", *TOGETHER, f"--junit-xml={report}", *arguments]
        status = subprocess.run(command, check=False).returncode
        cases = ET.parse(report).getroot().iter("testcase") if report.exists() else ()
        return status, Counter(map(outcome, cases))


def outcome(case: ET.Element) -> str:
    """Return what became of a test; one that is expected to fail counts as none of the three."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    return "passed" if skipped is None else {"pytest.skip": "skipped"}.get(skipped.attrib["type"], "expected")


def main() -> int:
    """Run the tests and print their sum; return pytest's status."""
    status, total = run(*(sys.argv[1:] or [str(Path(__file__).parent)]))
    print(f"skipped: {total['skipped']}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return status


if __name__ == "__main__":
    sys.exit(main())
