"""Perceptrons of the identification, given as files: the calorimeter's and the muon chambers' chi as BOSS has them.

A network of one hidden layer makes one number of a track; chi of a kind of particle is the normal quantile of the
distribution of that number among particles of the kind and of like momentum, which the file holds as densities. Kinds
without densities of their own take the pion's.

Source: BOSS ParticleID, EmcPID and MucPID; the networks are those of ROOT's TMultiLayerPerceptron.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.special import ndtri

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError

FORMAT: Final = "jpsi-lnv network 1"
_FORM: Final = Form("network", "import it again with `lnv calibration import`", CalibrationError)


class Layout(NamedTuple):
    """What a network is for.

    Attributes:
        inputs: What it takes, in this order.
        kinds: Kinds that it has densities of.
        of_hypothesis: Which of these stands for each hypothesis, in the order e, mu, pi, K, p.
        counts_own_bin: Whether the distribution at a number includes the whole bin that holds it.
    """

    inputs: tuple[str, ...]
    kinds: tuple[str, ...]
    of_hypothesis: tuple[int, ...]
    counts_own_bin: bool


EMC: Final = Layout(
    (
        *("p", "signed_pt", "energy", "e_seed", "e3x3", "e5x5"),
        *("second_moment", "lat_moment", "a20", "a42", "dtheta", "dphi"),
    ),
    ("e", "mu", "pi"),
    (0, 1, 2, 2, 2),
    counts_own_bin=True,
)
MUC: Final = Layout(
    ("p", "phi", "cos_theta", "depth", "max_hits", "chi2", "distance", "dphi"),
    ("mu", "pi"),
    (1, 0, 1, 1, 1),
    counts_own_bin=False,
)
LAYOUTS: Final = {"emc": EMC, "muc": MUC}
# Of a number whose distribution is 0 or 1 there: far enough to exclude the kind, and only that one.
BEYOND: Final = -99.0


class Network(NamedTuple):
    """A network of I inputs and M hidden neurons, and chi of K kinds in P rows of momentum and B bins of its output.

    Attributes:
        shift: (I,) subtracted from each input.
        scale: (I,) and divided by.
        hidden_bias: (M,)
        hidden_weights: (M, I)
        output_bias: (1,)
        output_weights: (M,)
        p_edges: (2,) first edge in GeV/c of the rows of momentum, and their width; momenta beyond the rows take the
            first or the last.
        output_edges: (2,) the same of the bins of the output; outputs beyond the bins have no chi.
        chi: (K, P, B)
    """

    shift: FloatArray
    scale: FloatArray
    hidden_bias: FloatArray
    hidden_weights: FloatArray
    output_bias: FloatArray
    output_weights: FloatArray
    p_edges: FloatArray
    output_edges: FloatArray
    chi: FloatArray


def from_json(content: Any, place: str) -> Network:
    """Return the network that a file holds: the arrays of `Network`, and densities in place of `Network.chi`.

    The file is ``{"format": "jpsi-lnv network 1", "kind": "emc", "shift": [...], ..., "density": {"pi": [[...]]}}``, of
    kind emc or muc, with densities per unit of the output, P rows of B numbers, for each of the layout's kinds.

    Raises:
        CalibrationError: Something is missing, is no array of numbers, or does not fit the rest.
    """
    layout = _layout(content, place)
    n_inputs, n_hidden = len(layout.inputs), _length(content, "hidden_bias")
    rows, bins = _length(content, "density", layout.kinds[0]), _length(content, "density", layout.kinds[0], 0)
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("shift", "scale"), (n_inputs,)),
        **dict.fromkeys(("hidden_bias", "output_weights"), (n_hidden,)),
        "hidden_weights": (n_hidden, n_inputs),
        "output_bias": (1,),
        **dict.fromkeys(("p_edges", "output_edges"), (2,)),
        **{f"density.{kind}": (rows, bins) for kind in layout.kinds},
    }
    arrays = _FORM.arrays(content, shapes, place)
    densities = np.stack([arrays.pop(f"density.{kind}") for kind in layout.kinds])
    widths = arrays["p_edges"][1], arrays["output_edges"][1]
    if not densities.size or densities.min() < 0 or min(widths) <= 0 or not np.all(arrays["scale"]):
        raise _FORM.fault(place, "a density is negative or absent, or a width or scale is zero")
    return Network(**arrays, chi=_quantiles(densities, widths[1], layout.counts_own_bin))


def _length(content: Any, *path: str | int) -> int:
    """Return how many entries a list inside has; -1, which fits all, where there is none."""
    for key in path:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return -1
    return len(content) if isinstance(content, list) else -1


def _layout(content: Any, place: str) -> Layout:
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        raise _FORM.fault(place, f"has the format {found!r}; wanted {FORMAT!r}")
    kind = content.get("kind")
    if kind not in LAYOUTS:
        raise _FORM.fault(place, f"is a network of kind {kind!r}; wanted one of {sorted(LAYOUTS)}")
    return LAYOUTS[kind]


@lru_cache(maxsize=8)
def load(path: str) -> Network:
    """Return the network of a file.

    Raises:
        CalibrationError: The file is damaged or none of a network.
    """
    return from_json(_FORM.read(path), path)


def _quantiles(density: FloatArray, width: float, counts_own_bin: bool) -> FloatArray:
    """Return chi of densities (K, P, B). Sums are those of single precision, as BOSS's: the tails are made of them."""
    total = np.cumsum(density, axis=-1, dtype=np.float32) * np.float32(width)
    if not counts_own_bin:
        total = np.concatenate([np.zeros_like(total[..., :1]), total[..., :-1]], axis=-1)
    share = total.astype(np.float64)
    is_inside = (share > 0) & (share < 1)
    return np.where(is_inside, ndtri(np.where(is_inside, share, 0.5)), BEYOND)
