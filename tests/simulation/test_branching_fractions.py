"""Branching fractions and particle properties against the tables of the Particle Data Group."""

from __future__ import annotations

import warnings

import pytest

from jpsi_lnv.analysis.simulation import processes, transport
from jpsi_lnv.analysis.simulation.final_states import FINAL_STATES
from jpsi_lnv.analysis.simulation.particles import KINDS


@pytest.fixture(scope="module")
def api():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pdg

        yield pdg.connect()


def summary(api, identifier):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return api.get(identifier).summary_values()[0]


def all_fractions():
    found = [f for c in (*processes.BACKGROUNDS.values(), *processes.CONTROLS.values()) for f in c.fractions]
    return {(f.pdg_id, f.value, f.error) for f in found if f.pdg_id}


def test_every_value_is_the_one_of_its_identifier(api):
    for identifier, value, error in all_fractions():
        entry = summary(api, identifier)
        assert value == pytest.approx(entry.value, rel=0.01), identifier
        if entry.error is not None:
            assert error == pytest.approx(entry.error, rel=0.10), identifier


def test_values_of_the_inclusive_table(api):
    for row in FINAL_STATES:
        for fraction in row.fractions:
            entry = summary(api, fraction.pdg_id)
            assert fraction.value == pytest.approx(entry.value, rel=0.005), row.name
            assert fraction.error == pytest.approx(entry.error, rel=0.12), row.name


def test_values_of_kaon_decays(api):
    modes = ("S010.1", "S010.2", "S010.3", "S010.6", "S010.5", "S010.4")
    for (value, _), identifier in zip(transport.KAON_DECAYS, modes, strict=True):
        assert value == pytest.approx(summary(api, identifier).value, rel=0.01)


@pytest.mark.parametrize("code", [211, 111, 321, 2212, 221, 331, 223, 333, 323, 313, 113, 213, 443])
def test_masses(api, code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        particle = api.get_particle_by_mcid(code)
        assert KINDS[code].mass == pytest.approx(particle.mass, abs=2e-5)
        assert KINDS[code].charge == round(particle.charge)


@pytest.mark.fast
def test_a_value_without_identifier_says_what_it_is():
    for channel in (*processes.BACKGROUNDS.values(), *processes.CONTROLS.values()):
        for fraction in channel.fractions:
            assert fraction.pdg_id or any(
                w in fraction.source for w in ("assumption", "memory", "isospin", "calculated")
            )
        assert 0 < channel.branching_fraction < 1
