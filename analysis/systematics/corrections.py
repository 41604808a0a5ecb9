"""Corrections of the simulation's tracking and identification: correctionlib JSON, applied to stored candidates.

One correction per species and map, a function of momentum and cos(theta) of a track: the ratio of the efficiency in
data to that in simulation. Its variations are `up` and `down` by the statistical uncertainty of the control samples,
and `systematic_up` and `systematic_down` by half of the correction, as far as a control sample's background, which
differs between data and simulation, may have moved it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import correctionlib
import numpy as np
from correctionlib import schemav2

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.efficiency import RatioMap
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics.table import MAPS, PROBES, TRACKS, Candidates, ratio_map, track_difference

NOMINAL: Final = "nominal"
VARIATIONS: Final = (NOMINAL, "up", "down", "systematic_up", "systematic_down")
LABELS: Final[Mapping[Species, str]] = {Species.E: "electron", Species.K: "kaon"}


def derive(results: Results) -> schemav2.CorrectionSet:
    """Return the corrections that the control samples of a result give.

    Raises:
        ResultsError: A control sample is missing or empty.
    """
    corrections = [
        _correction(f"{name}_{LABELS[species]}", ratio_map(results, species, name), PROBES[species])
        for name in MAPS
        for species in TRACKS
    ]
    origin = ", ".join(f"{name} {value}" for name, value in results.identity.items())
    return schemav2.CorrectionSet(schema_version=2, description=f"made from: {origin}", corrections=corrections)


def varied(ratios: RatioMap, variation: str) -> FloatArray:
    """Return the values of a map under a variation, shape (P, C)."""
    half = 0.5 * (ratios.value - 1.0)
    shifts = {
        NOMINAL: 0.0 * half,
        "up": ratios.sigma,
        "down": -ratios.sigma,
        "systematic_up": half,
        "systematic_down": -half,
    }
    return ratios.value + shifts[variation]


def _correction(name: str, ratios: RatioMap, selection: str) -> schemav2.Correction:
    content = [
        schemav2.CategoryItem(
            key=variation,
            value=schemav2.MultiBinning(
                nodetype="multibinning",
                inputs=["p", "cos_theta"],
                edges=[ratios.p_edges.tolist(), ratios.cos_theta_edges.tolist()],
                content=[*map(float, varied(ratios, variation).ravel())],
                flow="clamp",
            ),
        )
        for variation in VARIATIONS
    ]
    return schemav2.Correction(
        name=name,
        description=f"efficiency in data over simulation from {selection}",
        version=1,
        inputs=[
            schemav2.Variable(name="variation", type="string"),
            schemav2.Variable(name="p", type="real", description="momentum in GeV/c"),
            schemav2.Variable(name="cos_theta", type="real"),
        ],
        output=schemav2.Variable(name="ratio", type="real"),
        data=schemav2.Category(nodetype="category", input="variation", content=content),
    )


def write(corrections: schemav2.CorrectionSet, path: Path) -> Path:
    """Write corrections as JSON and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(corrections.model_dump_json(exclude_unset=True, indent=1), encoding="utf-8")
    return path


def read(path: Path) -> correctionlib.CorrectionSet:
    """Return corrections ready to evaluate.

    Raises:
        ResultsError: The file is missing, is not JSON of correctionlib, or lacks a correction.
    """
    try:
        found = correctionlib.CorrectionSet.from_file(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"{path}: no corrections ({type(error).__name__}: {error}); make them with `lnv systematics`"
        raise ResultsError(msg) from error
    wanted = {f"{name}_{label}" for name in MAPS for label in LABELS.values()}
    if missing := sorted(wanted - set(found)):
        msg = f"{path}: lacks the corrections {missing}; got {sorted(found)}"
        raise ResultsError(msg)
    return found


def ready(corrections: schemav2.CorrectionSet) -> correctionlib.CorrectionSet:
    """Return corrections of this process ready to evaluate."""
    return correctionlib.CorrectionSet.from_string(corrections.model_dump_json(exclude_unset=True))


def weights(corrections: Any, candidates: Candidates, variation: str = NOMINAL, vary: str | None = None) -> FloatArray:
    """Return the weight of each candidate: the product of both corrections over its four tracks, shape (N,).

    Args:
        corrections: What `read` or `ready` returned.
        candidates: Columns p_<track> in GeV/c and cos_theta_<track>.
        variation: One of `VARIATIONS`.
        vary: Name of the only correction to vary; None: all.

    Raises:
        ResultsError: The variation is unknown or a momentum is not finite, which correctionlib would clamp silently.
    """
    if variation not in VARIATIONS:
        msg = f"variation is {variation!r}; wanted one of {VARIATIONS}"
        raise ResultsError(msg)
    product = np.ones(len(candidates["p_k1"]))
    for species, names in TRACKS.items():
        for track in names:
            p, cos_theta = (np.asarray(candidates[f"{c}_{track}"], dtype=np.float64) for c in ("p", "cos_theta"))
            if not (np.isfinite(p).all() and np.isfinite(cos_theta).all()):
                msg = f"candidates with a momentum of track {track} that is not finite; the result is damaged"
                raise ResultsError(msg)
            for name in (f"{m}_{LABELS[species]}" for m in MAPS):
                chosen = variation if vary in (None, name) else NOMINAL
                product *= corrections[name].evaluate(chosen, p, cos_theta)
    return product


def corrected_efficiency(results: Results, candidates: Candidates, n_produced: int) -> dict[str, float]:
    """Return the efficiency corrected to data, with its relative uncertainties, as fractions.

    The statistical one takes the bins of the maps as independent, the systematic one varies one correction at a time;
    either adds up in quadrature.

    Args:
        results: The result with the control samples.
        candidates: Selected signal candidates.
        n_produced: Signal events generated.

    Raises:
        ResultsError: Nothing was produced, no candidate passed, or a control sample is missing.
    """
    n_passed = len(candidates["p_k1"])
    if n_produced <= 0 or n_passed == 0:
        msg = f"{n_passed} candidates of {n_produced} produced events: no efficiency to correct"
        raise ResultsError(msg)
    corrections = ready(derive(results))
    nominal = weights(corrections, candidates).sum()
    changes = [weights(corrections, candidates, "systematic_up", name).sum() / nominal - 1 for name in corrections]
    per_track = [
        len(tracks) * track_difference(results, name, species, candidates).sigma
        for species, tracks in TRACKS.items()
        for name in MAPS
    ]
    return {
        "uncorrected": n_passed / n_produced,
        "corrected": float(nominal / n_produced),
        "statistical": math.hypot(*per_track),
        "systematic": math.hypot(*changes),
    }
