# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Limits
#
# From the merged accumulator, without another pass over the events. `make run` makes the result that is read here.
# Background and systematic uncertainties are those that `lnv background` and `lnv systematics` wrote beside it, as
# `lnv limits` takes them: the numbers are the command's.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.limits import coverage, gather, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.report import drawing, mass_scan, page, render, result
from jpsi_lnv.analysis.report.source import Source

path = Path(os.environ.get("LNV_RESULTS", "../results/accumulator.zip"))
merged = results.read(path)
merged.require_complete()
choices = gather.choose(merged, path.parent)
inputs = [gather.overall(merged, choices), *gather.per_mass(merged, choices)]
inputs[0]

# %%
limits = tuple(methods.upper_limit(i, method=m).to_dict() for i in inputs for m in methods.METHODS)
source = Source(merged, limits)
print(result.sentence(source))
render.terminal(result.methods(source))

# %%
render.terminal(mass_scan.scan(source))

# %%
pictures = page.pictures(source)
pictures["limits_yield"].figure("Fast simulation")

# %% [markdown]
# The published search had one event, no expected background, an efficiency of 15.83 % and a systematic uncertainty of
# 7.0 %. What the methods make of these numbers:

# %%
published = LimitInputs(n_obs=1, n_bkg=0.0, efficiency=0.1583, delta_sys=0.070, n_jpsi=10087e6)
for name in methods.METHODS:
    limit = methods.upper_limit(published, method=name)
    print(f"{name:16} {limit.n_up:6.2f} decays   {limit.branching_fraction_ul:.2e}")

# %% [markdown]
# How often each limit holds the truth, by exact sums over the possible counts:

# %%
signal = np.linspace(0.05, 8.0, 160)
n_max = coverage.counts_needed(float(signal.max()))
with drawing.style():
    figure, axes = drawing.new_figure()
    for name in ("rolke", "recommended"):
        given = LimitInputs(n_obs=None, n_bkg=0.0, efficiency=1.0, delta_sys=0.0, n_jpsi=1.0)
        upper = methods.METHODS[name].limits_of(given, np.arange(n_max + 1), 0.90)
        curve = coverage.exact(coverage.IntervalTable.of_upper_limits(upper), signal)
        axes.plot(curve.signal, curve.probability, label=f"{name}, at least {curve.smallest[0]:.3f}")
    axes.axhline(0.90, color=drawing.DATA, linestyle=":")
    axes.set_xlabel("True signal [events]")
    axes.set_ylabel("Coverage")
    axes.legend()
figure
