"""Channel cards: the shipped ones are what they say, and what cannot be searched for is refused in one line."""

from __future__ import annotations

import dataclasses

import pytest
from particle import Particle

from jpsi_lnv.analysis import cards
from jpsi_lnv.analysis.channel import KKEE, SPECIES_OF, WORDS, Channel
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.selection.steps import SECTION_III, of_channel
from jpsi_lnv.analysis.simulation import processes

pytestmark = pytest.mark.fast


def write(tmp_path, **changes):
    """Write a card of K+ K+ e- e- with other lines."""
    lines = {
        "name": '"mine"',
        "parent": '"J/psi(1S)"',
        "final_state": '["K+", "K+", "e-", "e-"]',
        "alternatives": '[["K+", "K-", "pi+", "pi-"]]',
    }
    given = {key: value for key, value in (lines | changes).items() if value is not None}
    table = given.pop("cuts", "")
    text = "\n".join(f"{key} = {value}" for key, value in given.items())
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}\n[cuts]\n{table}\n")
    return path


def test_the_default_card_is_the_publication():
    assert cards.read().cuts == SELECTION
    assert SELECTION.channel == KKEE
    assert of_channel(KKEE) == SECTION_III


@pytest.mark.parametrize("name", cards.names())
def test_every_card_of_the_package_is_one(name):
    card = cards.read(name)
    assert card.name == name
    channel = card.cuts.channel
    assert sum(channel.charges) == 0
    assert [step.name for step in of_channel(channel)][-5:] == [step.name for step in SECTION_III[-5:]]
    assert sum(processes.KINDS[abs(c)].mass for c in processes.codes(channel.slots)) == pytest.approx(
        sum(channel.masses)
    )


def test_cards_differ_in_digest_and_requirements():
    read = [cards.read(name) for name in cards.names()]
    assert len({card.digest for card in read}) == len({card.cuts.digest() for card in read}) == len(read)


def test_a_card_sets_requirements(tmp_path):
    card = cards.read(write(tmp_path, cuts='chi2_4c_max = 25\npid_emc = false\npid_tof = "tof12e"'))
    assert (card.cuts.chi2_4c_max, card.cuts.pid_emc, card.cuts.pid_tof) == (25.0, False, "tof12e")
    assert card.name == "mine"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"photons": "2"}, "photons is 2: Unexpected keyword argument"),
        ({"name": None}, "name is missing"),
        ({"parent": '"psi(2S)"'}, r"parent is 'psi\(2S\)': Input should be 'J/psi\(1S\)'"),
        ({"final_state": '"K+ K+ e- e-"'}, "final_state is 'K.*Input should be a valid"),
        ({"final_state": '["K+", "K+", "tau-", "e-"]'}, "no particle 'tau-'; there are e"),
        ({"final_state": '["K+", "K+", "e+", "e-"]'}, "has other charges than"),
        ({"final_state": '["K+", "K+", "e+", "e-"]', "alternatives": None}, "charges add up to .2, wanted 0"),
        ({"final_state": '["K+", "e-", "K+", "e-"]'}, "wanted like particles beside each other"),
        ({"alternatives": '[["K+", "e-", "K+", "e-"]]'}, "final_state .* it is among its alternatives"),
        ({"final_state": '["p+", "p-", "p+", "p-"]', "alternatives": None}, "like particles beside each other"),
        ({"final_state": '["p+", "p+", "p-", "p-"]', "alternatives": None}, "weigh 3.753 GeV/c.2, wanted less than"),
        ({"final_state": '["K+"]', "alternatives": None}, "final_state 'K.'"),
        ({"cuts": "chi2_max = 25"}, "requirement 'chi2_max' does not exist"),
        ({"cuts": 'chi2_4c_max = "small"'}, "chi2_4c_max=small: .* wanted a finite number"),
        ({"cuts": 'final_state = "K+ e-"'}, "cuts.final_state is given; wanted it as final_state, a list, at the top"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(tmp_path, changes, said):
    path = write(tmp_path, **changes)
    with pytest.raises(cards.CardError, match=said) as refused:
        cards.read(path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message


def test_a_card_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(cards.CardError, match=r"no channel card .jpsi_kkk.: wanted a file, or one of jpsi_emu"):
        cards.read("jpsi_kkk")


def test_names_and_masses_are_those_of_the_particle_data_group():
    for name, species in SPECIES_OF.items():
        code = abs(processes.POSITIVE[species])
        known = Particle.from_pdgid(code)
        assert known.mass / 1e3 == pytest.approx(SPECIES_MASS[species], rel=2e-5), name
        assert known.latex_name.split("^")[0].strip("{}") == WORDS[species].latex
        assert known.name.rstrip("+-") == name
    assert set(SPECIES_OF.values()) == set(Species)


@pytest.mark.parametrize(
    ("name", "tracks", "pairs", "symbols"),
    [
        ("jpsi_kkee", ("k1", "k2", "e1", "e2"), ("m_k1e1", "m_k2e2", "m_k1e2", "m_k2e1"), "KKee"),
        ("jpsi_pipiee", ("pi1", "pi2", "e1", "e2"), ("m_pi1e1", "m_pi2e2", "m_pi1e2", "m_pi2e1"), "ππee"),
        ("jpsi_kkmumu", ("k1", "k2", "mu1", "mu2"), ("m_k1mu1", "m_k2mu2", "m_k1mu2", "m_k2mu1"), "KKμμ"),
        ("jpsi_emu", ("e1", "mu1"), (), "eμ"),
    ],
)
def test_names_follow_from_the_decay(name, tracks, pairs, symbols):
    channel = cards.read(name).cuts.channel
    assert (channel.tracks, channel.pair_names, channel.symbols) == (tracks, pairs, symbols)


def test_the_hypotheses_index_arrays_by_species():
    for name in cards.names():
        hypotheses = cards.read(name).cuts.channel.hypotheses
        assert [int(species) for species in hypotheses] == list(range(len(hypotheses)))
    assert Channel(("K+", "K-")).hypotheses == (Species.E, Species.PI, Species.K)


def test_the_decay_is_no_requirement_that_may_differ_on_blind_data():
    from jpsi_lnv.analysis.selection import blinding

    other = cards.read("jpsi_pipiee").cuts
    with pytest.raises(blinding.BlindingError, match=r"alternatives .*, final_state .* would tell what the box hides"):
        blinding.require_same(other, "data", SELECTION)
    blinding.require_same(dataclasses.replace(other, chi2_4c_max=30.0), "data", other)
