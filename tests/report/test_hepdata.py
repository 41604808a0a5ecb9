"""The HEPData submission: valid, with the numbers of the result, and its likelihood readable by pyhf."""

import dataclasses
import json
import tarfile

import numpy as np
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


def test_tables_are_found_by_their_keywords(written):
    directory, _ = written
    _, *tables = yaml.safe_load_all((directory / "submission" / "submission.yaml").read_text())
    assert len(tables) >= 6
    for table in tables:
        words = {each["name"]: each["values"] for each in table["keywords"]}
        assert words["reactions"] == ["J/PSI --> K+ K+ E- E-"]
        assert words["cmenergies"] == [3.0969]
        assert "Lepton number violation" in words["phrases"]
        assert words["observables"] != []


def test_the_record_of_the_publication_is_named(tmp_path, whole):
    hepdata.write(tmp_path / "hepdata", whole, 1234567)
    first = next(iter(yaml.safe_load_all((tmp_path / "hepdata" / "submission" / "submission.yaml").read_text())))
    assert first["record_ids"] == [{"id": 1234567, "type": "inspire"}]


def test_efficiencies_have_a_covariance(tmp_path, studied):
    hepdata.write(tmp_path / "hepdata", studied)
    directory = tmp_path / "hepdata"
    efficiency = np.array(values(directory, "efficiencies.yaml", "efficiency"), dtype=float)
    covariance = np.array(values(directory, "covariance_of_the_efficiencies.yaml", "covariance"), dtype=float)
    matrix = covariance.reshape(len(efficiency), len(efficiency))
    np.testing.assert_allclose(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0
    # Systematic uncertainties are there for 0.9 GeV/c^2 alone: the number of J/psi is none of the efficiency.
    statistical = efficiency * (1 - efficiency) / 1000
    common = np.array([0.0, 0.021**2 + 0.05**2, 0.0]) * efficiency**2
    np.testing.assert_allclose(np.diag(matrix), statistical + common, rtol=1e-3)
    assert matrix[0, 1] == 0.0


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
