"""Files of some megabytes: the own reader agrees with pybes3 on them, and nothing that is done to them harms it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from dst_oracle import (
    OBJECTS,
    RUNS,
    assert_columns_are_the_same,
    assert_members_are_the_same,
    assert_pairs_are_the_same,
)

from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst import open_dst
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.processors.cli import lnv

SUPPORT = Path(__file__).parents[1] / "support"
KINDS = ("data", "simulation", "no flush")
# Mutations of a file in the suite, and in the long run.
FEW, MANY = 50, 500


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 1000, 3000])
def test_every_column_is_the_same_whatever_the_chunks(made_files, kind, size):
    assert_columns_are_the_same(str(made_files[kind]), 200 if size == 1 else 3000, size)


@pytest.mark.parametrize("kind", KINDS)
def test_every_member_is_the_same(made_files, kind):
    with open_dst(str(made_files[kind])) as dst:
        for collection in OBJECTS:
            assert_members_are_the_same(dst, collection, dst.n_events)
        assert_pairs_are_the_same(dst, dst.n_events)


def test_of_a_chunk_that_was_read_only_baskets_that_go_on_are_held(made_files):
    with open_dst(str(made_files["simulation"]), schema.KEPT) as dst:
        for start in range(0, dst.n_events, 700):
            stop = min(start + 700, dst.n_events)
            dst.read(start, stop, RUNS)
            held = [baskets.edges[k + 1] for baskets in dst._baskets.values() for k in baskets.kept]
            assert all(end > stop for end in held)
    assert not held


def test_what_is_kept_by_default_adds_a_quarter_at_most(made_files, tmp_path):
    sizes = {}
    for keep in ((), schema.KEPT):
        with open_dst(str(made_files["data"]), keep) as dst, NtupleWriter(tmp_path / "out.root") as writer:
            writer.extend(dst.read(0, dst.n_events, RUNS))
        sizes[keep] = (tmp_path / "out.root").stat().st_size
    assert 1.1 < sizes[schema.KEPT] / sizes[()] < 1.25


@pytest.mark.parametrize("form", ["zlib", "lzma", "lz4", "zstd", "none", "cycles"])
def test_a_copy_is_skimmed_as_the_file_itself(boss_file, made_by_root, tmp_path, form):
    assert_equal(*(skimmed(path, tmp_path / path.stem) for path in (boss_file, made_by_root[form])))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("directory", "got a ROOT file with sub (TDirectory)"),
        ("rntuple", "got a ROOT file with Event (ROOT::RNTuple); wanted a BOSS .dst with the tree 'Event'"),
    ],
)
def test_a_copy_that_is_no_dst_is_refused_in_a_line(made_by_root, tmp_path, form, words):
    path = made_by_root.get(form, tmp_path / "rntuple.dst")
    if form == "rntuple":
        with uproot.recreate(path) as file:
            file["Event"] = {"run": np.arange(3)}
    done = skim(path, tmp_path / "s")
    assert isinstance(done.exception, LnvError)
    (said,) = [line for line in done.output.splitlines() if line.startswith("failed: ")]
    assert f"{path}: " in said
    assert words in said


def test_a_copy_without_events_is_a_source_of_none(made_by_root, tmp_path):
    done = skim(made_by_root["empty"], tmp_path)
    assert done.exit_code == 0
    assert "warning: no input has an event: dataset 'skim' is not in the fileset" in done.output


def skim(path, output):
    arguments = ("skim", path, "--output", output, "--all", "--sqrt-s", "3.097", "--executor", "iterative")
    return CliRunner().invoke(lnv, [str(a) for a in arguments])


def skimmed(path, output):
    """Return the columns of a skim."""
    done = skim(path, output)
    assert done.exit_code == 0, done.exception
    with uproot.open(output / "skim_0.root") as file:
        return file["Events"].arrays(how=dict)


def assert_equal(wanted, found):
    assert [*wanted] == [*found]
    for name, values in wanted.items():
        assert ak.array_equal(values, found[name]), name


def mutate(path, directory, n, **environment):
    """Read n damaged copies in a process of their own, which must end; return what became of each."""
    call = [sys.executable, str(SUPPORT / "mutate_dst.py"), str(path), str(directory / "mutated.dst"), str(n)]
    there = os.environ | environment
    done = subprocess.run(call, check=False, capture_output=True, text=True, env=there, timeout=3000)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == n
    return found


def check(found, path):
    wrong = [f for f in found if not (f["is_same"] or is_plain(f["message"]))]
    assert not wrong
    assert any(f["is_same"] for f in found)
    said = [f["message"] for f in found if not f["is_same"]]
    assert any("branch m_" in message and "event" in message for message in said)


def is_plain(message):
    return "mutated.dst" in message and "\n" not in message


def test_a_damaged_file_is_one_line_or_the_same_events(boss_file, tmp_path):
    check(mutate(boss_file, tmp_path, FEW), boss_file)


@pytest.mark.parametrize("kind", ["simulation"])
def test_a_damaged_large_file_is_one_line_or_the_same_events(made_files, tmp_path, kind):
    check(mutate(made_files[kind], tmp_path, FEW), made_files[kind])


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(made_files, tmp_path, kind):
    check(mutate(made_files[kind], tmp_path, MANY), made_files[kind])


@pytest.mark.soak
def test_no_kernel_reads_outside_of_a_buffer(boss_file, tmp_path):
    """Compiled with checks of every index; whoever reads outside ends in an IndexError, which is not a plain line."""
    checks = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    check(mutate(boss_file, tmp_path, MANY, **checks), boss_file)
