"""Networks of the identification: chi against a plain evaluation, and what a damaged file is told."""

import json

import numpy as np
import pytest
from pid_reference import density_chi, network_output
from scipy import stats

from jpsi_lnv.analysis.errors import CalibrationError, SchemaError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.objects import networks

pytestmark = pytest.mark.fast

N = 200
N_HIDDEN = {"emc": 24, "muc": 16}
P_FIRST = {"emc": 0.2, "muc": 0.5}


@pytest.fixture(params=["emc", "muc"])
def kind(request):
    return request.param


def make_content(kind, seed=5):
    rng, layout = np.random.default_rng(seed), networks.LAYOUTS[kind]
    n_in, n_hidden = len(layout.inputs), N_HIDDEN[kind]
    # As measured: empty tails, and the rest adds up to one.
    drawn = {name: rng.uniform(0, 1, (18, 260)) for name in layout.kinds}
    density = {name: np.pad(x / (0.01 * x.sum(axis=1, keepdims=True)), ((0, 0), (20, 20))) for name, x in drawn.items()}
    return {
        "format": networks.FORMAT,
        "kind": kind,
        "shift": rng.normal(size=n_in).tolist(),
        "scale": rng.uniform(0.5, 2.0, n_in).tolist(),
        "hidden_bias": rng.normal(size=n_hidden).tolist(),
        "hidden_weights": rng.normal(0, 0.3, (n_hidden, n_in)).tolist(),
        "output_bias": [2.0],
        "output_weights": rng.normal(0, 0.3, n_hidden).tolist(),
        "p_edges": [P_FIRST[kind], 0.1],
        "output_edges": [0.5, 0.01],
        "density": {name: values.tolist() for name, values in density.items()},
    }


@pytest.fixture
def columns(rng):
    arrays = {f"Track_{name}": rng.uniform(0.1, 1.5, N) for name in ("tanl", "tanl_mdc", "phi0_mdc")}
    arrays |= {f"Track_kappa{s}": rng.choice([-1, 1], N) / rng.uniform(0.4, 1.6, N) for s in ("", "_mdc")}
    for name in ("energy", "e_seed", "e3x3", "e5x5", "lat_moment", "a20", "a42", "dtheta", "dphi", "second_moment"):
        arrays[f"Track_emc_{name}"] = rng.uniform(0.0, 1.0, N)
    for name in ("depth", "max_hits", "chi2", "distance", "dphi"):
        arrays[f"Track_muc_{name}"] = rng.uniform(0.0, 3.0, N)
    arrays["Track_emc_energy"][:5] = 0.0
    for name in ("emc_volume", "muc_volume"):
        arrays[f"Track_{name}"] = np.where(rng.random(N) < 0.1, -1, 3)
    return ArrayColumns(arrays, {"Track": np.array([0, N])}, 1)


def chi(kind, columns, content, chosen=None):
    evaluate = {"emc": networks.emc_chi, "muc": networks.muc_chi}[kind]
    return evaluate(columns, networks.from_json(content, "own.json"), np.arange(N) if chosen is None else chosen)


def inputs_of(kind, columns, t):
    """The network's inputs of one track, None where it is not asked; written out as BOSS has them."""
    of = {name: float(values[t]) for name, values in columns._arrays.items()}
    suffix = "" if kind == "emc" else "_mdc"
    kappa, tanl = of[f"Track_kappa{suffix}"], of[f"Track_tanl{suffix}"]
    p, cosine = np.sqrt(1 + tanl**2) / abs(kappa), tanl / np.sqrt(1 + tanl**2)
    of = {name.removeprefix(f"Track_{kind}_"): value for name, value in of.items()}
    if kind == "emc":
        shape = [of[name] for name in ("lat_moment", "a20", "a42", "dtheta", "dphi")]
        shower = [of["energy"], of["e_seed"], of["e3x3"], of["e5x5"], of["second_moment"] / 1000]
        return [p, 1 / kappa, *shower, *shape] if of["volume"] != -1 and of["energy"] > 0 else None
    phi = (of["Track_phi0_mdc"] + np.pi / 2) % (2 * np.pi)
    chambers = [of["depth"], of["max_hits"], of["chi2"], of["distance"], 3.14159 - of["dphi"]]
    is_asked = of["volume"] != -1 and p >= 0.5 and abs(cosine) <= 0.83
    return [p, phi, cosine, *chambers] if is_asked else None


def test_chi_is_that_of_a_plain_evaluation(kind, columns):
    content, layout = make_content(kind), networks.LAYOUTS[kind]
    found = chi(kind, columns, content)
    n_inside = 0
    for t in range(N):
        inputs = inputs_of(kind, columns, t)
        output = np.nan if inputs is None else network_output(content, inputs)
        if not 0.49 < output < 3.5:
            assert np.isnan(found[t]).all()
            continue
        n_inside += 1
        of_kind = [density_chi(content, k, inputs[0], output, own_bin=layout.counts_own_bin) for k in layout.kinds]
        np.testing.assert_allclose(found[t], [of_kind[k] for k in layout.of_hypothesis], atol=1e-6)
    assert 20 < n_inside < N


def test_the_order_of_the_tracks_does_not_matter(kind, columns):
    some = np.array([17, 3, 150])
    np.testing.assert_array_equal(
        chi(kind, columns, make_content(kind), some), chi(kind, columns, make_content(kind))[some]
    )


def test_chi_of_outputs_that_follow_the_density_is_standard_normal():
    content = make_content("emc")
    network = networks.from_json(content, "own.json")
    density = np.array(content["density"]["pi"])[4]
    share = network.chi[2, 4]
    drawn = np.random.default_rng(3).choice(300, size=20_000, p=density / density.sum())
    # A bin's own share counts whole: the distribution is that of the upper edges.
    assert stats.kstest(share[drawn], "norm").statistic < 0.02


def test_beyond_the_density_only_that_kind_is_excluded():
    network = networks.from_json(make_content("emc"), "own.json")
    assert np.all(network.chi[:, :, 10] == networks.BEYOND)
    last = network.chi[:, :, 290]
    assert np.all((last == networks.BEYOND) | (last > 4.0))


def without(content, name):
    return {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: without(c, "hidden_bias"), "hidden_bias is missing"),
        (lambda c: c | {"hidden_weights": c["hidden_weights"][1:]}, r"hidden_weights has the shape \(23, 12\)"),
        (lambda c: c | {"output_weights": ["a"] * 24}, "output_weights is no array of numbers"),
        (lambda c: c | {"output_bias": [float("nan")]}, "output_bias has numbers that are not finite"),
        (lambda c: c | {"scale": [0.0] * 12}, "a width or scale is zero"),
        (lambda c: c | {"density": {"e": c["density"]["e"]}}, "density.mu is missing"),
        (lambda c: c | {"density": c["density"] | {"pi": [[-1.0] * 300] * 18}}, "a density is negative"),
        (lambda c: c | {"density": []}, "density.e is missing"),
        (lambda c: c | {"kind": "tof"}, "of kind 'tof'; wanted one of"),
        (lambda c: c | {"format": "jpsi-lnv network 0"}, "format 'jpsi-lnv network 0'; wanted 'jpsi-lnv network 1'"),
        (lambda c: [c], "format 'list'"),
    ],
)
def test_a_damaged_network_is_told_in_one_line(spoil, message):
    with pytest.raises(CalibrationError, match=message) as caught:
        networks.from_json(spoil(make_content("emc")), "own.json")
    assert str(caught.value).startswith("network own.json: ")
    assert "\n" not in str(caught.value)


def test_a_network_is_read_from_its_file(tmp_path):
    path = tmp_path / "emc.json"
    path.write_text(json.dumps(make_content("emc")))
    wanted = networks.from_json(make_content("emc"), "own.json")
    for found, value in zip(networks.load(str(path)), wanted, strict=True):
        np.testing.assert_array_equal(found, value)
    path.write_text("{")
    with pytest.raises(CalibrationError, match=r"emc.json: is not JSON"):
        networks.load.__wrapped__(str(path))


def test_a_file_without_a_column_is_told_how_to_get_it(kind, columns):
    lacking = {name: values for name, values in columns._arrays.items() if not name.endswith("_volume")}
    with pytest.raises(SchemaError, match=rf"branch 'Track_{kind}_volume' is missing .*--keep pid,muon"):
        chi(kind, ArrayColumns(lacking, columns._offsets, 1), make_content(kind))


def made_tracks(kind, n, seed):
    """Inputs of a muon chamber's network: muons go deeper, pions leave more hits in a layer."""
    rng = np.random.default_rng(seed)
    p, phi, cosine = rng.uniform(0.5, 1.7, n), rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.83, 0.83, n)
    deep, hits = {"mu": (40.0, 1.2), "pi": (15.0, 3.0)}[kind]
    others = rng.normal(size=(3, n))
    return np.stack([p, phi, cosine, rng.normal(deep * p, 8.0), rng.gamma(hits, size=n), *others], axis=1)


def test_a_network_made_here_tells_the_kinds_apart():
    """Its chi is that of the bins below an output, as BOSS has it: where outputs crowd into few bins, a bit too low."""
    tracks = {kind: made_tracks(kind, 20_000, seed) for seed, kind in enumerate(networks.MUC.kinds)}
    content = networks.fitted("muc", tracks, 12, 3)
    network = networks.from_json(json.loads(json.dumps(content)), "own.json")
    for at, kind in enumerate(networks.MUC.kinds):
        inputs = made_tracks(kind, 20_000, 10 + at)
        found = networks._chi(network, networks.MUC, inputs, np.ones(len(inputs), dtype=bool))
        own, other = found[:, 1 + at], found[:, 2 - at]
        assert np.isfinite(own).all()
        assert -0.3 < own.mean() < 0.05
        assert 0.8 < own.std() < 1.1
        assert np.mean(np.abs(own) < np.abs(other)) > 0.9


def test_a_network_made_of_simulation_is_refused_for_recorded_runs(tmp_path):
    path = tmp_path / "muc.json"
    path.write_text(json.dumps(make_content("muc") | {"made_from": {"is_simulation": True}}))
    assert networks.load(str(path)).chi.shape == (2, 18, 300)
    with pytest.raises(CalibrationError, match=r"muc.json: was made from .* simulation and the runs are recorded"):
        networks.load(str(path), is_simulation=False)
