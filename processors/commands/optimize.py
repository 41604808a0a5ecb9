"""Choose a requirement by the Punzi figure of merit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jpsi_lnv.analysis import background, derived, normalization, optimization
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import SIGNAL
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.optimization import Scan
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.processors.console import print_table, wrote
from jpsi_lnv.processors.options import N_JPSI, merged_result

HISTOGRAM = "chi2_4c_m_kkee"
VARIABLES = ("chi2_4c", "m_kkee")
ROWS = 20


@click.command()
@merged_result
@click.option("--variable", type=click.Choice(VARIABLES), default="chi2_4c", help="Axis of the requirement.")
@N_JPSI
def command(*, merged: Results, output: Path, variable: str, n_jpsi: float | None) -> None:
    """Scan "below x" of a stored axis: efficiency of the signal, background with PID weights, figure of merit.

    Writes optimization.json and optimization.png.
    """
    number = n_jpsi or normalization.n_jpsi(merged).value
    scan = make_scan(merged, variable, number)
    chosen = kept(merged.cuts)[variable][1]
    best, now = scan.threshold[scan.best], scan.at(chosen)
    low, high = scan.plateau
    footer = (
        f"largest at {best:g}; within 1 % of it from {low:g} to {high:g}; the selection has {chosen:g}, "
        f"{scan.figure_of_merit[now] / scan.figure_of_merit[scan.best]:.1%} of the largest"
    )
    print_table("Punzi figure of merit", scan.to_rows(len(scan.threshold) // ROWS), footer=footer)
    record = {
        "variable": variable,
        "best": float(best),
        "plateau": [low, high],
        "chosen": chosen,
        "scan": scan.to_rows(),
    }
    path = derived.write(output, "optimization", record, merged, {"variable": variable, "n_jpsi": number})
    wrote(path, _draw(output, record, merged))


def _draw(output: Path, record: dict[str, Any], merged: Results) -> Path:
    from jpsi_lnv.analysis.report import status, study_figures, style  # noqa: PLC0415 draws a figure

    flags = [flag.label for flag in status.flags(Source(merged))]
    figure = study_figures.optimization(record).figure(status.label(merged), flags)
    return style.save(figure, output, "optimization", ["png"])[0]


def kept(cuts: Cuts) -> dict[str, tuple[float, float]]:
    """Return the range of each variable that the selection keeps."""
    return {"chi2_4c": (0.0, cuts.chi2_4c_max), "m_kkee": (cuts.m_kkee_min, cuts.m_kkee_max)}


def make_scan(merged: Results, variable: str, n_jpsi: float) -> Scan:
    """Return the scan of one axis, the other one within the selection's range.

    Raises:
        ResultsError: Signal or background are missing, or the selection's range of the other axis has no bin edges.
    """
    signal = merged.of_kind(SIGNAL)
    n_produced = normalization.signal_efficiency(signal).n_total
    histograms = [normalization.search_of(name, d).histograms for name, d in signal.items()]
    if any(HISTOGRAM not in h for h in histograms):
        msg = f"the signal has no histogram {HISTOGRAM!r}: the result is of another version; run `lnv run` again"
        raise ResultsError(msg)
    counts = sum((h[HISTOGRAM] for h in histograms[1:]), start=histograms[0][HISTOGRAM])
    windows = {name: window for name, window in kept(merged.cuts).items() if name != variable}
    expected = background.spectrum(merged, counts, n_jpsi)
    try:
        return optimization.scan_below(counts, n_produced, expected, variable, windows)
    except ValueError as error:
        msg = f"no scan of {variable} with this result: {error}; run `lnv run` with cuts at bin edges"
        raise ResultsError(msg) from error
