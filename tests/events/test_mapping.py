"""A user's own ntuple becomes ours by a mapping file, and what does not fit is said at once."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.mapping import FROM_RUNS, open_mapped, read_map
from jpsi_lnv.analysis.events.mapping_draft import draft
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import Conditions, uniform
from jpsi_lnv.analysis.events.schema import BRANCHES, conversion
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.cli import main

pytestmark = pytest.mark.fast

RUNS = uniform(Conditions(sqrt_s=3.097, ip=(0.1, -0.1, 0.2)))


@pytest.fixture
def foreign(tmp_path, toy_columns):
    """A flat ntuple as a user writes it: double precision, names and units of their own, the helix as an array."""
    block = make_block({n: v for n, v in toy_columns.items() if not n.startswith(("Gen", "Track_gen"))})
    tree = {"runNo": -np.abs(block.values["run"]) - 1.0, "evt": block.values["event"].astype(np.float64)}
    entries = {
        "run": {"branch": "runNo", "round": True},
        "event": {"branch": "evt", "round": True},
        "sqrt_s": {"value": 3097.0, "unit": "MeV"},
    }
    for name in schema.required_branches():
        collection, column = BRANCHES[name]
        if not collection or name in tree:
            continue
        factor = 10.0 if column.unit == "cm" else 1.0
        values = ak.unflatten(block.values[name] * np.float64(factor), np.diff(block.offsets[collection]))
        tree[f"my_{name}"] = values
        entries[name] = {"branch": f"my_{name}"}
        if factor != 1.0:
            entries[name]["unit"] = "mm"
        if np.dtype(column.dtype).kind == "i":
            entries[name]["round"] = True
    path = tmp_path / "ana.root"
    with uproot.recreate(path) as file:
        file.mktree("ana", {n: ak.type(v) if isinstance(v, ak.Array) else v.dtype for n, v in tree.items()}).extend(
            tree
        )
    return path, entries, block


def write_map(path, entries, tree="ana", units='units = "schema"'):
    lines = [f'tree = "{tree}"', units, "[columns]"]
    lines += [f"{name} = {toml(entry)}" for name, entry in entries.items()]
    path.write_text("\n".join(lines))
    return path


def toml(entry):
    if not isinstance(entry, dict):
        return json.dumps(entry)
    return "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in entry.items()) + "}"


def test_a_foreign_ntuple_has_our_columns(foreign, tmp_path):
    path, entries, block = foreign
    mapping = read_map(write_map(tmp_path / "map.toml", entries))
    with open_mapped(str(path), mapping) as ntuple:
        assert ntuple.n_events == block.n_events
        assert ntuple.is_simulation
        got = make_block(ntuple.read(0, ntuple.n_events, RUNS))
        part = make_block(ntuple.read(3, 17, RUNS))
    for name, values in block.values.items():
        if BRANCHES[name][0]:
            np.testing.assert_allclose(got.values[name], values, rtol=3e-7, err_msg=name)
    np.testing.assert_array_equal(got.values["event"], block.values["event"])
    assert np.all(got.values["sqrt_s"] == np.float32(3.097))
    assert np.all(got.values["ip_y"] == np.float32(-0.1))
    np.testing.assert_array_equal(got.cut(3, 17).values["Track_kappa"], part.values["Track_kappa"])


def test_the_command_converts_it(foreign, tmp_path):
    path, entries, block = foreign
    entries |= {name: {"value": 0.0} for name in ("ip_x", "ip_y", "ip_z")}
    entries |= {"field": {"value": 1.0}, "period": {"value": 2018}}
    mapping = write_map(tmp_path / "map.toml", entries)
    arguments = ["skim", path, "--mapping", mapping, "--output", tmp_path / "out", "--all", "--executor", "iterative"]
    arguments.append("--trust-units")
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert caught.value.code == 0
    with uproot.open(tmp_path / "out" / "skim_0.root") as file:
        assert file["Events"].num_entries == block.n_events
        assert file["Meta"]["n_produced"].array().tolist() == [block.n_events]


def test_every_missing_column_is_named(foreign, tmp_path):
    _, entries, _ = foreign
    for name in ("Track_kappa", "Shower_x", "run"):
        del entries[name]
    with pytest.raises(SchemaError) as caught:
        read_map(write_map(tmp_path / "map.toml", entries))
    message = str(caught.value)
    assert "3 column(s) do not fit" in message
    assert "Track_kappa: is missing (float32 per track in c/GeV" in message
    assert "Shower_x: is missing" in message
    assert "run: is missing (int32 per event" in message


@pytest.mark.parametrize(
    ("column", "entry", "message"),
    [
        ("Track_foo", "x", "Track_foo: is not in the column table"),
        ("Track_dr", {"branch": "a", "units": "mm"}, "Track_dr: got"),
        ("Track_dr", {"branch": "a", "unit": "MeV"}, "Track_dr: 'MeV' does not convert to 'cm'"),
        ("Track_dr", {"branch": "a", "unit": "furlong"}, "Track_dr: unit 'furlong' is not known"),
        ("Track_dr", {"value": 1.0}, "Track_dr: a constant serves event scalars only"),
        ("period", {"value": 2018.5}, "period: got 2018.5, wanted an integer"),
    ],
)
def test_wrong_entries_are_named(foreign, tmp_path, column, entry, message):
    _, entries, _ = foreign
    with pytest.raises(SchemaError, match=message):
        read_map(write_map(tmp_path / "map.toml", entries | {column: entry}))


@pytest.mark.parametrize("text", ["tree = ", 'tree = "a"', "[columns]", "columns = 3\ntree = 'a'"])
def test_wrong_files_are_named(tmp_path, text):
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(SchemaError, match=str(path)):
        read_map(path)


def test_wrong_branches_are_all_named(foreign, tmp_path):
    path, entries, _ = foreign
    entries |= {
        "Track_dr": "absent",
        "Track_phi0": "runNo",
        "event": "my_Track_kappa",
        "Track_n_hits": "my_Track_kappa",
        "Track_dz": {"branch": "my_Track_dz", "index": 7},
    }
    mapping = read_map(write_map(tmp_path / "map.toml", entries))
    with pytest.raises(SchemaError) as caught, open_mapped(str(path), mapping):
        pass
    message = str(caught.value)
    assert "5 column(s) do not fit" in message
    assert "Track_dr: branch 'absent' is absent" in message
    assert "Track_phi0: branch 'runNo' has type 50 * float64, wanted float32 per track in rad" in message
    assert "event: branch 'my_Track_kappa' has type 50 * var * float64" in message
    assert "Track_n_hits: branch 'my_Track_kappa' has float64, wanted int16; if it holds integers, add round" in message
    assert "Track_dz" in message


def test_a_column_whose_unit_is_not_named_is_refused(foreign, tmp_path):
    _, entries, _ = foreign
    with pytest.raises(SchemaError) as caught:
        read_map(write_map(tmp_path / "map.toml", entries, units=""))
    message = str(caught.value)
    assert 'Track_phi0: names no unit; wanted one such as unit = "rad", or a line units = "schema"' in message
    assert "Track_kappa: names no unit" in message
    assert "Track_cov1: names no unit" in message
    for name in ("Track_dr", "Track_tanl", "Track_charge", "Track_dedx_chi_e", "sqrt_s", "run"):
        assert f"{name}: names" not in message
    with pytest.raises(SchemaError, match="got units = 'mine'"):
        read_map(write_map(tmp_path / "map.toml", entries, units='units = "mine"'))
    with pytest.raises(SchemaError, match="got \\['unit'\\]"):
        read_map(write_map(tmp_path / "map.toml", entries, units='unit = "schema"'))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"branch": "a", "index": True}, "index is True, wanted int"),
        ({"branch": "a", "round": 1}, "round is 1, wanted bool"),
        ({"branch": 3}, "branch is 3, wanted str"),
        ({"branch": "a", "unit": 1}, "unit is 1, wanted str"),
        ({"branch": "a", "counter": 1}, "counter is 1, wanted str"),
    ],
)
def test_values_of_another_type_are_named(foreign, tmp_path, entry, said):
    with pytest.raises(SchemaError, match=f"Track_dr: {said}"):
        read_map(write_map(tmp_path / "map.toml", foreign[1] | {"Track_dr": entry}))


def fixed(tmp_path, counts):
    path = tmp_path / "fixed.root"
    with uproot.recreate(path) as file:
        types = {"n": np.dtype(np.int32), "x": np.dtype((np.float64, (4,)))}
        file.mktree("ana", types).extend({"n": np.array(counts), "x": np.arange(12.0).reshape(3, 4)})
    return path


def test_a_fixed_size_array_is_a_list_only_with_its_counter(tmp_path):
    from jpsi_lnv.analysis.events.mapping import MappedNtuple, NtupleMap, Source

    run = {"run": Source(value=-1.0, is_rounded=True)}
    with uproot.open(fixed(tmp_path, [2, 0, 4])) as file:
        with pytest.raises(SchemaError, match=r"Track_dr: branch 'x' has type 4 \* float64: its counter says"):
            MappedNtuple("f", file["ana"], NtupleMap("map", "ana", run | {"Track_dr": Source(branch="x")}))
        mapping = NtupleMap("map", "ana", run | {"Track_dr": Source(branch="x", counter="n")})
        offsets, values = MappedNtuple("f", file["ana"], mapping)._read(0, 3, RUNS)["Track_dr"]
    np.testing.assert_array_equal(offsets, [0, 2, 2, 6])
    np.testing.assert_array_equal(values, [0, 1, 8, 9, 10, 11])
    with (
        uproot.open(fixed(tmp_path, [2, 5, 4])) as file,
        pytest.raises(SchemaError, match="entry 1: branch 'x' has 4 elements, its counter 'n' says 5"),
    ):
        MappedNtuple("f", file["ana"], mapping)


def test_a_value_that_does_not_fit_is_said_with_its_file(foreign, tmp_path, capsys):
    """Three inputs of one output: the line names the one, and so do the books."""
    path, entries, _ = foreign
    entries |= {name: {"value": 0.0} for name in ("ip_x", "ip_y", "ip_z")}
    entries |= {"field": {"value": 1.0}, "period": {"value": 2018}}
    mapping = write_map(tmp_path / "map.toml", entries)
    with uproot.open(path) as file:
        tree = file["ana"].arrays(how=dict)
    paths = []
    for name in ("a", "b", "c"):
        changed = dict(tree)
        if name == "b":
            counts = ak.num(tree["my_Track_charge"])
            values = ak.to_numpy(ak.flatten(tree["my_Track_charge"])).copy()
            values[int(ak.sum(counts[:7]))] = -1000
            changed["my_Track_charge"] = ak.unflatten(values, counts)
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            columns = {n: v for n, v in changed.items() if not (n.startswith("n") and n[1:] in changed)}
            file.mktree("ana", {n: v.type.content for n, v in columns.items()}).extend(columns)
        paths.append(tmp_path / f"{name}.root")
    arguments = ["skim", *paths, "--mapping", mapping, "--output", tmp_path / "o", "--executor", "iterative", "--all"]
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in [*arguments, "--trust-units"]])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert f"{paths[1]}, entries 0 to 50: column Track_charge" in said
    assert "-1000" in said
    assert str(paths[1]) in (tmp_path / "o" / "skim.json").read_text()


def test_a_tree_without_events_is_a_source_of_none(foreign, tmp_path):
    path, entries, _ = foreign
    with uproot.open(path) as file:
        tree = file["ana"].arrays(how=dict)
    columns = {n: v for n, v in tree.items() if not (n.startswith("n") and n[1:] in tree)}
    with uproot.recreate(tmp_path / "none.root") as file:
        file.mktree("ana", {n: v.type.content for n, v in columns.items()})
    mapping = read_map(write_map(tmp_path / "map.toml", entries))
    with open_mapped(str(tmp_path / "none.root"), mapping) as ntuple:
        assert (ntuple.n_events, ntuple.is_simulation) == (0, None)


def test_elements_of_arrays(tmp_path):
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mktree("ana", {"vx": np.dtype((np.float64, (3,)))}).extend({"vx": np.arange(12.0).reshape(4, 3)})
    from jpsi_lnv.analysis.events.mapping import MappedNtuple, NtupleMap, Source

    with uproot.open(path) as file:
        columns = {"run": Source(value=-1.0, is_rounded=True), "ip_y": Source(branch="vx", index=1, factor=0.1)}
        ntuple = MappedNtuple(str(path), file["ana"], NtupleMap("map", "ana", columns))
        np.testing.assert_allclose(ntuple.read(0, 4, RUNS)["ip_y"], [0.1, 0.4, 0.7, 1.0])


def test_files_that_are_none(foreign, tmp_path):
    _, entries, _ = foreign
    mapping = read_map(write_map(tmp_path / "map.toml", entries, tree="other"))
    for path, message in ((tmp_path / "no.root", "no such file"), (foreign[0], "has no tree 'other'")):
        with pytest.raises(NtupleError, match=message), open_mapped(str(path), mapping):
            pass


def test_what_is_in_neither_place(foreign, tmp_path):
    path, entries, _ = foreign
    mapping = read_map(write_map(tmp_path / "map.toml", entries))
    assert mapping.needs_runs
    assert set(FROM_RUNS) - set(entries)
    with open_mapped(str(path), mapping) as ntuple, pytest.raises(SchemaError, match="ip_x is neither in mapping"):
        ntuple.read(0, 5, uniform(Conditions(sqrt_s=3.097)))


@pytest.mark.parametrize(
    ("given_unit", "wanted", "factor"),
    [
        ("mm", "cm", 0.1),
        ("MeV/c", "GeV/c", 1e-3),
        ("GeV", "GeV/c^2", 1.0),
        ("c/MeV", "c/GeV", 1e3),
        ("mm^2", "cm^2", 1e-2),
        ("mrad * mm", "cm * rad", 1e-4),
        ("1", "", 1.0),
        ("kG", "T", 0.1),
        ("1 / MeV", "c/GeV", 1e3),
    ],
)
def test_units(given_unit, wanted, factor):
    assert conversion(given_unit, wanted) == pytest.approx(factor)


@given(st.sampled_from([c.unit for t in schema.COLLECTIONS.values() for c in t]))
def test_units_of_the_column_table_are_known(unit):
    assert conversion(unit, unit) == 1.0


def test_a_draft_guesses_branches_and_units_and_says_so(tmp_path):
    """From simulated events under other names, lengths in mm and energies in MeV: the guesses make the same columns."""
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(recipe, "d", 0, 300, 5))
    tree = {}
    for name in schema.required_branches():
        collection, column = BRANCHES[name]
        factor = {"cm": 10.0, "GeV": 1000.0}.get(column.unit, 1.0)
        values = block.values[name] * factor if factor != 1.0 else block.values[name]
        tree[f"m_{name.replace('Track', 'trk')}"] = (
            ak.unflatten(values, np.diff(block.offsets[collection])) if collection else values
        )
    path = tmp_path / "ana.root"
    with uproot.recreate(path) as file:
        file.mktree("ana", {n: v.type.content if isinstance(v, ak.Array) else v.dtype for n, v in tree.items()})
        file["ana"].extend(tree)
        file["other"] = np.histogram([1.0])
    text = draft(str(path))
    assert 'tree = "ana"' in text
    assert 'Track_dr = {branch = "m_trk_dr", unit = "mm"}  # GUESS by name; the unit by its typical size, in mm' in text
    assert "#   nm_trk_dr: int32, " in text
    (tmp_path / "map.toml").write_text(text)
    mapping = read_map(tmp_path / "map.toml")
    with open_mapped(str(path), mapping) as ntuple:
        got = make_block(ntuple.read(0, 300, RUNS))
    for name in schema.required_branches():
        np.testing.assert_allclose(got.values[name], block.values[name], rtol=3e-6, err_msg=name)


def test_a_draft_asks_for_what_it_does_not_find(tmp_path, capsys):
    path = tmp_path / "few.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"runNo": np.int32, "zzz": np.float64}).extend({"runNo": [-9], "zzz": [1.5]})
    with pytest.raises(SystemExit) as caught:
        main(["mapping", "init", str(path)])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert 'run = {branch = "runNo"}  # GUESS by name; -9 to -9; wanted run number' in text
    assert '#? Track_kappa = {branch = "", unit = "c/GeV"}  # float32 per track in c/GeV' in text
    assert "#   zzz: float64, 1.5 to 1.5" in text
    with pytest.raises(NtupleError, match="has no tree 'nix'"):
        draft(str(path), "nix")
