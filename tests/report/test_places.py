"""Every number of the page says where in the result it comes from, and that place holds it."""

import dataclasses
import html.parser
import io
import json
import shutil
import zipfile

import pyarrow.parquet as pq
import pytest

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.report import background, page, paper, source

from .conftest import map_closed, validated

NUMBERS_LEAST = 150


class Cells(html.parser.HTMLParser):
    """Collects the attributes of all cells and headline values of a page."""

    def __init__(self, text):
        super().__init__()
        self.numbers, self.facts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "td" and (given.get("class") == "number" or "data-place" in given):
            self.numbers.append(given)
        if tag == "dd" and "data-place" in given:
            self.facts.append(given["data-place"])


class Result:
    """The files of a directory of results, member by member of the accumulator."""

    def __init__(self, directory):
        self.directory = directory

    def content(self, name):
        archive, _, member = name.rpartition(".zip/")
        if not archive:
            return json.loads((self.directory / name).read_text())
        with zipfile.ZipFile(self.directory / f"{archive}.zip") as opened:
            data = opened.read(member)
        return pq.read_table(io.BytesIO(data)).to_pylist() if name.endswith(".parquet") else json.loads(data)

    def at(self, place):
        name, _, pointer = place.partition("#")
        found = self.content(name)
        for key in pointer.strip("/").split("/"):
            found = found[int(key)] if isinstance(found, list) else found[key]
        return max(found) if isinstance(found, list) and isinstance(found[0], float) else found

    def holds(self, place, shown):
        """Return whether a value of the page is that of its place; ``a ÷ b`` is a quotient."""
        dividend, _, divisor = place.partition(" ÷ ")
        value, over = self.at(dividend), 1.0
        if isinstance(value, dict):
            return False
        if isinstance(value, bool | str | list):
            return str(value) == shown
        if divisor:
            over = self.at(divisor) if "#" in divisor else float(divisor)
        return value / over == pytest.approx(float(shown))


def walk(directory):
    """Follow every number of the tables of a page to its place, and return how many there were."""
    result, numbers = Result(directory), Cells((directory / "report.html").read_text()).numbers
    shown = [cell for cell in numbers if cell["data-value"]]
    for cell in shown:
        place, worked_out, _ = cell["data-place"].partition(background.ASSUMED)
        if not place.startswith(paper.SOURCE):
            assert bool(worked_out) != result.holds(place, cell["data-value"]), cell
    return len(shown)


def test_every_number_of_a_table_is_in_the_file_that_it_names(reported):
    assert walk(reported.output) > NUMBERS_LEAST


def test_numbers_of_all_studies_are_in_their_files(output, studied, estimated, tmp_path):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    of_no_result = {"validation": validated(), "recast_closure": map_closed()}
    for stem, content in {**studied.extras, **estimated.extras, **of_no_result}.items():
        derived.write(directory, stem, content, studied.results)
    found = source.read(directory, directory / "accumulator.zip")
    assert set(found.extras) >= {"systematics", "optimization", "limit_checks", "topology", "background", *of_no_result}
    sections = [dataclasses.replace(section, pictures=()) for section in page.sections(found)]
    page.write(directory, found, sections)
    assert walk(directory) > 2 * NUMBERS_LEAST


@pytest.fixture(scope="module")
def read(reported):
    return Cells((reported.output / "report.html").read_text())


def test_every_number_of_the_headline_has_a_place(read, reported):
    result = Result(reported.output)
    assert "limits.json#/limits/0/branching_fraction_ul" in read.facts
    for place in read.facts:
        assert result.at(place) is not None


def test_symbols_of_the_tables_are_explained(whole):
    heads = {f.head for s in page.sections(whole) for t in s.tables for f in t.fields}
    assert {"N obs", "N bkg", "ε", "Δ sys", "N up", "B limit", "expected", "M(ν)"} <= heads & set(page.GLOSSARY)
