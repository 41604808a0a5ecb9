"""Channel cards: the shipped ones are what they say, and what cannot be searched for is refused in one line."""

from __future__ import annotations

import dataclasses

import pytest
from particle import Particle

from jpsi_lnv.analysis import cards
from jpsi_lnv.analysis.channel import KKEE, SPECIES_OF, WORDS, Channel
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species
from jpsi_lnv.analysis.constraints import Constraints, Mass
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


def kkgg(*masses, **changes):
    """Return the changes that make a card of K+ K- gamma gamma, with intermediates (of, particles, window)."""
    tables = (f"{{of = {of!r}, particles = {list(names)}, window = {list(window)}}}" for of, names, window in masses)
    final_state = '["K+", "K-", "gamma", "gamma"]'
    return {"final_state": final_state, "alternatives": None, "intermediates": f"[{', '.join(tables)}]"} | changes


PI0 = ("pi0", ("gamma1", "gamma2"), (0.115, 0.150))


def test_a_card_says_photons_masses_and_a_missing_particle(tmp_path):
    channel = cards.read(write(tmp_path, **kkgg(PI0))).cuts.channel
    assert channel.constraints == Constraints(4, (Mass((2, 3), 0.1349768),))
    assert (channel.constraints.ndf, channel.n_photons, channel.name) == (5, 2, "kkgammagamma")
    unseen = write(tmp_path, final_state='["K+", "pi+", "pi-", "e-"]', alternatives=None, missing='"nu_e"')
    channel = cards.read(unseen).cuts.channel
    assert (channel.constraints, channel.constraints.ndf) == (Constraints(4, missing=0.0), 1)
    assert channel.reaction == "K+ pi+ pi- e- nu_e + c.c."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (kkgg(("pi7", *PI0[1:])), "no neutral particle 'pi7'; wanted a name of the particle data group"),
        (kkgg(("pi+", *PI0[1:])), r"no neutral particle 'pi\+'"),
        (kkgg(("pi0", ("gamma1", "gamma3"), PI0[2])), "no particle 'gamma3', wanted among k1, k2, gamma1, gamma2"),
        (kkgg(("pi0", ("gamma1",), PI0[2])), "intermediates.0.particles is .*at least 2 items"),
        (kkgg(("pi0", ("gamma1", "gamma1"), PI0[2])), "wanted two or more different ones"),
        (kkgg(("eta", *PI0[1:])), "its window 0.115 to 0.15 GeV/c.2, wanted one around its mass, 0.547862"),
        (kkgg(("pi0", PI0[1], (0.15, 0.115))), "its window 0.15 to 0.115"),
        (kkgg(("phi(1020)", ("k1", "gamma1"), (1.0, 1.1))), r"charges of its particles add up to \+1, wanted 0"),
        (
            kkgg(("eta", ("k1", "k2"), (0.5, 0.6))),
            "weigh 0.987354 GeV/c.2, wanted at most its mass, 0.5478",
        ),
        (kkgg(PI0, PI0), "wanted two or more different ones of 0 to 3, and one mass of them"),
        (kkgg(PI0, ("eta", PI0[1], (0.5, 0.6))), "one mass of them"),
        (
            kkgg(("J/psi(1S)", ("k1", "k2", "gamma1", "gamma2"), (3.0, 3.2))),
            "5 constraints on 4 particles of which 4 are independent: wanted all",
        ),
        (
            kkgg(PI0, ("phi(1020)", ("k1", "k2"), (1.0, 1.1)), alternatives='[["pi+", "pi-", "gamma", "gamma"]]'),
            "has charged particles, which alternatives give other masses",
        ),
        (kkgg(PI0, alternatives='[["pi+", "pi-"]]'), r"pi\+ pi- has other photons than K\+ K- gamma gamma"),
        (kkgg(PI0, intermediates='[{of = "pi0", particles = ["gamma1", "gamma2"]}]'), "window is missing"),
        (kkgg(final_state='["K+", "gamma", "K-", "gamma"]', intermediates=None), "photons last"),
        (
            kkgg(final_state=f'["K+", "K-"{5 * chr(44) + " "}]'.replace(",,,,,", 5 * ', "gamma"')),
            "got 5 photons, wanted",
        ),
        (kkgg(missing='"K-"'), "no neutral particle 'K-'"),
        (kkgg(missing='"eta(c)(1S)"'), "weigh 3.97.* wanted less than the J/psi"),
        (kkgg(PI0, cuts='vertex_fit = "free"'), "vertex_fit 'free' is of 4 tracks and nothing else"),
        (kkgg(PI0, cuts='missing = "n"'), "cuts.missing is given; wanted it as missing at the top"),
    ],
)
def test_what_no_candidate_can_meet_is_refused_in_one_line(tmp_path, changes, said):
    assert_refused_in_one_line(write(tmp_path, **changes), said)


def assert_refused_in_one_line(path, said):
    with pytest.raises(cards.CardError, match=said) as refused:
        cards.read(path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message


def test_only_masses_of_new_combinations_are_counted_as_constraints():
    """Nested masses are independent; the mass of all that are seen beside a missing particle is too."""
    omega = Constraints(6, (Mass((4, 5), 0.135), Mass((2, 3, 4, 5), 0.783)))
    assert omega.ndf == 6
    assert Constraints(4, (Mass((0, 1, 2, 3), 2.9),), missing=0.0).ndf == 2
    with pytest.raises(ValueError, match="are independent"):
        Constraints(4, (Mass((0, 1, 2, 3), 3.0969),))


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
        ({"cuts": 'final_state = "K+ e-"'}, "cuts.final_state is given; wanted it as final_state at the top"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(tmp_path, changes, said):
    assert_refused_in_one_line(write(tmp_path, **changes), said)


def test_a_card_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        cards.CardError, match=r"no channel card .jpsi_kkk.: wanted a file, or one of jpsi_ee, jpsi_emu"
    ):
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
        ("jpsi_kkpi0", ("k1", "k2"), (), "KKγγ"),
        ("jpsi_ppbarpipi", ("p1", "p2", "pi1", "pi2"), (), "ppππ"),
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
