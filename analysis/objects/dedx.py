"""The correction of chi of dE/dx in recorded events, as BOSS has it from 7.0.8 on: chi -> (chi - offset)/width.

Offset and width are tables of momentum and cos(theta) under the hypothesis, of which the ends of the nodes are the ends
of the correction; between nodes they are linear in both. Electrons are never corrected by BOSS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from jpsi_lnv.analysis.arrays import AnyArray, FloatArray
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES
from jpsi_lnv.analysis.objects.tracks import cos_theta, momentum

FORMAT: Final = "jpsi-lnv dedx 1"
_FORM: Final = Form(
    "dE/dx correction",
    f'wanted {{"format": "{FORMAT}", "corrections": {{"pi": {{"p": [P nodes in GeV/c], "cos_theta": [C nodes], '
    '"offset": [P rows of C], "width": [P rows of C]}}}}',
    CalibrationError,
)


class DedxCorrection(NamedTuple):
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


def load(path: str | Path) -> dict[str, DedxCorrection]:
    """Return the corrections of a file by hypothesis.

    Raises:
        CalibrationError: The file is damaged, or an array is missing or does not fit.
    """
    content = _FORM.read(path)
    if content.get("format") != FORMAT:
        raise _FORM.fault(path, f"has the format {content.get('format')!r}; wanted {FORMAT!r}")
    named = content.get("corrections")
    if not isinstance(named, dict) or not set(named) <= set(PID_HYPOTHESES):
        raise _FORM.fault(path, f"corrections are not by hypothesis, some of {', '.join(PID_HYPOTHESES)}")
    return {name: _correction(name, of, path) for name, of in named.items()}


def _correction(name: str, content: Any, path: str | Path) -> DedxCorrection:
    nodes = _FORM.arrays({name: content}, {f"{name}.p": (-1,), f"{name}.cos_theta": (-1,)}, path)
    shape = tuple(len(values) for values in nodes.values())
    tables = _FORM.arrays({name: content}, {f"{name}.offset": shape, f"{name}.width": shape}, path)
    found = DedxCorrection(*nodes.values(), *tables.values())
    if min(shape) < 2 or not all(np.all(np.diff(n) > 0) for n in found[:2]) or found.width.min() <= 0:  # noqa: PLR2004 a line has two ends
        raise _FORM.fault(path, f"{name}: nodes are fewer than two or not in rising order, or a width is not positive")
    return found


def corrected(columns: Columns, name: str, correction: DedxCorrection) -> AnyArray:
    """Return chi of dE/dx of a hypothesis with the correction, (T,)."""
    suffix = f"_{name}" if columns.has("Track", f"kappa_{name}") else ""
    kappa, tanl = (columns.flat("Track", n + suffix).astype(np.float64) for n in ("kappa", "tanl"))
    chi: AnyArray = columns.flat("Track", f"dedx_chi_{name}")
    at = np.stack([momentum(kappa, tanl), cos_theta(tanl)], axis=-1)
    offset, width = (
        RegularGridInterpolator(correction[:2], table, bounds_error=False, fill_value=np.nan)(at)
        for table in (correction.offset, correction.width)
    )
    return np.where(np.isnan(offset), chi, (chi - offset) / width).astype(chi.dtype)
