"""The benchmarks run on small input and the peers pass the same events; nothing here is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
N_EVENTS = 2_000


@pytest.fixture(scope="module")
def benchmarks():
    """The package of the benchmarks, which lies beside the tests and is not installed."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks import compare, limit, peers, samples, whole_sets

        named = {"compare": compare, "limit": limit, "peers": peers, "samples": samples, "whole_sets": whole_sets}
        yield named
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def files(benchmarks, tmp_path_factory):
    pytest.importorskip("pythia8mc", reason="pip install 'jpsi-lnv[sim]'")
    return benchmarks["samples"].make(tmp_path_factory.mktemp("samples"), N_EVENTS)


@pytest.mark.parametrize("name", ["signal", "kkpipi", "inclusive"])
def test_peers_pass_the_same_events(benchmarks, files, name, tmp_path):
    items = benchmarks["samples"].work_items(files[name], name)
    found = benchmarks["peers"].agreement(items, None, tmp_path, 500)
    assert found["events"] == N_EVENTS
    assert found["equal"]
    in_run = benchmarks["limit"].run_search(items)["out"][name]["search"]["cutflow"]
    assert found["counts"] == list(in_run.values())[1:]
    assert (found["counts"][-1] > 0) == (name == "signal")


def test_rdataframe_passes_the_same_events(benchmarks, files, tmp_path):
    if "ROOT_PYTHON" not in os.environ:
        pytest.skip("make root (or set ROOT_PYTHON to a Python with ROOT)")
    items = benchmarks["samples"].work_items(files["signal"], "signal")
    with benchmarks["peers"].rdataframe(tmp_path) as root:
        assert benchmarks["peers"].agreement(items, root, tmp_path, 100)["equal"]


def test_the_limit_is_measured(benchmarks, files):
    figures = benchmarks["limit"].measure(files["signal"], "signal", 1)
    assert figures["search_over_read"]["ratio"] > 0
    assert figures["branches"] == 25 + 10 + 3


def test_files_with_five_helices_are_measured(benchmarks, tmp_path):
    found = benchmarks["limit"].hypotheses(tmp_path, 1, N_EVENTS)
    assert found.keys() == {"kkpipi", "signal"}
    assert all(
        of["five_over_one"]["ratio"] > 0 and of["five"]["search_over_read"]["ratio"] > 0 for of in found.values()
    )


def test_the_commands_of_a_target_are_those_of_the_makefile(benchmarks, tmp_path):
    called = benchmarks["whole_sets"].commands("paper", tmp_path)
    assert {Path(program).name for program, *_ in called} == {"lnv"}
    assert [words[0] for _, *words in called][:3] == ["simulate", "fileset", "run"]


def test_the_suite_writes_its_results(files, tmp_path):
    output = tmp_path / "results.json"
    call = ["-m", "benchmarks.suite", "--only", "limit", "--rounds", "1", "--events", str(N_EVENTS)]
    place = ["--samples", str(files["signal"].parent), "--output", str(output)]
    subprocess.run([sys.executable, *call, *place], cwd=ROOT, check=True)
    content = json.loads(output.read_text())
    assert {"machine", "limit"} <= set(content)
    assert content["machine"]["cores"] == os.cpu_count()


def test_committed_results_fill_every_table(benchmarks):
    from benchmarks import report

    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    text = "".join(page.read_text() for page in report.PAGES)
    for name in report.TABLES:
        assert f"<!-- {name} -->\n{report.content(name, results)}\n<!-- end -->" in text, (
            "run python -m benchmarks.report"
        )


def test_a_ratio_that_worsened_is_found(benchmarks):
    compare = benchmarks["compare"]
    old = {"limit": {"a": {"search_over_read": {"ratio": 2.0, "median": 2.0}}}, "scan": {"root_over_ours": 4.0}}
    new = {"limit": {"a": {"search_over_read": {"ratio": 2.4, "median": 2.0}}}, "scan": {"root_over_ours": 2.0}}
    worse = {name: share for name, _, _, share in compare.compare(old, new)}
    assert worse == pytest.approx({"limit.a.search_over_read": 0.2, "scan.root_over_ours": 1.0})
    assert all(share <= 0 for *_, share in compare.compare(new, old))
