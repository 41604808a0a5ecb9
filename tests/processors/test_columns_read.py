"""Which branches the search reads: those that it needs, those of the fit for chunks with candidates only."""

import pytest
from coffea.nanoevents import NanoEventsFactory

from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.events.schema import HELIX, TREE, branch
from jpsi_lnv.analysis.objects.tracks import MOMENTUM_COVARIANCE
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.search import SearchProcessor

GOOD_TRACKS = {*HELIX, "charge"}
IDENTIFICATION = {
    *(f"dedx_chi_{h}" for h in ("e", "pi", "k")),
    "dedx_n_hits",
    *(f"tof_{n}" for n in ("time", "sigma", "quality", "texp_e", "texp_pi", "texp_k")),
    *(f"emc_{n}" for n in ("energy", "e3x3", "e5x5")),
}
FRAME = {"run", "sqrt_s", "ip_x", "ip_y", "ip_z", "field"}
OF_CANDIDATES = {"event", "period"}


def branches_read(path, n_events, kind, selections=("search",)):
    log = []
    metadata = {
        "dataset": "d",
        "filename": str(path),
        "kind": kind,
        "sqrt_s": 3.0969,
        "is_simulation": True,
        "blind": False,
    }
    metadata["selections"] = list(selections)
    events = NanoEventsFactory.from_root(
        {path: TREE}, schemaclass=BesSchema, metadata=metadata, entry_stop=n_events, access_log=log
    ).events()
    SearchProcessor().process(events)
    return {entry.branch for entry in log}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    def make(channel, n_events=400, *, has_hypotheses=False):
        path = tmp_path_factory.mktemp("columns") / "events.root"
        recipe = production.Recipe(processes=((channel, 1.0),), sqrt_s=3.0969, has_hypotheses=has_hypotheses)
        with NtupleWriter(path) as writer:
            writer.extend(production.make_block(recipe, "columns", 0, n_events, 3))
        return path

    return make


def of_tracks(names):
    return {branch("Track", name) for name in names}


@pytest.mark.parametrize("has_hypotheses", [False, True])
def test_background_reads_no_column_of_fit_or_candidates(file, has_hypotheses):
    read = branches_read(file(processes.BACKGROUNDS["kkpipi"], has_hypotheses=has_hypotheses), 400, "background")
    assert read == of_tracks(GOOD_TRACKS | IDENTIFICATION) | FRAME | {"nTrack"}


def test_what_is_read_in_one_call_is_what_background_needs():
    assert of_tracks(GOOD_TRACKS | IDENTIFICATION) | FRAME | {"nTrack"} == registry.SELECTIONS["search"].reads


def test_signal_reads_the_covariance_besides(file):
    read = branches_read(file(processes.SIGNAL), 400, "signal")
    columns = GOOD_TRACKS | IDENTIFICATION | set(MOMENTUM_COVARIANCE)
    assert read == of_tracks(columns) | FRAME | {"nTrack"} | OF_CANDIDATES


def test_an_empty_chunk_reads_no_column_of_the_fit(file):
    read = branches_read(file(processes.SIGNAL), 0, "signal")
    assert not read & (of_tracks(MOMENTUM_COVARIANCE) | OF_CANDIDATES)


@pytest.mark.parametrize("name", [n for n in registry.SELECTIONS if n != "search"])
def test_a_selection_reads_in_any_case_what_it_declares(file, name):
    """Of events of its own, and of others that end at its first step."""
    own = (processes.CONTROLS | processes.BACKGROUNDS).get(name.removeprefix("control_"), processes.SIGNAL)
    for channel in (own, processes.BACKGROUNDS["kkpipi"]):
        read = branches_read(file(channel), 400, "background", [name])
        assert registry.SELECTIONS[name].reads <= read
