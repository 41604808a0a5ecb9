"""The likelihood as a pyhf workspace (HistFactory JSON), to publish and to cross-check.

pyhf's own asymptotic limits hold for many events only: at one event without background its CLs limit is 19.2 where the
exact one is 24.6, and its toys fail with numpy >= 2.4. Take limits from `analysis.limits.one_sided`; export from here.
"""

from __future__ import annotations

from typing import Any, Final

from jpsi_lnv.analysis.limits.inputs import LimitInputs

# A likelihood file cannot hold a sample of exactly nothing: the fit divides by it.
SMALLEST_BACKGROUND: Final = 1e-9
SIGNAL_YIELD: Final = 1.0


def workspace(inputs: LimitInputs, *, name: str = "jpsi_kkee") -> dict[str, Any]:
    """Return the HistFactory workspace of one counting channel; the parameter `n_produced` is the produced yield.

    The efficiency's uncertainty enters as `normsys` (its interpolation is exponential, close to a log-normal), that of
    the background as `histosys`: it is a number of events, as large as the background itself or larger.

    Raises:
        ValueError: The observed events are hidden.
    """
    if inputs.n_obs is None:
        msg = "n_obs=None: a workspace holds the observed events; unblind first"
        raise ValueError(msg)
    background = max(inputs.n_bkg, SMALLEST_BACKGROUND)
    samples = [
        {
            "name": "signal",
            "data": [SIGNAL_YIELD * inputs.efficiency],
            "modifiers": [
                {"name": "n_produced", "type": "normfactor", "data": None},
                *_normsys("efficiency", inputs.delta_sys),
            ],
        },
        {
            "name": "background",
            "data": [background],
            "modifiers": _histosys("background", background, inputs.n_bkg_sigma),
        },
    ]
    largest = 10.0 * (inputs.n_obs + 3.0) / inputs.efficiency
    parameters = [{"name": "n_produced", "bounds": [[0.0, largest]], "inits": [1.0]}]
    return {
        "channels": [{"name": name, "samples": samples}],
        "observations": [{"name": name, "data": [float(inputs.n_obs)]}],
        "measurements": [{"name": "upper_limit", "config": {"poi": "n_produced", "parameters": parameters}}],
        "version": "1.0.0",
    }


def _normsys(name: str, relative: float) -> list[dict[str, Any]]:
    if relative == 0.0:
        return []
    low, high = max(1.0 - relative, SMALLEST_BACKGROUND), 1.0 + relative
    return [{"name": name, "type": "normsys", "data": {"hi": high, "lo": low}}]


def _histosys(name: str, value: float, sigma: float) -> list[dict[str, Any]]:
    if sigma == 0.0:
        return []
    return [{"name": name, "type": "histosys", "data": {"hi_data": [value + sigma], "lo_data": [value - sigma]}}]
