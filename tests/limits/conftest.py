"""Merged results as a run writes them, and `lnv limits` on them."""

from __future__ import annotations

import json

import hist
import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.selection.search import N_MASS_COARSE, chi2_axis, mass_axis
from jpsi_lnv.processors.cli import lnv


def make_dataset(kind, n_produced, masses, **metadata):
    """Return one dataset whose candidates have the given (m_k1e1, m_k2e2, m_k1e2, m_k2e1)."""
    columns = np.asarray(masses, dtype=np.float64).reshape(-1, 4)
    candidates = {name: columns[:, i] for i, name in enumerate(KKEE.pair_names)}
    candidates["charge"] = np.where(np.arange(len(columns)) % 2, -1, 1)
    plane = hist.Hist(chi2_axis(KKEE), mass_axis(KKEE, N_MASS_COARSE), storage=hist.storage.Int64())
    plane.fill(np.linspace(0.0, 19.9, len(columns)), np.full(len(columns), 3.0969))
    search = results.SelectionResult(
        {"all": n_produced, "signal_region": len(columns)}, {"chi2_4c_m_kkee": plane}, candidates=candidates
    )
    described = DatasetMetadata(kind=kind, sqrt_s=3.0969, **metadata)
    return results.DatasetResult(described, n_produced, n_produced, {"search": search})


def make_result(*, blind=False, complete=True):
    """Return a result with the publication's efficiencies and its one event."""
    pairs = [[0.8, 0.9, 1.201, 1.199]]
    datasets = {
        "signal": make_dataset("signal", 10_000, [[1.0, 1.1, 1.2, 1.3]] * 1583),
        "majorana": make_dataset("majorana", 10_000, pairs * 1747, m_majorana=1.2, majorana_mode="2nu"),
        "majorana_low": make_dataset(
            "majorana", 10_000, [[0.7, 0.7, 1, 1]] * 1415, m_majorana=0.7, majorana_mode="2nu"
        ),
        "data": make_dataset("data", 50_000, [] if blind else pairs, n_jpsi=10087e6, blind=blind),
    }
    return results.Results(datasets, {}, {"complete": complete})


SYSTEMATICS = {"source": "publication", "overall": 0.07, "per_mass": {"0.7": 0.169, "1.200": 0.072}}


@pytest.fixture
def dataset():
    """Return the function that makes one dataset."""
    return make_dataset


@pytest.fixture
def merged():
    """Return the function that makes a result with the publication's efficiencies and its one event."""
    return make_result


@pytest.fixture
def run(tmp_path):
    """Run the command in a directory of its own; returns (records of a method or all, what was printed)."""

    def runner(result, *options, method="rolke"):
        results.write(tmp_path / "accumulator.zip", result)
        (tmp_path / "given.json").write_text(json.dumps(SYSTEMATICS))
        options = ["--systematics", str(tmp_path / "given.json"), *options]
        outcome = CliRunner().invoke(lnv, ["limits", "--output", str(tmp_path), *options])
        if outcome.exception:
            raise outcome.exception
        name = "limits_expected" if "--expected" in options else "limits"
        records = json.loads((tmp_path / f"{name}.json").read_text())["limits"]
        return [r for r in records if method in (None, r["method"])], outcome.output

    return runner
