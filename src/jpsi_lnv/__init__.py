"""The search for J/psi -> K+ K+ e- e- + c.c. at BESIII: what a script or notebook needs, loaded at its first use.

The physics and statistics are in `jpsi_lnv.analysis`, the processor, runs and clusters in `jpsi_lnv.processors`.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # what type checkers and editors read; at run time it is `_PLACES`
    from jpsi_lnv.analysis.cuts import SELECTION, Cuts
    from jpsi_lnv.analysis.events.ntuple import BesSchema
    from jpsi_lnv.analysis.limits.feldman_cousins import upper_limit as feldman_cousins_limit
    from jpsi_lnv.analysis.limits.inputs import LimitInputs
    from jpsi_lnv.analysis.limits.marginal import bayesian_limit, cls_limit
    from jpsi_lnv.analysis.limits.methods import upper_limit
    from jpsi_lnv.analysis.limits.rolke import Model as RolkeModel
    from jpsi_lnv.analysis.limits.rolke import upper_limit as rolke_limit
    from jpsi_lnv.analysis.results import Results
    from jpsi_lnv.analysis.results import read as read_results
    from jpsi_lnv.analysis.selection.steps import Step
    from jpsi_lnv.processors.interactive import open_events, read_fileset, run
    from jpsi_lnv.processors.search import SearchProcessor

    __version__: str

# Machine code of the kernels that `lnv warm` has made, beside the code or where this variable says, is for every CPU of
# x86-64-v3. numba has to know that before coffea loads it.
KERNELS: Final = "JPSI_LNV_KERNELS"
CPU: Final = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
if Path(os.environ.setdefault(KERNELS, str(Path(__file__).parent / "kernels"))).is_dir():
    os.environ.update(CPU)

__all__ = [
    "SELECTION",
    "BesSchema",
    "Cuts",
    "LimitInputs",
    "Results",
    "RolkeModel",
    "SearchProcessor",
    "Step",
    "__version__",
    "bayesian_limit",
    "cls_limit",
    "feldman_cousins_limit",
    "open_events",
    "read_fileset",
    "read_results",
    "rolke_limit",
    "run",
    "upper_limit",
]

# Public name -> module and, where it differs, name in it.
_PLACES: Final = {
    "SELECTION": "analysis.cuts",
    "BesSchema": "analysis.events.ntuple",
    "Cuts": "analysis.cuts",
    "LimitInputs": "analysis.limits.inputs",
    "Results": "analysis.results",
    "RolkeModel": "analysis.limits.rolke:Model",
    "SearchProcessor": "processors.search",
    "Step": "analysis.selection.steps",
    "bayesian_limit": "analysis.limits.marginal",
    "cls_limit": "analysis.limits.marginal",
    "feldman_cousins_limit": "analysis.limits.feldman_cousins:upper_limit",
    "open_events": "processors.interactive",
    "read_fileset": "processors.interactive",
    "read_results": "analysis.results:read",
    "rolke_limit": "analysis.limits.rolke:upper_limit",
    "run": "processors.interactive",
    "upper_limit": "analysis.limits.methods",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("jpsi-lnv")
    if name not in _PLACES:
        msg = f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
        raise AttributeError(msg)
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
