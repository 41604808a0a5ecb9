"""Background candidates without identification: every track may be taken for what its charge allows.

A simulated background passes the identification too rarely to be counted. So the kinematic part of the selection runs
on it as if every identified track were what the decay has of its charge, a kaon or an electron, and the chance of that
is a weight: the product over the tracks of misidentification probabilities, measured on all simulated tracks of that
species, momentum and angle. Needs the generated particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import permutations
from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.channel import KKEE, WORDS, Channel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import Columns, of_event
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.selection import conversion
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.control_probes import PERIOD
from jpsi_lnv.analysis.selection.search import book_conversions, fill_conversions
from jpsi_lnv.analysis.selection.search_events import READS, SearchEvents
from jpsi_lnv.analysis.selection.steps import ALL_EVENTS, apply, of_channel, passes_all_but
from jpsi_lnv.analysis.selection.topology import chains

# Generated species in the order of the axis, and their PDG codes; the last one is all the rest. Antiprotons annihilate:
# a tenth of them is taken for electrons, and no proton.
SPECIES: Final = ("e", "mu", "pi", "k", "p", "pbar", "other")
PDG_CODES: Final = ((11, -11), (13, -13), (211, -211), (321, -321), (2212,), (-2212,))
NO_ROLE: Final = "none"
NO_PARTICLE: Final = -1
# Steps whose requirements are chosen again from the stored candidates.
OPEN_STEPS: Final = ("chi2_4c", "signal_region")
# Steps of which a candidate may fail one, to show what they reject.
STEPS_TO_FAIL: Final = ("alternative_hypotheses", "conversion_veto")
CONJUGATES: Final = (1, -1)
ELECTRON, PHOTON = 11, 22

# Identification loosened for the closure of the weights: with the search's own nothing passes that could be counted.
E_OVER_P_LOOSENED: Final = 0.5
CL_RATIO_LOOSENED: Final = 0.1

SPECIES_AXIS: Final = hist.axis.StrCategory(SPECIES, name="species", label="generated species")
P: Final = hist.axis.Variable(
    [0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.6], name="p", label="$p$ [GeV/$c$]"
)
# Between the calorimeter's barrel and its end caps, 0.82 to 0.845, electrons leave no energy and pass for kaons.
ABS_COS_THETA: Final = hist.axis.Variable(
    [0.0, 0.4, 0.8, 0.82, 0.845, 0.86, 0.93], name="abs_cos_theta", label=r"$|\cos\theta|$"
)
N_PAIRED: Final = 4
N_CELLS: Final = len(SPECIES) * len(P) * len(ABS_COS_THETA)


def roles_of(channel: Channel) -> tuple[str, ...]:
    """Return what a track may be taken for: nothing, or a species of the decay, the lightest first."""
    return (NO_ROLE, *(WORDS[species].word for species in channel.kinds))


def role_axis(channel: Channel) -> hist.axis.StrCategory:
    """Return the axis of what a track is taken for."""
    return hist.axis.StrCategory(roles_of(channel), name="role", label="taken for")


def places(channel: Channel, names: Sequence[str]) -> list[int]:
    """Return the places of steps in the search for a decay."""
    return [i for i, step in enumerate(of_channel(channel)) if step.name in names]


class MisidEvents(SearchEvents):
    """A view in which every identified track is a candidate of each species that the decay has of its charge.

    Args:
        search: The chunk as the search looks at it; what does not depend on the tracks' roles is taken from there.
        sign: 1 for the decay, -1 for its conjugate.
    """

    def __init__(self, search: SearchEvents, sign: int) -> None:
        super().__init__(search.columns, search.cuts, search.sqrt_s, search.calibration)
        self.search = search
        self.sign = sign

    @property
    def is_good(self) -> BoolArray:
        """Good tracks, as in the search."""
        return self.search.is_good

    @property
    def is_retained(self) -> BoolArray:
        """Events with enough good tracks and the wanted net charge, as in the search."""
        return self.search.is_retained

    @property
    def is_identified(self) -> BoolArray:
        """Identified tracks, as in the search."""
        return self.search.is_identified

    @property
    def e_over_p(self) -> FloatArray:
        """EMC energy over momentum of every track, as in the search."""
        return self.search.e_over_p

    @cached_property
    def is_examined(self) -> BoolArray:
        """All identified tracks: each is taken for whatever the decay has."""
        return self.is_identified

    def _as(self, species: Species) -> BoolArray:
        """Return the identified tracks of a charge that a species has in the decay."""
        charges = [self.sign * slot.charge for slot in self.channel.slots if slot.species == species]
        return self.is_identified & np.isin(self.charge, charges)

    @cached_property
    def decisions(self) -> BoolArray:
        """Every step's decision on the best candidates, shape (steps, B)."""
        return apply(of_channel(self.channel), self)[:, self.best.event]

    @property
    def is_chosen(self) -> BoolArray:
        """Best candidates that pass every step but the requirements on chi2 and the signal region, shape (B,)."""
        return passes_all_but(self.decisions, places(self.channel, OPEN_STEPS))

    def fails_only(self, step: int) -> BoolArray:
        """Return the best candidates that fail one step and pass all others, shape (B,)."""
        return passes_all_but(self.decisions, [step]) & ~self.decisions[step]


def true_species(columns: Columns) -> IntArray:
    """Return the generated species of each track as an index of `SPECIES`, shape (tracks,).

    Raises:
        SchemaError: The file has no generated particles.
    """
    offsets = columns.offsets("Track")
    event = np.repeat(np.arange(columns.n_events), np.diff(offsets))
    of_track = columns.flat("Track", "gen").astype(np.int64)
    row = columns.offsets("Gen")[event] + of_track
    known = of_track != NO_PARTICLE
    code = np.zeros(len(event), dtype=np.int64)
    code[known] = columns.flat("Gen", "pdg_id")[row[known]]
    species = np.full(len(event), len(PDG_CODES))
    for i, wanted in enumerate(PDG_CODES):
        species[np.isin(code, wanted)] = i
    return species


def roles(view: SearchEvents) -> tuple[BoolArray, IntArray]:
    """Return which tracks count for the misid maps and what the search takes each for.

    Returns:
        Mask (tracks,) of good tracks with a measurement, in any event, and their index of `roles_of`, (tracks,).
    """
    considered = view.channel.considered
    identification = pid.identify(view.columns, view.cuts, calibration=view.calibration, considered=considered)
    counts = view.is_good & (identification.ndof > 0)
    cl, e_over_p, cuts = identification.cl, view.e_over_p, view.cuts
    role, every = np.zeros(len(counts), dtype=np.int64), np.arange(len(counts))
    for i, species in enumerate(view.channel.kinds, 1):
        role[pid.taken_for(species, cl, e_over_p, view.columns, every, cuts)] = i
    return counts, role


def select(chunk: Chunk) -> dict[str, Found]:
    """Return the misid maps, which species make up four tracks, and the candidates without identification.

    For the closure of the weights the maps are there with loosened identification too, and so is what passes it.

    Raises:
        SchemaError: The file has no generated particles.
    """
    views = [MisidEvents(chunk.events, sign) for sign in _conjugates(chunk.events.channel)]
    merged = joined([candidates(view, view.is_chosen) for view in views])
    failed = joined([failing(view, i) for view in views for i in places(view.channel, STEPS_TO_FAIL)])
    loose = chunk.events.like(cuts=loosened(chunk.cuts))
    is_counted = passes_all_but(apply(chunk.steps, loose), places(loose.channel, OPEN_STEPS))
    return {
        datasets.MISID: {
            "cutflow": {
                ALL_EVENTS: chunk.n_read,
                "kinematic_candidates": len(merged["run"]),
                "loosened_identification": int(np.count_nonzero(is_counted)),
            },
            "histograms": {
                "roles": maps(chunk.events),
                "roles_loose": maps(loose),
                **pairs(loose),
                **combinations(chunk.events.channel, views),
                **conversions(chunk.events),
            },
            "candidates": merged,
        },
        datasets.MISID_FAILED: {
            "cutflow": {ALL_EVENTS: chunk.n_read, "fail_one_step": len(failed["run"])},
            "candidates": failed,
        },
    }


def _conjugates(channel: Channel) -> tuple[int, ...]:
    return CONJUGATES[:1] if channel.is_self_conjugate else CONJUGATES


def loosened(cuts: Cuts) -> Cuts:
    """Return requirements with a loosened identification of electrons; as in the search no track is also a kaon."""
    of_e_over_p = E_OVER_P_LOOSENED
    return replace(
        cuts, e_over_p_electron_min=of_e_over_p, e_over_p_hadron_max=of_e_over_p, cl_e_ratio_min=CL_RATIO_LOOSENED
    )


def empty_map(channel: Channel = KKEE) -> hist.Hist:
    """Return an empty map of roles."""
    return hist.Hist(PERIOD, SPECIES_AXIS, P, ABS_COS_THETA, role_axis(channel), storage=hist.storage.Int64())


def maps(view: SearchEvents) -> hist.Hist:
    """Return how often a track of each species, momentum and angle is taken for one of the decay."""
    columns = view.columns
    filled, names = empty_map(view.channel), np.array(roles_of(view.channel))
    counts, role = roles(view)
    kappa, tanl = columns.flat("Track", "kappa")[counts], columns.flat("Track", "tanl")[counts]
    species = np.array(SPECIES)[true_species(columns)[counts]]
    cos_theta = np.abs(tracks.cos_theta(tanl))
    period = np.repeat(columns.scalar("period"), np.diff(view.offsets))[counts]
    filled.fill(period, species, tracks.momentum(kappa, tanl), cos_theta, names[role[counts]])
    return filled


def pairs(view: SearchEvents) -> dict[str, hist.Hist]:
    """Return pairs of tracks in events of four good ones with net charge zero, each pair both ways round.

    Pairs of like and of unlike charge are apart: a candidate needs tracks of one charge to be taken for the same, and
    of both charges for kaon and electron.

    Returns:
        ``pairs``, the cells of species, momentum and angle of both (`cell_of`), and ``pairs_taken``, what they are and
        are taken for.
    """
    counts, role = roles(view)
    n_roles = len(roles_of(view.channel))
    four = counts & of_event(view.offsets, view.is_retained & (view.n_good == N_PAIRED))
    rows = np.flatnonzero(four & of_event(view.offsets, view.count_tracks(four) == N_PAIRED)).reshape(-1, N_PAIRED)
    columns, species = view.columns, true_species(view.columns)[rows]
    kappa, tanl = columns.flat("Track", "kappa")[rows], columns.flat("Track", "tanl")[rows]
    cell = cell_of(species, tracks.momentum(kappa, tanl), np.abs(tracks.cos_theta(tanl)))
    taken = n_roles * species + role[rows]
    cells, of_kinds = _of_pairs(N_CELLS), _of_pairs(len(SPECIES) * n_roles)
    charge = view.charge[rows]
    for a, b in permutations(range(N_PAIRED), 2):
        is_like = charge[:, a] == charge[:, b]
        cells.fill(cell[:, a], cell[:, b], is_like)
        of_kinds.fill(taken[:, a], taken[:, b], is_like)
    return {"pairs": cells, "pairs_taken": of_kinds}


def _of_pairs(n: int) -> hist.Hist:
    """Return an empty count of pairs of things, n of each."""
    axes = (hist.axis.Integer(0, n, name=name, flow=False) for name in "ab")
    return hist.Hist(*axes, hist.axis.Boolean(name="is_like"), storage=hist.storage.Int64())


def cell_of(species: IntArray, p: FloatArray, abs_cos_theta: FloatArray) -> IntArray:
    """Return the cell of species, momentum and angle of tracks, counted in the order of a map of rates."""
    bins = (
        np.clip(np.searchsorted(axis.edges, values, side="right") - 1, 0, len(axis) - 1)
        for axis, values in ((P, p), (ABS_COS_THETA, abs_cos_theta))
    )
    return np.asarray(np.ravel_multi_index((species, *bins), (len(SPECIES), len(P), len(ABS_COS_THETA))))


def combinations(channel: Channel, views: Sequence[MisidEvents]) -> dict[str, hist.Hist]:
    """Return which species make up the combinations before any fit, and all of these tracks."""
    axes = (hist.axis.StrCategory(SPECIES, name=track, label=f"species of {track}") for track in channel.tracks)
    of_species = hist.Hist(*axes, storage=hist.storage.Int64())
    of_tracks = hist.Hist(SPECIES_AXIS, P, ABS_COS_THETA, storage=hist.storage.Int64())
    for view in views:
        chosen, columns = view.combinations[0], view.columns
        species = np.array(SPECIES)[true_species(columns)[chosen]]
        kappa, tanl = columns.flat("Track", "kappa")[chosen], columns.flat("Track", "tanl")[chosen]
        of_species.fill(*species.T)
        of_tracks.fill(species.ravel(), tracks.momentum(kappa, tanl).ravel(), np.abs(tracks.cos_theta(tanl)).ravel())
    return {"combinations": of_species, "tracks": of_tracks}


def joined(found: Sequence[dict[str, AnyArray]]) -> dict[str, AnyArray]:
    """Return the rows of several tables of the same columns."""
    return {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}


def failing(view: MisidEvents, step: int) -> dict[str, AnyArray]:
    """Return one row per candidate that fails one step only, with the name of that step as `failed`."""
    rows = candidates(view, view.fails_only(step))
    return rows | {"failed": np.full(len(rows["run"]), of_channel(view.channel)[step].name)}


def conversions(view: SearchEvents) -> dict[str, hist.Hist]:
    """Return the variables of the conversion veto for pairs of good tracks of one generated, converted photon."""
    filled, columns = book_conversions(), view.columns
    photon = converted_photon(columns)
    legs = np.flatnonzero(view.is_good & (photon != NO_PARTICLE) & (view.charge < 0))
    event = np.searchsorted(view.offsets, legs, side="right") - 1
    first, second, event = conversion.find_pairs(view.offsets, view.charge, legs, event, view.is_good)
    pairs = conversion.geometry(first, second, event, tracks.read_helix(columns), view.frame.field)
    fill_conversions(filled, pairs.of(photon[first] == photon[second]), view.cuts)
    return filled


def converted_photon(columns: Columns) -> IntArray:
    """Return the row of the generated photon of which a track is a leg, shape (tracks,); `NO_PARTICLE` for the others.

    Raises:
        SchemaError: The file has no generated particles.
    """
    offsets, event = columns.offsets("Gen"), np.repeat(np.arange(columns.n_events), np.diff(columns.offsets("Track")))
    of_track = columns.flat("Track", "gen").astype(np.int64)
    codes, mothers = columns.flat("Gen", "pdg_id"), columns.flat("Gen", "mother").astype(np.int64)
    known = np.flatnonzero(of_track != NO_PARTICLE)
    row = offsets[event[known]] + of_track[known]
    is_leg = (np.abs(codes[row]) == ELECTRON) & (mothers[row] != NO_PARTICLE)
    known, mother = known[is_leg], offsets[event[known[is_leg]]] + mothers[row[is_leg]]
    found = np.full(len(of_track), NO_PARTICLE)
    found[known] = np.where(codes[mother] == PHOTON, mother, NO_PARTICLE)
    return found


def candidates(view: MisidEvents, chosen: BoolArray) -> dict[str, AnyArray]:
    """Return one row per chosen candidate: run, event, period, decay, chi2, masses; per track p, angle and species.

    With them the variables of the other steps of which the candidates may fail one: chi2_difference, the radius in cm.

    Args:
        view: The events.
        chosen: Which of the best candidates, shape (B,).
    """
    columns = view.columns
    best = view.best[chosen]
    kappa, tanl = columns.flat("Track", "kappa"), columns.flat("Track", "tanl")
    species = true_species(columns)
    rows: dict[str, AnyArray] = {name: columns.scalar(name)[best.event] for name in ("run", "event", "period")}
    rows |= {"chi2_4c": best.chi2_4c, view.channel.mass: view.best_mass[chosen]}
    rows |= {"chi2_difference": view.chi2_difference[chosen], "conversion_radius": view.conversion_radius[chosen]}
    rows["decay"] = np.array(chains(columns, best.event), dtype=np.str_)
    rows |= dict(zip(view.channel.pair_names, view.pair_masses[chosen].T, strict=True))
    for i, name in enumerate(view.channel.tracks):
        at = view.best_tracks[chosen, i]
        rows[f"p_{name}"] = tracks.momentum(kappa[at], tanl[at])
        rows[f"abs_cos_theta_{name}"] = np.abs(tracks.cos_theta(tanl[at]))
        rows[f"species_{name}"] = species[at]
    return rows


MISID: Final = Selection(select, READS)
