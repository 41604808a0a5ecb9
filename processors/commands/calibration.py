"""Import BOSS's parameters of the identification, and show what a calibration holds."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.polynomial import chebyshev

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.documents import write_json, write_text
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.objects import calibration as calibrations
from jpsi_lnv.analysis.objects import chi_correction, networks, tofcorr
from jpsi_lnv.analysis.objects.calibration import FORMAT, LAST_RUN, Calibration
from jpsi_lnv.analysis.objects.chi_correction import DEDX, ChiCorrection
from jpsi_lnv.analysis.report.tables import Field, Table, fixed, percent
from jpsi_lnv.processors.console import DIRECTORY, FILE, show, wrote

# Sizes of the layers of the networks; rows of momentum in use, their first edge and width in GeV/c.
_NETWORKS: Final = {"emc": ((12, 24, 1), 18, (0.2, 0.1)), "muc": ((8, 16, 1), 12, (0.5, 0.1))}
# First edge and width of the bins of a network's output.
_OUTPUT: Final = (0.5, 0.01)
_BINS: Final = 300
# File of the densities of each kind of particle.
_KIND: Final = {"e": "elec", "mu": "muon", "pi": "pion"}
_TOFCORR: Final = Path("TofCorrPID", "jpsi2012")
# Factor on the resolution of pions by beta gamma, a + b exp(-(beta gamma - c)/d): BOSS has it in its code.
_PION_SCALE: Final = {"data": [0.994072, 1.0, 0.356345, 0.767124], "mc": [1.0, 0.0, 0.0, 1.0]}
# Momenta by z, and by rho, in the tables of slow protons.
_SLOW: Final = (7, 20, 46)
_SLOW_ENDCAP: Final = (20, 7)
# Recorded runs whose dE/dx BOSS corrects from 7.0.8 on.
_DEDX_RUNS: Final = ((9947, 10878), (27255, 28236), (52940, 54976), (55861, 56546), (56788, 59015))
_N_COS: Final = 30
_KAON: Final = (3, 5)
_STEP: Final = 1e-9
_CONSTANTS: Final = ("emc", "tofcorr", "muc", "chi", "helix")
_FIELDS: Final = (
    Field("events", "events"),
    Field("first", "first run", str),
    Field("last", "last run", str),
    *(Field(name, name) for name in _CONSTANTS),
    Field("points", "interaction points"),
    Field("digest", "digest"),
)
_MUONS: Final = (
    Field("species", "species"),
    Field("p_min", "p from [GeV/c]", fixed(1)),
    Field("p_max", "to", fixed(1)),
)


@click.group()
def command() -> None:
    """Import BOSS's parameters of the identification, and show what a calibration holds."""


@command.command("import")
@click.argument("share", metavar="DIR", type=DIRECTORY)
@click.option("--output", type=DIRECTORY, default=Path("calibration"), help="Directory of the files to write.")
@click.option(
    "--dedx",
    type=FILE,
    help="Your copy of ParticleID's DedxPID.cxx, whose code holds the corrections of dE/dx; from BOSS 7.0.8 on.",
)
def import_(share: Path, output: Path, dedx: Path | None) -> None:
    """Convert DIR, your copy of the directory share of BOSS's or BEAN's ParticleID, into a calibration.

    Writes calibration.json, which the metadata of a dataset name as "calibration", and the files that it names: the
    network and the densities of the calorimeter, those of the muon chambers, and TofCorr's parameters of recorded and
    of simulated events. BOSS takes each for all runs. With --dedx come the corrections of dE/dx of recorded J/psi runs.
    Add your own run table and helix corrections to it.
    """
    contents: dict[str, Any] = {f"{kind}.json": network(share, kind) for kind in _NETWORKS}
    contents |= {f"tofcorr_{kind}.json": tof(share / _TOFCORR / kind, kind) for kind in _PION_SCALE}
    of_all = {"first": 0, "last": int(LAST_RUN), "emc": "emc.json", "muc": "muc.json"}
    contents["calibration.json"] = {
        "format": FORMAT,
        "source": f"{share.resolve().name} of BOSS's ParticleID: EMC and muon chambers, TofCorr jpsi2012",
        "ranges": [of_all | {"simulation": kind == "mc", "tofcorr": f"tofcorr_{kind}.json"} for kind in _PION_SCALE],
    }
    if dedx:
        contents["dedx.json"] = chi_correction.to_json({DEDX: corrections_of_dedx(dedx)}, dedx.name)
        recorded, simulated = contents["calibration.json"]["ranges"]
        contents["calibration.json"]["ranges"] = [*_with_dedx(recorded, "dedx.json"), simulated]
    for name, content in contents.items():
        write_json(output / name, content)
    path = output / "calibration.json"
    show(described(path))
    wrote(path)


@command.command("show")
@click.argument("path", metavar="FILE", type=FILE)
def show_(path: Path) -> None:
    """Read FILE, a calibration, with all that it names, and show which constants it has for which runs."""
    show(described(path))


@command.command("muons")
@click.option("--tracks", type=click.IntRange(1000), default=100_000, help="Simulated tracks of each kind.")
@click.option("--seed", type=click.IntRange(0), default=1, help="Of the random numbers.")
@click.option("--output", type=FILE, default=Path("muc.json"), help="File of the network.")
def muons(*, tracks: int, seed: int, output: Path) -> None:
    """Make the muon chambers' network from this package's simulation.

    BOSS's network cannot be shipped, so the package has one of its own, made by this command: of muons and pions of
    0.45 to 1.8 GeV/c in |cos theta| < 0.83, with the inputs and the form of BOSS's. Shown is how often other tracks of
    the simulation are read as muons. Recorded runs refuse it: import BOSS's for them.
    """
    from jpsi_lnv.analysis.report import validation_response as response  # noqa: PLC0415 - keeps `lnv --help` fast

    rng = np.random.default_rng(seed)
    samples = {name: response.chamber_tracks(rng, code, tracks) for name, code in response.CHAMBER_KINDS.items()}
    inputs = {name: _inputs(columns, response.own_tracks(columns)) for name, columns in samples.items()}
    content = networks.fitted("muc", inputs, _NETWORKS["muc"][1], seed)
    rows = response.read_as_muon(rng, networks.from_json(content, str(output)), tracks)
    content["made_from"] = {"is_simulation": True, "tracks": tracks, "seed": seed, "read_as_muon": rows}
    write_text(output, json.dumps(content) + "\n")
    show(misidentification_of_muons(rows))
    wrote(output)


def _inputs(columns: ArrayColumns, own: IntArray) -> FloatArray:
    """Return the network's inputs of the tracks that it is asked about, (N, I)."""
    inputs, is_asked = networks.muc_inputs(columns, own)
    return inputs[is_asked]


def misidentification_of_muons(rows: Sequence[dict[str, Any]]) -> Table:
    """Return how often the muon chambers read tracks as muons: one row per species and momentum, angles beside."""
    found: dict[tuple[str, float, float], dict[str, Any]] = {}
    angles = {f"{row['cos_theta_min']:g} to {row['cos_theta_max']:g}": None for row in rows}
    for row in rows:
        bins = {name: row[name] for name in ("species", "p_min", "p_max")}
        angle = f"{row['cos_theta_min']:g} to {row['cos_theta_max']:g}"
        found.setdefault(tuple(bins.values()), bins)[angle] = row["rate"]
    fields = (*_MUONS, *(Field(angle, f"|cos theta| {angle}", percent(3), "%") for angle in angles))
    note = "half a track is added to those read as muons: no rate is zero"
    return Table(
        "read_as_muon", "Tracks that the muon chambers read as muons", fields, tuple(found.values()), note=note
    )


def described(path: Path) -> Table:
    """Return which constants a calibration has for which runs, from all of its files.

    Raises:
        CalibrationError: One of them is absent or damaged.
    """
    found = [
        ("simulated" if is_simulation else "recorded", calibrations.read(path, is_simulation=is_simulation))
        for is_simulation in calibrations.kinds(path)
    ]
    return table_of(f"{path}: {found[0][1].source}" if found else str(path), found)


def table_of(title: str, found: Iterable[tuple[str, Calibration]]) -> Table:
    """Return one row per range of runs of calibrations and the kind of events that each is for."""
    rows: list[dict[str, Any]] = []
    for kind, calibration in found:
        table = calibration.run_table.source if calibration.run_table else None
        for r in calibration.ranges:
            has = {name: _called(getattr(r.constants, name)) for name in _CONSTANTS}
            edges = {"events": kind, "first": r.first, "last": r.last, "points": table, "digest": calibration.digest}
            rows.append({**edges, **has})
    return Table("calibration", title, _FIELDS, tuple(rows))


def _called(constants: object) -> str | None:
    """Return what constants are, in a word; None where there are none."""
    if constants is None:
        return None
    return {"EmcTables": "tables", "Network": "network"}.get(type(constants).__name__, "yes")


def network(share: Path, kind: str) -> dict[str, Any]:
    """Return a network of ROOT's TMultiLayerPerceptron as `objects.networks` reads it.

    Args:
        share: The directory.
        kind: emc or muc.

    Raises:
        CalibrationError: A file is absent, or does not have the numbers that the network needs.
    """
    path = share / f"{kind}.txt"
    (n_in, n_hidden, n_out), rows, p_edges = _NETWORKS[kind]
    blocks = _blocks(path)
    inputs = _shaped(blocks.get("input normalization", []), (n_in, 2), path, "input normalization")
    bias = _shaped(blocks.get("neurons weights", []), (n_in + n_hidden + n_out,), path, "neurons weights")
    weights = _shaped(blocks.get("synapses weights", []), (n_hidden * (n_in + n_out),), path, "synapses weights")
    return {
        "format": networks.FORMAT,
        "kind": kind,
        "source": path.name,
        "shift": inputs[:, 1].tolist(),
        "scale": inputs[:, 0].tolist(),
        "hidden_bias": bias[n_in:-n_out].tolist(),
        "hidden_weights": weights[: n_hidden * n_in].reshape(n_hidden, n_in).tolist(),
        "output_bias": bias[-n_out:].tolist(),
        "output_weights": weights[n_hidden * n_in :].tolist(),
        "p_edges": p_edges,
        "output_edges": _OUTPUT,
        "density": {
            name: _density(share / f"{_KIND[name]}_{kind}_hist.txt", rows) for name in networks.LAYOUTS[kind].kinds
        },
    }


def tof(directory: Path, kind: str) -> dict[str, Any]:
    """Return TofCorr's parameters as `objects.tofcorr` reads them.

    Args:
        directory: That of the text files.
        kind: data or mc.

    Raises:
        CalibrationError: A file is absent, or does not have as many numbers as it should.
    """
    files = {
        "counter_sigma": "calib_barrel_sigma.txt",
        "endcap_sigma": "calib_endcap_sigma.txt",
        "pulse": "curve_Q0_BetaGamma.txt",
        "walk": "parameter_A_B.txt",
        "sigma": "parameter_sigma.txt",
    }
    arrays = {name: _table(directory / file, tofcorr.SHAPES[name]) for name, file in files.items()}
    arrays["common"] = _table(directory / "calib_barrel_common.txt", (4,))[:1]
    for name in ("offset", "sigma"):
        of_z, of_rho = _slow(directory / f"parameter_{name}_proton.txt")
        arrays |= {f"slow_{name}": of_z, f"slow_{name}_endcap": of_rho}
    content = {name: arrays[name].tolist() for name in tofcorr.SHAPES if name in arrays}
    source = f"{directory.parent.name}/{directory.name}"
    return {"format": tofcorr.FORMAT, "source": source} | content | {"pion_scale": _PION_SCALE[kind]}


def corrections_of_dedx(path: Path) -> dict[str, ChiCorrection]:
    """Return the corrections of pi, K and p that BOSS's code holds, as tables.

    Those of pi and p are Chebyshev series in (p - centre)/0.1, whose coefficients are parabolas in cos(theta) through
    three nodes: tables of 2.5 MeV/c and of an eighth of the distance of two nodes differ from them by less than 0.01.

    Raises:
        CalibrationError: The code does not hold the arrays of numbers, or of other sizes.
    """
    code = _text(path)
    nodes = _braced(code, "cosbin", (_N_COS,), path)
    pion = [_braced(code, f"par_pip_{name}", (_N_COS, n), path) for name, n in (("offset", 7), ("sigma", 8))]
    proton = [_braced(code, f"par_p_{name}", (_N_COS, n), path) for name, n in (("offset", 6), ("sigma", 8))]
    kaon = [_braced(code, f"par_kp_{name}", _KAON, path) for name in ("offset", "sigma")]
    # Slow protons in the last part of cos(theta) have twice the offset: nodes on both sides of its edges.
    found = _series(_around(np.linspace(0.2, 0.43, 93), 0.3), _around(_fine(nodes), 0.83), nodes, 0.33, *proton)
    is_doubled = (found.p < 0.3)[:, None] & (found.cos_theta > 0.83)  # noqa: PLR2004 said above
    return {
        "pi": _series(np.linspace(0.0, 0.2, 81), _fine(nodes), nodes, 0.17, *pion),
        "k": _of_kaons(*kaon),
        "p": found._replace(offset=np.where(is_doubled, 2.0, 1.0) * found.offset),
    }


def _braced(code: str, name: str, shape: tuple[int, ...], path: Path) -> FloatArray:
    """Return the numbers that code in C++ gives an array in braces."""
    found = re.search(rf"\b{name}(?:\[\d+\])+\s*=\s*\{{(.*?)\}}\s*;", code, re.DOTALL)
    return _shaped(re.sub(r"[{},]", " ", found[1]).split() if found else [], shape, path, name)


def _fine(nodes: FloatArray) -> FloatArray:
    """Return nodes from -1 to 1, eight for each interval of some."""
    edges = np.concatenate([[-1.0], nodes, [1.0]])
    return np.append((edges[:-1, None] + np.diff(edges)[:, None] * np.arange(8) / 8.0).ravel(), 1.0)


def _around(nodes: FloatArray, edge: float) -> FloatArray:
    """Return nodes with two more, close to both sides of an edge."""
    others = nodes[np.abs(nodes - edge) > _STEP]
    return np.sort(np.append(others, [edge - _STEP, edge + _STEP]))


def _series(
    p: FloatArray, cos_theta: FloatArray, nodes: FloatArray, centre: float, offset: FloatArray, width: FloatArray
) -> ChiCorrection:
    """Return a table of Chebyshev series with coefficients (30, n) at nodes of cos(theta); widths are at least one."""
    x = (p - centre) / 0.1
    offsets, widths = (chebyshev.chebval(x, _between(nodes, of, cos_theta).T).T for of in (offset, width))
    return ChiCorrection(p, cos_theta, np.asarray(offsets), np.maximum(widths, 1.0))


def _between(nodes: FloatArray, values: FloatArray, at: FloatArray) -> FloatArray:
    """Return the parabola through the nodes below, above and next above, of values (30, n) at places (C,): (C, n)."""
    three = np.clip(np.searchsorted(nodes, at, side="right"), 1, len(nodes) - 2)[:, None] + np.arange(-1, 2)
    x = nodes[three]
    weight = np.ones_like(x)
    for i, j in itertools.permutations(range(3), 2):
        weight[:, i] *= (at - x[:, j]) / (x[:, i] - x[:, j])
    return np.einsum("ct,ctn->cn", weight, values[three])


def _of_kaons(offset: FloatArray, width: FloatArray) -> ChiCorrection:
    """Return the table of kaons: linear in abs(cos theta), with steps in the momentum as BOSS makes them.

    Above 0.375 GeV/c its code reads beyond the row that it means, into the next one, which is what the numbers do here.
    """
    cos_theta, rows = np.array([-0.2, 0.0, 0.2]), range(6)
    first = 0.175 + 0.05 * np.arange(len(rows))
    ends = [(max(low, 0.2), min(low + 0.05 - _STEP, 0.43)) for low in first]
    p, row = np.array(ends).ravel(), np.repeat(rows, 2)
    tables = []
    for of in (offset.ravel(), width.ravel()):
        centre, slope = of[_KAON[1] :], of[: -_KAON[1]] - of[_KAON[1] :]
        low, high = (centre[at, None] + slope[at, None] * abs(cos_theta) / 0.1 for at in (row, row + 1))
        tables.append(low + (high - low) * (p - first[row])[:, None])
    return ChiCorrection(p, cos_theta, *tables)


def _with_dedx(entry: dict[str, Any], file: str) -> list[dict[str, Any]]:
    """Return the ranges of an entry for all runs, with the corrections in the runs that have them."""
    ranges, begin = [], 0
    for first, last in _DEDX_RUNS:
        ranges += [entry | {"first": begin, "last": first - 1}, entry | {"first": first, "last": last, "chi": file}]
        begin = last + 1
    return [*ranges, entry | {"first": begin}]


def _slow(path: Path) -> tuple[FloatArray, FloatArray]:
    """Return the tables of slow protons in the barrel (2, 7, 20, 46) and in the end caps (2, 20, 7)."""
    n = int(np.prod(_SLOW))
    of_charge = _table(path, (2, n + int(np.prod(_SLOW_ENDCAP))))
    return of_charge[:, :n].reshape(2, *_SLOW), of_charge[:, n:].reshape(2, *_SLOW_ENDCAP)


def _density(path: Path, rows: int) -> list[list[float]]:
    """Return the rows of densities that are in use; a file may have more."""
    numbers = _numbers(path, _words(path))
    if len(numbers) % _BINS or len(numbers) < rows * _BINS:
        msg = f"{path}: got {len(numbers)} numbers; wanted at least {rows} rows of {_BINS}: copy the file again"
        raise CalibrationError(msg)
    found: list[list[float]] = numbers.reshape(-1, _BINS)[:rows].tolist()
    return found


def _blocks(path: Path) -> dict[str, list[str]]:
    """Return the words of a dump of a network by the titles that stand above them behind a #."""
    blocks: dict[str, list[str]] = {}
    for line in _text(path).splitlines():
        if line.startswith("#"):
            blocks[line[1:].strip()] = []
        elif blocks:
            blocks[next(reversed(blocks))] += line.split()
    return blocks


def _table(path: Path, shape: tuple[int, ...]) -> FloatArray:
    return _shaped(_words(path), shape, path, "the file")


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        msg = f"{path}: cannot be read ({reason}); wanted a file of the directory share of BOSS's ParticleID"
        raise CalibrationError(msg) from None


def _numbers(path: Path, words: list[str]) -> FloatArray:
    try:
        found = np.array(words, dtype=np.float64)
    except ValueError as error:
        msg = f"{path}: holds something that is no number ({error}); copy the file again"
        raise CalibrationError(msg) from None
    if not np.isfinite(found).all():
        msg = f"{path}: holds numbers that are not finite; copy the file again"
        raise CalibrationError(msg)
    return found


def _shaped(words: list[str], shape: tuple[int, ...], path: Path, what: str) -> FloatArray:
    numbers, n = _numbers(path, words), int(np.prod(shape))
    if len(numbers) != n:
        msg = f"{path}: {what} has {len(numbers)} numbers; wanted {n}, {shape}: copy the file again"
        raise CalibrationError(msg)
    return numbers.reshape(shape)
