"""The two variants of BOSS's time of flight against the slow reference, and what they say of files without records."""

from dataclasses import replace

import numpy as np
import pytest
from pid_reference import TofCorrReference, Track, tof12, tofe

from jpsi_lnv.analysis.cuts import PID_VARIANTS, SELECTION
from jpsi_lnv.analysis.errors import CalibrationError, SchemaError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES
from jpsi_lnv.analysis.objects import pid, tof_pid, tofcorr
from jpsi_lnv.analysis.objects.calibration import Calibration, Constants, RunRange
from jpsi_lnv.analysis.selection.misid import true_species
from jpsi_lnv.analysis.simulation import processes, production, raw

pytestmark = pytest.mark.fast

READOUT, COUNTER, CLUSTER, BARREL, EAST, RAW = 2, 4, 8, 16, 32, 1
MRPC = 1 << 24
END_CAP = READOUT | COUNTER | CLUSTER | 1 << 6


def layer_records(layer, rng):
    counter = int(rng.integers(88)) + 88 * (layer - 1)
    of_layer = BARREL | layer << 6
    return [(of_layer | READOUT | EAST, counter), (of_layer | READOUT, counter), (of_layer | COUNTER, counter)]


def both_layers(rng):
    return [*layer_records(1, rng), *layer_records(2, rng), (CLUSTER | BARREL | 3 << 6, 0)]


def one_layer(rng):
    first, second, (status, counter) = layer_records(int(rng.integers(1, 3)), rng)
    return [first, second, (status | CLUSTER, counter)]


def one_end_and_a_layer(rng):
    first, second, mean = layer_records(2, rng)
    return [(BARREL | READOUT | COUNTER | 1 << 6, 5), first, second, mean, (CLUSTER | BARREL | 3 << 6, 0)]


def one_end(rng):
    status, counter = layer_records(1, rng)[int(rng.integers(2))]
    return [(status | COUNTER | CLUSTER, counter)]


def scintillator(rng):
    return [(END_CAP, int(rng.integers(96)))]


def mrpc(rng):
    number = int(rng.integers(72 * 12))
    return [
        (READOUT | EAST | MRPC | 1 << 6, number),
        (READOUT | MRPC | 1 << 6, number),
        (COUNTER | CLUSTER | MRPC | 1 << 6, number),
    ]


def no_hit(rng):
    return [(RAW, -9)]


def two_means(rng):
    return [*layer_records(1, rng), layer_records(1, rng)[2]]


def nothing(rng):
    return []


KINDS = (both_layers, one_layer, one_end_and_a_layer, one_end, scintillator, mrpc, no_hit, two_means, nothing)


def make_columns(rng, n=400):
    """Four tracks an event, their records in the order of the tracks."""
    n_tracks = 4 * n
    records = [KINDS[int(k)](rng) for k in rng.integers(len(KINDS), size=n_tracks)]
    track = np.repeat(np.arange(n_tracks), [len(r) for r in records])
    status, counter = np.array([pair for of_track in records for pair in of_track]).T
    tof = {"track": track % 4, "status": status, "counter": counter}
    time = rng.uniform(2.5, 8.0, size=len(track))
    width = rng.choice([0.05, 0.15, 0.6])
    tof |= {"time": np.where(rng.random(len(track)) < 0.02, -1.0, time), "sigma": rng.uniform(0.05, 0.2, len(track))}
    tof["sigma"][rng.random(len(track)) < 0.05] = 0.0
    for h in PID_HYPOTHESES:
        expected = time + rng.normal(0, width, len(track))
        tof[f"texp_{h}"] = np.where(rng.random(len(track)) < 0.02, -1.0, expected)
        tof[f"offset_{h}"] = rng.normal(0, 0.05, len(track))
    arrays = {f"Tof_{name}": values for name, values in tof.items()}
    charge = rng.choice([-1, 1], size=n_tracks)
    for suffix in (*tofcorr.SUFFIXES, "_mdc"):
        arrays[f"Track_kappa{suffix}"] = charge / rng.uniform(0.2, 1.6, n_tracks)
        arrays[f"Track_tanl{suffix}"] = rng.uniform(-1, 1, n_tracks)
    arrays |= {"Track_charge": charge, "Track_ext_rho": rng.uniform(45, 95, n_tracks)}
    arrays |= {f"Track_ext_z{k}": rng.uniform(-121, 121, n_tracks) for k in (1, 2)}
    offsets = np.arange(0, n_tracks + 1, 4)
    return ArrayColumns(arrays, {"Track": offsets, "Tof": np.searchsorted(track, offsets)}, n)


def make_parameters(rng):
    """Parameters like BOSS's in size, each number another."""
    plain = tofcorr.without_corrections((0.09, 0.0, -1e-6), 0.1)
    found = {name: np.array(values) for name, values in plain._asdict().items()}
    found["common"][:] = 0.03
    by_power = 100.0 ** -np.arange(12)
    found["counter_sigma"] += 0.01 * rng.normal(size=(176, 3, 5)) * by_power[:5]
    found["endcap_sigma"] += 0.01 * rng.normal(size=(96, 3)) * by_power[:3]
    found["pulse"][:] = [[98.7, 8.8, 0.014, 2.5, 3.3], [68.9, 11.3, 0.0018, 2.9, 4.6], [19.7, 9.1, 0.0007, 3.2, 4.4]]
    powers = np.array([*by_power[:5], 1.0, 0.0, 0.0, *by_power[5:8]])
    found["walk"] += rng.normal(0, 0.3, (2, 5, 2, 2, 11)) * powers
    found["walk"][..., 6], found["walk"][..., 7] = rng.normal(0, 10, (2, 5, 2, 2)), rng.uniform(15, 40, (2, 5, 2, 2))
    found["sigma"] += 0.005 * rng.normal(size=(4, 8, 12)) * by_power
    for name in ("slow_offset", "slow_offset_endcap"):
        found[name] += rng.normal(0, 0.2, found[name].shape)
    for name in ("slow_sigma", "slow_sigma_endcap"):
        found[name] = np.where(rng.random(found[name].shape) < 0.2, -999.0, rng.uniform(0.1, 0.3, found[name].shape))
    found["pion_scale"][:] = [0.994, 1.0, 0.356, 0.767]
    return tofcorr.TofCorr(**found)


def as_array(rows):
    return np.array([np.full(5, np.nan) if row is None else row for row in rows])


@pytest.mark.parametrize("seed", range(3))
def test_layers_and_end_caps_are_those_of_the_reference(seed):
    columns = make_columns(np.random.default_rng(seed))
    chosen = np.arange(0, 1600, 3)
    barrel, endcap = tof_pid.barrel_and_endcap_chi(columns, chosen, (-4.0, 4.0))
    tracks = [Track(columns, t) for t in chosen]
    np.testing.assert_allclose(barrel, as_array(tof12(t) for t in tracks), rtol=1e-9)
    np.testing.assert_allclose(endcap, as_array(tofe(t) for t in tracks), rtol=1e-9)
    assert np.isfinite([barrel, endcap]).any(axis=(1, 2)).all()
    assert np.isnan(barrel).any()


@pytest.mark.parametrize("seed", range(3))
def test_corrected_times_are_those_of_the_reference(seed):
    rng = np.random.default_rng(seed)
    columns, parameters = make_columns(rng), make_parameters(rng)
    chosen = np.arange(0, 1600, 3)
    reference = TofCorrReference(parameters)
    found = tofcorr.chi(columns, parameters, chosen, (-4.0, 6.0))
    np.testing.assert_allclose(found, as_array(reference.chi(Track(columns, t)) for t in chosen), rtol=1e-7)
    assert np.isfinite(found).any()
    assert np.isnan(found).any()


def test_a_barrel_track_with_one_end_alone_counts_twice_as_in_boss():
    columns = make_columns(np.random.default_rng(4))
    tracks = [Track(columns, t) for t in range(1600)]
    single = [t for t in tracks if len(t.records) == 1 and t.records[0].has(BARREL) and t.records[0].time > 0]
    barrel, endcap = tof_pid.barrel_and_endcap_chi(columns, np.array([t.index for t in single]), (-1e9, 1e9))
    assert np.isfinite([barrel, endcap]).all()


def test_a_counter_that_is_none_measures_nothing(rng):
    columns = make_columns(rng)
    arrays = columns._arrays | {"Tof_counter": np.full_like(columns._arrays["Tof_counter"], 30000)}
    broken = ArrayColumns(arrays, columns._offsets, columns.n_events)
    found = tofcorr.chi(broken, make_parameters(rng), np.arange(1600), (-4.0, 6.0))
    of_mrpc = [any(r.has(MRPC) for r in Track(columns, t).records) for t in range(1600)]
    assert np.isnan(found[~np.array(of_mrpc)]).all()


def without(columns, *names):
    kept = {name: values for name, values in columns._arrays.items() if name not in names}
    return ArrayColumns(kept, columns._offsets, columns.n_events)


def test_a_file_without_records_is_told_how_to_get_them(rng):
    columns = without(make_columns(rng), "Tof_status")
    with pytest.raises(SchemaError, match=r"pid_tof is 'tof12e', and branch 'Tof_status' is missing .*--keep pid"):
        tof_pid.barrel_and_endcap_chi(columns, np.arange(3), (-4.0, 4.0))
    with pytest.raises(SchemaError, match="'tofcorr'"):
        tofcorr.chi(columns, make_parameters(rng), np.arange(3), (-4.0, 6.0))


def only_means(columns):
    """The chunk without the ends of the barrel's counters, as a skim without `ends` has it."""
    status, offsets = columns._arrays["Tof_status"], columns._offsets["Tof"]
    kept = (status & (COUNTER | CLUSTER | RAW)) != 0
    arrays = {n: v[kept] if n.startswith("Tof_") else v for n, v in columns._arrays.items()}
    return ArrayColumns(
        arrays, columns._offsets | {"Tof": np.concatenate([[0], np.cumsum(kept)])[offsets]}, columns.n_events
    )


def test_times_without_the_ends_that_are_to_be_corrected_are_refused(rng):
    columns = only_means(make_columns(rng))
    with pytest.raises(SchemaError, match=r"ends of counters, .*have no record: .*--keep pid,ends"):
        tofcorr.chi(columns, make_parameters(rng), np.arange(1600), (-4.0, 6.0))
    plain = tofcorr.without_corrections((0.07,), 0.1)
    assert np.isfinite(tofcorr.chi(columns, plain, np.arange(1600), (-4.0, 6.0))).any()


def test_without_corrections_the_resolution_is_that_of_the_place():
    """Tables hold the middle of their bins, the two layers together 1/sqrt(2) of one."""
    barrel, endcap = (0.09, 0.0, -1e-6), 0.1
    plain = tofcorr.without_corrections(barrel, endcap)
    middle = np.arange(-112.5, 115.0, 5.0)
    both = barrel[0] + barrel[2] * middle**2
    np.testing.assert_allclose(plain.slow_sigma[0, tofcorr.BOTH, 0], both)
    np.testing.assert_allclose(plain.slow_sigma[1, tofcorr.INNER, 3], 2**0.5 * both)
    np.testing.assert_array_equal(plain.sigma[:, tofcorr.ENDCAP, :2], [[endcap, 0.0]] * 4)
    np.testing.assert_array_equal(plain.slow_sigma_endcap, endcap)


def test_the_cuts_ask_for_constants_that_the_calibration_has_not(columns_of_pions):
    nothing = Calibration("own.json", "0", (RunRange(0, 10**6, Constants()),))
    cuts = replace(SELECTION, pid_emc=False, **PID_VARIANTS["tofcorr"])
    with pytest.raises(CalibrationError, match=r"ask for constants 'tofcorr', .*'calibration' of the"):
        pid.identify(columns_of_pions, cuts, calibration=nothing)


def as_file(parameters):
    return {"format": tofcorr.FORMAT} | {name: values.tolist() for name, values in parameters._asdict().items()}


def test_parameters_come_back_from_their_file(rng):
    parameters = make_parameters(rng)
    for found, wanted in zip(tofcorr.from_json(as_file(parameters), "own.json"), parameters, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"walk": None}, "walk is missing"),
        ({"sigma": [[1.0]]}, r"sigma has the shape \(1, 1\); wanted finite numbers of shape \(4, 8, 12\)"),
        ({"common": ["x"]}, "common is no array of numbers"),
        ({"pion_scale": [1.0, 0.0, 0.0, 0.0]}, "pion_scale divides by zero"),
        ({"format": "other"}, "have the format 'other'; wanted 'jpsi-lnv tofcorr 1'"),
    ],
)
def test_a_missing_or_damaged_parameter_is_told_in_one_line(change, message, rng):
    with pytest.raises(CalibrationError, match=f"^TOF parameters own.json: {message}[^\n]*$"):
        tofcorr.from_json(as_file(make_parameters(rng)) | change, "own.json")


def test_each_track_is_identified_with_the_constants_of_its_run(columns_of_pions):
    """Two ranges of runs, which take turns in the chunk, against each of them alone."""
    of = [Constants(tofcorr=tofcorr.without_corrections((sigma,), 0.1)) for sigma in (0.06, 0.12)]
    run = np.where(np.arange(columns_of_pions.n_events) % 3 == 0, 10, 20).astype(np.int32)
    columns = ArrayColumns(columns_of_pions._arrays | {"run": run}, columns_of_pions._offsets, len(run))
    cuts = replace(SELECTION, pid_emc=False, **PID_VARIANTS["tofcorr"])
    both = Calibration("own.json", "0", (RunRange(5, 15, of[0]), RunRange(16, 25, of[1])))
    alone = [Calibration("own.json", "0", (RunRange(0, 99, constants),)) for constants in of]
    chosen = np.random.default_rng(1).permutation(len(columns.flat("Track", "kappa")))[:500]
    event = np.searchsorted(columns.offsets("Track"), chosen, side="right") - 1
    found, first, second = (pid.identify(columns, cuts, chosen, c).cl for c in (both, *alone))
    np.testing.assert_array_equal(found, np.where((run[event] == 10)[:, None], first, second))
    assert np.any(first != second)
    needed = np.ones(len(columns.flat("Track", "kappa")), dtype=np.bool_)
    measured = pid.is_measured(columns, cuts, needed, both)
    np.testing.assert_array_equal(measured, pid.identify(columns, cuts, calibration=both).ndof > 0)


@pytest.fixture(scope="module")
def columns_of_pions():
    recipe = production.Recipe(processes=((processes.BACKGROUNDS["kkpipi"], 1.0),), sqrt_s=3.0969, keep=raw.GROUPS)
    block = make_block(production.make_block(recipe, "test", 0, 2000, 7))
    return ArrayColumns(block.values, block.offsets, block.n_events)


@pytest.mark.parametrize("variant", PID_VARIANTS)
def test_every_variant_runs_on_the_simulation_and_tells_kaons_from_pions(columns_of_pions, variant):
    cuts = replace(SELECTION, **PID_VARIANTS[variant])
    cl = pid.identify(columns_of_pions, cuts).cl
    species = true_species(columns_of_pions)
    measured = cl[:, 1] + cl[:, 2] > 0
    assert measured.mean() > 0.8
    for own, other, code in ((1, 2, 2), (2, 1, 3)):
        chosen = measured & (species == code)
        assert (cl[chosen, own] > cl[chosen, other]).mean() > 0.85


@pytest.mark.parametrize("variant", ["tof12e", "tofcorr"])
def test_times_of_simulated_pions_are_as_wide_as_they_say(columns_of_pions, variant):
    """tof12e has resolutions of pions 1.2 times as wide as the records say, as in BOSS."""
    chosen = np.flatnonzero(true_species(columns_of_pions) == 2)
    if variant == "tofcorr":
        chi = tofcorr.chi(columns_of_pions, pid.simulated().ranges[0].constants.tofcorr, chosen, (-4.0, 6.0))
    else:
        both = tof_pid.barrel_and_endcap_chi(columns_of_pions, chosen, (-4.0, 4.0))
        chi = np.where(np.isnan(both[0]), *both[::-1])
    pion = chi[np.abs(chi[:, 2]) < 3.0, 2]
    assert pion.mean() == pytest.approx(0.0, abs=0.15)
    assert pion.std() == pytest.approx(1.0, abs=0.2)
