"""Corrections of chi of dE/dx and of the time of flight: chi -> (chi - offset)/width.

Offset and width are tables of momentum and cos(theta) under the hypothesis, of which the ends of the nodes are the ends
of the correction; between nodes they are linear in both. BOSS corrects dE/dx of recorded pions, kaons and protons so
from 7.0.8 on; control samples give corrections of either kind of events (`lnv chi-corrections`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, FloatArray, IntArray
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES
from jpsi_lnv.analysis.objects.tracks import cos_theta, momentum

FORMAT: Final = "jpsi-lnv chi 1"
DEDX: Final = "dedx"
# dE/dx, and the variants of the time of flight (the cut `pid_tof`).
SUBSYSTEMS: Final = (DEDX, "record", "tof12e", "tofcorr")
_FORM: Final = Form(
    "corrections of chi",
    f'wanted {{"format": "{FORMAT}", "corrections": {{"dedx": {{"pi": {{"p": [P nodes in GeV/c], "cos_theta": '
    f'[C nodes], "offset": [P rows of C], "width": [P rows of C]}}}}}}}}, of {", ".join(SUBSYSTEMS)}',
    CalibrationError,
)


class ChiCorrection(NamedTuple):
    """The correction of one hypothesis.

    Attributes:
        p: (P,) nodes in GeV/c.
        cos_theta: (C,) nodes.
        offset: (P, C)
        width: (P, C), positive.
    """

    p: FloatArray
    cos_theta: FloatArray
    offset: FloatArray
    width: FloatArray


# Subsystem -> hypothesis -> correction.
Corrections = Mapping[str, Mapping[str, ChiCorrection]]


def load(path: str | Path) -> Corrections:
    """Return the corrections of a file.

    Raises:
        CalibrationError: The file is damaged, or an array is missing or does not fit.
    """
    content = _FORM.read(path)
    if content.get("format") != FORMAT:
        raise _FORM.fault(path, f"has the format {content.get('format')!r}; wanted {FORMAT!r}")
    found = _by_name(content.get("corrections"), SUBSYSTEMS, "subsystem", path)
    return {
        subsystem: {
            name: _correction(f"{subsystem}.{name}", table, path)
            for name, table in _by_name(of, PID_HYPOTHESES, "hypothesis", path).items()
        }
        for subsystem, of in found.items()
    }


def to_json(corrections: Corrections, source: str) -> dict[str, Any]:
    """Return corrections as `load` reads them."""
    tables = {
        subsystem: {name: {key: a.tolist() for key, a in of._asdict().items()} for name, of in by_hypothesis.items()}
        for subsystem, by_hypothesis in corrections.items()
    }
    return {"format": FORMAT, "source": source, "corrections": tables}


def _by_name(named: Any, among: tuple[str, ...], kind: str, path: str | Path) -> dict[str, Any]:
    if not isinstance(named, dict) or not set(named) <= set(among):
        raise _FORM.fault(path, f"corrections are not by {kind}, some of {', '.join(among)}")
    return named


def _correction(name: str, content: Any, path: str | Path) -> ChiCorrection:
    inside: Any = content
    for key in reversed(name.split(".")):
        inside = {key: inside}
    nodes = _FORM.arrays(inside, {f"{name}.p": (-1,), f"{name}.cos_theta": (-1,)}, path)
    shape = tuple(len(values) for values in nodes.values())
    tables = _FORM.arrays(inside, {f"{name}.offset": shape, f"{name}.width": shape}, path)
    found = ChiCorrection(*nodes.values(), *tables.values())
    if min(shape) < 2 or not all(np.all(np.diff(n) > 0) for n in found[:2]) or found.width.min() <= 0:  # noqa: PLR2004 a line has two ends
        raise _FORM.fault(path, f"{name}: nodes are fewer than two or not in rising order, or a width is not positive")
    return found


def corrected(
    columns: Columns, chi: AnyArray, name: str, correction: ChiCorrection, chosen: IntArray | None = None
) -> AnyArray:
    """Return chi of a hypothesis with the correction, in its own type.

    Args:
        columns: The chunk.
        chi: (N,) chi of the tracks.
        name: The hypothesis.
        correction: Its correction.
        chosen: (N,) indices of the tracks; all where it is left out.
    """
    from scipy.interpolate import RegularGridInterpolator  # noqa: PLC0415 workers without corrections have no use for it

    suffix = f"_{name}" if columns.has("Track", f"kappa_{name}") else ""
    kappa, tanl = (columns.flat("Track", n + suffix).astype(np.float64) for n in ("kappa", "tanl"))
    if chosen is not None:
        kappa, tanl = kappa[chosen], tanl[chosen]
    at = np.stack([momentum(kappa, tanl), cos_theta(tanl)], axis=-1)
    offset, width = (
        RegularGridInterpolator(correction[:2], table, bounds_error=False, fill_value=np.nan)(at)
        for table in (correction.offset, correction.width)
    )
    return np.where(np.isnan(offset), chi, (chi - offset) / width).astype(chi.dtype)
