"""`lnv export --root`: what ROOT itself reads is what the result holds."""

import json
import os
import subprocess

import hist
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from jpsi_lnv.analysis.report import root_file
from jpsi_lnv.processors.cli import lnv

INSTALL = "make root (or set ROOT_PYTHON to a Python that has it)"
SCRIPT = """
import json, sys
import ROOT
file = ROOT.TFile.Open(sys.argv[1])
def axis(a):
    labels = [a.GetBinLabel(i) for i in range(1, a.GetNbins() + 1)]
    return [a.GetNbins(), a.GetXmin(), a.GetXmax(), a.GetTitle(), labels if any(labels) else []]
found = {}
for name in json.load(sys.stdin):
    h = file.Get(name)
    if h.InheritsFrom("TTree"):
        found[name] = [h.GetEntries(), [b.GetName() for b in h.GetListOfBranches()], h.GetMaximum("m_kkee")]
        continue
    axes = [h.GetXaxis(), h.GetYaxis(), h.GetZaxis()][: h.GetDimension()]
    n = h.GetNcells()
    found[name] = [h.ClassName(), [axis(a) for a in axes], [h.GetBinContent(i) for i in range(n)]]
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def exported(output, tmp_path_factory):
    directory = tmp_path_factory.mktemp("root")
    path = output / "accumulator.zip"
    outcome = CliRunner().invoke(lnv, ["export", "--root", "--accumulator", str(path), "--output", str(directory)])
    assert outcome.exit_code == 0, outcome.output
    return directory / "histograms.root"


def read_by_root(path, names):
    python = os.environ.get("ROOT_PYTHON", "")
    if not python:
        pytest.skip(f"no ROOT: {INSTALL}")
    done = subprocess.run(
        [python, "-c", SCRIPT, str(path)], input=json.dumps(names), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.partition("FOUND")[2])


def test_root_reads_what_the_result_holds(exported, merged):
    search = merged.datasets["signal"].selections["search"]
    names = {
        "signal/search/n_minus_1_chi2_4c": search.histograms["n_minus_1_chi2_4c"],
        "signal/search/chi2_4c_m_kkee": search.histograms["chi2_4c_m_kkee"],
        "signal/search/m_kkee/chi2_4c": search.histograms["m_kkee"]["chi2_4c", :],
    }
    found = read_by_root(exported, [*names, "signal/search/cutflow", "signal/search/candidates"])
    for name, wanted in names.items():
        kind, axes, contents = found[name]
        assert kind == f"TH{wanted.ndim}D"
        for axis, of in zip(axes, wanted.axes, strict=True):
            assert axis[:4] == [len(of), of.edges[0], pytest.approx(of.edges[-1]), of.label]
        # ROOT counts its bins with the first axis fastest, those outside among them.
        np.testing.assert_array_equal(contents, wanted.values(flow=True).ravel(order="F"))
    _, (steps,), contents = found["signal/search/cutflow"]
    assert steps[4] == list(search.cutflow)
    assert contents[1 : len(steps[4]) + 1] == list(search.cutflow.values())
    entries, branches, largest = found["signal/search/candidates"]
    assert entries == search.n_passed
    assert set(branches) == set(search.candidates)
    assert largest == pytest.approx(search.candidates["m_kkee"].max())


def test_every_histogram_is_there_with_all_its_entries(exported, merged):
    with uproot.open(exported) as file:
        keys = set(file.keys(cycle=False, filter_classname="TH*"))
        for dataset, content in merged.datasets.items():
            for selection, found in content.selections.items():
                for name, wanted in found.histograms.items():
                    place = f"{dataset}/{selection}/{name}"
                    parts = [k for k in keys if k == place or k.startswith(f"{place}/")]
                    total = sum(file[k].values(flow=True).sum() for k in parts)
                    assert total == wanted.sum(flow=True), place


def test_categories_that_are_all_there_is_stay_as_labels():
    of_species = hist.Hist(
        *(hist.axis.StrCategory(["e", "pi"], name=name) for name in ("k1", "k2", "e1", "e2")),
        storage=hist.storage.Int64(),
    )
    of_species.fill("e", "pi", ["e", "pi"], "e")
    found = dict(root_file.pieces(of_species))
    assert set(found) == {("e",), ("pi",)}
    assert found["e",].ndim == 3
    assert found["e",].sum() == 2
    assert found["pi",].sum() == 0


def test_a_form_must_be_named(output):
    outcome = CliRunner().invoke(lnv, ["export", "--output", str(output)])
    assert outcome.exit_code == 2
    assert "--root" in outcome.output
