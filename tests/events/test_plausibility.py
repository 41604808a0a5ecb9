"""A unit that was forgotten is seen in the numbers, for every column that has one; our own samples are beyond doubt."""

import numpy as np
import pytest

from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.plausibility import TYPICAL, doubts
from jpsi_lnv.analysis.events.schema import BRANCHES, conversion
from jpsi_lnv.analysis.simulation import processes, production

pytestmark = pytest.mark.fast

N_EVENTS = 1500
# What a user's unit may be instead, for every unit of the column table.
OTHERS = {
    "GeV": ["MeV"],
    "c/GeV": ["c/MeV"],
    "cm": ["mm", "m"],
    "ns": ["ps"],
    "T": ["kG", "G"],
    "rad": ["deg", "mrad"],
    "cm^2": ["mm^2"],
    "cm * cm": ["mm * mm"],
    "rad * rad": ["deg * deg"],
    "c/GeV * c/GeV": ["c/MeV * c/MeV"],
}
# A small number may be one; the tracks tell where the interaction point is.
NOT_SEEN = {("ip_x", "m"), ("ip_y", "m"), ("ip_z", "m")}
ERRORS = [(name, unit) for name in TYPICAL for unit in OTHERS[BRANCHES[name][1].unit] if (name, unit) not in NOT_SEEN]


def columns_of(process):
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(recipe, "d", 0, N_EVENTS, 5))
    return block.values, block.offsets


@pytest.fixture(scope="module")
def signal():
    return columns_of(processes.SIGNAL)


def doubted(values, offsets):
    return doubts(ArrayColumns(values, offsets, len(values["run"])))


def in_another_unit(values, name, unit):
    """Return the columns as they are if a file holds one of them in another unit and nobody says so."""
    factor = conversion(BRANCHES[name][1].unit, unit)
    return values | {name: values[name] * factor}


@pytest.mark.parametrize("name", ["signal", "eeee", "ee", "kkpi0", "ppbarpipi", "kkpipi"])
def test_our_own_samples_are_beyond_doubt(name):
    known = {"signal": processes.SIGNAL} | dict(processes.BACKGROUNDS) | dict(processes.CONTROLS)
    assert doubted(*columns_of(known[name])) == []


@pytest.mark.parametrize(("name", "unit"), ERRORS)
def test_one_column_in_another_unit_is_named_with_it(signal, name, unit):
    values, offsets = signal
    found = doubted(in_another_unit(values, name, unit), offsets)
    assert any(line.startswith(f"column {name}: ") and f"it looks like {unit}" in line for line in found), found


@pytest.mark.parametrize("kind", ["mm", "MeV", "ps", "deg"])
def test_all_columns_of_a_dimension_in_another_unit_are_named(signal, kind):
    values, offsets = signal
    wrong = [name for name, unit in ERRORS if kind in unit.split(" * ")[0].split("/") or unit.startswith(kind)]
    for name in wrong:
        values = in_another_unit(values, name, next(u for n, u in ERRORS if n == name and kind in u))
    found = "\n".join(doubted(values, offsets))
    assert wrong
    assert [name for name in wrong if f"column {name}: " not in found] == []


def test_covariances_of_another_unit_than_their_variances_are_named(signal):
    values, offsets = signal
    found = doubted(values | {"Track_cov1": values["Track_cov1"] * 100}, offsets)
    assert any("Track_cov1: typical correlation" in line for line in found)


def test_momenta_that_the_beams_cannot_give_are_named(signal):
    values, offsets = signal
    found = doubted(values | {"Track_kappa": values["Track_kappa"] / 3}, offsets)
    assert any("four tracks have" in line and "sqrt_s" in line for line in found)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ip_x": 0.01, "ip_y": 0.01, "ip_z": 0.01}, ["columns ip_x, ip_y: ", "column ip_z: "]),
        ({"ip_x": 0.01}, ["columns ip_x, ip_y: "]),
        ({"ip_x": -1, "ip_y": -1}, ["columns ip_x, ip_y: "]),
        ({"ip_x": 0, "ip_y": 0}, ["columns ip_x, ip_y: "]),
        ({"Track_dr": -1}, ["columns ip_x, ip_y: "]),
        ({"Track_dz": -1}, ["column ip_z: "]),
    ],
)
def test_an_interaction_point_that_tracks_do_not_come_from_is_named(signal, change, named):
    """In metres, or of another sign: the numbers themselves could be of such a point."""
    values, offsets = signal
    found = doubted(values | {name: values[name] * factor for name, factor in change.items()}, offsets)
    assert [line.partition("tracks come from")[0] for line in found] == named
    assert all("cm away; wanted at most" in line for line in found)


def no_tof(values):
    return {
        n: np.where(values["Track_tof_sigma"] == 0, -999.0, values[n]) for n in ("Track_tof_time", "Track_tof_path")
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: {"Track_charge": -v["Track_charge"]}, "columns Track_charge, Track_kappa: 1 of the tracks"),
        (lambda v: {"Track_charge": np.abs(v["Track_charge"])}, "columns Track_charge, Track_kappa: "),
        (lambda v: {"Track_charge": (v["Track_charge"] > 0).astype(np.int8)}, "columns Track_charge, Track_kappa: "),
        (lambda v: {"Track_kappa": np.abs(v["Track_kappa"])}, "columns Track_charge, Track_kappa: "),
        (lambda v: {"Track_tanl": v["Track_tanl"] / np.hypot(1, v["Track_tanl"])}, "columns Track_tanl, Track_emc_z: "),
        (lambda v: {n: np.roll(v[n], 1) for n in v if n.startswith("Track_emc")}, "columns Track_tanl, Track_emc_z: "),
        (lambda v: {"field": -v["field"]}, "column field: 1 of its values are negative, such as -"),
        (lambda v: {"Track_emc_energy": np.where(v["Track_emc_energy"] > 0, v["Track_emc_energy"], -1)},
         "column Track_emc_energy: "),
        (no_tof, "column Track_tof_time: "),
    ],
)  # fmt: skip
def test_what_tracks_say_of_themselves_in_two_ways_must_agree(signal, change, named):
    values, offsets = signal
    assert any(line.startswith(named) for line in doubted(values | change(values), offsets))


DEDX = [f"Track_dedx_chi_{name}" for name in ("e", "mu", "pi", "k", "p")]


@pytest.mark.parametrize("process", ["signal", "eeee", "kkkk", "pipipipi", "ppbarpipi"])
@pytest.mark.parametrize("turned", [*([name] for name in DEDX), DEDX, DEDX[:2], [n for n in DEDX if n[-2:] != "pi"]])
def test_a_chi_of_the_other_sign_is_named_whatever_the_tracks_are(process, turned):
    known = {"signal": processes.SIGNAL} | dict(processes.BACKGROUNDS) | dict(processes.CONTROLS)
    values, offsets = columns_of(known[process])
    found = doubted(values | {name: -values[name] for name in turned}, offsets)
    assert [line.partition(": ")[0].partition(" ")[2] for line in found] == [", ".join(turned)]


def test_few_values_give_no_doubt(signal):
    values, offsets = signal
    few = {n: v[: int(offsets[BRANCHES[n][0]][3])] if BRANCHES[n][0] else v[:3] for n, v in values.items()}
    few["Track_dr"] = few["Track_dr"] * 1000
    assert doubted(few, {c: o[:4] for c, o in offsets.items()}) == []


def test_every_column_with_a_unit_is_looked_at_or_is_no_size():
    """Only what is a covariance of two quantities, or truth, has a unit and no typical size."""
    with_unit = {n for n, (c, column) in BRANCHES.items() if column.required and column.unit not in ("", "e", "sigma")}
    mixed = {f"Track_cov{i}" for i in range(15)}
    assert with_unit - set(TYPICAL) - mixed == set()
    assert np.all([low < high for low, high in TYPICAL.values()])
    assert schema.TREE
