"""Somebody else's decays: read, simulated, searched for; the limit on their model; and the map for others."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import csv, parquet

from jpsi_lnv.analysis import recast, recast_map
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import SEARCH, SIGNAL, DatasetMetadata
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.limits import methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.selection import search
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.decays import boost
from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.cli import main as program

N = 16_384
PAGE = Path(__file__).parents[1] / "docs/howto_recast.md"
MODELS = {
    "phase space": (lambda rng: recast_map.no_neutrino(rng, N), processes.SIGNAL),
    "2nu 0.575": (lambda rng: recast_map.two_neutrinos(rng, np.full((N, 2), 0.575)), processes.majorana(0.575, "2nu")),
    "2nu 1.200": (lambda rng: recast_map.two_neutrinos(rng, np.full((N, 2), 1.2)), processes.majorana(1.2, "2nu")),
    "1nu 0.700": (lambda rng: recast_map.one_neutrino(rng, 0.7, N), processes.majorana(0.7, "1nu")),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows_of(decays, neutrinos=True):
    """Return decays as a table with one row per particle, not in the order in which they are kept."""
    n = len(decays)
    order = [1, 2, 0, 3]
    sign = np.where(decays.is_conjugated, -1, 1)[:, None]
    labels = np.where(np.arange(2) < decays.n_neutrinos[:, None], [1, 2], 0).repeat(2, axis=1)
    columns = {
        "event": np.arange(n).repeat(4),
        "pdg_id": (sign * recast.CONTENT)[:, order].ravel(),
        **{name: decays.momenta[:, order, i].ravel() for i, name in enumerate(("px", "py", "pz", "e"))},
    }
    return pa.table(columns | ({"neutrino": labels[:, order].ravel()} if neutrinos else {}))


def lhe_of(decays):
    """Return Les Houches events whose neutrinos are written as what their pairs come from."""
    text = ["<LesHouchesEvents version='3.0'>\n<init>\n</init>"]
    for p4, n, is_conjugated in zip(decays.momenta, decays.n_neutrinos, decays.is_conjugated, strict=True):
        sign = -1 if is_conjugated else 1
        lines = [line(443, -1, 0, 0, [0, 0, 0, M_JPSI])]
        lines += [line(9910012, 2, 1, 1, p4[2 * i : 2 * i + 2].sum(axis=0)) for i in range(n)]
        mothers = [2 + i if i < n else 1 for i in (0, 0, 1, 1)]
        lines += [line(sign * c, 1, m, 0, p) for c, m, p in zip(recast.CONTENT, mothers, p4, strict=True)]
        text += ["<event>", f" {len(lines)} 1 0.5 3.1 0.0 0.1", *lines, "# by hand", "<rwgt>", "</rwgt>", "</event>"]
    return "\n".join([*text, "</LesHouchesEvents>", ""])


def line(code, status, first, last, p4):
    mass = np.sqrt(max(p4[3] ** 2 - np.square(p4[:3]).sum(), 0.0))
    return f" {code} {status} {first} {last} 0 0 " + " ".join(f"{x:.12e}" for x in (*p4, mass, 0.0, 9.0))


@cache
def small_map():
    rng = np.random.default_rng(8)
    rows = recast_map.sample(rng, 2 * N)
    n_passed = np.sum([of_trial(i, decays) for i, decays in enumerate(recast_map.trials(rows))], axis=0)
    closure = [{"m_majorana": m, "deviation": d} for m, d in ((0.6, 0.05), (0.9, -0.02), (1.5, 0.2))]
    return recast_map.Map(recast_map.features(rows.momenta).astype(np.float32), n_passed, tuple(closure))


def of_trial(i, decays):
    return np.concatenate([recast.passed(part, f"rows {i}", block, 8) for block, part in decays.blocks()])


@pytest.mark.parametrize("name", MODELS)
def test_decays_from_outside_have_the_efficiency_of_our_own_samples(name):
    made, process = MODELS[name]
    ours, _ = recast.efficiency(recast.passed(made(np.random.default_rng(5)), "recast", 0, 5), np.ones(N))
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "direct", 0, N, 6))
    chunk = Chunk(
        ArrayColumns(block.values, block.offsets, N), "direct", DatasetMetadata(kind=SIGNAL, sqrt_s=M_JPSI), SELECTION
    )
    direct = len(search.select(chunk)[SEARCH]["candidates"]["event"]) / N
    assert ours == pytest.approx(direct, abs=3.0 * np.sqrt(2.0 * direct * (1.0 - direct) / N))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "lhe", "lhe.gz"])
def test_every_format_gives_the_same_decays(suffix, tmp_path, rng):
    masses = np.full((40, 2), 0.9)
    made = recast_map.two_neutrinos(rng, masses)
    path = tmp_path / f"decays.{suffix}"
    if suffix.startswith("lhe"):
        text = lhe_of(made).encode()
        path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    else:
        (csv.write_csv if suffix == "csv" else parquet.write_table)(rows_of(made), path)
    read = recast.read(path)
    assert read.n_neutrinos.tolist() == [2] * 40
    assert read.is_conjugated.tolist() == made.is_conjugated.tolist()
    first = np.isclose(read.momenta, made.momenta, atol=1e-9).all(axis=(1, 2))
    swapped = np.isclose(read.momenta, made.momenta[:, [2, 3, 0, 1]], atol=1e-9).all(axis=(1, 2))
    assert (first | swapped).all()


def test_one_neutrino_in_les_houches_events_is_told_from_the_jpsi(tmp_path, rng):
    path = tmp_path / "one.lhe"
    made = recast_map.one_neutrino(rng, 0.8, 20)
    path.write_text(lhe_of(made))
    read = recast.read(path)
    assert read.n_neutrinos.tolist() == [1] * 20
    assert np.allclose(read.momenta, made.momenta, atol=1e-9)


def test_decays_in_the_laboratory_are_taken_to_rest(tmp_path, rng):
    made = recast_map.no_neutrino(rng, 30)
    moving = boost(made.momenta, np.array([0.034, 0.0, 0.01, np.hypot(M_JPSI, np.hypot(0.034, 0.01))]))
    parquet.write_table(rows_of(dataclasses.replace(made, momenta=moving)), tmp_path / "lab.parquet")
    read = recast.read(tmp_path / "lab.parquet")
    assert np.abs(read.momenta.sum(axis=1) - [0, 0, 0, M_JPSI]).max() < 1e-9


def test_weights_weight_the_efficiency():
    passes = np.array([True, False, True, True])
    assert recast.efficiency(passes, np.array([1.0, 1.0, 0.0, 0.0]))[0] == 0.5
    value, error = recast.efficiency(passes, np.ones(4))
    assert (value, error) == pytest.approx((0.75, np.sqrt(0.75 * 0.25 / 4)))
    assert recast.efficiency(np.zeros(4, bool), np.ones(4)) == (0.0, 0.25)


def table(rng, **changed):
    made = rows_of(recast_map.no_neutrino(rng, 3))
    for name, value in changed.items():
        column = made[name].to_pylist() if name in made.column_names else None
        new = value(column) if callable(value) else value
        if new is None:
            made = made.drop_columns([name])
        elif column is None:
            made = made.append_column(name, pa.array(new))
        else:
            made = made.set_column(made.column_names.index(name), name, pa.array(new))
    return made


BAD = {
    "another particle": ({"pdg_id": lambda c: [13, *c[1:]]}, r"event 0: particles 13 .*wanted K\+ K\+ e- e-"),
    "mixed charges": ({"pdg_id": lambda c: [-c[0], *c[1:]]}, r"event 0: particles -11 .*wanted"),
    "a photon": ({"pdg_id": lambda c: [22, *c[1:]]}, r"radiation is added"),
    "three particles": ({"event": lambda c: [0, 0, 0, 1, *c[4:]]}, r"event 0: particles"),
    "momenta of something else": ({"px": lambda c: [0.3 + c[0], *c[1:]]}, r"event 0: (energy|momenta)"),
    "an energy off its shell": ({"e": lambda c: [c[0] + 0.01, *c[1:]]}, r"event 0: energy .* of a electron"),
    "true as a number": ({"px": lambda c: [True] * len(c)}, r"column 'px' holds bool; wanted numbers"),
    "words": ({"px": lambda c: ["a"] * len(c)}, r"column 'px' holds string"),
    "nan": ({"e": lambda c: [float("nan"), *c[1:]]}, r"column 'e' holds nan in row 0"),
    "no column": ({"e": None}, r"no column 'e'"),
    "a third neutrino": ({"neutrino": [3] * 12}, r"neutrino 3; wanted 1 or 2"),
    "half a neutrino": ({"neutrino": [1, 0, 0, 0] * 3}, r"wanted K and e of each"),
    "negative weights": ({"weight": [-1.0] * 12}, r"weights: wanted none below zero"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_decays_are_refused_in_one_line(name, rng, tmp_path, capsys):
    changed, message = BAD[name]
    parquet.write_table(table(rng, **changed), tmp_path / "bad.parquet")
    with pytest.raises(SystemExit) as ended:
        program(["recast", "bad.parquet", "--executor", "iterative"])
    printed = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1
    assert len(printed) == 1
    assert "bad.parquet" in printed[0]
    assert re.search(message, printed[0])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("none.csv", None),
        ("none.txt", "a"),
        ("empty.csv", ""),
        ("empty.parquet", ""),
        ("empty.lhe", "<LesHouchesEvents>"),
        ("short.lhe", "<event>\n 4 1 0.5\n 11 1\n</event>"),
        ("broken.lhe.gz", "no archive"),
        ("headers.csv", "event,pdg_id,px,py,pz,e\n"),
    ],
)
def test_bad_files_are_refused_in_one_line(file, content, tmp_path, capsys):
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(SystemExit) as ended:
        program(["recast", file, "--executor", "iterative"])
    printed = capsys.readouterr().err.strip().splitlines()
    assert (ended.value.code, len(printed)) == (1, 1)
    assert file in printed[0]


def overall(**changed):
    given = {"n_obs": 1, "n_bkg": 0.0, "efficiency": 0.2, "delta_sys": 0.07, "n_jpsi": 1.0087e10} | changed
    return LimitInputs(**given)


def test_the_limit_is_that_of_the_search_at_the_models_efficiency(tmp_path, rng):
    results = tmp_path / "results"
    results.mkdir()
    records = [methods.upper_limit(overall(), method=name).to_dict() for name in methods.BOTH]
    (results / "limits.json").write_text(json.dumps({"limits": records}))
    parquet.write_table(rows_of(recast_map.two_neutrinos(rng, np.full((2000, 2), 1.2))), tmp_path / "model.parquet")
    done = CliRunner().invoke(lnv, ["recast", "model.parquet", "--executor", "iterative"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads((results / "recast.json").read_text())
    value, error = found["efficiency"], found["efficiency_error"]
    assert value == pytest.approx(0.20, abs=0.03)
    assert error == pytest.approx(np.sqrt(value * (1 - value) / 2000))
    delta = np.hypot(0.07, error / value)
    for record, name in zip(found["limits"], methods.BOTH, strict=True):
        wanted = methods.upper_limit(overall(efficiency=value, delta_sys=delta), method=name)
        assert record["method"] == name
        assert record["branching_fraction_ul"] == pytest.approx(wanted.branching_fraction_ul)


def test_without_limits_there_is_an_efficiency_alone(tmp_path, rng):
    parquet.write_table(rows_of(recast_map.no_neutrino(rng, 500)), tmp_path / "model.parquet")
    done = CliRunner().invoke(lnv, ["recast", "model.parquet", "--executor", "iterative"], catch_exceptions=False)
    assert "no limit" in done.output
    assert json.loads((tmp_path / "results/recast.json").read_text())["limits"] == []


def test_limits_of_other_requirements_are_refused(tmp_path, rng, capsys):
    (tmp_path / "results").mkdir()
    stored = {"made_from": {"cuts_digest": "other"}, "limits": []}
    (tmp_path / "results/limits.json").write_text(json.dumps(stored))
    parquet.write_table(rows_of(recast_map.no_neutrino(rng, 500)), tmp_path / "model.parquet")
    with pytest.raises(SystemExit):
        program(["recast", "model.parquet", "--executor", "iterative"])
    assert "made with requirements other" in capsys.readouterr().err


def test_the_map_comes_back_from_its_file(tmp_path):
    made = small_map()
    path = recast_map.write(tmp_path / "map.parquet", made, {})
    read = recast_map.read(path)
    assert np.array_equal(read.features, made.features)
    assert np.array_equal(read.n_passed, made.n_passed)
    assert list(read.closure) == list(made.closure)


def test_every_row_is_simulated_with_either_charge_as_often(rng):
    rows = recast_map.sample(rng, 10)
    conjugated = np.array([decays.is_conjugated for decays in recast_map.trials(rows)])
    assert conjugated.sum(axis=0).tolist() == [recast_map.N_TRIALS / 2] * 10
    assert conjugated[0, 0::2].any()
    assert not conjugated[0, 0::2].all(), "the charge does not go with the way in which masses are drawn"


def test_features_say_both_masses_of_the_pairs(rng):
    found = recast_map.features(recast_map.two_neutrinos(rng, np.tile([0.8, 0.7], (50, 1))).momenta)
    at = [recast_map.FEATURES.index(name) for name in ("m_ke_1", "m_ke_2")]
    is_nearest = np.isclose(found[:, at], [0.7, 0.8]).all(axis=1)
    assert is_nearest.mean() > 0.5
    assert (np.diff(found[:, at]) >= 0.0).all()


def test_the_map_gives_the_efficiency_of_a_model_it_does_not_know(rng):
    decays = recast_map.two_neutrinos(rng, np.full((N, 2), 1.2))
    found = recast_map.closure(small_map(), decays, recast.passed(decays, "model", 0, 4), "2nu", 1.2)
    assert found.beyond < 0.03
    assert found.is_wanted


def test_the_map_refuses_models_where_its_closure_is_bad(tmp_path, rng, capsys):
    recast_map.write(tmp_path / "map.parquet", small_map(), {})
    for mass, is_refused in ((0.52, True), (0.9, False), (1.5, True)):
        parquet.write_table(rows_of(recast_map.two_neutrinos(rng, np.full((200, 2), mass))), tmp_path / "m.parquet")
        with pytest.raises(SystemExit) as ended:
            program(["recast", "m.parquet", "--map", "map.parquet"])
        printed = capsys.readouterr()
        assert ended.value.code == int(is_refused), printed
        assert ("wanted 10%" in printed.err) is is_refused


def test_a_map_of_other_requirements_is_refused(tmp_path, rng, capsys):
    recast_map.write(tmp_path / "map.parquet", small_map(), {"cuts_digest": SELECTION.digest()})
    parquet.write_table(rows_of(recast_map.two_neutrinos(rng, np.full((200, 2), 0.9))), tmp_path / "m.parquet")
    with pytest.raises(SystemExit):
        program(["recast", "m.parquet", "--map", "map.parquet", "--set", "chi2_4c_max=25"])
    assert "map.parquet: made with requirements" in capsys.readouterr().err


def test_a_file_that_is_no_map_is_refused(tmp_path, rng):
    parquet.write_table(rows_of(recast_map.no_neutrino(rng, 5)), tmp_path / "no.parquet")
    with pytest.raises(recast.DecaysError, match=r"no\.parquet: no map of the efficiency .*--make-map"):
        recast_map.read(tmp_path / "no.parquet")


def test_the_ten_lines_of_the_documentation_give_what_the_map_gives(tmp_path, rng, capsys):
    recast_map.write(tmp_path / "recast_map.parquet", small_map(), {})
    decays = recast_map.two_neutrinos(rng, np.full((300, 2), 0.9))
    np.save(tmp_path / "model.npy", decays.momenta)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    statements = [row for row in code.splitlines() if row and not row.startswith(("import", "from"))]
    assert len(statements) <= 10
    exec(compile(code, str(PAGE), "exec"), {})
    printed = float(capsys.readouterr().out.split()[1])
    assert printed == pytest.approx(small_map().looked_up(decays).mean(), abs=1e-4)
    assert str(list(recast_map.SCALES)) in code


def test_scales_of_the_map_stand_in_its_file(tmp_path):
    path = recast_map.write(tmp_path / "map.parquet", small_map(), {"seed": 8})
    content = json.loads(parquet.read_schema(path).metadata[recast_map.METADATA])
    assert content["scales"] == list(recast_map.SCALES)
    assert content["n_nearest"] == recast_map.N_NEAREST
    assert content["seed"] == 8


def test_events_and_make_map_exclude_each_other():
    for arguments in ([], ["a.csv", "--make-map"], ["--make-map", "--map", "m.parquet"]):
        assert CliRunner().invoke(lnv, ["recast", *arguments]).exit_code == 2
