"""Whatever a file of ours holds, its reader gives what it should or one error of ours: never a traceback."""

import copy
import json
import zipfile
from pathlib import Path

import hist
import numpy as np
import pytest
from run_cases import make_fileset

from jpsi_lnv.analysis import derived, documents, majorana, results
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events.mapping import read_map
from jpsi_lnv.analysis.events.run_table import read_run_table
from jpsi_lnv.analysis.events.schema import BRANCHES, required_branches
from jpsi_lnv.analysis.limits import gather
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, read_preset
from jpsi_lnv.processors.commands import fileset as fileset_command
from jpsi_lnv.processors.commands.systematics import read_comparison

ROOT = Path(__file__).parents[1]
VALUES = (
    True, False, None, 0, -1, 10**30, 1e308, -1e308, 0.5, "", "x", "\0", "2009+2009", [], {}, [1], {"a": 1}, [[]],
    "../../etc", float("nan"),
)  # fmt: skip
BYTES = (
    b"",
    b"\xff\xfe\x00",
    b"[" * 5000,
    b"{" * 5000,
    b'"',
    b"\0" * 50,
    b"null",
    b"[]",
    b"1e999",
    b"NaN",
    b"9" * 6000,
)


def places(content, at=()):
    """Return the path to every value of a JSON object."""
    yield at
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from places(value, (*at, key))


def mutate_json(rng, content):
    """Return a text in which one value is another, is gone, or stands twice."""
    content = copy.deepcopy(content)
    found = [place for place in places(content) if place]
    *where, last = found[rng.integers(len(found))]
    parent = content
    for key in where:
        parent = parent[key]
    what = rng.integers(4)
    if what == 0:
        del parent[last]
    elif what == 1 and isinstance(parent, dict):
        parent[f"{last}x"] = parent.pop(last)
    else:
        parent[last] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(content).encode()


def mutate_bytes(rng, data):
    """Return the bytes cut, with some replaced, or with something in the middle."""
    place = int(rng.integers(len(data)))
    what = rng.integers(4)
    if what == 0:
        return data[:place]
    if what == 1:
        return data[:place] + bytes(rng.integers(0, 256, 4, dtype=np.uint8)) + data[place + 4 :]
    if what == 2:
        return data[:place] + BYTES[rng.integers(len(BYTES))] + data[place:]
    return BYTES[rng.integers(len(BYTES))]


def mutate(rng, data):
    try:
        content = json.loads(data)
    except ValueError:
        return mutate_bytes(rng, data)
    return mutate_json(rng, content) if rng.random() < 0.7 else mutate_bytes(rng, data)


def result():
    metadata = DatasetMetadata(kind="signal", sqrt_s=3.0969)
    histogram = hist.Hist(hist.axis.Regular(10, 0, 1, name="x"), storage=hist.storage.Int64())
    histogram.fill(np.linspace(0, 1, 50))
    search = SelectionResult({"all": 10, "signal_region": 3}, {"x": histogram}, {"converged": 3}, {"m": np.ones(3)})
    provenance = {"cuts_digest": SELECTION.digest(), "fileset_digest": "0"}
    return Results({"signal": DatasetResult(metadata, 10, 10, {"search": search})}, provenance, {"complete": True})


def mutate_zip(rng, data, path):
    """Mutate one member of an archive, or the archive."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    path.write_bytes(data)
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    name = sorted(members)[rng.integers(len(members))]
    members[name] = mutate(rng, members[name])
    with zipfile.ZipFile(path, "w") as stored:
        for member, content in members.items():
            stored.writestr(member, content)
    return path.read_bytes()


def read_result(path):
    found = results.read(path)
    assert found.identity
    assert all(s.n_passed is not None for d in found.datasets.values() for s in d.selections.values())


def complete_plain(path):
    for name, entry in filesets.read_raw(path).items():
        fileset_command._plain(name, entry, path.parent)


def mapping_text():
    lines = ['tree = "ana"', 'units = "schema"', "[columns]"]
    for name in required_branches():
        unit = f', unit = "{BRANCHES[name][1].unit}"' if BRANCHES[name][1].unit in ("cm", "GeV", "ns") else ""
        lines.append(f'{name} = {{branch = "b_{name}"{unit}}}')
    return "\n".join(lines).encode()


def systematics():
    return {"source": "s", "overall": 0.1, "per_mass": {"0.575": 0.2}, "made_from": {"cuts_digest": "a"}}


def table_of_runs():
    row = {"first": 1, "last": 9, "sqrt_s": 3.1, "field": 1.0, "period": 2009, "ip": [0.1, 0.1, 0.1]}
    return {"runs": [row, row | {"first": 10, "last": 20}]}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Kind -> (a good file's bytes, what reads it)."""
    directory = tmp_path_factory.mktemp("inputs")
    completed = make_fileset(directory, {"signal": [30, 20]}).read_bytes()
    plain = {"a": {"files": {"x.root": "Events"}, "metadata": {"kind": "data", "is_simulation": False, "sqrt_s": 3.1}}}
    archive = directory / "a.zip"
    results.write(archive, result())
    frozen = unblinding.freeze(SELECTION, directory / "frozen.json")
    paths = (ROOT / "docs" / "published_systematics.json", ROOT / "docs" / "examples" / "sites.toml")
    comparison, site = (path.read_bytes() for path in paths)
    tables = (ROOT / "analysis" / "objects" / "emc_pid.json").read_bytes()
    background = derived.write(directory, "background", {"channels": [], "total": 0.1}, result()).read_bytes()

    def of_site(path):
        return read_preset(ClusterOptions(cluster="slurm", site=path))

    return {
        "plain fileset": (json.dumps(plain).encode(), complete_plain),
        "completed fileset": (completed, filesets.load),
        "mapping": (mapping_text(), read_map),
        "run table": (json.dumps(table_of_runs()).encode(), read_run_table),
        "site": (site, of_site),
        "frozen cuts": (json.dumps(frozen).encode(), unblinding.read_frozen),
        "systematics": (json.dumps(systematics()).encode(), gather.read_systematics),
        "comparison": (comparison, read_comparison),
        "EMC tables": (tables, lambda path: emc_pid.load.__wrapped__(str(path))),
        "result": (archive.read_bytes(), read_result),
        "mixing curve": (b"m_majorana,branching_fraction\n0.5,1e-3\n1.0,2e-3\n1.5,1e-4\n", majorana.read),
        "numbers of a command": (
            background,
            lambda path: derived.require(derived.load(path, "lnv background"), result(), path, "lnv background"),
        ),
    }


KINDS = (
    "plain fileset", "completed fileset", "mapping", "run table", "site", "frozen cuts", "systematics", "comparison",
    "EMC tables", "result", "mixing curve",
    "numbers of a command",
)  # fmt: skip


def try_all(inputs, kind, seeds, directory):
    """Read mutated files; return those that end in another error than ours, or in several lines where one was asked."""
    good, read = inputs[kind]
    path = directory / "input"
    path.write_bytes(good)
    read(path)
    bad = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        path.write_bytes(mutate_zip(rng, good, path) if kind == "result" else mutate(rng, good))
        try:
            read(path)
        except LnvError:
            pass
        except Exception as error:
            bad.append(f"{seed}: {type(error).__name__}: {str(error)[:200]}")
    return bad


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_mutated_inputs_end_in_our_words(inputs, kind, tmp_path):
    assert try_all(inputs, kind, range(50), tmp_path) == []


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_five_hundred_mutated_inputs_end_in_our_words(inputs, kind, tmp_path):
    assert try_all(inputs, kind, range(100, 600), tmp_path) == []


def test_a_result_that_unpacks_to_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stored:
        for k in range(5):
            with stored.open(f"m{k}", "w", force_zip64=True) as member:
                for _ in range(128):
                    member.write(bytes(4 * 1024**2))
    assert path.stat().st_size < 10e6
    with pytest.raises(LnvError, match=r"unpacks to \d+ bytes; wanted at most"):
        results.read(path)
    assert documents.UNPACKED_MAX < 5 * 128 * 4 * 1024**2
