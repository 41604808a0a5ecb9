"""chi of the calorimeter: standard normal for its own kind, far for the other."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import RegularGridInterpolator

from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.analysis.objects.emc_pid import ControlTracks
from jpsi_lnv.analysis.objects.tracks import momentum

pytestmark = pytest.mark.fast


def make_tracks(kind: str, n: int, seed: int) -> ControlTracks:
    rng = np.random.default_rng(seed)
    p, cosine = rng.uniform(0.2, 2.0, n), rng.uniform(-0.93, 0.93, n)
    if kind == "e":
        return ControlTracks(p, cosine, rng.normal(0.97, 0.04, n), rng.normal(0.94, 0.025, n))
    is_mip = rng.random(n) < 0.5
    e_over_p = np.where(is_mip, 0.2 / p * rng.gumbel(1.0, 0.1, n), rng.beta(1.1, 2.6, n))
    return ControlTracks(p, cosine, e_over_p, np.where(is_mip, rng.normal(0.97, 0.02, n), rng.normal(0.83, 0.1, n)))


@pytest.fixture(scope="module")
def tables():
    return emc_pid.build(make_tracks("e", 100_000, 1), make_tracks("pi", 100_000, 2))


@pytest.mark.parametrize(("kind", "own", "other_side"), [("e", 0, 1), ("pi", 1, -1)])
def test_chi_is_standard_normal_for_its_own_kind(tables, kind, own, other_side):
    tracks = make_tracks(kind, 50_000, 3)
    chi = emc_pid.evaluate(tables, *tracks)
    assert np.isfinite(chi).all()
    assert abs(chi[:, own].mean()) < 0.03
    assert chi[:, own].std() == pytest.approx(1.0, abs=0.03)
    for edge in (1.0, 2.0):
        assert np.mean(np.abs(chi[:, own]) > edge) == pytest.approx(2 * stats.norm.sf(edge), abs=0.01)
    assert other_side * np.median(chi[:, 1 - own]) > 2.5


def test_kaons_take_the_pions_value(tables):
    chi = emc_pid.evaluate(tables, *make_tracks("pi", 100, 4))
    np.testing.assert_array_equal(chi[:, 1], chi[:, 2])


def test_score_is_linear_between_the_nodes(tables):
    tracks = make_tracks("pi", 1000, 5)
    tracks = ControlTracks(np.full(1000, 0.65), np.full(1000, 0.1), *tracks[2:])
    grid = RegularGridInterpolator((tables.e_over_p, tables.compactness), tables.score[4, 0])
    inside = np.stack(
        [np.clip(tracks[2 + i], nodes[0], nodes[-1]) for i, nodes in enumerate((tables.e_over_p, tables.compactness))]
    )
    np.testing.assert_allclose(emc_pid._scores(tables, tracks), grid(inside.T), atol=1e-9)


@pytest.mark.parametrize(
    "tracks",
    [(0.1, 0.0, 0.9, 0.9), (2.5, 0.0, 0.9, 0.9), (1.0, 0.95, 0.9, 0.9), (1.0, 0.0, np.nan, 0.9), (np.nan, 0, 0.9, 0.9)],
)
def test_outside_the_tables_there_is_no_chi(tables, tracks):
    assert np.isnan(emc_pid.evaluate(tables, *(np.array([float(x)]) for x in tracks))).all()


def test_chi_goes_on_beyond_the_last_quantile(tables):
    e_over_p = np.linspace(0.0, 1.2, 50)
    chi = emc_pid.evaluate(tables, np.full(50, 1.0), np.zeros(50), e_over_p, np.full(50, 0.94))
    assert np.isfinite(chi).all()
    assert chi[:, 0].min() < -3.0
    assert chi[:, 1].max() > 3.0


def test_chi_of_columns(tables):
    names = ("kappa", "tanl", "emc_energy", "emc_e3x3", "emc_e5x5")
    values = np.array([[-1.0, 0.0, 0.97, 0.88, 0.94], [1.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.3, 0.2, 0.29]])
    arrays = {f"Track_{n}": values[:, i].astype(np.float32) for i, n in enumerate(names)}
    columns = ArrayColumns(arrays, {"Track": np.array([0, 3])}, 1)
    chi = emc_pid.chi_of_chosen(columns, tables, np.arange(3))
    assert np.isfinite(chi).all(axis=1).tolist() == [True, False, True]
    expected = emc_pid.evaluate(tables, np.array([1.0]), np.zeros(1), np.array([0.97]), np.array([0.88 / 0.94]))
    np.testing.assert_allclose(chi[:1], expected, atol=1e-4)
    np.testing.assert_array_equal(emc_pid.chi_of_chosen(columns, tables, np.array([2, 1])), chi[[2, 1]])


def test_tables_survive_their_file(tables, tmp_path):
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(emc_pid.to_json(tables, {"e": "toys"})))
    read = emc_pid.load(str(path))
    for ours, theirs in zip(tables, read, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "got format None"),
        ("[]", "wanted an object"),
        ("nonsense", "is not JSON"),
        ('{"format": "jpsi-lnv emc-pid 1"}', "p_edges"),
        ('{"format": "jpsi-lnv emc-pid 1", "p_edges": ["a"]}', "no array of numbers"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "tables.json"
    path.write_text(content)
    with pytest.raises(emc_pid.EmcTableError, match=message):
        emc_pid.load(str(path))
    with pytest.raises(emc_pid.EmcTableError, match="cannot be read"):
        emc_pid.load(str(tmp_path / "none.json"))


def test_tables_of_the_wrong_shape_are_refused(tables):
    content = emc_pid.to_json(tables, {})
    content["chi"] = content["chi"][:-1]
    with pytest.raises(emc_pid.EmcTableError, match="do not fit"):
        emc_pid.from_json(content, "tables.json")


@pytest.mark.parametrize("kind", ["e", "pi"])
def test_too_few_tracks_say_which_bin_and_what_to_give(kind):
    n = {"e": 100_000, "pi": 100_000, kind: 1000}
    samples = [make_tracks(k, n[k], seed) for seed, k in enumerate(("e", "pi"))]
    counts = emc_pid.occupancy(samples[kind == "pi"])
    thinnest = np.unravel_index(counts.argmin(), counts.shape)[0]
    low, high = emc_pid.P_EDGES[thinnest : thinnest + 2]
    message = rf"got {counts.min()} of kind '{kind}' with p in {low} to {high} .* wanted 300: .* times .*lnv simulate"
    with pytest.raises(emc_pid.EmcTableError, match=message):
        emc_pid.build(*samples)


def test_occupancy_counts_every_track_of_the_tables_once():
    tracks = make_tracks("e", 10_000, 6)
    edges = np.concatenate([emc_pid.P_EDGES, [np.nan]])
    tracks.p[: len(edges)] = edges
    tracks.cos_theta[: len(edges)] = 0.5
    tracks.e_over_p[len(edges) : 100] = 0.0
    has_cluster = tracks.e_over_p > 0
    inside = has_cluster & (tracks.p >= 0.2) & (tracks.p < 2.0) & (np.abs(tracks.cos_theta) < 0.93)
    assert emc_pid.occupancy(tracks).sum() == np.count_nonzero(inside)
    chi = emc_pid.evaluate(emc_pid.load(), *tracks)
    assert np.count_nonzero(np.isfinite(chi[has_cluster, 0])) == np.count_nonzero(inside)


def test_the_packages_tables():
    tables = emc_pid.load()
    assert (np.diff(tables.quantiles, axis=-1) >= 0).all()
    one = np.ones(1)
    electron = emc_pid.evaluate(tables, one, 0 * one, 0.95 * one, 0.94 * one)[0]
    pion = emc_pid.evaluate(tables, one, 0 * one, 0.2 * one, 0.97 * one)[0]
    assert abs(electron[0]) < 1.5
    assert electron[1] > 2.5
    assert abs(pion[1]) < 1.5
    assert pion[0] < -3.0


@pytest.mark.parametrize(("name", "kind", "own"), [("eeee", "e", 0), ("pipipipi", "pi", 1)])
def test_the_packages_tables_fit_generated_tracks(name, kind, own):
    """The tables come from probes of other events; here the tracks are taken by their generated particle."""
    from jpsi_lnv.analysis.constants import M_JPSI
    from jpsi_lnv.analysis.selection.misid import SPECIES, true_species
    from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS
    from jpsi_lnv.analysis.simulation.production import Recipe, make_block

    block = make_block(Recipe(processes=((BACKGROUNDS[name], 1.0),), sqrt_s=M_JPSI), name, 0, 16_000, 99)
    offsets = {c: block[f"{c}_{column}"][0] for c, column in (("Track", "kappa"), ("Gen", "pdg_id"))}
    columns = ArrayColumns({n: v[1] for n, v in block.items() if isinstance(v, tuple)}, offsets, 16_000)
    is_own = true_species(columns) == SPECIES.index(kind)
    chi = emc_pid.chi_of_chosen(columns, emc_pid.load(), np.arange(len(is_own)))[:, own]
    chosen = is_own & np.isfinite(chi)
    assert np.count_nonzero(chosen) > 40_000
    assert abs(chi[chosen].mean()) < 0.02
    assert chi[chosen].std() == pytest.approx(1.0, abs=0.02)
    p = momentum(columns.flat("Track", "kappa"), columns.flat("Track", "tanl"))
    for low, high in itertools.pairwise(emc_pid.P_EDGES[:-1]):
        in_bin = chi[chosen & (p >= low) & (p < high)]
        assert abs(in_bin.mean()) < 0.05 + 4 / np.sqrt(len(in_bin))
        assert in_bin.std() == pytest.approx(1.0, abs=0.05 + 3 / np.sqrt(len(in_bin)))


@pytest.mark.parametrize("name", ["p_edges", "cos_theta_edges", "e_over_p", "compactness", "chi", "quantiles"])
def test_tables_out_of_order_are_refused(tables, name):
    content = emc_pid.to_json(tables, {})
    content[name] = np.flip(content[name], axis=-1).tolist()
    with pytest.raises(emc_pid.EmcTableError, match="increasing order"):
        emc_pid.from_json(content, "tables.json")
