"""The tables of docs/performance.md and docs/scaling.md from benchmarks/results.json; their text is written by hand.

Run: python -m benchmarks.report [--results benchmarks/results.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = ("rdataframe", "awkward", "loop")
PAGES = tuple(HERE.parent / "docs" / name for name in ("performance.md", "scaling.md"))


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return a table in Markdown; numbers to three digits."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(x if isinstance(x, str) else number(x) for x in line) + " |" for line in lines)


def number(x: float) -> str:
    """Return a number to three digits, without an exponent."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def limits(results: dict[str, Any]) -> str:
    """Return the search against reading its columns."""
    head = (
        "events",
        "search / read",
        "lowest to highest turn",
        "search, µs/event",
        "read, µs/event",
        "branches",
        "bytes/event on disk",
    )
    rows = []
    for name, f in results["limit"].items():
        if "search_over_read" in f:
            r, us = f["search_over_read"], f["us_per_event"]
            spread = f"{r['low']:.2f} to {r['high']:.2f}"
            rows.append(
                (
                    name,
                    r["ratio"],
                    spread,
                    us["search"]["min"],
                    us["read"]["min"],
                    str(f["branches"]),
                    f["bytes_per_event_on_disk"],
                )
            )
    return table(head, rows)


def peers(results: dict[str, Any]) -> str:
    """Return the peers against the search."""
    head = (
        "events",
        "peer",
        "peer / search",
        "lowest to highest turn",
        "peer, µs/event",
        "same events after every step",
    )
    measured = {name: f for name, f in results["peers"].items() if isinstance(f, dict)}
    rows = []
    for name, f in measured.items():
        for peer in PEERS:
            if r := f.get(f"{peer}_over_search"):
                spread = f"{r['low']:.2f} to {r['high']:.2f}"
                of = f["loop_events"] if peer == "loop" else f["events"]
                rows.append((name, peer, r["ratio"], spread, f["us_per_event"][peer]["min"], f"{of:,} of {of:,}"))
    return table(head, rows)


def scaling(results: dict[str, Any]) -> str:
    """Return workers, overheads, start-up and memory."""
    s, chunks = results["scaling"], results["memory"]
    speed, tls, chunk = s["workers"]["one_over_two"], s["workers"].get("tls_over_plain"), s["chunk"]
    speed_up = results["kinfit"]["threads"].get("speed_up_of_two_threads")
    rows = [
        (
            "one worker / two workers, wall time",
            f"{speed['ratio']:.2f} ({speed['low']:.2f} to {speed['high']:.2f})",
            "≥ 1.6",
        ),
        (
            "two workers with TLS / without, wall time",
            f"{tls['ratio']:.3f} ({tls['low']:.3f} to {tls['high']:.3f})" if tls else "not measured",
            "≤ 1.05",
        ),
        (
            "two threads of the fit",
            f"{speed_up:.2f}" if speed_up else "left out: the machine was busy",
            "≥ 1.8",
        ),
        ("a chunk that does nothing, Runner alone", f"{chunk['runner_alone']['min']:.1f} ms", "≤ 30 ms"),
        ("the same, of a file not opened yet", f"{chunk['runner_new_file']['min']:.1f} ms", "≤ 30 ms"),
        ("a chunk that does nothing, dask on two workers", f"{chunk['dask_two_workers']['min']:.1f} ms", "≤ 30 ms"),
        ("first import to first chunk", f"{s['start_up']['min']:.1f} s", "≤ 12 s"),
        ("largest worker at the default chunk", f"{s['memory']['worker_peak_mb']:.0f} MB", "< 1074 MB"),
        *(
            (
                f"{c['chunks']:,} synthetic chunks: client, worker",
                f"{c['client_peak_mb']:.0f} MB, {c['worker_peak_mb']:.0f} MB",
                "flat",
            )
            for c in chunks
        ),
    ]
    return table(("what", "measured", "wanted"), rows)


def scheduler(results: dict[str, Any]) -> str:
    """Return what one scheduler stands."""
    head = (
        "chunks",
        "cores (sleeping threads)",
        "s per chunk",
        "chunks/s",
        "share of what the cores could",
        "client and scheduler, ms/chunk",
        "client and scheduler, peak MB",
    )
    rows = [
        (
            f"{p['chunks']:,}",
            str(p["cores"]),
            p["seconds_per_chunk"],
            p["chunks_per_second"],
            p["efficiency"],
            p["client_ms_per_chunk"],
            p["client_peak_mb"],
        )
        for p in [*results["scheduler"], *results.get("scheduler_long", [])]
    ]
    return table(head, rows)


# Ratio of the skim's benchmark -> what it says, what is wanted of data and of simulation.
SKIM = {
    "search_over_zlib": ("skim `search` / zlib of the needed baskets", "≤ 0.8", "≤ 1.2"),
    "search_over_deflate": ("skim `search` / libdeflate of the same", "≤ 1.7", "-"),
    "search_zlib_over_zlib": ("skim `search` without libdeflate / zlib", "≤ 1.5", "-"),
    "all_over_zlib": ("skim `all` / zlib", "≤ 1.2", "-"),
    "search_bare_over_zlib": ("skim `search` that keeps no groups / zlib of its baskets", "-", "-"),
    "search_bare_over_deflate": ("skim `search` that keeps no groups / libdeflate of the same", "-", "-"),
    "root_over_search": ("ROOT in C++ reading the needed branches / skim `search`", "≥ 1.4", "-"),
    "pybes3_over_search": ("pybes3 reading the needed branches / skim `search`", "≥ 3", "-"),
}


def skim(results: dict[str, Any]) -> str:
    """Return the skim against decompression and other readers."""
    found = results["skim"]
    rows: list[tuple[Any, ...]] = []
    for name, (what, *wanted) in SKIM.items():
        data, simulation = (found[kind][name]["ratio"] for kind in ("data", "simulation"))
        rows.append((what, data, wanted[0], simulation, wanted[1]))
    two, peak = found["two_processes"], found["peak_mb"]
    rows.append(("two processes over two files / one, over what zlib gains", two["skim_over_zlib"], "≥ 0.9", "-", "-"))
    for name, of in peak.items():
        rows.append((f"peak memory of a worker, `{name}`, MB", of["data"], "< 600", of["simulation"], "< 600"))
        rows.append(("the same, of a file of six times the events", of["6 x data"], "the same", "-", "-"))
    return table(("what", "data-like", "wanted", "simulation-like", "wanted"), rows)


def skim_costs(results: dict[str, Any]) -> str:
    """Return what the skim costs per event and per kB of file, and what a core asks of the disk."""
    rows = []
    for kind, preselection in (("data", "search"), ("data", "all"), ("simulation", "search"), ("simulation", "all")):
        found = results["skim"][kind]
        us, size = found["us_per_event"][preselection]["min"], found["bytes_per_event"]
        rows.append((f"{kind}-like, `{preselection}`", us, size / 1e3, us / size * 1e3, f"{size / us:,.0f}"))
    return table(("file", "µs/event", "kB/event", "µs/kB", "MB/s per core"), rows)


def costs(results: dict[str, Any]) -> str:
    """Return the cost of an event in every stage."""
    rows = [
        (name.replace("_", " of ", 1), c["min"], f"{1e6 / c['min']:,.0f}", c["bytes_per_event_of_file"])
        for name, c in results["scaling"]["costs"].items()
    ]
    if found := results.get("skim"):
        us = found["data"]["us_per_event"]["search"]["min"]
        rows.append(("skim of .dst", us, f"{1e6 / us:,.0f}", found["data"]["bytes_per_event"]))
    for name, steps in results["simulation"]["us_per_event"].items():
        rows.append((f"simulation of {name}", steps["total"], f"{1e6 / steps['total']:,.0f}", "-"))
    return table(("stage", "µs/event, one core", "events/s/core", "bytes/event on disk"), rows)


def others(results: dict[str, Any]) -> str:
    """Return the ratios of the benchmarks that stand on their own."""
    kinfit, scan = results["kinfit"], results["limits_scan"]
    rows = [
        ("fit: numba / C++ unrolled by hand", kinfit["kernel"]["numba_over_unrolled"]),
        *((f"fit: {k.replace('_over_', ' / ')}", v) for k, v in kinfit["kernel"].items() if k.endswith("_over_numba")),
        *((f"fit stage / reading its columns, {k}", v["stage_over_read"]) for k, v in kinfit["stage"].items()),
    ]
    if scan["root_over_ours"]:
        rows.append(("limits: ROOT's TRolke / ours, per limit", scan["root_over_ours"]))
    for name, found in results.get("hypotheses", {}).items():
        one, five = (found[words]["search_over_read"]["ratio"] for words in ("one", "five"))
        rows += [
            (
                f"search of {name}: five helices per track / one, CPU time (wanted: at most 1.1)",
                found["five_over_one"]["ratio"],
            ),
            (f"search of {name}, one helix / reading its columns, CPU time", one),
            ("the same, five helices / reading its columns", five),
        ]
    for name, found in results["simulation"].get("now_over_before", {}).items():
        rows.append(
            (f"simulation of {name}, written: events/s/core / those of 0.1.0 (wanted: at least 0.75)", found["ratio"])
        )
    if command := results.get("limits_command"):
        what = f"`lnv limits` on the paper set, {command['limits']} limits / its start"
        rows.append((what, command["command_over_start"]))
    return table(("ratio", "value"), rows)


def machine(results: dict[str, Any]) -> str:
    """Return the machine and the versions."""
    m = results["machine"]
    packages = ", ".join(f"{k} {v}" for k, v in m.items() if k not in {"cpu", "cores", "load", "python"})
    root = results["peers"].get("root") or "absent"
    place = f"Machine: {m['cpu']}, {m['cores']} cores, load {m['load']:.1f} at the start"
    return f"{place}; Python {m['python']}, {packages}; ROOT {root}."


# What the plan of docs/scaling.md is made for, and what it assumes where the benchmarks cannot say.
N_EVENTS = 1e10
CORES = (10, 100, 1000)
# Bytes of an event in a DST file: 200 TB for all; the cost of the skim goes with the bytes.
DST_BYTES = 2e4
SECONDS_PER_HOUR = 3600.0


def plan(results: dict[str, Any]) -> str:
    """Return core hours, disk and network for ten billion events, and wall time on more and more cores."""
    rows = []
    for name, us, kept, read in _stages(results):
        hours = N_EVENTS * us * 1e-6 / SECONDS_PER_HOUR
        walls = tuple(f"{hours / cores:,.2g} h" for cores in CORES)
        rate = f"{read / us * CORES[-1] / 1e3:,.2g} GB/s"
        rows.append(
            (
                name,
                us,
                f"{hours:,.0f}",
                f"{N_EVENTS * read / 1e12:,.1f}",
                f"{N_EVENTS * kept / 1e12:,.1f}",
                *walls,
                rate,
            )
        )
    head = (
        "stage",
        "µs/event",
        "core hours",
        "read, TB",
        "written, TB",
        *(f"{c} cores" for c in CORES),
        "read at 1000 cores",
    )
    return table(head, rows)


def _stages(results: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """Return (name, µs/event, bytes/event written, bytes/event read) of the stages."""
    costs, disk = results["scaling"]["costs"], results["limit"]["inclusive"]
    whole = costs["search_inclusive"]["bytes_per_event_of_file"]
    stages = [("search, all events in ntuples", costs["search_inclusive"]["min"], 0.0, disk["bytes_per_event_on_disk"])]
    for preselection in ("all", "search") if "skim" in results else ():
        data = results["skim"]["data"]
        us = data["us_per_event"][preselection]["min"] * DST_BYTES / data["bytes_per_event"]
        kept = whole * (data["kept_by_search"] if preselection == "search" else 1.0)
        stages.insert(0, (f"skim of .dst, --preselection {preselection}", us, kept, DST_BYTES))
    control = max(c["min"] for name, c in costs.items() if name.startswith("control"))
    stages.append(("the dearest control sample, on all events", control, 0.0, whole))
    made = max(steps["total"] for steps in results["simulation"]["us_per_event"].values())
    stages.append(("simulation here, the dearest channel", made, whole, 0.0))
    return stages


def stands(results: dict[str, Any]) -> str:
    """Return up to how many cores one scheduler keeps up, for chunks of several sizes."""
    # The rate that lasted, where a long run was measured.
    points = results.get("scheduler_long") or results["scheduler"]
    rate = max(p["chunks_per_second"] for p in points)
    us = results["scaling"]["costs"]["search_inclusive"]["min"]
    rows = [
        (
            f"{size:,}",
            us * size * 1e-6,
            f"{rate * us * size * 1e-6:,.0f}",
            f"{N_EVENTS / size:,.0f}",
            f"{N_EVENTS / size / rate / 60:,.1f} min",
        )
        for size in (100_000, 300_000, 1_000_000)
    ]
    head = (
        "events per chunk",
        "s per chunk",
        "cores that one scheduler keeps busy",
        "chunks of 10¹⁰ events",
        "shortest run",
    )
    return table(head, rows)


def page(results: dict[str, Any]) -> str:
    """Return the time of a report beside that of another version."""
    found = results["page"]
    named = [(words, found[name]) for name, words in (("now", "this version"), ("before", "0.1.0")) if name in found]
    rows = [(words, f["time"]["min"], f["time"]["median"], str(f["figures"]), f["page_mb"]) for words, f in named]
    lines = table(("report of the paper set", "s, fastest", "s, median", "figures", "page, MB"), rows)
    r = found.get("now_over_before")
    return lines + (f"\n\nThis version over 0.1.0: {r['ratio']:.2f} ({r['low']:.2f} to {r['high']:.2f})." if r else "")


# What is wanted of the targets of the Makefile: minutes and GB.
SETS = {"run": ("`make run`", "< 4 min", "-"), "paper": ("`make paper`", "minutes", "< 8,000 MB")}


def whole_sets(results: dict[str, Any]) -> str:
    """Return what the targets that make and search whole sample sets cost."""
    head = ("target", "wall, min", "wanted", "CPU, min", "peak memory, MB", "wanted")
    rows = [
        (what, f["seconds"] / 60, time, f["cpu_seconds"] / 60, f["peak_mb"], memory)
        for name, (what, time, memory) in SETS.items()
        if (f := results["whole_sets"].get(name))
    ]
    return table(head, rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    f.__name__: f
    for f in (
        machine,
        limits,
        peers,
        scaling,
        scheduler,
        costs,
        others,
        skim,
        skim_costs,
        whole_sets,
        plan,
        stands,
        page,
    )
}


def content(name: str, results: dict[str, Any]) -> str:
    """Return the table of a name; a note where a part that it needs has not been measured."""
    try:
        return TABLES[name](results)
    except KeyError as missing:
        return f"Not measured: the part {missing} of the suite."


def renew(page: Path, results: dict[str, Any]) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end -->`` in a page by the table of that name."""
    text = page.read_text()
    for name in TABLES:
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, after = text.partition(start)
        if found:
            text = before + start + content(name, results) + "\n" + end + after.partition(end)[2]
    page.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    given = parser.parse_args()
    for page in PAGES:
        renew(page, json.loads(given.results.read_text()))


if __name__ == "__main__":
    main()
