"""The pages at the top of the repository: short, true about the tree, and of one version."""

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
LINES_MAX = {"README.md": 130, "ARCHITECTURE.md": 110, "CONTRIBUTING.md": 40}
WIDTH_MAX = 140


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short_and_its_lines_fit_a_screen(name):
    lines = (ROOT / name).read_text().splitlines()
    assert len(lines) < LINES_MAX[name]
    assert [line for line in lines if len(line) > WIDTH_MAX and not line.startswith("|")] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_names_is_there(name):
    text = (ROOT / name).read_text()
    linked = set(re.findall(r"\]\((?!https?:)([^)#]+)", text)) | set(re.findall(r'src="([^"]+)"', text))
    named = set(re.findall(r"`((?:analysis|processors|src|docs|tests|benchmarks)/[\w./*-]*)`", text))
    assert [path for path in linked | named if not any(ROOT.glob(path.rstrip("/")))] == []


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


def test_the_cited_fields_are_those_of_the_format():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    keys = {line.partition(":")[0] for line in lines if line and not line.startswith((" ", "-"))}
    assert {"cff-version", "message", "title", "authors"} <= keys
