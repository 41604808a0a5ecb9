"""What the own reader decodes is what pybes3 decodes, bit by bit, whatever the chunks."""

from __future__ import annotations

import itertools
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import uproot
from dst_oracle import (
    OBJECTS,
    RUNS,
    assert_columns_are_the_same,
    assert_equal,
    assert_members_are_the_same,
    assert_pairs_are_the_same,
)

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import dst_baskets, dst_tracks
from jpsi_lnv.analysis.events.dst import COLLECTIONS, open_dst
from jpsi_lnv.analysis.events.ntuple_writer import make_block

pytestmark = pytest.mark.fast

pybes3 = pytest.importorskip("pybes3")

# Events that are compared of a file that is larger.
MOST = 20_000


def samples():
    return sorted(Path(os.environ.get("BES_SAMPLES", "/nonexistent")).glob("*.dst"))


@pytest.fixture(scope="module", params=samples(), ids=lambda path: path.name)
def opened(request):
    with open_dst(str(request.param)) as dst:
        yield dst


@pytest.mark.parametrize("collection", OBJECTS, ids=lambda c: c.kind)
def test_every_member_is_the_same(opened, collection):
    assert_members_are_the_same(opened, collection, min(opened.n_events, MOST))


def test_the_pairs_of_hits_are_the_same(opened):
    assert_pairs_are_the_same(opened, min(opened.n_events, MOST))


@pytest.mark.parametrize("size", [1, 7, 1000, MOST])
def test_every_column_is_the_same_whatever_the_chunks(opened, size):
    assert_columns_are_the_same(opened.path, min(opened.n_events, MOST if size > 7 else 500), size)


@pytest.mark.parametrize("chosen", ["none", "some", "all"])
def test_a_preselection_changes_no_column(opened, chosen):
    n = min(opened.n_events, 1000)
    mask = {"none": np.zeros(n, bool), "some": np.arange(n) % 3 == 1, "all": np.ones(n, bool)}[chosen]
    whole = make_block(opened.read(0, n, RUNS))
    seen = []

    def choose(columns):
        seen.extend((columns.flat("Track", "kappa"), columns.flat("Track", "charge"), columns.scalar("ip_x")))
        return mask

    assert_equal(make_block(opened.read(0, n, RUNS, choose)), whole.select(mask))
    for name, values in zip(("Track_kappa", "Track_charge", "ip_x"), seen, strict=True):
        assert values.tobytes() == whole.values[name].tobytes()


def test_the_bits_of_a_tof_record_are_those_of_pybes3():
    status = np.arange(1 << 8, dtype=np.uint32)
    for bit, of in (
        (dst_tracks.TOF_COUNTER, pybes3.tof_hit_status_to_is_counter),
        (dst_tracks.TOF_CLUSTER, pybes3.tof_hit_status_to_is_cluster),
    ):
        np.testing.assert_array_equal((status & bit) != 0, of(status))


@pytest.mark.parametrize("name", ["_inflate_fast", "_inflate_slowly"])
def test_with_and_without_libdeflate(boss_file, monkeypatch, name):
    if name == "_inflate_fast":
        pytest.importorskip("deflate")
    with open_dst(str(boss_file)) as dst:
        wanted = make_block(dst.read(0, 10, RUNS))
    monkeypatch.setattr(dst_baskets, "_inflate", getattr(dst_baskets, name))
    with open_dst(str(boss_file)) as dst:
        assert_equal(make_block(dst.read(0, 10, RUNS)), wanted)


@pytest.mark.parametrize("compression", [uproot.LZ4(4), uproot.ZSTD(3), uproot.LZMA(1), None], ids=str)
def test_other_compressions(tmp_path, compression):
    path = tmp_path / "numbers.root"
    run = np.repeat(np.arange(40_000, dtype=np.int32), 2)
    with uproot.recreate(path, compression=compression) as file:
        file.mktree("Event", {"run": np.dtype("int32")}).extend({"run": run})
    with uproot.open(path) as file:
        baskets = dst_baskets.Baskets(str(path), file["Event/run"])
        dst_baskets.fetch(file.file.source, [baskets], 0, len(run))
        np.testing.assert_array_equal(dst_baskets.numbers(baskets, 3, 70_000, ">i4"), run[3:70_000])


def rewritten(source, path, collection, change):
    """A copy of the real file in which the bytes of a branch are changed before they are compressed again."""
    raw = bytearray(source.read_bytes())
    with open_dst(str(source)) as dst:
        branch = dst._branch(collection.path)
        (start, stop), records = branch.span(0), dst.records(collection, np.arange(dst.n_events))
        key_length = branch.kept[0].key_length
    plain = bytearray(zlib.decompress(raw[start + key_length + 9 : stop]))
    change(plain, records.pieces[0].places[:, 0])
    packed = deflated(bytes(plain), stop - start - key_length - 9)
    raw[start + key_length + 9 : stop] = packed
    path.write_bytes(raw)
    return path


def deflated(plain, size):
    """Compress into exactly so many bytes: empty blocks of five bytes fill the gap."""
    for level, window in itertools.product(range(9, 0, -1), range(15, 8, -1)):
        stream = zlib.compressobj(level, zlib.DEFLATED, -window)
        head, end = stream.compress(plain) + stream.flush(zlib.Z_SYNC_FLUSH), stream.flush()
        gap = size - 6 - len(head) - len(end)
        if gap >= 0 and gap % 5 == 0:
            checksum = zlib.adler32(plain).to_bytes(4, "big")
            return b"\x78\x01" + head + b"\x00\x00\x00\xff\xff" * (gap // 5) + end + checksum
    pytest.fail("no level makes that size")


def test_a_version_that_the_file_does_not_describe_is_read_by_pybes3_and_said(boss_file, tmp_path):
    def set_version(plain, places):
        for place in places:
            plain[place - 12 : place - 10] = (0, 9)

    with open_dst(str(boss_file)) as dst:
        wanted = make_block(dst.read(0, 10, RUNS))
    with open_dst(str(rewritten(boss_file, tmp_path / "new.dst", COLLECTIONS["kal"], set_version))) as dst:
        assert_equal(make_block(dst.read(0, 10, RUNS)), wanted)
        reason = {COLLECTIONS["kal"].path: "class TMdcKalTrack has version 9, which the file does not describe"}
        assert dst.fallbacks == reason


def test_one_object_of_another_version_is_damage(boss_file, tmp_path):
    def set_version(plain, places):
        plain[places[3] - 12 : places[3] - 10] = (0, 9)

    path = rewritten(boss_file, tmp_path / "bad.dst", COLLECTIONS["kal"], set_version)
    with open_dst(str(path)) as dst, pytest.raises(NtupleError, match=r"m_mdcKalTrackCol, event 1: is damaged"):
        dst.read(0, 10, RUNS)
