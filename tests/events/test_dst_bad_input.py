"""What is not a readable BOSS .dst is one line that names the file and what was found instead."""

from __future__ import annotations

import numpy as np
import pytest
import uproot

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events.dst import COLLECTIONS, open_dst
from jpsi_lnv.analysis.events.run_table import Conditions, uniform

pytestmark = pytest.mark.fast

RUNS = uniform(Conditions(sqrt_s=3.097))


def message_of(path, *, read=False):
    with pytest.raises(NtupleError) as caught, open_dst(str(path)) as dst:  # noqa: PT012
        if read:
            dst.read(0, dst.n_events, RUNS)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_not_a_root_file(tmp_path):
    path = tmp_path / "text.dst"
    path.write_text("run 9947\n" * 100)
    assert "cannot be read as a ROOT file" in message_of(path)


@pytest.mark.parametrize("content", [b"", b"root"], ids=["empty", "four bytes"])
def test_next_to_nothing(tmp_path, content):
    path = tmp_path / "short.dst"
    path.write_bytes(content)
    assert "cannot be read as a ROOT file" in message_of(path)


def test_no_such_file(tmp_path):
    assert "no such file" in message_of(tmp_path / "absent.dst")


def test_a_directory(tmp_path):
    assert "cannot be read" in message_of(tmp_path)


def test_another_tree(tmp_path):
    path = tmp_path / "ntuple.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"run": np.dtype("int32")})
    message = message_of(path)
    assert "Events (TTree)" in message
    assert "wanted a BOSS .dst with the tree 'Event'" in message


def test_no_tree_at_all(tmp_path):
    path = tmp_path / "nothing.root"
    with uproot.recreate(path):
        pass
    assert "got a ROOT file with nothing" in message_of(path)


def test_raw_hits(tmp_path):
    path = tmp_path / "hits.rtraw"
    with uproot.recreate(path) as file:
        file.mktree("Event", {"TDigiEvent/m_mdcDigiCol": np.dtype("int32")})
    message = message_of(path)
    assert "raw hits" in message
    assert "reconstruct it" in message


def test_an_event_tree_without_the_collections(tmp_path):
    path = tmp_path / "user.root"
    with uproot.recreate(path) as file:
        file.mktree("Event", {"x": np.dtype("int32")}).extend({"x": np.arange(3, dtype=np.int32)})
    message = message_of(path)
    assert all(collection.path in message for collection in COLLECTIONS.values())


def test_no_events(boss_file, monkeypatch, tmp_path):
    monkeypatch.setattr("uproot.behaviors.TTree.TTree.num_entries", property(lambda self: 0), raising=False)
    with open_dst(str(boss_file)) as dst:
        assert (dst.n_events, dst.is_simulation) == (0, None)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated(boss_file, tmp_path, fraction):
    raw = boss_file.read_bytes()
    path = tmp_path / "cut.dst"
    path.write_bytes(raw[: int(len(raw) * fraction)])
    assert "damaged" in message_of(path, read=True)


def test_damaged_basket(boss_file, tmp_path):
    with uproot.open(boss_file) as file:
        branch = file["Event"]["TDstEvent/m_mdcKalTrackCol"]
        seek, size = (int(branch.member(name)[0]) for name in ("fBasketSeek", "fBasketBytes"))
    raw = bytearray(boss_file.read_bytes())
    raw[seek + size // 2 : seek + size // 2 + 64] = bytes(64)
    path = tmp_path / "bits.dst"
    path.write_bytes(raw)
    message = message_of(path, read=True)
    assert "branch m_mdcKalTrackCol, events 0 to 10" in message
