"""What the commands after `lnv run` write and print of a blind result tells nothing but its cut flow."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from blind_worlds import SQRT_S, World, make_worlds
from click.testing import CliRunner

from jpsi_lnv.analysis.simulation import samplesets
from jpsi_lnv.processors.books.checkpoints import LOCK
from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.sample_files import plan, simulate_file

SEED = 5
N_HIDDEN = 23
N_EVENTS = 3000
MASS = 0.9
BACKGROUNDS = ("kkpipi", "kkkk", "eeee")
CONTROLS = ("control_ee", "control_eeee", "control_kkpi0", "control_ppbarpipi")
RECORDED = {"sqrt_s": SQRT_S, "is_simulation": False, "calibration": "simulated"}
DATA = RECORDED | {"kind": "data", "n_jpsi": 1.0e7, "selections": ["search", *CONTROLS, "variations"]}
CONTINUUM = RECORDED | {"kind": "continuum", "luminosity": 100.0, "selections": ["search"]}
SYSTEMATICS = {"source": "publication", "overall": 0.07, "per_mass": {f"{MASS:.3f}": 0.072}}
STAGES = (
    "systematics",
    "background",
    "limits --expected --systematics {given}",
    "limits --systematics {given}",
    "topology",
    "optimize",
    "report",
    "hepdata",
    "paper",
)
# Files of nothing but cut flows, of times, of identities, and an archive of what is compared as it is.
OF_CUTFLOW = re.compile(r"cut_?flow.*\.(csv|json|pdf|png|yaml)$")
UNCOMPARED = re.compile(rf"\.part$|{LOCK}$|accumulator\.zip$|bookkeeping\.json$|submission\.tar\.gz$|provenance\.csv$")
# Where a table or a figure begins in a file and in what is printed, and what its part says if it is left out.
IN_FILES = re.compile(
    r"""(?=^## |\\begin\{table\}|<details|<figure|<h[23]|<label|<table|<p class="files"|"name": )""", re.MULTILINE
)
IN_PRINT = re.compile(r"\n\n")
LEFT_OUT = re.compile(r"[Cc]ut flow|cutflow|provenance\.csv|wall time")
MEASURED = re.compile(r"[0-9a-f]{16}|\d[\d.\u202f,]* (s|events/s)\b")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Simulated samples of every stage, and where they lie."""
    chosen = samplesets.SampleSet(
        "few",
        SEED,
        (
            samplesets.signal(N_EVENTS),
            *(samplesets.majorana_point(MASS, mode, N_EVENTS) for mode in ("2nu", "1nu")),
            *(samplesets.background(name, N_EVENTS) for name in BACKGROUNDS),
            *(control for control in samplesets.controls(N_EVENTS) if not control.name.endswith("_data")),
        ),
    )
    directory = tmp_path_factory.mktemp("samples")
    items = plan(chosen, directory)
    for item in items:
        simulate_file(item)
    return items[0].directory, samplesets.fileset(chosen)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """A world of data and one off the resonance."""
    made = [
        make_worlds(tmp_path_factory.mktemp(name), (N_HIDDEN,), has_truth=False, seed=seed)
        for name, seed in (("data", 31), ("off", 32))
    ]
    return [world for (world,) in made]


def call(words: str, output: Path, **named: Path) -> str:
    """Run a command; return what it prints."""
    done = CliRunner().invoke(lnv, [*words.format(**named).split(), "--output", str(output)])
    assert done.exit_code == 0, done.output
    return done.output.replace(str(output.parent), "")


def go_through(samples, files, output: Path) -> dict[str, str]:
    """Run all stages over samples and files of data; return what is printed."""
    directory, plain = samples
    recorded = zip(("data", "off"), files, (DATA, CONTINUUM), strict=True)
    whole = plain | {name: {"files": {f.path: "Events"}, "metadata": of} for name, f, of in recorded}
    (directory / "plain.json").write_text(json.dumps(whole))
    given = directory / "given.json"
    given.write_text(json.dumps(SYSTEMATICS))
    call("fileset complete {plain}", directory / "fileset.json", plain=directory / "plain.json")
    call("run {fileset} --executor iterative", output, fileset=directory / "fileset.json")
    return {words: call(words, output, given=given) for words in STAGES}


def tell(printed: dict[str, str], output: Path) -> dict[str, object]:
    """Return everything that the stages tell, cut flows, times and digests aside."""
    files = {str(p.relative_to(output)): p for p in sorted(output.rglob("*")) if p.is_file()}
    compared = {n: p for n, p in files.items() if not UNCOMPARED.search(n) and not OF_CUTFLOW.search(n)}
    read = {n: p.read_bytes() if p.suffix in {".png", ".pdf"} else p.read_text() for n, p in compared.items()}
    names = [name for name in files if not name.endswith(".part")]
    parts = {name: cut(text, IN_PRINT) for name, text in printed.items()}
    return {"names": names} | parts | {n: cut(t, IN_FILES) if isinstance(t, str) else t for n, t in read.items()}


def cut(text: str, begins: re.Pattern[str]) -> list[str]:
    """Return the parts of a document, without those of cut flows."""
    return [MEASURED.sub("#", part) for part in begins.split(text) if part and not LEFT_OUT.search(part)]


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:jsonschema:DeprecationWarning")
def test_later_stages_tell_nothing(samples, worlds: list[World], tmp_path):
    told = []
    for which in ("with_hidden", "without"):
        output = tmp_path / which / "results"
        printed = go_through(samples, [getattr(world, which) for world in worlds], output)
        told.append(tell(printed, output))
    assert {"report.html", "limits.json", "topology.json", "background.json", "tables/tables.json"} <= told[0].keys()
    assert told[0].keys() == told[1].keys()
    assert [name for name in told[0] if told[0][name] != told[1][name]] == []
