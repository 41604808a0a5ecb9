"""The package and the second implementation agree from ntuples to limits: counts exactly, other numbers to 1e-9."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

import agreement
import limits

from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.limits import marginal, rolke, sideband
from jpsi_lnv.analysis.simulation import production, samplesets
from jpsi_lnv.processors.cli import lnv

SHARE = 0.3


def invoke(*arguments):
    outcome = CliRunner().invoke(lnv, [str(a) for a in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The plain fileset of the `ci` sample set with fewer events, beside its files."""
    directory, seed = tmp_path_factory.mktemp("reference"), 7
    whole = samplesets.sample_set("ci")
    datasets = tuple(dataclasses.replace(d, n_events=max(int(SHARE * d.n_events), 1000)) for d in whole.datasets)
    for dataset in datasets:
        with NtupleWriter(directory / f"{dataset.name}_0.root") as writer:
            writer.extend(production.make_block(dataset.recipe, dataset.name, 0, dataset.n_events, seed))
    content = samplesets.fileset(dataclasses.replace(whole, datasets=datasets))
    path = directory / "fileset.json"
    path.write_text(json.dumps(content))
    return path


def test_both_implementations_agree(plain, tmp_path):
    invoke("fileset", "complete", plain, "--output", tmp_path / "completed.json")
    invoke("run", tmp_path / "completed.json", "--executor", "iterative", "--output", tmp_path)
    for command in ("systematics", "background", "limits"):
        invoke(command, "--output", tmp_path)
    rows = agreement.compare(plain, tmp_path)
    assert not [row for row in rows if not row.agrees]
    assert {row.where for row in rows if row.what == "N up, recommended"} == {
        "overall", "0.575 GeV/c²", "0.9 GeV/c²", "1.5 GeV/c²",
    }  # fmt: skip
    assert all(row.product for row in rows if row.what == "efficiency")


@pytest.mark.fast
@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("delta", [0.01, 0.07, 0.3, 0.6, 0.7])
@pytest.mark.parametrize(("background", "sigma"), [(0.0, 0.0), (0.3, 0.2), (2.5, 0.4), (6.0, 3.0)])
def test_limits_agree_where_the_small_set_does_not_reach(n, delta, background, sigma):
    model = rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY
    measured = {"background": background, "background_sigma": sigma, "efficiency": 0.16}
    product = rolke.upper_limit(model, n_obs=n, **measured, efficiency_sigma=0.16 * delta)
    reference = limits.rolke(n, 0.16, 0.16 * delta, background, sigma)
    assert product == pytest.approx(float("inf") if reference is None else reference, rel=1e-9)


@pytest.mark.fast
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize(
    "bands",
    [
        {},
        {"a": (3.0, 2.0, {})},
        {"a": (0.0, 2.0, {"x": 1.0}), "b": (1.7, 3.0, {"x": 0.5})},
        {"a": (2.0, 2.0, {"x": 1.0, "y": 0.3}), "b": (1.7, 3.0, {"x": 0.5}), "c": (4.0, 8.0, {"z": 0.9})},
        {k: (1.5, 2.0, {f: 0.1 * (i + j + 1) for j, f in enumerate("vwxyz")}) for i, k in enumerate("abcde")},
    ],
)
def test_averaged_limits_agree_for_any_background(n, bands):
    known = [sideband.SideBand(name, m, tau, tuple(sorted(f.items()))) for name, (m, tau, f) in bands.items()]
    product = marginal.cls_limit(
        n, efficiency=0.16, efficiency_sigma=0.016, background=sideband.Background(tuple(known))
    )
    assert limits.cls(n, 0.16, 0.016, bands) == pytest.approx(product, rel=1e-9)
