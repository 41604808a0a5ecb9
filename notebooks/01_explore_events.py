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
# # Events
#
# An ntuple holds tracks, neutral showers and, if it was simulated, generated particles. coffea shows them as
# `events.Track`, `events.Shower` and `events.Gen`; a branch is read when it is used.
#
# `make run` makes the fileset that is opened here.

# %%
# %matplotlib inline
import os

import awkward as ak
import hist

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.processors.interactive import open_events

FILESET = os.environ.get("LNV_FILESET", "../samples/fileset.json")
events = open_events(FILESET, "signal", n_events=5000)
events.fields

# %% [markdown]
# Columns of the ntuple are fields; what follows from them are properties of a track.

# %%
events.Track.fields[:12]

# %%
tracks = events.Track
print(f"{len(events)} events, {ak.count(tracks.kappa)} tracks")
print("good tracks:", ak.sum((abs(tracks.cos_theta) < 0.93) & (tracks.r_xy < 1.0) & (tracks.r_z < 10.0)))

# %% [markdown]
# Every track knows its generated particle, so that a measured quantity can be drawn by true species.

# %%
species = {"electron": 11, "kaon": 321}
truth = abs(events.Gen.pdg_id[tracks.gen[tracks.gen >= 0]])
measured = tracks[tracks.gen >= 0]

h = hist.Hist(
    hist.axis.StrCategory(list(species), name="species"),
    hist.axis.Regular(75, 0.0, 1.5, name="e_over_p", label="E/p [c]"),
)
for name, code in species.items():
    h.fill(name, ak.to_numpy(ak.flatten(measured.e_over_p[truth == code])))

with drawing.style():
    figure, axes = drawing.new_figure()
    for name in species:
        h[name, :].plot(ax=axes, label=name, yerr=False)
    axes.set_ylabel("Tracks / (0.02 c)")
    axes.legend()
    drawing.stamp(axes, "Fast simulation")
figure

# %% [markdown]
# Four-momenta come with the mass hypothesis. The mass of all tracks, read as they were generated; the signal region of
# the search lies between the lines.

# %%
is_electron = truth == species["electron"]
p4 = ak.concatenate([measured.p4("K")[~is_electron], measured.p4("E")[is_electron]], axis=1)
four = p4[ak.num(p4) == 4]
total = four[:, 0] + four[:, 1] + four[:, 2] + four[:, 3]
mass = hist.Hist(hist.axis.Regular(80, 2.9, 3.3, name="m_kkee", label="$M(KKee)$ [GeV/$c^2$]"))
mass.fill(ak.to_numpy(total.mass))

with drawing.style():
    figure, axes = drawing.new_figure()
    mass.plot(ax=axes, yerr=False)
    for edge in (SELECTION.m_signal_min, SELECTION.m_signal_max):
        axes.axvline(edge, color=drawing.REGION, linestyle=":")
    axes.set_ylabel("Events / (5 MeV/$c^2$)")
    drawing.stamp(axes, "Fast simulation")
figure
