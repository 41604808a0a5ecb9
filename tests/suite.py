"""Run the whole suite: what shares nothing in two processes, what starts processes and services of its own after it.

Usage: python tests/suite.py [arguments of pytest]. The last line sums both parts.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

PARTS = (("not serial and not soak", "-n", "2", "--dist", "loadfile"), ("serial and not soak",))
NO_TESTS = 5


def run(selection: str, *arguments: str) -> tuple[int, Counter[str]]:
    """Run one part; return pytest's status and the counts of its outcomes."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", selection, f"--junit-xml={report}", *arguments]
        status = subprocess.run(command, check=False).returncode
        cases = ET.parse(report).getroot().iter("testcase") if report.exists() else ()
        counts = Counter(outcome(case) for case in cases)
    return (0 if status == NO_TESTS else status), counts


def outcome(case: ET.Element) -> str:
    """Return what became of a test; one that is expected to fail counts as none of the three."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    return "passed" if skipped is None else {"pytest.skip": "skipped"}.get(skipped.attrib["type"], "expected")


def main() -> int:
    """Run the parts and print their sum; return the first status that is not zero."""
    status, total = 0, Counter[str]()
    for selection, *arguments in PARTS:
        of_part, counts = run(selection, *arguments, *(sys.argv[1:] or [str(Path(__file__).parent)]))
        status, total = status or of_part, total + counts
    print(f"skipped: {total['skipped']}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return status


if __name__ == "__main__":
    sys.exit(main())
