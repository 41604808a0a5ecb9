"""`lnv calibration import` keeps every number of the parameter files, and says which file is not as it should be."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.objects import calibration, chi_correction
from jpsi_lnv.analysis.report import origin
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.selection.blinding import BlindingError
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors import interactive
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.commands import doctor
from jpsi_lnv.processors.run import fileset_digest

pytestmark = pytest.mark.fast

EMC, MUC = (12, 24, 1), (8, 16, 1)
TOFCORR = {
    "calib_barrel_common": (4,),
    "calib_barrel_sigma": (176, 15),
    "calib_endcap_sigma": (96, 3),
    "curve_Q0_BetaGamma": (3, 5),
    "parameter_A_B": (20, 22),
    "parameter_sigma": (32, 12),
    "parameter_offset_proton": (2, 7 * 20 * 46 + 140),
    "parameter_sigma_proton": (2, 7 * 20 * 46 + 140),
}


def lnv(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code


def lines(array):
    return "\n".join(" ".join(map(repr, row)) for row in np.atleast_2d(array).tolist()) + "\n\n"


def write_network(path, layers, rng):
    n_in, n_hidden, n_out = layers
    inputs = rng.uniform(0.5, 1.5, (n_in, 2))
    bias, weights = rng.normal(size=sum(layers)), rng.normal(size=n_hidden * (n_in + n_out))
    path.write_text(
        f"#input normalization\n{lines(inputs)}#output normalization\n1 0\n"
        f"#neurons weights\n{lines(bias[:, None])}#synapses weights\n{lines(weights[:, None])}"
    )
    return inputs, bias, weights


@pytest.fixture
def share(tmp_path):
    """A directory of the form of ParticleID's share with random numbers, and what the files hold."""
    rng, directory, held = np.random.default_rng(1), tmp_path / "share", {}
    for kind in ("data", "mc"):
        (directory / "TofCorrPID" / "jpsi2012" / kind).mkdir(parents=True)
        for name, shape in TOFCORR.items():
            held[kind, name] = rng.normal(size=shape)
            (directory / "TofCorrPID" / "jpsi2012" / kind / f"{name}.txt").write_text(lines(held[kind, name]))
    for kind, layers, rows, particles in (
        ("emc", EMC, 18, ("elec", "muon", "pion")),
        ("muc", MUC, 15, ("muon", "pion")),
    ):
        held[kind] = write_network(directory / f"{kind}.txt", layers, rng)
        for particle in particles:
            held[kind, particle] = rng.uniform(0.0, 0.6, (rows, 300))
            (directory / f"{particle}_{kind}_hist.txt").write_text(lines(held[kind, particle]))
    return directory, held


def test_every_number_arrives_where_it_belongs(share, tmp_path, capsys):
    directory, held = share
    output = tmp_path / "calibration"
    assert lnv("calibration", "import", directory, "--output", output) == 0
    assert "recorded" in capsys.readouterr().out
    for is_simulation, kind in ((False, "data"), (True, "mc")):
        found = calibration.read(output / "calibration.json", is_simulation=is_simulation)
        ((constants, _),) = found.parts(np.array([1, 9950, -59015]))
        tof = constants.tofcorr
        np.testing.assert_array_equal(tof.counter_sigma.ravel(), held[kind, "calib_barrel_sigma"].ravel())
        np.testing.assert_array_equal(tof.walk.ravel(), held[kind, "parameter_A_B"].ravel())
        np.testing.assert_array_equal(tof.sigma.ravel(), held[kind, "parameter_sigma"].ravel())
        np.testing.assert_array_equal(tof.common, held[kind, "calib_barrel_common"][:1])
        slow = np.concatenate([tof.slow_offset.reshape(2, -1), tof.slow_offset_endcap.reshape(2, -1)], axis=1)
        np.testing.assert_array_equal(slow, held[kind, "parameter_offset_proton"])
        assert tof.pion_scale[1] == (kind == "data")
    for network, kind, (n_in, n_hidden, _), rows in ((constants.emc, "emc", EMC, 18), (constants.muc, "muc", MUC, 12)):
        inputs, bias, weights = held[kind]
        np.testing.assert_array_equal(np.stack([network.scale, network.shift], axis=1), inputs)
        np.testing.assert_array_equal(np.concatenate([network.hidden_bias, network.output_bias]), bias[n_in:])
        np.testing.assert_array_equal(network.hidden_weights, weights[: n_in * n_hidden].reshape(n_hidden, n_in))
        np.testing.assert_array_equal(network.output_weights, weights[n_in * n_hidden :])
        assert network.chi.shape[1:] == (rows, 300)
    assert lnv("calibration", "show", output / "calibration.json") == 0


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "emc.txt",
            lambda text: text.replace("#synapses", "#others"),
            "emc.txt: synapses weights has 0 numbers; wanted 312",
        ),
        ("muc.txt", lambda text: text[: len(text) // 2], "muc.txt: "),
        ("pion_emc_hist.txt", lambda text: text[:5000], "pion_emc_hist.txt: got "),
        ("TofCorrPID/jpsi2012/mc/parameter_sigma.txt", lambda text: text + " 1.0", "has 385 numbers; wanted 384"),
        ("TofCorrPID/jpsi2012/data/parameter_A_B.txt", lambda text: text + " x", "holds something that is no number"),
        (
            "TofCorrPID/jpsi2012/data/curve_Q0_BetaGamma.txt",
            lambda text: text.replace(text.split()[0], "nan"),
            "not finite",
        ),
        ("emc.txt", None, "emc.txt: cannot be read (No such file or directory)"),
    ],
)
def test_a_damaged_file_is_named(share, tmp_path, capsys, file, change, message):
    path = share[0] / file
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text()))
    assert lnv("calibration", "import", share[0], "--output", tmp_path / "out") == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert str(path) in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif("BEAN_SHARE" not in os.environ, reason="set BEAN_SHARE to the directory share of BEAN's ParticleID")
def test_a_share_of_bean_is_imported(tmp_path):
    copy = shutil.copytree(Path(os.environ["BEAN_SHARE"]), tmp_path / "share")
    assert lnv("calibration", "import", copy, "--output", tmp_path / "out") == 0
    found = calibration.read(tmp_path / "out" / "calibration.json", is_simulation=True)
    ((constants, _),) = found.parts(np.array([-9989]))
    assert constants.tofcorr.common[0] == 0.0374564
    assert constants.emc.hidden_weights.shape == (24, 12)
    # Half of a kind lies below the middle of its distribution.
    assert (np.diff(constants.emc.chi[:, :, 5:290], axis=-1) >= 0).mean() > 0.95


HELIX = {
    "format": "jpsi-lnv helix 1",
    "corrections": [
        {
            "first": 1,
            "last": 60000,
            "species": "k",
            "charge": charge,
            "mean": [0.1, 0.2, 0.3],
            "width": [1.1, 1.2, 1.3],
            "control_sample": "made up",
            "source": "this test",
        }
        for charge in (1, -1)
    ],
}


def write_fileset(directory, name, last):
    """Write a signal sample, a calibration of the runs up to `last`, and a fileset that names it."""
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "signal", 0, 400, 1))
    with NtupleWriter(directory / f"{name}.root") as writer:
        writer.extend(block)
        writer.add_source(n_produced=block.n_events, n_stored=block.n_events)
    (directory / "boss").mkdir(exist_ok=True)
    (directory / "boss" / "helix.json").write_text(json.dumps(HELIX))
    ranges = [{"first": 1, "last": last, "simulation": True, "helix": "helix.json"}]
    content = {"format": calibration.FORMAT, "source": "this test", "ranges": ranges}
    (directory / "boss" / f"{name}.json").write_text(json.dumps(content))
    metadata = {"kind": "signal", "sqrt_s": M_JPSI, "calibration": f"boss/{name}.json", "selections": ["search"]}
    plain = directory / f"{name}_plain.json"
    plain.write_text(json.dumps({"signal": {"files": {f"{name}.root": "Events"}, "metadata": metadata}}))
    (directory / "elsewhere").mkdir(exist_ok=True)
    path = directory / "elsewhere" / f"{name}.json"
    assert lnv("fileset", "complete", plain, "--output", path) == 0
    return path


def test_the_result_and_its_report_name_the_calibration_in_force(tmp_path):
    path = write_fileset(tmp_path, "all", 60000)
    assert json.loads(path.read_text())["signal"]["metadata"]["calibration"] == "../boss/all.json"
    result = interactive.run(path)
    stated = result.provenance["calibration"]["signal"]
    assert stated["name"] == "all.json"
    assert stated["digest"] == calibration.stamp(tmp_path / "boss" / "all.json")
    assert "helix" in stated["constants"]
    (row,) = origin.calibrations(Source(result)).rows
    assert (row["name"], row["source"], row["datasets"]) == ("all.json", "this test", "signal")
    before = fileset_digest(filesets.load(path))
    (tmp_path / "boss" / "helix.json").write_text(json.dumps(HELIX).replace("0.3", "0.4"))
    assert fileset_digest(filesets.load(path)) != before


def test_a_run_outside_all_ranges_is_named_with_the_calibration(tmp_path):
    result = interactive.run(write_fileset(tmp_path, "some", 20000))
    assert not result.is_complete
    (failed,) = result.bookkeeping["failed_chunks"]
    assert "run 27" in failed["message"] or "run 53" in failed["message"]
    assert f"is not in {tmp_path / 'boss' / 'some.json'}; got constants of the runs 1-20000" in failed["message"]
    assert failed["file"].endswith("some.root")


def test_the_doctor_names_the_calibration_in_force(tmp_path):
    write_fileset(tmp_path, "all", 60000)
    shown = doctor.in_force(tmp_path / "boss" / "all.json")
    assert [(r["events"], r["last"], r["helix"]) for r in shown.rows] == [("simulated", 60000, "yes")]
    of_package = doctor.in_force(None)
    assert of_package.title.startswith("Calibration simulated")
    assert of_package.rows[0]["digest"] == calibration.simulated().digest


def test_recorded_events_without_a_calibration_end_the_run(tmp_path):
    metadata = DatasetMetadata.from_dict("data", {"kind": "data", "sqrt_s": M_JPSI, "is_simulation": False})
    with pytest.raises(CalibrationError, match=r"dataset 'data': recorded events, and no 'calibration'"):
        calibration.of_dataset("data", metadata)
    asked = DatasetMetadata.from_dict("data", metadata.to_dict() | {"calibration": "simulated"})
    assert calibration.of_dataset("data", asked) is calibration.simulated()


def test_blind_data_run_with_the_frozen_calibration_alone(tmp_path):
    write_fileset(tmp_path, "all", 60000)
    path = tmp_path / "boss" / "all.json"
    frozen = tmp_path / "frozen.json"
    assert lnv("freeze", "--output", frozen, "--calibration", path) == 0
    metadata = DatasetMetadata(kind="data", sqrt_s=M_JPSI, is_simulation=False, calibration=str(path))
    unblinding.require_calibration({"data": filesets.Dataset("data", metadata, ())}, frozen)
    other = {"data": filesets.Dataset("data", replace(metadata, calibration="simulated"), ())}
    with pytest.raises(BlindingError, match="the calibration is not the frozen one"):
        unblinding.require_calibration(other, frozen)


def cpp(name, values):
    """An array as DedxPID.cxx writes it."""
    rows = values if values.ndim == 2 else values[None]
    inside = ",\n".join("{" + ", ".join(map(repr, row.tolist())) + "}" for row in rows)
    shape = "".join(f"[{n}]" for n in values.shape)
    return f"double {name}{shape} = {inside if values.ndim == 1 else '{' + inside + '}'};\n"


@pytest.fixture
def dedx_code(tmp_path):
    """A file of the form of DedxPID.cxx with numbers of our own, and what its arrays hold."""
    rng = np.random.default_rng(5)
    held = {"cosbin": np.linspace(-0.9, 0.9, 30) + rng.uniform(-0.02, 0.02, 30)}
    falling = 0.5 ** np.arange(8)
    for name, n in (("par_pip_offset", 7), ("par_pip_sigma", 8), ("par_p_offset", 6), ("par_p_sigma", 8)):
        held[name] = rng.normal(size=(1, n)) * falling[:n] + 0.05 * rng.normal(size=(30, n)) * falling[:n]
        held[name][:, 0] += 2.0 * ("sigma" in name)
    held |= {name: rng.uniform(1.0, 2.0, (3, 5)) for name in ("par_kp_offset", "par_kp_sigma")}
    path = tmp_path / "DedxPID.cxx"
    path.write_text("int f() {\n" + "".join(cpp(name, values) for name, values in held.items()) + "return 1; }\n")
    return path, held


def boss_dedx(held, species, p, cosine):
    """Offset and width as BOSS's code makes them, written out for one track; 0 and 1 outside."""
    found = []
    for what in ("offset", "sigma"):
        if species == "k":
            if not (0.2 <= p <= 0.43 and abs(cosine) <= 0.2):
                return 0.0, 1.0
            flat, k = held[f"par_kp_{what}"].ravel(), int((p - 0.175) / 0.05)
            low, high = ((flat[i] - flat[i + 5]) * abs(cosine) / 0.1 + flat[i + 5] for i in (k, k + 1))
            found.append((high - low) * (p - (0.175 + 0.05 * k)) + low)
            continue
        if (p > 0.2) if species == "pi" else not 0.2 <= p <= 0.43:
            return 0.0, 1.0
        of, centre = (held[f"par_pip_{what}"], 0.17) if species == "pi" else (held[f"par_p_{what}"], 0.33)
        i = 0
        while cosine >= held["cosbin"][i] and i != 28:
            i += 1
        i = max(i, 1)
        three = np.stack(
            [np.polyfit(held["cosbin"][i - 1 : i + 2], of[i - 1 : i + 2, j], 2) for j in range(of.shape[1])]
        )
        series = np.polynomial.Chebyshev([np.polyval(row, cosine) for row in three])
        value = float(series((p - centre) / 0.1))
        if what == "sigma":
            value = max(value, 1.0)
        elif species == "p" and cosine > 0.83 and p < 0.3:
            value *= 2.0
        found.append(value)
    return tuple(found)


def test_the_corrections_of_dedx_are_those_of_bosss_code(share, dedx_code, tmp_path):
    path, held = dedx_code
    assert lnv("calibration", "import", share[0], "--dedx", path, "--output", tmp_path / "out") == 0
    found = calibration.read(tmp_path / "out" / "calibration.json", is_simulation=False)
    (inside, outside) = (found.parts(np.array([run]))[0][0] for run in (9950, 11000))
    assert outside.chi is None
    assert calibration.read(tmp_path / "out" / "calibration.json", is_simulation=True).ranges[0].constants.chi is None
    assert set(inside.chi["dedx"]) == {"pi", "k", "p"}
    rng = np.random.default_rng(2)
    for species, table in inside.chi["dedx"].items():
        p, cosine = rng.uniform(0.06, 0.5, 3000), rng.uniform(-0.92, 0.92, 3000)
        kappa, tanl = np.sqrt(1 - cosine**2) ** -1 / p, cosine / np.sqrt(1 - cosine**2)
        columns = ArrayColumns({"Track_kappa": kappa, "Track_tanl": tanl}, {"Track": np.array([0, 3000])}, 1)
        got = [chi_correction.corrected(columns, np.full(3000, chi), species, table) for chi in (0.0, 1.0)]
        wanted = np.array([boss_dedx(held, species, *at) for at in zip(p, cosine, strict=True)])
        np.testing.assert_allclose(1.0 / (got[1] - got[0]), wanted[:, 1], atol=0.01)
        np.testing.assert_allclose(-got[0] * wanted[:, 1], wanted[:, 0], atol=0.02)
        assert 100 < np.count_nonzero(wanted[:, 0]) < 3000


def test_code_without_the_arrays_is_told(share, dedx_code, tmp_path, capsys):
    path, _ = dedx_code
    path.write_text(path.read_text().replace("par_kp_sigma", "par_other"))
    assert lnv("calibration", "import", share[0], "--dedx", path, "--output", tmp_path / "out") == 1
    shown = capsys.readouterr().err
    assert "DedxPID.cxx: par_kp_sigma has 0 numbers; wanted 15" in shown
    assert not (tmp_path / "out").exists()
