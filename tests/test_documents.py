"""Files are written whole, and read within bounds and against a schema; whatever they hold, the answer is one line."""

import json
import zipfile
from dataclasses import dataclass

import pytest

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import NtupleError

pytestmark = pytest.mark.fast


@dataclass(frozen=True)
class Row:
    number: int
    value: float
    names: tuple[str, ...] = ()


FORM = Form("list of rows", "write it again", NtupleError, content=dict[str, Row])
ANY = Form("file", "write it again", NtupleError)
TOML = Form("file", "write it again", NtupleError, loads=documents.from_toml)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = documents.write_json(tmp_path / "deep" / "a.json", {"x": [1, 2.5]})
    assert json.loads(path.read_text()) == {"x": [1, 2.5]}
    with pytest.raises(ValueError, match="JSON"):
        documents.write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": [1, 2.5]}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_what_fits_the_schema_is_read(tmp_path):
    path = documents.write_json(tmp_path / "a.json", {"a": {"number": 1, "value": 2, "names": ["x", "y"]}})
    assert FORM.read(path) == {"a": Row(1, 2.0, ("x", "y"))}
    assert ANY.read(path)["a"]["number"] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["is not JSON"]),
        (b"[1]", ["holds list; wanted an object"]),
        (b"\xff\xfe{", ["no text in UTF-8"]),
        (b'{"a": 1, "b": 2, "a": 3}', ["key 'a' stands twice"]),
        (b'{"a": {"files": 1, "files": 2}}', ["key 'files' stands twice"]),
        (b'{"a": NaN}', ["NaN is no number"]),
        (b'{"a": [1, -Infinity]}', ["-Infinity is no number"]),
        (b'{"a": {"b": [0, 1e999]}}', ["a.b[1] is inf", "finite"]),
        (b'{"a": 10000000000000000000}', ["a is an integer of 64 bits"]),
        (b'{"a": %s}' % (b"9" * 5000), ["is not JSON"]),
        (b'{"a": %s}' % (b"[" * 40 + b"]" * 40), ["nested too deeply", "32 levels"]),
        (b"[" * 100_000, ["nested too deeply"]),
    ],
)
def test_what_breaks_a_bound_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(NtupleError) as caught:
        ANY.read(path)
    said = str(caught.value)
    assert said.startswith(f"file {path}: ")
    assert said.endswith("; write it again")
    assert "\n" not in said
    assert all(word in said for word in words)


def test_every_place_that_differs_from_the_schema_is_named(tmp_path):
    rows = {"a": {"number": True, "value": "x"}, "b": {"value": True}, "c": [1]}
    with pytest.raises(NtupleError) as caught:
        FORM.read(documents.write_json(tmp_path / "a.json", rows))
    for words in ("a.number is True", "a.value is 'x'", "b.number is missing", "b.value is True", "c is of type list"):
        assert words in str(caught.value)


@pytest.mark.parametrize("text", [b"a = ", b"a = nan", b"a = 1\na = 2", b"a = inf", b"\xff", b"a = " + b"[" * 50_000])
def test_toml_has_the_same_bounds(tmp_path, text):
    (tmp_path / "a.toml").write_bytes(text)
    with pytest.raises(NtupleError, match=r"file .*a\.toml: .*; write it again"):
        TOML.read(tmp_path / "a.toml")


def test_absent_files_directories_and_names_that_are_none_are_refused(tmp_path):
    for path in (tmp_path / "absent", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(NtupleError, match="cannot be read"):
            ANY.read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "TEXT_MAX", 10)
    with pytest.raises(NtupleError, match=r"has 1\d bytes; wanted at most 10"):
        ANY.read(documents.write_json(tmp_path / "a.json", {"a": "long"}))


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as stored:
        stored.writestr("zeros", bytes(1_000_000))
    with documents.archive(tmp_path / "a.zip", ANY) as member:
        assert len(member("zeros")) == 1_000_000
    monkeypatch.setattr(documents, "UNPACKED_MAX", 999_999)
    with pytest.raises(NtupleError, match="unpacks to 1000000 bytes"), documents.archive(tmp_path / "a.zip", ANY):
        pass


@pytest.mark.parametrize("text", [b"", b"PK", b"PK\x03\x04" * 20])
def test_what_is_no_archive_is_refused(tmp_path, text):
    (tmp_path / "a.zip").write_bytes(text)
    with pytest.raises(NtupleError, match="no zip archive"), documents.archive(tmp_path / "a.zip", ANY):
        pass


def test_a_digest_depends_on_content_alone(tmp_path):
    assert documents.digest("a", b"b") == documents.digest("ab")
    assert documents.digest_of_json({"a": 1, "b": 2}) == documents.digest_of_json({"b": 2, "a": 1})
    (tmp_path / "f").write_bytes(b"ab")
    assert documents.digest_of_file(tmp_path / "f") == documents.digest("ab")
    assert documents.digest_of_file(tmp_path / "absent") is None
    with (tmp_path / "f").open("rb") as stream:
        assert documents.sha256(stream) == documents.digest("ab", digits=64)
