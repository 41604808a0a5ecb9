"""A small but whole result: histograms as the search books them, limits as `lnv limits` computes them."""

import dataclasses
import shutil
from pathlib import Path

import hist
import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import background, background_checks, derived, misid_rates, optimization, provenance, results
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import N_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.limits import gather, methods, studies
from jpsi_lnv.analysis.report import source
from jpsi_lnv.analysis.report import studies as study_tables
from jpsi_lnv.analysis.selection import misid
from jpsi_lnv.analysis.selection.search import book
from jpsi_lnv.analysis.selection.steps import SECTION_III, STAGES
from jpsi_lnv.analysis.systematics import table
from jpsi_lnv.analysis.systematics.table import Uncertainty
from jpsi_lnv.processors.cli import lnv

M_KE = ("m_k1e1", "m_k2e2", "m_k1e2", "m_k2e1")


def _histograms(n, rng, m_majorana=None):
    filled = book(KKEE)
    mass = rng.normal(3.096, 0.008, n)
    chi2 = rng.chisquare(4, n)
    m_ke = rng.normal(m_majorana or 1.3, 0.003 if m_majorana else 0.3, n)
    for stage in STAGES:
        filled["m_kkee"].fill(stage, mass)
        filled["chi2_4c"].fill(stage, chi2)
        filled["m_ke"].fill(stage, m_ke)
    filled["chi2_4c_m_kkee"].fill(chi2, mass)
    filled["e_over_p"].fill("electron", rng.normal(0.95, 0.04, n))
    filled["e_over_p"].fill("kaon", rng.gamma(3.0, 0.1, n))
    for role in ("electron", "kaon"):
        filled["dedx_chi"].fill(role, rng.normal(size=n))
        filled["confidence_level"].fill(role, rng.uniform(size=n))
    filled["n_minus_1_alternative_hypotheses"].fill(rng.uniform(-50, 200, n))
    filled["n_minus_1_chi2_4c"].fill(chi2)
    filled["n_minus_1_conversion_veto"].fill(rng.uniform(0, 30, n))
    filled["n_minus_1_signal_region"].fill(mass)
    pairs = np.random.default_rng(n)
    filled["conversion_delta_xy"].fill(pairs.uniform(-2, 2, 4 * n))
    filled["conversion_radius"].fill(pairs.uniform(0, 12, n // 10))
    filled["conversion_m_ee"].fill(pairs.uniform(0, 0.3, n // 20))
    return filled


def _candidates(n, rng, m_majorana=None):
    mass = m_majorana or 1.3
    columns = {"run": np.arange(n), "event": np.arange(n), "m_kkee": rng.normal(3.096, 0.008, n)}
    return columns | {name: np.full(n, mass) for name in M_KE} | {"chi2_kkee": rng.chisquare(4, n)}


def make_dataset(n_produced, n_passed, rng, **metadata):
    """Return a dataset whose cut flow falls evenly to `n_passed`."""
    names = ["all", *(step.name for step in SECTION_III)]
    flow = dict(zip(names, np.linspace(n_produced, n_passed, len(names)).astype(int).tolist(), strict=True))
    m_majorana = metadata.get("m_majorana")
    search = results.SelectionResult(
        flow, _histograms(n_passed, rng, m_majorana), {}, _candidates(n_passed, rng, m_majorana)
    )
    record = DatasetMetadata.from_dict("test", {"sqrt_s": 3.0969, "is_simulation": True} | metadata)
    return results.DatasetResult(record, n_produced, n_produced, {"search": search})


def books_of(dataset):
    """Return what the books say of a dataset that was read whole."""
    n, produced = dataset.n_events, dataset.n_produced
    books = results.DatasetBooks(
        files=1,
        files_skipped=0,
        events_expected=n,
        events_processed=n,
        events_skipped=0,
        produced_expected=produced,
        produced_used=produced,
        bytes=400 * n,
    )
    return dataclasses.asdict(books)


def make_results(**pseudo_data):
    """Return a merged result; keywords change the metadata of its data."""
    rng = np.random.default_rng(9)
    data = {
        "kind": "data",
        "is_simulation": True,
        "blind": False,
        "process": "pseudo-data",
        "n_jpsi": 1.0e10,
    } | pseudo_data
    datasets = {
        "signal": make_dataset(4000, 600, rng, kind="signal", process="J/psi -> K+ K+ e- e- + c.c."),
        "kkpipi": make_dataset(3000, 0, rng, kind="background"),
        "pseudo_data": make_dataset(5000, 1, rng, **data),
    }
    for mass in (0.6, 0.9, 1.2):
        metadata = {"kind": "majorana", "m_majorana": mass, "majorana_mode": "2nu"}
        datasets[f"majorana_{1000 * mass:.0f}"] = make_dataset(1000, 160, rng, **metadata)
    books = {name: books_of(dataset) for name, dataset in datasets.items()}
    costs = {"wall_time_s": 2.0, "process_time_s": 1.5, "cpu_time_s": 1.8, "peak_memory_bytes": {"here:1": 300_000_000}}
    totals = results.Totals(
        events_processed=15_000,
        events_resumed=0,
        events_read=15_000,
        bytes_read=6_000_000,
        columns_read=["run", "event"],
        chunks=6,
        chunks_failed=0,
        chunks_retried=0,
        **costs,
    )
    bookkeeping = {"complete": True, "problems": [], "datasets": books, "totals": dataclasses.asdict(totals)}
    origin = provenance.collect(SELECTION, fileset_digest="0123456789abcdef")
    return results.Results(datasets, origin | {"commit": "abcdef123456"}, bookkeeping)


def make_limits(merged, names=("rolke", "recommended"), **choices):
    """Return records of `limits.json` for a result."""
    chosen = gather.Choices(**choices)
    inputs = [gather.overall(merged, chosen), *gather.per_mass(merged, chosen)]
    return tuple(methods.upper_limit(i, method=name).to_dict() for i in inputs for name in names)


@pytest.fixture(scope="session")
def merged():
    return make_results()


@pytest.fixture(scope="session")
def whole(merged):
    """The source of a complete, unblinded report."""
    return source.Source(merged, make_limits(merged))


@pytest.fixture(scope="session")
def output(merged, whole, tmp_path_factory):
    """A directory as `lnv run` and `lnv limits` leave it."""
    directory = tmp_path_factory.mktemp("results")
    results.write(directory / "accumulator.zip", merged)
    derived.write(directory, "limits", {"limits": whole.limits}, merged)
    return directory


@dataclasses.dataclass(frozen=True)
class Reported:
    """What `lnv report` left and printed."""

    output: Path
    text: str


@pytest.fixture(scope="session")
def reported(output, tmp_path_factory):
    """The report of a whole result, written by the command."""
    directory = tmp_path_factory.mktemp("reported") / "results"
    shutil.copytree(output, directory)
    outcome = CliRunner().invoke(lnv, ["report", "--output", str(directory)])
    assert outcome.exit_code == 0, outcome.output
    return Reported(directory, outcome.output)


def changed(merged, **fields):
    """Return a result with some of its parts replaced."""
    return dataclasses.replace(merged, **fields)


ROWS = (
    Uncertainty("n_jpsi", "N(J/psi)", 0.005, "metadata"),
    Uncertainty("tracking", "tracking", 0.021, "control samples", {"electron": 0.012, "electron_sigma": 0.004}),
    Uncertainty("kinematic_fit", "kinematic fit", 0.05, "control", {"difference": -0.05, "sigma": 0.02}),
)


def systematics():
    overall, at_mass = table.Budget(None, ROWS), table.Budget(0.9, ROWS)
    return table.to_json([overall, at_mass])


def punzi_scan():
    axis = hist.axis.Regular(200, 0.0, 200.0, name="chi2_4c", label="chi2")
    rng = np.random.default_rng(3)
    signal, expected = hist.Hist(axis), hist.Hist(axis)
    signal.fill(rng.chisquare(4, 1000))
    expected.fill(rng.uniform(0, 200, 40))
    scan = optimization.scan_below(signal, 5000, expected, "chi2_4c", {})
    best = float(scan.threshold[scan.best])
    said = {"variable": "chi2_4c"} | study_tables.variable_words("chi2_4c", KKEE)
    return said | {"best": best, "plateau": scan.plateau, "chosen": 20.0, "scan": scan.to_rows()}


def validated():
    """Return the content of `validation.json`, with a row or two of each kind."""
    return {
        "rows": [{"quantity": "barrel TOF [ps]", "got": 68.3, "wanted": "68 within 10%", "is_met": True}],
        "efficiency": [{"m_majorana": 0.9, "efficiency": 0.16, "efficiency_one": 0.17, "published": 0.16}],
        "single_particles": [{"species": s, "momentum": 0.5, "published": 0.97, "got": 0.96} for s in ("pi", "p")],
        "muons": [
            {
                "species": "pi",
                "p_min": 0.5,
                "p_max": 0.6,
                "cos_theta_min": 0.0,
                "cos_theta_max": 0.4,
                "depth": 9.0,
                "max_hits": 1.2,
                "n": 3559,
                "read": 486,
                "rate": 0.137,
            }
        ],
        "kaon_survival": [{"momentum": 0.5, "length": 35.0, "wanted": 0.91, "got": 0.909}],
        "sensitivity": [
            {
                "parameter": "pull_tail",
                "value": 0.05,
                "low": 0.0,
                "high": 0.1,
                "at_low": 0.02,
                "at_high": -0.02,
                "statistics": 0.01,
            }
        ],
        "fractions": [{"state": "K+ K-", "measured": 3e-4, "error": 5e-6, "got": 2.9e-4, "pull": -0.4}],
        "identification": [
            {"species": "e", "p_min": 0.4, "p_max": 0.6, "e_over_p": 0.98, "as_electron": 0.9, "as_kaon": 0.01}
        ],
        "note": "a comparison of shapes",
    }


def map_closed():
    """Return the content of `recast_closure.json` at two masses."""
    row = {"mode": "2nu", "simulated": 0.2, "error": 0.002, "looked_up": 0.19, "deviation": -0.05, "beyond": 0.03}
    about = {"file": "recast_map.parquet", "digest": "abc", "n": 1000}
    return {"map": about, "n_beyond": 0, "closure": [row | {"m_majorana": m} for m in (0.6, 0.9)]}


@pytest.fixture(scope="session")
def studied(whole, merged):
    overall = gather.overall(merged, gather.Choices())
    extras = {
        "systematics": systematics(),
        "optimization": punzi_scan(),
        "limit_checks": {"background_scan": studies.background_scan(overall), "chi2_scan": []},
        "topology": {
            "all_but": None,
            "chains": [{"dataset": "a", "chain": "J/psi -> x", "n": 3, "share": 1.0}],
        },
    }
    return dataclasses.replace(whole, extras=extras)


@pytest.fixture(scope="session")
def estimated(whole):
    """A source with an estimate of two processes and an empty side band at the J/psi of the demo set."""
    needs = {"pi_to_electron": 1.0, "k_to_electron": 1.0}
    factors = dict.fromkeys(needs, 1.1)
    processes = (
        background.Process("J/psi -> K+ K- pi+ pi-", background.EXCLUSIVE, 12.0, 600.0, factors, needs, 12, 0, 0.1),
        background.Process("J/psi -> 2(e+ e-)", background.EXCLUSIVE, 0.0, 50.0, {"e_to_kaon": 2.2}),
        background.Process("continuum", "continuum", 0.0, 1000.0),
    )
    rates = misid_rates.counted([misid.empty_map()])
    channels = tuple(background.Channel(mass, processes, ("inclusive",)) for mass in (None, 0.9))
    found = background.Background(N_JPSI, channels, rates, ("J/psi -> K+ K- e+ e-",), ())
    closure = background_checks.Closure("kkpipi", 2, 1.5, 1.3)
    overlap = background_checks.Overlap("K+ K- pi+ pi-", 0.02, 0.006, 0.03, 0.01, 9)
    checks = {"closure": [dataclasses.asdict(closure)], "overlaps": [dataclasses.asdict(overlap)]}
    return dataclasses.replace(whole, extras={"background": background.to_json(found) | checks})
