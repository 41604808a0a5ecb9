"""The 4C fit against C++, and the fit stage against reading its own columns.

Every figure is a ratio within one run: the rivals take turns in one process, the minimum of the rounds counts.

- `kernel`: 4 000 signal candidates under the right hypothesis; the compiled kernel, the same fit in C++ at -O2 written
  out by hand, in plain loops, and with CLHEP matrices of run-time size (`kinfit_peers.cpp`; needs g++, and Debian's
  libclhep-dev for the last). All stop by the same rule and agree in chi2.
- `stage`: helix -> momenta at the interaction point, candidates, seven assignments in cascade, best of each event,
  against uproot reading the 16 track columns and the event scalars it needs (float32, zstd). `background`: a mix of
  four-body decays without any identification, two candidates in every event of four tracks; `signal`: the events with
  a candidate of the true species; `identified`: the background under the search's own identification, which leaves
  few candidates.
- `threads`: the stage on signal, in two threads against one after the other, with the memory of a worker; left out
  where the machine is busy, since then there is no second core to win. The others are ratios of minima and hold on a
  busy machine, too.

Run: python -m benchmarks.kinfit [--rounds 7] [--output benchmarks/results.json]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import uproot

from benchmarks.timing import take_turns
from jpsi_lnv.analysis import candidates
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI, SPECIES_MASS, Species
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.events.schema import EVENT, HELIX, TREE, branch
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.kinfit import fourc, kernels
from jpsi_lnv.analysis.kinfit.kernels import Limits
from jpsi_lnv.analysis.objects.tracks import MOMENTUM_COVARIANCE, read_frame, read_momenta
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, SIGNAL, Process
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS, Recipe, make_block
from jpsi_lnv.processors.work.worker import reuse_freed_memory

# Short enough that many rounds find the machine undisturbed.
N_CANDIDATES = 4_000
N_CLHEP = 200
KERNEL_ROUNDS = 8
STAGE_ROUNDS = 8
N_RUNS = 16
THREAD_ROUNDS = 4
N_BLOCKS = 2
# Share of the machine in percent that others may use while two threads are compared with one.
BUSY_MAX = 20.0
MIX = ("kkpipi", "pipipipi", "kkkk", "eeee")
P4_TOTAL = initial_four_momentum(M_JPSI)
SCALARS = ("ip_x", "ip_y", "ip_z", "field")
Accepted = Mapping[Species, BoolArray]
SCALARS_OF_EVENT = {column.name for column in EVENT}
TRACK_COLUMNS = ("charge", *HELIX, *MOMENTUM_COVARIANCE)
HERE = Path(__file__).parent


def turns(rivals: dict, rounds: int) -> dict[str, float]:
    """Let the rivals take turns; return the shortest time of each in seconds."""
    return {name: min(times) for name, times in take_turns(rivals, rounds).items()}


def simulate(channels: tuple[tuple[Process, float], ...], name: str) -> ArrayColumns:
    """Return the columns of simulated events, all in one chunk."""
    recipe = Recipe(processes=channels, sqrt_s=M_JPSI)
    blocks = [make_block(recipe, name, b, BLOCK_EVENTS, 1) for b in range(N_BLOCKS)]
    arrays, offsets = {}, {}
    for key, value in blocks[0].items():
        if isinstance(value, tuple):
            n = np.concatenate([np.diff(block[key][0]) for block in blocks])
            offsets[key.partition("_")[0]] = np.concatenate([[0], np.cumsum(n)])
            arrays[key] = np.concatenate([block[key][1] for block in blocks])
        else:
            arrays[key] = np.concatenate([block[key] for block in blocks])
    narrow = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
    return ArrayColumns(narrow, offsets, N_BLOCKS * BLOCK_EVENTS)


def keep(columns: ArrayColumns, mask: np.ndarray) -> ArrayColumns:
    """Return some of the events."""
    entries = {name: np.repeat(mask, np.diff(columns.offsets(name))) for name in ("Track", "Shower", "Gen")}
    n = {name: np.diff(columns.offsets(name))[mask] for name in entries}
    offsets = {name: np.concatenate([[0], np.cumsum(counts)]) for name, counts in n.items()}
    arrays = {k: a[mask if k in SCALARS_OF_EVENT else entries[k.partition("_")[0]]] for k, a in columns._arrays.items()}
    return ArrayColumns(arrays, offsets, int(mask.sum()))


def true_species(columns: ArrayColumns) -> np.ndarray:
    """Return the PDG code of each track's particle without its sign."""
    event = np.repeat(np.arange(columns.n_events), np.diff(columns.offsets("Track")))
    row = columns.offsets("Gen")[event] + columns.flat("Track", "gen")
    return np.abs(columns.flat("Gen", "pdg_id")[row])


def peers(directory: Path) -> ctypes.CDLL:
    """Compile the C++ rivals, with CLHEP if it is there."""
    if shutil.which("g++") is None:
        sys.exit("g++ is missing: apt-get install g++")
    base = ["g++", "-O2", "-shared", "-fPIC", str(HERE / "kinfit_peers.cpp"), "-o", str(directory / "peers.so")]
    if subprocess.run([*base, "-DWITH_CLHEP", "-lCLHEP"], capture_output=True, check=False).returncode != 0:
        print("CLHEP is missing, its loop is skipped: apt-get install libclhep-dev")
        subprocess.run(base, check=True)
    return ctypes.CDLL(str(directory / "peers.so"))


def kernel_figures(signal: ArrayColumns, rounds: int) -> dict:
    """Time the kernel against the C++ rivals on the same candidates."""
    p, v, cand = fit_inputs(signal)
    cand = cand[:N_CANDIDATES]
    problem = fourc.as_problem(p, v, cand, KKEE.assignments[:1], P4_TOTAL, SPECIES_MASS, None, 0.0, Limits())
    fit, problem = fourc.without_infeasible(problem)
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        library = peers(Path(directory))

        def cpp(name: str, n: int) -> None:
            chi2, status, n_iter = np.empty(n), np.empty(n, np.int8), np.empty(n, np.int8)
            arrays = (p, v, cand, KKEE.assignments[0].copy(), n, np.array(SPECIES_MASS) ** 2, P4_TOTAL)
            pointers = [
                ctypes.c_int64(a) if isinstance(a, int) else a.ctypes.data_as(ctypes.c_void_p)
                for a in (*arrays, chi2, status, n_iter)
            ]
            limits = [ctypes.c_double(1e-3), ctypes.c_double(1e-6), ctypes.c_int64(20)]
            getattr(library, name)(*pointers[:7], *limits, *pointers[7:])
            results[name] = chi2

        rivals = {"numba": lambda: kernels.fit_all(problem, (0, 1, 2, 3), fit)}
        sizes = {"unrolled": len(cand), "plain": len(cand), "clhep": N_CLHEP}
        names = [name for name in sizes if hasattr(library, name)]
        rivals |= {name: partial(cpp, name, sizes[name]) for name in names}
        seconds = turns(rivals, KERNEL_ROUNDS * rounds)
    for name, chi2 in results.items():
        np.testing.assert_allclose(chi2, fit.chi2[: len(chi2), 0], rtol=1e-9, err_msg=name)
    ns = {name: 1e9 * s / sizes.get(name, len(cand)) for name, s in seconds.items()}
    slower = {f"{name}_over_numba": ns[name] / ns["numba"] for name in names if name != "unrolled"}
    return {"ns_per_fit": ns, "numba_over_unrolled": ns["numba"] / ns["unrolled"], **slower}


def accepted(code: IntArray) -> Accepted:
    """Return the tracks that count as each species, from PDG codes without their signs."""
    return {Species.E: code == 11, Species.K: code == 321}


def find(columns: ArrayColumns, accepts: Accepted) -> tuple[IntArray, IntArray]:
    """Return the candidates of tracks that count as each species, and their events."""
    return candidates.find(columns.offsets("Track"), columns.flat("Track", "charge"), accepts)


def with_candidates(columns: ArrayColumns) -> ArrayColumns:
    """Return the events whose true species make a candidate."""
    _, event = find(columns, accepted(true_species(columns)))
    return keep(columns, np.isin(np.arange(columns.n_events), event))


def fit_inputs(columns: ArrayColumns) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return momenta, covariances and candidates of the true species."""
    cand, _ = find(columns, accepted(true_species(columns)))
    return *read_momenta(columns, read_frame(columns)), cand


def stage(columns: ArrayColumns, accepts: Accepted) -> tuple[IntArray, BoolArray]:
    """Run the fit stage; return the best candidates and whether they win."""
    cand, event = find(columns, accepts)
    used = np.zeros(len(columns.flat("Track", "charge")), dtype=bool)
    used[cand] = True
    p, v = read_momenta(columns, read_frame(columns), np.flatnonzero(used))
    fit = fourc.cascade(p, v, (np.cumsum(used) - 1)[cand], KKEE.assignments, P4_TOTAL)
    best = candidates.best_per_event(fit.chi2[:, 0], event)
    return cand[best], fourc.is_smallest(fit)[best]


def write(columns: ArrayColumns, path: Path) -> None:
    """Write the events as ntuples are written."""
    owners = {name: name.partition("_")[0] for name in columns._arrays}
    with NtupleWriter(str(path)) as writer:
        writer.extend(
            {
                name: (columns.offsets(owners[name]), values)
                if "_" in name and name not in SCALARS_OF_EVENT
                else values
                for name, values in columns._arrays.items()
            }
        )


def read(path: Path) -> ArrayColumns:
    """Read the columns of the fit from a file, as flat arrays."""
    with uproot.open({path: TREE}, array_cache=None) as tree:
        events = tree.arrays([branch("Track", n) for n in TRACK_COLUMNS] + list(SCALARS))
    arrays = {n: np.asarray(events[n].layout.data) for n in SCALARS}
    for n in TRACK_COLUMNS:
        layout = events[branch("Track", n)].layout
        offsets = np.asarray(layout.offsets.data, dtype=np.int64)
        arrays[branch("Track", n)] = np.asarray(layout.content.data)
    return ArrayColumns(arrays, {"Track": offsets}, len(events))


def stage_figures(signal: ArrayColumns, background: ArrayColumns, rounds: int) -> dict:
    """Time the stage against reading its columns."""
    everything = np.ones(len(background.flat("Track", "charge")), dtype=bool)
    search = SearchEvents(background, SELECTION, M_JPSI)
    inputs: dict[str, tuple[ArrayColumns, Accepted]] = {
        "background": (background, {Species.E: everything, Species.K: everything}),
        "signal": (signal, accepted(true_species(signal))),
        "identified": (background, {Species.E: search.is_electron, Species.K: search.is_kaon}),
    }
    figures = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, (columns, accepts) in inputs.items():
            path = Path(directory) / f"{name}.root"
            write(columns, path)
            rivals = {
                "stage": partial(stage, columns, accepts),
                "read": partial(read, path),
            }
            seconds = turns(rivals, STAGE_ROUNDS * rounds)
            cand, _ = find(columns, accepts)
            figures[name] = {
                "candidates_per_event": len(cand) / columns.n_events,
                "ns_per_event": {k: 1e9 * s / columns.n_events for k, s in seconds.items()},
                "stage_over_read": seconds["stage"] / seconds["read"],
            }
    return figures


def thread_figures(signal: ArrayColumns, rounds: int) -> dict:
    """Time runs of the stage one after the other and in two threads, enough of them that no thread ends much later."""
    if (busy := psutil.cpu_percent(interval=1.0)) > BUSY_MAX:
        return {"left_out": f"others used {busy:.0f} % of the machine, wanted at most {BUSY_MAX:.0f} %"}
    reuse_freed_memory()
    accepts = accepted(true_species(signal))
    with ThreadPoolExecutor(2) as pool:
        rivals = {
            "one": lambda: [stage(signal, accepts) for _ in range(N_RUNS)],
            "two": lambda: list(pool.map(lambda _: stage(signal, accepts), range(N_RUNS))),
        }
        seconds = turns(rivals, THREAD_ROUNDS * rounds)
    return {"speed_up_of_two_threads": seconds["one"] / seconds["two"]}


def machine() -> dict:
    """Return what the figures depend on."""
    cpu = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), ":")
    compiler = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    packages = {name: version(name) for name in ("numba", "numpy", "uproot", "awkward")}
    names = {
        "cpu": cpu.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    return names | {"g++": compiler, **packages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    signal = with_candidates(simulate(((SIGNAL, 1.0),), "signal"))
    background = simulate(tuple((BACKGROUNDS[name], 1.0) for name in MIX), "mix")
    figures = {
        "kernel": kernel_figures(signal, options.rounds),
        "stage": stage_figures(signal, background, options.rounds),
        "threads": thread_figures(signal, options.rounds),
        "machine": machine(),
    }
    print(json.dumps(figures, indent=2))
    content = json.loads(options.output.read_text()) if options.output.exists() else {}
    options.output.write_text(json.dumps(content | {"kinfit": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
