"""Perceptrons of the identification, given as files: the calorimeter's and the muon chambers' chi as BOSS has them.

A network of one hidden layer makes one number of a track; chi of a kind of particle is the normal quantile of the
distribution of that number among particles of the kind and of like momentum, which the file holds as densities. Kinds
without densities of their own take the pion's.

Source: BOSS ParticleID, EmcPID and MucPID; the networks are those of ROOT's TMultiLayerPerceptron.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import expit, ndtri

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError, SchemaError
from jpsi_lnv.analysis.events.schema import branch
from jpsi_lnv.analysis.objects import tracks

if TYPE_CHECKING:
    from jpsi_lnv.analysis.events.columns import Columns

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
# Volume of a track that reaches no crystal, or no chamber.
NOWHERE: Final = -1
# BOSS takes the second moment in these units of cm^2, and this for pi.
SECOND_MOMENT: Final = 1000.0
PI: Final = 3.14159
# Muon chambers: smallest momentum in GeV/c, largest abs(cos theta) and depth.
P_MUC_MIN: Final = 0.5
COS_THETA_MUC_MAX: Final = 0.83
DEPTH_MAX: Final = 1e5
# Of a number whose distribution is 0 or 1 there: far enough to exclude the kind, and only that one.
BEYOND: Final = -99.0

# The package's own network of the muon chambers, of `lnv calibration muons`.
MUC_FILE: Final = Path(__file__).with_name("muc_pid.json")
# Networks that are made here: neurons, spread of the weights that the fit starts from, its steps; first edge and width
# of the bins of the output and their number, as BOSS has them; width of a row of momentum in GeV/c.
_N_HIDDEN: Final = 16
_START: Final = 0.5
_N_STEPS: Final = 400
_OUTPUT_EDGES: Final = (0.5, 0.01)
_N_BINS: Final = 300
P_ROW: Final = 0.1
# Bins that densities are smoothed over, and what is added to every bin, as a share of one track.
_SMOOTHING: Final = 1.0
_PRIOR: Final = 0.01
_WEIGHTS: Final = ("hidden_bias", "hidden_weights", "output_bias", "output_weights")


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


def emc_chi(columns: Columns, network: Network, chosen: IntArray) -> FloatArray:
    """Return chi of the calorimeter for all five hypotheses, ``(N, 5)``; NaN without a cluster on the track's way.

    Args:
        columns: The chunk.
        network: One of the layout `EMC`.
        chosen: (N,) indices of the tracks.

    Raises:
        SchemaError: The file lacks a column.
    """
    suffix = "_e" if columns.has("Track", "kappa_e") else ""
    shower = ("emc_energy", "emc_e_seed", "emc_e3x3", "emc_e5x5", "emc_second_moment")
    shape = ("emc_lat_moment", "emc_a20", "emc_a42", "emc_dtheta", "emc_dphi")
    kappa, tanl, volume, *values = _read(
        columns, chosen, f"kappa{suffix}", f"tanl{suffix}", "emc_volume", *shower, *shape
    )
    values[shower.index("emc_second_moment")] /= SECOND_MOMENT
    with np.errstate(divide="ignore"):
        inputs = np.stack([tracks.momentum(kappa, tanl), 1.0 / kappa, *values], axis=1)
    return _chi(network, EMC, inputs, (volume != NOWHERE) & (values[0] > 0))


def muc_chi(columns: Columns, network: Network, chosen: IntArray) -> FloatArray:
    """Return chi of the muon chambers for all five hypotheses, ``(N, 5)``; NaN without a track there.

    Args:
        columns: The chunk.
        network: One of the layout `MUC`.
        chosen: (N,) indices of the tracks.

    Raises:
        SchemaError: The file lacks a column.
    """
    return _chi(network, MUC, *muc_inputs(columns, chosen))


def muc_inputs(columns: Columns, chosen: IntArray) -> tuple[FloatArray, BoolArray]:
    """Return what the muon chambers' network takes of tracks, ``(N, 8)``, and which it is asked about, ``(N,)``.

    Args:
        columns: The chunk.
        chosen: (N,) indices of the tracks.

    Raises:
        SchemaError: The file lacks a column.
    """
    chambers = ("muc_depth", "muc_max_hits", "muc_chi2", "muc_distance", "muc_dphi")
    suffix = "_mdc" if columns.has("Track", "kappa_mdc") else ""
    helix = (f"{name}{suffix}" for name in ("kappa", "tanl", "phi0"))
    kappa, tanl, phi0, volume, *values = _read(columns, chosen, *helix, "muc_volume", *chambers)
    p, cos_theta = tracks.momentum(kappa, tanl), tracks.cos_theta(tanl)
    phi = np.remainder(phi0 + 0.5 * np.pi, 2 * np.pi)
    values[chambers.index("muc_dphi")] = PI - values[chambers.index("muc_dphi")]
    in_reach = (p >= P_MUC_MIN) & (np.abs(cos_theta) <= COS_THETA_MUC_MAX)
    is_valid = in_reach & (volume != NOWHERE) & (values[0] <= DEPTH_MAX)
    return np.stack([p, phi, cos_theta, *values], axis=1), is_valid


def output(network: Network, inputs: FloatArray) -> FloatArray:
    """Return what the network makes of inputs (N, I), (N,)."""
    found = np.empty(len(inputs))
    _output(network, inputs, found)
    return found


def _read(columns: Columns, chosen: IntArray, *names: str) -> list[FloatArray]:
    """Return track columns of chosen tracks as float64."""
    if missing := [branch("Track", name) for name in names if not columns.has("Track", name)]:
        msg = (
            f"a network identifies the tracks, and branch {missing[0]!r} is missing ({len(missing)} in all): "
            "skim the .dst again with `--keep pid,muon`, or take a calibration without networks"
        )
        raise SchemaError(msg)
    return [columns.flat("Track", name)[chosen].astype(np.float64) for name in names]


def _chi(network: Network, layout: Layout, inputs: FloatArray, is_valid: BoolArray) -> FloatArray:
    """Return chi (N, 5) of inputs (N, I) whose first is the momentum; NaN where not valid or beyond the bins."""
    found = output(network, inputs)
    with np.errstate(invalid="ignore"):
        bins = np.trunc((found - network.output_edges[0]) / network.output_edges[1])
        rows = np.trunc((inputs[:, 0] - network.p_edges[0]) / network.p_edges[1])
    n_rows, n_bins = network.chi.shape[1:]
    # BOSS takes the number just beyond the last bin as well.
    inside = is_valid & (bins >= 0) & (bins <= n_bins)
    at_row = np.clip(np.nan_to_num(rows), 0, n_rows - 1).astype(np.int64)
    at_bin = np.clip(np.nan_to_num(bins), 0, n_bins - 1).astype(np.int64)
    of_kind: AnyArray = network.chi[:, at_row, at_bin].T
    return np.where(inside[:, None], of_kind[:, layout.of_hypothesis], np.nan)


def _layout(content: Any, place: str) -> Layout:
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        raise _FORM.fault(place, f"has the format {found!r}; wanted {FORMAT!r}")
    kind = content.get("kind")
    if kind not in LAYOUTS:
        raise _FORM.fault(place, f"is a network of kind {kind!r}; wanted one of {sorted(LAYOUTS)}")
    return LAYOUTS[kind]


@lru_cache(maxsize=8)
def load(path: str, *, is_simulation: bool = True) -> Network:
    """Return the network of a file.

    Args:
        path: The file.
        is_simulation: Whether simulated tracks are identified with it.

    Raises:
        CalibrationError: The file is damaged or none of a network, or it was made from this package's simulation and
            the tracks are recorded.
    """
    content = _FORM.read(path)
    if not is_simulation and isinstance(content, dict) and "made_from" in content:
        raise _FORM.fault(path, "was made from this package's simulation and the runs are recorded; wanted BOSS's")
    return from_json(content, path)


def of_package() -> Network:
    """Return the muon chambers' network that comes with the package, made from its own simulation."""
    return load(str(MUC_FILE))


def fitted(kind: str, tracks: Mapping[str, FloatArray], n_rows: int, seed: int) -> dict[str, Any]:
    """Return a network that tells the kinds of tracks apart, in the form that `from_json` reads.

    It is fitted by least squares to 1 for the first kind, 2 for the second and so on, as BOSS's are, each kind with the
    same weight.

    Args:
        kind: One of `LAYOUTS`.
        tracks: Kind of particle -> inputs (N, I), in GeV/c, rad and cm, the momentum first.
        n_rows: Rows of momentum, of `P_ROW` from `P_MUC_MIN` on; the last one takes all that is faster.
        seed: Of the random weights that the fit starts from.
    """
    kinds, pooled = LAYOUTS[kind].kinds, np.concatenate([tracks[name] for name in LAYOUTS[kind].kinds])
    sizes = [len(tracks[name]) for name in kinds]
    wanted, weight = np.repeat(np.arange(1.0, len(kinds) + 1.0), sizes), np.repeat(1.0 / np.array(sizes), sizes)
    shift, scale = pooled.mean(axis=0), pooled.std(axis=0)
    found = _least_squares((pooled - shift) / scale, wanted, weight, seed)
    arrays = {"shift": shift, "scale": scale, **dict(zip(_WEIGHTS, found, strict=True))}
    arrays |= {"p_edges": np.array([P_MUC_MIN, P_ROW]), "output_edges": np.array(_OUTPUT_EDGES)}
    network = Network(**arrays, chi=np.empty((0, 0, 0)))
    density = {name: _density(network, inputs, n_rows) for name, inputs in tracks.items()}
    return {"format": FORMAT, "kind": kind, **_numbers(arrays), "density": _numbers(density)}


def _least_squares(x: FloatArray, wanted: FloatArray, weight: FloatArray, seed: int) -> list[FloatArray]:
    """Return the weights of a network, as `_WEIGHTS` names them, from scaled inputs (N, I)."""
    from scipy.optimize import minimize  # noqa: PLC0415 - only here

    shapes = ((_N_HIDDEN,), (_N_HIDDEN, x.shape[1]), (1,), (_N_HIDDEN,))
    ends = np.cumsum([math.prod(shape) for shape in shapes])

    def parts(values: FloatArray) -> list[FloatArray]:
        return [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True)]

    def loss(values: FloatArray) -> tuple[float, FloatArray]:
        bias, weights, out_bias, out_weights = parts(values)
        hidden = expit(x @ weights.T + bias)
        off = hidden @ out_weights + out_bias - wanted
        slope = weight * off
        back = slope[:, None] * out_weights * hidden * (1.0 - hidden)
        gradient = (back.sum(axis=0), (back.T @ x).ravel(), [slope.sum()], hidden.T @ slope)
        return float(slope @ off) / 2.0, np.concatenate(gradient)

    start = np.random.default_rng(seed).normal(0.0, _START, ends[-1])
    return parts(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _N_STEPS}).x)


def _density(network: Network, inputs: FloatArray, n_rows: int) -> FloatArray:
    """Return the density of a kind's outputs in rows of momentum, (P, B), a little of it everywhere."""
    (first, width), (p_first, p_width) = network.output_edges, network.p_edges
    row = np.clip((inputs[:, 0] - p_first) / p_width, 0, n_rows - 1).astype(np.int64)
    edges = first + width * np.arange(_N_BINS + 1)
    found = np.clip(output(network, inputs), edges[0], np.nextafter(edges[-1], 0))
    counts, _, _ = np.histogram2d(row, found, bins=(np.arange(n_rows + 1), edges))
    smooth = gaussian_filter1d(counts, _SMOOTHING, axis=1, mode="nearest") + _PRIOR
    return np.asarray(smooth / smooth.sum(axis=1, keepdims=True) / width)


def _numbers(arrays: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Return arrays as lists of numbers of five digits."""
    return {
        name: [float(f"{x:.5g}") for x in a] if a.ndim == 1 else [[float(f"{x:.5g}") for x in r] for r in a]
        for name, a in arrays.items()
    }


def _quantiles(density: FloatArray, width: float, counts_own_bin: bool) -> FloatArray:
    """Return chi of densities (K, P, B).

    The sums are in single precision and in BOSS's order, since the tails are made of what that leaves: EmcPID adds
    densities up and multiplies them by the width of a bin, MucPID multiplies first.
    """
    first, then = (1.0, width) if counts_own_bin else (width, 1.0)
    total, share = np.zeros(density.shape[:-1], dtype=np.float32), np.zeros(density.shape)
    for b in range(density.shape[-1] - (not counts_own_bin)):
        total = (total + first * density[..., b]).astype(np.float32)
        share[..., b + (not counts_own_bin)] = (then * total.astype(np.float64)).astype(np.float32)
    is_inside = (share > 0) & (share < 1)
    return np.where(is_inside, ndtri(np.where(is_inside, share, 0.5)), BEYOND)


@kernel
def _output(network: Network, inputs: FloatArray, found: FloatArray) -> None:
    for i in range(len(inputs)):
        total = network.output_bias[0]
        for m in range(len(network.hidden_bias)):
            x = network.hidden_bias[m]
            for k in range(len(network.shift)):
                x += network.hidden_weights[m, k] * (inputs[i, k] - network.shift[k]) / network.scale[k]
            total += network.output_weights[m] / (1.0 + math.exp(-x))
        found[i] = total
