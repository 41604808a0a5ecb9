"""The command `lnv emc-tables`: from ntuples, recorded or simulated, to tables."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.errors import FilesetError, IncompleteError, NtupleError
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.commands import fileset
from jpsi_lnv.processors.commands.emc_tables import command

pytestmark = pytest.mark.fast

N_EVENTS = 10_000
CHANNELS = {"e": "eeee", "pi": "pipipipi"}


def write(path, channel, has_truth, n_events=N_EVENTS, *, has_showers=True):
    recipe = production.Recipe(processes=((processes.BACKGROUNDS[channel], 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, channel, 0, n_events, 31))
    if not has_truth:
        kept = {n: v for n, v in block.values.items() if not n.startswith("Gen_") and n != "Track_gen"}
        block = dataclasses.replace(
            block,
            values=kept | {"run": np.abs(kept["run"])},
            offsets={n: o for n, o in block.offsets.items() if n != "Gen"},
        )
    columns = {
        n: (block.offsets[n.split("_")[0]], v) if n.split("_")[0] in block.offsets else v
        for n, v in block.values.items()
        if has_showers or not n.startswith("Shower_")
    }
    with NtupleWriter(str(path)) as writer:
        writer.extend(columns)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Simulated ntuples, and the same events as data would be: without generated particles."""
    directory = tmp_path_factory.mktemp("emc")
    for prefix, has_truth in (("mc", True), ("data", False)):
        for channel in CHANNELS.values():
            write(directory / f"{prefix}_{channel}.root", channel, has_truth)
    return directory


@pytest.fixture
def small_samples(monkeypatch):
    """Allow bins of few tracks."""
    monkeypatch.setattr(emc_pid, "N_TRACKS_MIN", 1)


def run(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in ("--executor", "iterative", *arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def make(directory, prefix, output, *options):
    return run(*(directory / f"{prefix}_{c}.root" for c in CHANNELS.values()), "--output", output, *options)


def test_command_writes_tables_and_what_they_are_made_from(files, small_samples, tmp_path):
    output = tmp_path / "tables.json"
    printed = make(files, "mc", output)
    assert "per bin, least" in printed
    tables = emc_pid.load(str(output))
    assert (np.diff(tables.quantiles, axis=-1) >= 0).all()
    made_from = json.loads(output.read_text())["made_from"]
    assert made_from["files"] == ["mc_eeee.root", "mc_pipipipi.root"]
    assert made_from["cuts"]["chi2_4c_max"] == 60.0
    for kind, row in zip(CHANNELS, made_from["samples"], strict=True):
        assert row["species"] == kind
        assert row["all"] == 2 * N_EVENTS
        assert row["probes"] > 5000
        assert 1 <= row["per_bin_min"] < row["per_bin_median"]
        assert row["purity"] > 0.998


def test_data_give_the_same_tables_without_a_purity(files, small_samples, tmp_path):
    outputs = [tmp_path / f"{prefix}.json" for prefix in ("mc", "data")]
    for output in outputs:
        make(files, output.stem, output, "--chunksize", 20_000 if output.stem == "mc" else 3000)
    simulated, recorded = (json.loads(o.read_text()) for o in outputs)
    assert [row.pop("purity") for row in recorded["made_from"]["samples"]] == [None, None]
    for row in simulated["made_from"]["samples"]:
        del row["purity"]
    assert simulated["made_from"].pop("files") != recorded["made_from"].pop("files")
    assert [of["made_from"].pop("is_simulation") for of in (simulated, recorded)] == [True, False]
    assert simulated == recorded


def test_ntuples_without_showers_give_the_same_tables(files, small_samples, tmp_path):
    """The calorimeter's answer to a track stands with the track."""
    contents = []
    for has_showers in (True, False):
        directory = tmp_path / str(has_showers)
        for channel in CHANNELS.values():
            write(directory / f"mc_{channel}.root", channel, has_truth=True, n_events=6000, has_showers=has_showers)
        make(directory, "mc", directory / "tables.json", "--chunksize", 4000)
        contents.append((directory / "tables.json").read_text())
    assert contents[0] == contents[1]


def test_recorded_runs_want_tables_of_their_own(files, small_samples, tmp_path):
    for prefix in ("mc", "data"):
        make(files, prefix, tmp_path / f"{prefix}.json")
    first, last = json.loads((tmp_path / "data.json").read_text())["made_from"]["runs"]
    assert 0 < first <= last
    for prefix, is_simulation in (("mc", True), ("data", True), ("data", False)):
        emc_pid.load_for(str(tmp_path / f"{prefix}.json"), 0, 10**6, is_simulation=is_simulation)
    with pytest.raises(emc_pid.EmcTableError, match=r"mc.json: .*made from simulation, and runs 0 to 99 are recorded"):
        emc_pid.load_for(str(tmp_path / "mc.json"), 0, 99, is_simulation=False)
    of_others = rf"data.json: .*made from runs {first} to {last}; wanted tables of runs {last + 1} to {last + 9}"
    with pytest.raises(emc_pid.EmcTableError, match=of_others):
        emc_pid.load_for(str(tmp_path / "data.json"), last + 1, last + 9, is_simulation=False)


def test_recorded_and_simulated_events_make_no_table_together(files, tmp_path):
    with pytest.raises(NtupleError, match=r"got recorded and simulated events .*wanted tables made of one of both"):
        run(files / "mc_eeee.root", files / "data_pipipipi.root", "--output", tmp_path / "none.json")


def test_pions_of_some_events_only(files, small_samples, tmp_path):
    numbers = {}
    for every in (1, 2):
        output = tmp_path / f"{every}.json"
        make(files, "mc", output, "--pions-every", every)
        made_from = json.loads(output.read_text())["made_from"]
        assert made_from["pions_every"] == every
        numbers[every] = [row["probes"] for row in made_from["samples"]]
    assert numbers[2][0] == numbers[1][0]
    assert numbers[2][1] == pytest.approx(numbers[1][1] / 2, rel=0.05)


def test_datasets_of_a_fileset(files, small_samples, tmp_path):
    plain = {
        channel: {
            "files": {str(files / f"mc_{channel}.root"): "Events"},
            "metadata": {"kind": "background", "sqrt_s": M_JPSI},
        }
        for channel in CHANNELS.values()
    }
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    completed = tmp_path / "fileset.json"
    arguments = ["complete", str(tmp_path / "plain.json"), "--output", str(completed)]
    assert CliRunner().invoke(fileset.command, arguments).exit_code == 0
    run(completed, "--output", tmp_path / "all.json")
    make(files, "mc", tmp_path / "files.json")
    assert (tmp_path / "all.json").read_text() == (tmp_path / "files.json").read_text()
    with pytest.raises(emc_pid.EmcTableError, match=r"got 0 of kind 'pi' .*lnv simulate --process pipipipi"):
        run(completed, "--datasets", "ee*", "--output", tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()
    with pytest.raises(FilesetError, match="no dataset matches"):
        run(completed, "--datasets", "data", "--output", tmp_path / "none.json")


def test_thin_bins_say_what_to_give(files, tmp_path):
    with pytest.raises(emc_pid.EmcTableError, match=r"kind 'e' .* wanted 300: give .* times .*--process eeee"):
        make(files, "mc", tmp_path / "none.json")


def test_a_file_that_is_absent_or_given_twice(files, tmp_path):
    with pytest.raises(NtupleError, match="no such file"):
        run(tmp_path / "none.root")
    with pytest.raises(FilesetError, match="once more"):
        run(files / "mc_eeee.root", files / "mc_eeee.root")
    with pytest.raises(FilesetError, match="cannot be read"):
        run(tmp_path / "none.json")


def test_output_that_cannot_be_written(files, small_samples, tmp_path):
    with pytest.raises(NtupleError, match="cannot write"):
        make(files, "mc", tmp_path / "absent" / "tables.json")


def test_a_chunk_that_fails_ends_the_command(files, tmp_path, small_samples):
    """A file that changed after its fileset was completed: fewer events than it says."""
    write(tmp_path / "cut.root", "eeee", has_truth=True, n_events=50)
    plain = {"eeee": {"files": {"cut.root": "Events"}, "metadata": {"kind": "background", "sqrt_s": M_JPSI}}}
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    arguments = ["complete", str(tmp_path / "plain.json"), "--output", str(tmp_path / "fileset.json")]
    assert CliRunner().invoke(fileset.command, arguments).exit_code == 0
    (tmp_path / "cut.root").write_bytes(b"root")
    with pytest.raises(IncompleteError, match="1 of 1 chunks failed, no tables were made"):
        run(tmp_path / "fileset.json", "--output", tmp_path / "tables.json")


def test_help_names_units_and_samples():
    printed = CliRunner().invoke(command, ["--help"]).output
    for part in ("GeV/c", "J/psi -> 2(e+ e-)", "300 tracks", "fileset", "--datasets"):
        assert part in printed
