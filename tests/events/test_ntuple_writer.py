"""What the writer writes is read back, by uproot and with no project code, as it was given."""

from __future__ import annotations

import errno
import itertools
import uuid

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.ntuple_writer import UNCOMPRESSED, NtupleWriter, remove_partials
from jpsi_lnv.analysis.events.schema import BRANCHES

pytestmark = pytest.mark.fast

OPTIONAL = tuple(b for b in BRANCHES if b not in schema.required_branches())


def columns_of(rng, n_events, *, optional=(), most=4):
    """Random columns of the table: (E,) scalars and (offsets, values) collections, some events empty."""
    offsets = {
        name: np.concatenate([[0], np.cumsum(rng.integers(0, most + 1, n_events))]) for name in schema.COLLECTIONS
    }
    columns = {}
    for name in (*schema.required_branches(), *optional):
        collection, column = BRANCHES[name]
        size = int(offsets[collection][-1]) if collection else n_events
        values = rng.integers(-100, 100, size).astype(column.dtype)
        if column.dtype == "float32":
            values = rng.normal(size=size).astype(np.float32)
        columns[name] = (offsets[collection], values) if collection else values
    return columns


def assert_same(tree, columns):
    for name, value in columns.items():
        collection, column = BRANCHES[name]
        read, wanted = tree[name].array(), value
        if collection:
            np.testing.assert_array_equal(ak.num(read), np.diff(value[0]))
            np.testing.assert_array_equal(tree[f"n{collection}"].array(library="np"), np.diff(value[0]))
            read, wanted = ak.flatten(read), value[1]
        flat = ak.to_numpy(read)
        assert flat.dtype == column.dtype
        np.testing.assert_array_equal(flat, wanted)


@pytest.mark.parametrize("optional", [(), OPTIONAL, ("Track_gen",)], ids=["required", "all", "one"])
def test_every_value_is_read_back(tmp_path, optional):
    columns = columns_of(np.random.default_rng(1), 500, optional=optional)
    with NtupleWriter(tmp_path / "a.root", basket_events=200) as writer:
        writer.extend(columns)
    with uproot.open(tmp_path / "a.root") as file:
        tree = file["Events"]
        assert set(tree.keys()) == set(columns) | {"nTrack", "nShower"} | (
            {"nGen", "nTof", "nV0"} if optional == OPTIONAL else set()
        )
        assert_same(tree, columns)


def test_one_counter_per_collection_and_baskets_as_asked(tmp_path):
    with NtupleWriter(tmp_path / "a.root", basket_events=200) as writer:
        writer.extend(columns_of(np.random.default_rng(2), 500))
    with uproot.open(tmp_path / "a.root") as file:
        tree = file["Events"]
        assert [b for b in tree.keys() if b.startswith("n")] == ["nTrack", "nShower"]  # noqa: SIM118
        assert {tuple(np.diff(b.entry_offsets)) for b in tree.branches} == {(200, 200, 100)}
        assert "TTree" in tree.classname


def test_columns_of_noise_are_not_compressed(tmp_path):
    with NtupleWriter(tmp_path / "a.root") as writer:
        writer.extend(columns_of(np.random.default_rng(8), 2_000))
    with uproot.open(tmp_path / "a.root") as file:
        ratio = {b.name: b.compression_ratio for b in file["Events"].branches}
    assert {name for name, r in ratio.items() if r == 1.0} == set(UNCOMPRESSED)
    assert ratio["Track_dedx_n_hits"] > 1.5


@settings(max_examples=settings.default.max_examples // 16)
@given(cuts=st.lists(st.integers(0, 120), max_size=6), seed=st.integers(0, 99))
def test_the_file_does_not_depend_on_how_the_events_came(tmp_path_factory, cuts, seed):
    path = tmp_path_factory.mktemp("writer") / "a.root"
    columns = columns_of(np.random.default_rng(seed), 120)
    edges = [0, *sorted(cuts), 120]
    with NtupleWriter(path, basket_events=50) as writer:
        for start, stop in itertools.pairwise(edges):
            writer.extend(part(columns, start, stop))
    with uproot.open(path) as file:
        assert_same(file["Events"], columns)
        assert list(np.diff(file["Events"]["run"].entry_offsets)) == [50, 50, 20]


def part(columns, start, stop):
    """Events start to stop, with offsets that do not begin at zero."""
    out = {}
    for name, value in columns.items():
        if BRANCHES[name][0]:
            offsets, flat = value
            out[name] = (offsets[start : stop + 1], flat[offsets[start] : offsets[stop]])
        else:
            out[name] = value[start:stop]
    return out


def test_a_file_without_events_has_the_required_columns(tmp_path):
    with NtupleWriter(tmp_path / "none.root") as writer:
        pass
    with NtupleWriter(tmp_path / "zero.root") as zero:
        zero.extend(columns_of(np.random.default_rng(0), 0, optional=OPTIONAL))
    assert writer.n_events == zero.n_events == 0
    for name, wanted in {"none": schema.required_branches(), "zero": tuple(BRANCHES)}.items():
        with uproot.open(tmp_path / f"{name}.root") as file:
            assert file["Events"].num_entries == 0
            assert set(wanted) <= set(file["Events"].keys())
            assert ak.to_list(file["Events"]["Track_kappa"].array()) == []
            assert file["Meta"]["n_produced"].array().tolist() == [0]


def test_events_without_any_track_are_kept(tmp_path):
    columns = columns_of(np.random.default_rng(3), 40, most=0)
    with NtupleWriter(tmp_path / "a.root") as writer:
        writer.extend(columns)
    with uproot.open(tmp_path / "a.root") as file:
        assert_same(file["Events"], columns)


def test_meta_rows_hold_counts_and_uuids(tmp_path):
    sources = [uuid.uuid4(), uuid.uuid4(), None]
    with NtupleWriter(tmp_path / "a.root") as writer:
        writer.extend(columns_of(np.random.default_rng(4), 7))
        for k, source in enumerate(sources):
            writer.add_source(n_produced=100 + k, n_stored=k, source=source)
    with uproot.open(tmp_path / "a.root") as file:
        meta = file["Meta"].arrays(library="np")
    assert meta["n_produced"].tolist() == [100, 101, 102]
    assert meta["n_stored"].tolist() == [0, 1, 2]
    back = [int(h) << 64 | int(low) for h, low in zip(meta["source_hi"], meta["source_lo"], strict=True)]
    assert back == [sources[0].int, sources[1].int, 0]


def test_an_error_leaves_the_former_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.root"
    path.write_bytes(b"former")
    writer = NtupleWriter(path)
    with pytest.raises(KeyError), writer:  # noqa: PT012
        writer.extend(columns_of(np.random.default_rng(5), 10))
        raise KeyError
    assert path.read_bytes() == b"former"
    assert [p.name for p in tmp_path.iterdir()] == ["a.root"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = NtupleWriter(tmp_path / "a.root", basket_events=5)
    with pytest.raises(NtupleError, match=r"a\.root: cannot write the ntuple: No space left on device"), writer:  # noqa: PT012
        monkeypatch.setattr("uproot.writing.writable.WritableTree.extend", full)
        writer.extend(columns_of(np.random.default_rng(6), 10))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NtupleError, match="cannot write the ntuple"), NtupleWriter(tmp_path / "file" / "a.root"):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("Track_kappa"), r"1 required columns are missing: Track_kappa"),
        (lambda c: c.update(weight=c["sqrt_s"]), "does not know: weight"),
        (lambda c: c.update(Track_dr=c["Track_dr"][1]), r"Track_dr: got ndarray, wanted \(offsets, values\)"),
        (lambda c: c.update(Track_dr=c["Shower_x"]), "Track_dr: its offsets differ|offsets differ"),
        (lambda c: c.update(sqrt_s=c["sqrt_s"][1:]), r"sqrt_s: got shape \(9,\), wanted \(10,\)"),
        (lambda c: c.update(run=c["run"] + 0.5), "run: got float64, wanted int32"),
        (lambda c: c.update(run=c["run"].astype(np.int64) + 2**40), "do not fit int32"),
        (lambda c: c.update(Track_dr=(c["Track_dr"][0][:-1], c["Track_dr"][1])), "got 10 offsets for 10 events"),
    ],
)
def test_wrong_columns_are_named(tmp_path, change, message):
    columns = columns_of(np.random.default_rng(7), 10)
    change(columns)
    with pytest.raises(SchemaError, match=message), NtupleWriter(tmp_path / "a.root") as writer:
        writer.extend(columns)
    assert list(tmp_path.iterdir()) == []


def test_optional_columns_may_not_come_and_go(tmp_path):
    with pytest.raises(NtupleError, match="Track_gen"), NtupleWriter(tmp_path / "a.root") as writer:  # noqa: PT012
        writer.extend(columns_of(np.random.default_rng(8), 10))
        writer.extend(columns_of(np.random.default_rng(8), 10, optional=("Track_gen",)))


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "a[1].root"
    left, other = tmp_path / ".a[1].root.123-abc.part", tmp_path / ".a1.root.123-abc.part"
    for file in (path, left, other):
        file.touch()
    remove_partials([path])
    assert sorted(tmp_path.iterdir()) == sorted([path, other])
