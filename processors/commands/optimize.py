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
from jpsi_lnv.analysis.report import drawing, studies
from jpsi_lnv.analysis.report.source import Source, stamp
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.search import plane
from jpsi_lnv.processors.console import N_JPSI, merged_result, show, wrote

MASS = "mass"
VARIABLES = ("chi2_4c", MASS)
ROWS = 20


@click.command()
@merged_result
@click.option("--variable", type=click.Choice(VARIABLES), default="chi2_4c", help="Axis of the requirement.")
@N_JPSI
def command(*, merged: Results, output: Path, variable: str, n_jpsi: float | None) -> None:
    """Scan "below x" of a stored axis: efficiency of the signal, background with PID weights, figure of merit.

    Writes optimization.json and optimization.png.
    """
    number, channel = normalization.n_jpsi(merged, n_jpsi).value, merged.channel
    variable = channel.mass if variable == MASS else variable
    scan = make_scan(merged, variable, number)
    chosen = kept(merged.cuts)[variable][1]
    record = {
        "variable": variable,
        **studies.variable_words(variable, channel),
        "best": float(scan.threshold[scan.best]),
        "plateau": list(scan.plateau),
        "chosen": chosen,
        "scan": scan.to_rows(),
    }
    show(studies.scan_table(record, len(scan.threshold) // ROWS))
    path = derived.write(output, "optimization", record, merged, {"variable": variable, "n_jpsi": number})
    wrote(path, _draw(output, record, merged))


def _draw(output: Path, record: dict[str, Any], merged: Results) -> Path:
    figure = studies.optimization(record).figure(*stamp(Source(merged)))
    return drawing.save(figure, output, "optimization", ["png"])[0]


def kept(cuts: Cuts) -> dict[str, tuple[float, float]]:
    """Return the range of each variable that the selection keeps."""
    return {"chi2_4c": (0.0, cuts.chi2_4c_max), cuts.channel.mass: (cuts.m_signal_min, cuts.m_signal_max)}


def make_scan(merged: Results, variable: str, n_jpsi: float) -> Scan:
    """Return the scan of one axis, the other one within the selection's range.

    Raises:
        ResultsError: Signal or background are missing, or the selection's range of the other axis has no bin edges.
    """
    signal = merged.of_kind(SIGNAL)
    n_produced = normalization.signal_efficiency(signal).n_total
    name_of_plane = plane(merged.channel)
    histograms = [normalization.search_of(name, d).histograms for name, d in signal.items()]
    if any(name_of_plane not in h for h in histograms):
        msg = f"the signal has no histogram {name_of_plane!r}: the result is of another version; run `lnv run` again"
        raise ResultsError(msg)
    counts = sum((h[name_of_plane] for h in histograms[1:]), start=histograms[0][name_of_plane])
    windows = {name: window for name, window in kept(merged.cuts).items() if name != variable}
    expected = background.spectrum(merged, counts, n_jpsi)
    try:
        return optimization.scan_below(counts, n_produced, expected, variable, windows)
    except ValueError as error:
        msg = f"no scan of {variable} with this result: {error}; run `lnv run` with cuts at bin edges"
        raise ResultsError(msg) from error
