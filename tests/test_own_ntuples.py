"""The how-to of own ntuples, from a foreign file to the mass plot: draft, mapping, skim, fileset, run, limit, plot."""

import json

import awkward as ak
import numpy as np
import pytest
import uproot

from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.schema import BRANCHES
from jpsi_lnv.analysis.results import read
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.cli import main

N_EVENTS = 3000


def lnv(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


def write_foreign(path, n_events, process, sign):
    """Write simulated events as a user's own ntuple: other names, lengths in mm, energies in MeV."""
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(recipe, path.stem, 0, n_events, 5))
    tree = {}
    for name in schema.required_branches():
        collection, column = BRANCHES[name]
        values = block.values[name] * {"cm": 10.0, "GeV": 1000.0}.get(column.unit, 1.0)
        values = sign * np.abs(values) if name == "run" else values
        own = f"m_{name.replace('Track', 'trk')}"
        tree[own] = ak.unflatten(values, np.diff(block.offsets[collection])) if collection else values
    with uproot.recreate(path) as file:
        file.mktree("ana", {n: v.type.content if isinstance(v, ak.Array) else v.dtype for n, v in tree.items()})
        file["ana"].extend(tree)
    return path


def test_from_a_foreign_file_to_the_mass_plot(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signal = write_foreign(tmp_path / "signal.root", N_EVENTS, processes.SIGNAL, -1)
    data = write_foreign(tmp_path / "data.root", N_EVENTS, processes.BACKGROUNDS["kkpipi"], 1)

    assert lnv("mapping", "init", data) == 0
    draft = capsys.readouterr().out
    (tmp_path / "mapping.toml").write_text(draft)
    assert "\n#?" not in draft
    (tmp_path / "forgotten.toml").write_text(draft.replace('"mm"', '"cm"'))
    skim = ["--output", "ntuples", "--executor", "iterative"]
    assert lnv("skim", data, "--mapping", "forgotten.toml", *skim, "--dataset", "bad") == 1
    assert "it looks like mm" in capsys.readouterr().err
    assert lnv("skim", data, "--mapping", "mapping.toml", *skim, "--dataset", "data", "--calibration", "simulated") == 0
    assert lnv("skim", signal, "--mapping", "mapping.toml", *skim, "--dataset", "mc", "--kind", "signal") == 0

    fileset = tmp_path / "ntuples" / "fileset.json"
    run = ["run", fileset, "--executor", "iterative", "--output", "results"]
    capsys.readouterr()
    assert lnv(*run) == 0
    assert "dataset 'data' does not say how many J/psi it holds" in capsys.readouterr().err
    assert lnv("limits", "--output", "results") == 1
    assert 'give "n_jpsi" in the metadata of the fileset' in capsys.readouterr().err

    content = json.loads(fileset.read_text())
    content["data"]["metadata"]["n_jpsi"] = "2009+2012"
    fileset.write_text(json.dumps(content))
    assert lnv(*run) == 0
    found = read(tmp_path / "results" / "accumulator.zip")
    assert found.datasets["mc"].n_produced == N_EVENTS
    assert found.datasets["mc"].selections["search"].n_passed > 0.1 * N_EVENTS
    assert found.datasets["data"].metadata.n_jpsi == pytest.approx(1312.5e6)
    assert lnv("plot", "m_kkee", "--output", "results") == 0
    assert list((tmp_path / "results").rglob("m_kkee*"))
