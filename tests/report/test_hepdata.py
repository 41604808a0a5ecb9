"""The HEPData submission: valid, with the numbers of the result, and its likelihood readable by pyhf."""

import dataclasses
import json
import tarfile

import pytest
import yaml

from jpsi_lnv.analysis.documents import digest_of_file
from jpsi_lnv.analysis.limits import gather
from jpsi_lnv.analysis.report import hepdata, source
from jpsi_lnv.analysis.report.source import RECAST_CLOSURE

from .conftest import make_limits, make_results

pytest.importorskip("hepdata_lib", reason="pip install hepdata_lib, or make install-all")


@pytest.fixture(scope="module")
def written(tmp_path_factory, whole):
    directory = tmp_path_factory.mktemp("hepdata") / "hepdata"
    return directory, hepdata.write(directory, whole)


def values(directory, table, name):
    content = yaml.safe_load((directory / "submission" / table).read_text())
    listed = [*content["independent_variables"], *content["dependent_variables"]]
    return next([v["value"] for v in x["values"]] for x in listed if x["header"]["name"] == name)


def test_the_archive_holds_tables_figures_and_likelihood(written):
    _, (archive, *likelihoods) = written
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    assert {"submission.yaml", "limits.yaml", "mass_of_kkee.yaml", "cut_flow_signal.yaml", "limits.png"} <= names
    assert {"thumb_limits.png", "likelihood.json", "likelihood.hs3.json"} <= names
    assert [path.name for path in likelihoods] == ["likelihood.json", "likelihood.hs3.json"]


def test_the_map_of_the_efficiency_is_handed_on_with_the_digest_of_its_closure(tmp_path, whole):
    path = tmp_path / "recast_map.parquet"
    path.write_bytes(b"rows")
    about = {"file": path.name, "digest": digest_of_file(path), "n": 1}
    closure = {"map": about, "n_beyond": 0, "closure": []}
    mapped = dataclasses.replace(whole, extras={**whole.extras, RECAST_CLOSURE: closure})
    archive, *_ = hepdata.write(tmp_path / "hepdata", mapped)
    with tarfile.open(archive) as tar:
        assert path.name in tar.getnames()
    path.write_bytes(b"other rows")
    with pytest.raises(hepdata.HepdataError, match=r"recast_map\.parquet: digest .*--make-map"):
        hepdata.write(tmp_path / "hepdata", mapped)


def test_numbers_are_those_of_the_limits(written, whole):
    directory, _ = written
    records = [r for r in whole.limits if r["m_majorana"] is not None and r["method"] == "rolke"]
    assert values(directory, "limits.yaml", "m_majorana") == [r["m_majorana"] for r in records]
    assert values(directory, "limits.yaml", "branching_fraction_ul") == pytest.approx(
        [r["branching_fraction_ul"] for r in records], rel=1e-4
    )


def test_simulated_numbers_are_called_so(written):
    directory, _ = written
    submission = next(iter(yaml.safe_load_all((directory / "submission" / "submission.yaml").read_text())))
    assert "no measurement" in submission["comment"]
    content = yaml.safe_load((directory / "submission" / "limits.yaml").read_text())
    assert {"name": "Events", "value": "Fast simulation"} in content["dependent_variables"][0]["qualifiers"]


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_pyhf_reads_the_likelihood(written, whole):
    pyhf = pytest.importorskip("pyhf", reason="pip install pyhf, or make install-all")
    _, (_, path, _) = written
    workspace = pyhf.Workspace(json.loads(path.read_text()))
    assert workspace.data(workspace.model(), include_auxdata=False) == [whole.limits[0]["n_obs"]]


def test_bands_are_given_where_they_have_width(tmp_path, merged):
    found = source.Source(merged, make_limits(merged, ("rolke",), background=gather.given_background(1.0, 0.3)))
    hepdata.write(tmp_path / "hepdata", found)
    content = yaml.safe_load((tmp_path / "hepdata" / "submission" / "limits.yaml").read_text())
    last = content["dependent_variables"][-1]
    labels = {e["label"] for e in last["values"][0]["errors"]}
    assert labels == {"1 sigma", "2 sigma"}


def test_a_blind_result_has_no_likelihood_and_says_blind(tmp_path):
    merged = make_results(blind=True)
    written = hepdata.write(tmp_path / "hepdata", source.Source(merged, make_limits(merged)))
    assert [p.name for p in written] == ["submission.tar.gz"]
    assert "BLIND" in (tmp_path / "hepdata" / "submission" / "submission.yaml").read_text()


def test_without_limits_there_is_nothing_to_submit(tmp_path, merged):
    with pytest.raises(hepdata.HepdataError, match="lnv limits"):
        hepdata.write(tmp_path / "hepdata", source.Source(merged))
    assert not (tmp_path / "hepdata").exists()


def test_limits_of_another_result_are_no_submission(tmp_path, merged, whole):
    found = source.Source(merged, whole.limits, foreign={"limits": "made from a result with another cuts_digest"})
    with pytest.raises(hepdata.HepdataError, match="another cuts_digest"):
        hepdata.write(tmp_path / "hepdata", found)
    assert not (tmp_path / "hepdata").exists()
