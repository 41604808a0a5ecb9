"""chi of the calorimeter: standard normal for its own kind, far for the other."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from scipy.interpolate import RegularGridInterpolator

from analysis.events.columns import ArrayColumns
from analysis.objects import emc_pid, emc_tables
from analysis.objects.emc_tables import ControlTracks

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
    return emc_tables.build(make_tracks("e", 100_000, 1), make_tracks("pi", 100_000, 2))


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
    np.testing.assert_allclose(emc_tables._scores(tables, tracks), grid(inside.T), atol=1e-9)


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
    chi = emc_pid.emc_chi(columns, tables)
    assert np.isfinite(chi).all(axis=1).tolist() == [True, False, True]
    expected = emc_pid.evaluate(tables, np.array([1.0]), np.zeros(1), np.array([0.97]), np.array([0.88 / 0.94]))
    np.testing.assert_allclose(chi[:1], expected, atol=1e-4)
    some = emc_pid.emc_chi(columns, tables, np.array([False, True, True]))
    assert np.isfinite(some).all(axis=1).tolist() == [False, False, True]
    np.testing.assert_array_equal(some[2], chi[2])


def test_tables_survive_their_file(tables, tmp_path):
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(emc_pid.to_json(tables, {"e": "toys"})))
    read = emc_pid.load(str(path))
    for ours, theirs in zip(tables, read, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(("content", "message"), [("{}", "got format None"), ("nonsense", "cannot be read")])
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


def test_too_few_tracks_say_which_bin():
    with pytest.raises(emc_pid.EmcTableError, match=r"p in 0\.2 to 0\.3 .* wanted 300"):
        emc_tables.build(make_tracks("e", 1000, 1), make_tracks("pi", 1000, 2))


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
def test_the_packages_tables_fit_the_simulation(name, kind, own):
    from analysis.constants import M_JPSI
    from analysis.simulation.blocks import Recipe, make_block
    from analysis.simulation.channels import BACKGROUNDS

    block = make_block(Recipe(channels=((BACKGROUNDS[name], 1.0),), sqrt_s=M_JPSI), name, 0, 4000, 99)
    offsets, gen = block["Track_gen"]
    event = np.repeat(np.arange(4000), np.diff(offsets))
    code = np.abs(block["Gen_pdg_id"][1][block["Gen_pdg_id"][0][event] + gen.astype(np.int64)])
    arrays = {n: v[1] for n, v in block.items() if n.startswith("Track_")}
    chi = emc_pid.emc_chi(ArrayColumns(arrays, {"Track": offsets}, 4000), emc_pid.load())
    own_chi = chi[(code == {"e": 11, "pi": 211}[kind]) & np.isfinite(chi[:, 0]), own]
    assert len(own_chi) > 10_000
    assert abs(own_chi.mean()) < 0.05
    assert own_chi.std() == pytest.approx(1.0, abs=0.05)


def test_command_says_what_is_missing(tmp_path):
    from analysis.constants import M_JPSI
    from analysis.events.writer import NtupleWriter
    from analysis.simulation.blocks import Recipe, make_block
    from analysis.simulation.channels import BACKGROUNDS
    from processors.commands.emc_tables import PION, command, read_tracks

    recipe = Recipe(channels=((BACKGROUNDS["pipipipi"], 1.0),), sqrt_s=M_JPSI)
    path = str(tmp_path / "pions.root")
    with NtupleWriter(path) as writer:
        writer.extend(make_block(recipe, "pipipipi", 0, 500, 1))
    tracks = read_tracks([path], PION)
    assert 1000 < len(tracks.p) < 2500
    result = CliRunner().invoke(command, ["--electrons", path, "--pions", path])
    assert isinstance(result.exception, emc_pid.EmcTableError)
