# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The 4C kinematic fit
#
# Four tracks are fitted to the four-momentum of the beams, under every assignment of masses at once.

# %%
# %matplotlib inline
import os

import numpy as np
from scipy import stats

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.kinematics import initial_four_momentum, invariant_mass
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.processors.interactive import open_events

FILESET = os.environ.get("LNV_FILESET", "../samples/fileset.json")
events = open_events(FILESET, "signal")
view = SearchEvents(ChunkColumns(events), SELECTION, sqrt_s=3.0969)
# Momenta are those of the tracks that can make a candidate, and combinations say which of them they are made of.
p, v, combinations = view.measured.p, view.measured.v, view.measured.cand
print(f"{len(combinations)} combinations K K e e in {len(events)} events")

# %% [markdown]
# `fit4c` takes momenta, covariances, the four tracks of each candidate, and the species of each hypothesis.

# %%
p4_total = initial_four_momentum(3.0969)
fit = fourc.fit4c(p, v, combinations, KKEE.assignments, p4_total)
fourc.count_status(fit.status)

# %% [markdown]
# With correct errors the chi2 of true candidates follows the distribution for four degrees of freedom. The tail is
# radiation: photons of the final state and of the electrons in the material.

# %%
chi2 = fit.chi2[fit.status[:, 0] == fourc.Status.OK, 0]
edges = np.linspace(0.0, 60.0, 61)
with drawing.style():
    figure, axes = drawing.new_figure()
    axes.hist(chi2, edges, histtype="step", label="fit of simulated signal")
    expected = len(chi2) * np.diff(stats.chi2.cdf(edges, fourc.NDF))
    axes.stairs(expected, edges, color=drawing.REGION, label="chi2 with 4 degrees of freedom")
    axes.set_xlabel(r"$\chi^2_\mathrm{4C}$")
    axes.set_ylabel("Candidates / 1.0")
    axes.legend()
    drawing.stamp(axes, "Fast simulation")
figure

# %% [markdown]
# After the fit M(KKee) is the energy of the beams by construction; that is why the signal region is cut on measured
# momenta, and why masses of pairs are taken from fitted ones.

# %%
_, fitted = fourc.fit_with_momenta(p, v, combinations, KKEE.species, p4_total)
good = np.isfinite(fitted).all(axis=(1, 2)) & (fit.chi2[:, 0] < SELECTION.chi2_4c_max)
measured_mass = view.m_kkee[good]
fitted_mass = invariant_mass(fitted[good].sum(axis=1))
print(f"measured: {np.std(measured_mass) * 1e3:.1f} MeV/c2 wide; fitted: {np.ptp(fitted_mass) * 1e3:.1e} MeV/c2")
print(f"difference of the fitted mass to m(J/psi): {1e3 * (np.median(fitted_mass) - M_JPSI):.2f} MeV/c2")
