"""Other models of the decay: what the efficiency would be with other angles, or with one neutrino instead of two.

At a mass the decay that is tested is J/psi -> nu nu, nu -> K e, or another pair. It is simulated flat in all angles,
and that is what of it is not known. The J/psi of e+ e- collisions has a spin of +-1 along the beams and decays to two
particles of spin 1/2: their direction follows 1 + alpha cos^2(theta), with alpha = 1 where the helicities are opposite
and -1 where they are equal (M. Jacob, G. C. Wick, Ann. Phys. 7, 404 (1959), doi:10.1016/0003-4916(59)90051-X). The
lepton's direction in the rest frame of its neutrino follows 1 +- a cos(theta*) for the two helicities, so that the pair
follows 1 - a^2 c_1 c_2 or 1 + a^2 c_1 c_2, a^2 between 0 and 1; what depends on angles between the planes of the two
decays is left out. Both ends of both make `ANGLES`, between which nature lies. Selected events get the weight of each,
whose mean over all produced ones is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from jpsi_lnv.analysis import majorana, normalization
from jpsi_lnv.analysis.arrays import AnyArray, FloatArray
from jpsi_lnv.analysis.channel import species_of_track
from jpsi_lnv.analysis.constants import M_JPSI, SPECIES_MASS
from jpsi_lnv.analysis.datasets import mass_text
from jpsi_lnv.analysis.efficiency import Efficiency
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results

# Name -> (alpha of the neutrinos' direction, coefficient of c_1 c_2).
ANGLES: Final[Mapping[str, tuple[float, float]]] = {
    "opposite helicities": (1.0, -1.0),
    "opposite helicities, isotropic decays": (1.0, 0.0),
    "equal helicities": (-1.0, 1.0),
    "equal helicities, isotropic decays": (-1.0, 0.0),
}


def efficiencies(results: Results, mode: str) -> dict[float, Efficiency]:
    """Return the efficiency of the whole selection at each simulated mass in MeV/c^2."""
    return {mass: normalization.signal_efficiency(d) for mass, d in majorana.by_mass(results, mode).items()}


def single_neutrino(results: Results, mass_mev: float) -> tuple[float, str]:
    """Return the efficiency of J/psi -> nu K e at a mass, between the simulated ones by linear interpolation.

    Raises:
        ResultsError: None was simulated.
    """
    known = {mass: e.value for mass, e in efficiencies(results, "1nu").items()}
    if not known:
        msg = "no dataset of kind 'majorana' with mode '1nu': no other model per mass; add some to the fileset"
        raise ResultsError(msg)
    if mass_mev in known:
        return known[mass_mev], "J/psi -> nu K e at this mass"
    value = float(np.interp(mass_mev, list(known), list(known.values())))
    return value, f"J/psi -> nu K e interpolated between {', '.join(f'{mass_text(m / 1000)}' for m in known)}"


def angular(candidates: Mapping[str, AnyArray], m_majorana: float) -> dict[str, float]:
    """Return the relative change of the efficiency by each of `ANGLES`.

    Args:
        candidates: Selected candidates of J/psi -> nu nu that is flat in all angles.
        m_majorana: Mass of the neutrinos in GeV/c^2.
    """
    direction, first, second = cosines(candidates, m_majorana)
    return {
        name: float(np.mean((1.0 + alpha * direction**2) / (1.0 + alpha / 3.0) * (1.0 + beta * first * second))) - 1.0
        for name, (alpha, beta) in ANGLES.items()
    }


def cosines(candidates: Mapping[str, AnyArray], m_majorana: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return of each candidate cos(theta) of the first neutrino and cos(theta*) of both leptons, each (N,).

    The energy of a neutrino is half of the J/psi mass, so that momenta along the beams and the leptons' energies say
    all of it.

    Args:
        candidates: Momenta in GeV/c, cos(theta) of the tracks and the four fitted masses of pairs.
        m_majorana: Mass of the neutrinos in GeV/c^2.
    """
    masses, pairs = majorana.masses_of_pairs(candidates), tuple(majorana.pairs(candidates).values())
    is_straight = np.abs(masses[:, 0] - masses[:, 1]) <= np.abs(masses[:, 2] - masses[:, 3])
    hadron, lepton = (SPECIES_MASS[species_of_track(track)] for track in pairs[0])
    along, leptons = (
        np.where(is_straight, *ways)
        for ways in zip(*(_of_pairs(candidates, way, lepton) for way in (pairs[:2], pairs[2:])), strict=True)
    )
    energy = 0.5 * M_JPSI
    momentum = np.sqrt(energy**2 - m_majorana**2)
    in_rest = 0.5 * (m_majorana**2 + lepton**2 - hadron**2) / m_majorana
    # E = (E_nu E* + p_nu p* cos(theta*))/m.
    stars = (m_majorana * leptons - energy * in_rest) / (momentum * np.sqrt(in_rest**2 - lepton**2))
    return _cosine(0.5 * (along[0] - along[1]) / momentum), _cosine(stars[0]), _cosine(stars[1])


def _of_pairs(
    candidates: Mapping[str, AnyArray], pairs: tuple[tuple[str, str], ...], mass: float
) -> tuple[FloatArray, FloatArray]:
    """Return momenta along the beams of both pairs (2, N) in GeV/c, and energies of their leptons (2, N) in GeV."""
    p = {t: np.asarray(candidates[f"p_{t}"]) for pair in pairs for t in pair}
    along = [sum(p[t] * np.asarray(candidates[f"cos_theta_{t}"]) for t in pair) for pair in pairs]
    return np.stack(along), np.stack([np.hypot(p[lepton], mass) for _, lepton in pairs])


def _cosine(value: FloatArray) -> FloatArray:
    return np.clip(value, -1.0, 1.0)
