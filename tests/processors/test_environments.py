"""No number depends on locale, time zone, umask, hash seed, number of cores or the order of datasets and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.simulation import production, samplesets

N_FILES, N_EVENTS = 3, 400
COMMANDS = (
    ("fileset", "complete", "plain.json", "--output", "completed.json"),
    ("run", "completed.json", "--executor", "futures", "--output", "results"),
    *((command, "--output", "results") for command in ("systematics", "background", "limits")),
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The datasets of the `ci` set with few events, each in several files."""
    directory, content = tmp_path_factory.mktemp("environments"), {}
    for dataset in samplesets.sample_set("ci").datasets:
        files = [directory / f"{dataset.name}_{block}.root" for block in range(N_FILES)]
        for block, path in enumerate(files):
            with NtupleWriter(path) as writer:
                writer.extend(production.make_block(dataset.recipe, dataset.name, block, N_EVENTS, 3))
        content[dataset.name] = {"files": dict.fromkeys(map(str, files), "Events")}
        content[dataset.name]["metadata"] = dataset.metadata.to_dict()
    return content


def chain(content, directory, *, umask, cores, **environment):
    """Run the commands from fileset to limits in a place of its own; return its results."""
    directory.mkdir()
    (directory / "plain.json").write_text(json.dumps(content))
    lnv = str(Path(sys.executable).with_name("lnv"))
    for command in COMMANDS:
        done = subprocess.run(
            [lnv, *command],
            cwd=directory,
            env=os.environ | environment,
            preexec_fn=lambda: (os.umask(umask), os.sched_setaffinity(0, cores)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return directory / "results"


def numbers(directory, name, key):
    """Return what a result holds but for where and when it was made."""
    return json.loads((directory / f"{name}.json").read_text())[key]


def test_the_same_bits_in_another_environment(plain, tmp_path):
    cores = os.sched_getaffinity(0)
    turned = {
        name: {"files": dict(reversed(of["files"].items())), "metadata": of["metadata"]}
        for name, of in reversed(plain.items())
    }
    here = chain(plain, tmp_path / "here", umask=0o022, cores=cores, LC_ALL="C", TZ="UTC", PYTHONHASHSEED="1")
    there = chain(
        turned,
        tmp_path / "there",
        umask=0o077,
        cores={min(cores)},
        LC_ALL="tr_TR.UTF-8",
        TZ="Asia/Shanghai",
        PYTHONHASHSEED="4711",
    )
    one, other = (results.read(directory / "accumulator.zip").datasets for directory in (here, there))
    assert one.keys() == other.keys()
    for name, dataset in one.items():
        for selection, found in dataset.selections.items():
            theirs = other[name].selections[selection]
            assert (found.cutflow, found.status) == (theirs.cutflow, theirs.status)
            assert found.histograms == theirs.histograms
            assert found.candidates.keys() == theirs.candidates.keys()
            for column, values in found.candidates.items():
                np.testing.assert_array_equal(values, theirs.candidates[column])
    for name, key in (("systematics", "tables"), ("background", "channels"), ("limits", "limits")):
        assert numbers(here, name, key) == numbers(there, name, key)
