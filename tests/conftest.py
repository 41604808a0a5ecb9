"""Fixtures shared by the suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings

from jpsi_lnv.analysis.events import schema

# What a command prints is as wide as in a log, wherever the tests run.
os.environ.pop("COLUMNS", None)
# Modules that several tests share lie there.
sys.path.insert(0, str(Path(__file__).parent / "support"))

# Properties are tried with a hundred examples in the suite and with twenty times as many in `make soak`; a test whose
# examples are dear takes a fraction of that. In continuous integration the examples are the same every time.
settings.register_profile("suite", settings.default, deadline=None)
settings.register_profile("soak", max_examples=2000, deadline=None)
# For every planted fault the same ones, of which none is made simple, or kept.
FOUND_ONLY = (Phase.explicit, Phase.generate)
settings.register_profile("mutants", deadline=None, derandomize=True, database=None, phases=FOUND_ONLY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
# Folders whose tests start services and processes take longest, and mostly wait: they begin.
FIRST = ("services", "faults", "notebooks")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not set(FIRST) & set(item.path.parts))


@pytest.fixture(scope="session")
def quick_workers():
    """Local clusters start at once: their workers are forked from a process that has loaded what they need."""
    from forked import server

    server()


def make_toy_columns(rng: np.random.Generator, n_events: int) -> dict[str, object]:
    """Return writable columns of random events: right types and plausible helices, no physics."""
    columns: dict[str, object] = {}
    for collection, table in schema.COLLECTIONS.items():
        if collection != "Gen" and not any(column.required for column in table):
            continue
        offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, n_events))])
        n = int(offsets[-1]) if collection else n_events
        for column in table:
            if column.required or collection == "Gen":
                values = rng.uniform(0.1, 0.9, n)
                if np.issubdtype(np.dtype(column.dtype), np.integer):
                    values = rng.integers(0, 5, n)
                columns[schema.branch(collection, column.name)] = (offsets, values) if collection else values
    offsets, kappa = columns["Track_kappa"]
    sign = rng.choice([-1, 1], len(kappa))
    columns["Track_kappa"] = (offsets, (0.7 + kappa) * sign)
    columns["Track_charge"] = (offsets, sign)
    columns["Track_phi0"] = (offsets, rng.uniform(0, 2 * np.pi, len(kappa)))
    columns["Gen_mother"] = (columns["Gen_pdg_id"][0], np.full(len(columns["Gen_pdg_id"][1]), -1))
    columns["field"] = np.full(n_events, 1.0)
    columns["sqrt_s"] = np.full(n_events, 3.0969)
    return columns


@pytest.fixture
def rng():
    return np.random.default_rng(20251122)


@pytest.fixture
def toy_columns(rng):
    return make_toy_columns(rng, 50)


def pytest_addoption(parser):
    parser.addoption(
        "--renew-golden", action="store_true", help="write the golden files instead of comparing with them"
    )


@pytest.fixture
def renew_golden(request):
    return request.config.getoption("--renew-golden")


@pytest.fixture(scope="session")
def boss_file():
    """The real BOSS file: ten J/psi -> rho pi with truth, not part of the project."""
    pytest.importorskip("pybes3", reason="pip install 'jpsi-lnv[bes3]'")
    path = Path(os.environ.get("BES_SAMPLES", "")) / "test_full_mc_evt_1.dst"
    if "BES_SAMPLES" not in os.environ or not path.exists():
        pytest.skip("set BES_SAMPLES to the directory of test_full_mc_evt_1.dst, as .ci/run does")
    return path
