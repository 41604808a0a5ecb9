"""Results with control samples whose efficiencies are chosen."""

from __future__ import annotations

import dataclasses
import functools

import hist
import numpy as np
import pytest

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection import control_probes

N_PROBES = 400_000
FIT_STEPS = ("all", "four_tracks", "hadrons", "near_jpsi", "chi2_4c", "signal_region")


def tag_and_probe(rng, efficiency, n=N_PROBES, positive_2012=0.0):
    """Return a map of probes spread over momentum and angle, each found with one efficiency."""
    axes = (control_probes.PERIOD, control_probes.CHARGE, control_probes.P, control_probes.COS_THETA)
    h = hist.Hist(*axes, control_probes.PASSED, storage=hist.storage.Int64())
    period, charge = rng.choice([2009, 2012, 2018], n, p=[0.02, 0.11, 0.87]), rng.choice([-1, 1], n)
    chance = efficiency * np.where((period == 2012) & (charge > 0), 1.0 + positive_2012, 1.0)
    return h.fill(period, charge, rng.uniform(0.1, 1.7, n), rng.uniform(-0.93, 0.93, n), rng.uniform(size=n) < chance)


def probes(rng, tracking, pid, **planted):
    histograms = {"tracking": tag_and_probe(rng, tracking, **planted), "pid": tag_and_probe(rng, pid)}
    return SelectionResult({"all": N_PROBES, "probe_identified": 9}, histograms)


def fit_sample(n, chi2, region):
    near = int(0.9 * n)
    passed = round(near * chi2)
    return SelectionResult(dict(zip(FIT_STEPS, (n, n, n, near, passed, round(passed * region)), strict=True)))


def dataset(kind, selections, n=N_PROBES, **metadata):
    described = {"kind": kind, "sqrt_s": M_JPSI, "blind": False, "is_simulation": True} | metadata
    record = DatasetMetadata.from_dict("d", described)
    return DatasetResult(record, n, n, selections)


def signal_search(rng, n_passed, n_produced, m_majorana=0.9):
    """Return a search whose candidates lie at a mass, but for every tenth."""
    table = {"m_kkee": rng.normal(M_JPSI, 0.008, n_passed)}
    table |= dict.fromkeys(KKEE.pair_names, np.where(np.arange(n_passed) % 10 == 0, 1.4, m_majorana))
    table |= {"period": rng.choice([2012, 2018], n_passed), "charge": rng.choice([-1, 1], n_passed)}
    for track in KKEE.tracks:
        table |= {f"p_{track}": rng.uniform(0.2, 1.2, n_passed), f"cos_theta_{track}": rng.uniform(-0.9, 0.9, n_passed)}
    return {"search": SelectionResult({"all": n_produced, "signal_region": n_passed}, {}, {}, table)}


# Planted relative differences of data to simulation.
PLANTED = {"tracking": -0.02, "pid": 0.01, "chi2": -0.03, "region": -0.004}


def make_results(rng, planted=PLANTED):
    def pair(side):
        d = {k: v if side == "data" else 0.0 for k, v in planted.items()}
        tracks = (0.94 * (1 + d["tracking"]), 0.9 * (1 + d["pid"]))
        return {
            "control_ee": probes(rng, *tracks),
            "control_kkpi0": probes(rng, *tracks),
            "control_ppbarpipi": fit_sample(N_PROBES, 0.9 * (1 + d["chi2"]), 0.97 * (1 + d["region"])),
        }

    return Results(
        {
            "control_data": dataset("data", pair("data")),
            "control_mc": dataset("control", pair("control")),
            "signal": dataset("signal", signal_search(rng, 16_000, 100_000), 100_000),
            "m_0700": dataset(
                "majorana", signal_search(rng, 1500, 10_000, 0.7), 10_000, m_majorana=0.7, majorana_mode="2nu"
            ),
            "m_0900": dataset(
                "majorana", signal_search(rng, 1700, 10_000), 10_000, m_majorana=0.9, majorana_mode="2nu"
            ),
            "n_0700": dataset(
                "majorana", signal_search(rng, 1800, 10_000), 10_000, m_majorana=0.7, majorana_mode="1nu"
            ),
        },
        {},
        {"complete": True},
    )


def without(results, name):
    """Return the results without a dataset."""
    return dataclasses.replace(results, datasets={k: v for k, v in results.datasets.items() if k != name})


@pytest.fixture(scope="session")
def measured():
    """Results with the planted differences."""
    return make_results(np.random.default_rng(3))


@pytest.fixture
def drop():
    """The function `without`."""
    return without


@pytest.fixture
def make_probes(rng):
    """The function `probes`."""
    return functools.partial(probes, rng)
