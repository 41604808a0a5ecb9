"""What a run shows before and after its work."""

from __future__ import annotations

from typing import Any, Final

from jpsi_lnv.processors.books.bookkeeping import describe_failures
from jpsi_lnv.processors.console import console, print_table

MEGABYTE: Final = 1e6
SHOWN_MAX: Final = 5


def print_books(books: dict[str, Any]) -> None:
    """Show the book-keeping of a run: a table of datasets, what the run cost, and all that went wrong."""
    rows = [
        {
            "dataset": name,
            "files": d["files"],
            "expected": d["events_expected"],
            "processed": d["events_processed"],
            "skipped": d["events_skipped"],
            "produced": d["produced_used"],
            "state": _state(d),
        }
        for name, d in books["datasets"].items()
    ]
    print_table("events", rows)
    for line in (*_costs(books["totals"]), *_troubles(books)):
        console().print(line, markup=False, soft_wrap=True)


def _state(dataset: dict[str, Any]) -> str:
    if dataset["files_skipped"]:
        return f"{dataset['files_skipped']} file(s) skipped"
    return "ok" if dataset["events_processed"] == dataset["events_expected"] else "INCOMPLETE"


def _costs(totals: dict[str, Any]) -> list[str]:
    wall, cpu, peaks = (totals[k] for k in ("wall_time_s", "cpu_time_s", "peak_memory_bytes"))
    rate = totals["events_read"] / wall if wall else 0.0
    lines = [
        f"{totals['events_read']} events in {totals['chunks']} chunks, {totals['bytes_read'] / MEGABYTE:.1f} MB of "
        f"{len(totals['columns_read'])} columns in {wall:.1f} s ({rate:.0f} events/s, CPU {cpu:.1f} s)"
    ]
    if peaks:
        lines.append(f"peak memory of {len(peaks)} worker(s): {max(peaks.values()) / MEGABYTE:.0f} MB at most")
    if totals["events_resumed"]:
        lines.append(f"{totals['events_resumed']} events were taken from former runs")
    if totals["chunks_retried"]:
        lines.append(f"{totals['chunks_retried']} chunk(s) were tried again after an I/O error")
    return lines


def _troubles(books: dict[str, Any]) -> list[str]:
    lines = [f"skipped: {r['file']}: {r['message']}" for r in books["skipped_files"]]
    lines += [f"failed: {line}" for line in describe_failures(books["failed_chunks"])]
    problems = books["problems"]
    lines += problems[:SHOWN_MAX]
    if len(problems) > SHOWN_MAX:
        lines.append(f"... and {len(problems) - SHOWN_MAX} more, in bookkeeping.json")
    return lines
