"""The documentation builds without a warning, shows what the code says, and names no file that does not exist."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.selection.steps import SECTION_III

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="pip install mkdocs-material mkdocstrings[python], or make install-all")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return target


def page(site, name):
    return (site / name / "index.html").read_text()


def test_every_page_is_in_the_menu(site):
    listed = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name in listed, f"add {path.name} to the menu in mkdocs.yml"


def test_pages_show_what_the_code_says(site):
    physics = page(site, "physics")
    for step in SECTION_III:
        assert step.name in physics
    assert "chi2_4c_max" in physics
    assert f"{SELECTION.chi2_4c_max}" in physics
    columns = page(site, "schema")
    for collection, table in schema.COLLECTIONS.items():
        for column in table:
            assert schema.branch(collection, column.name) in columns
    assert "<!-- generated" not in physics + columns + page(site, "closure")


def test_reports_that_were_made_are_published_with_the_pages(tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT / "docs"))
    import generated

    monkeypatch.setattr(generated, "_ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "report.html").write_text("<p>of the demo set</p>")
    said = generated.reports().splitlines()
    assert 'href="demo.html"' in said[0]
    assert "`make paper` makes it" in said[1]
    generated.on_post_build({"site_dir": str(tmp_path / "site")})
    assert [p.name for p in (tmp_path / "site" / "reports").iterdir()] == ["demo.html"]


def test_every_key_of_a_fileset_is_explained(site):
    text = page(site, "fileset")
    for field in dataclasses.fields(DatasetMetadata):
        assert f"<code>{field.name}</code>" in text
    assert "<!-- generated" not in text
    assert "must be stated for kinds" in text
    assert "Number of J/psi" in text


def test_the_api_has_docstrings(site):
    text = page(site, "api_analysis")
    assert "jpsi_lnv.analysis.limits.rolke" in text
    assert "upper_limit" in text


def test_pages_load_nothing_from_elsewhere(site):
    pattern = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?:[^\" >]+)")
    for path in site.rglob("*.html"):
        found = [url for url in pattern.findall(path.read_text()) if "rel=canonical" not in url]
        assert not found, f"{path}: {found}"
