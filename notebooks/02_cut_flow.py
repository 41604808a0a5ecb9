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
# # Cut flow
#
# The selection is a tuple of named steps. Cut flow and N-1 distributions come from that tuple.

# %%
# %matplotlib inline
import dataclasses
import os

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.report import page, render, selection
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.processors.interactive import run

FILESET = os.environ.get("LNV_FILESET", "../samples/fileset.json")
for step in SECTION_III:
    print(f"{step.name:25} {step.rule.__doc__}")

# %% [markdown]
# The iterative executor runs in this process: a breakpoint in the selection stops here.

# %%
results = run(FILESET, "signal,kkpipi,pseudo_data", executor="iterative")
render.terminal(selection.cutflow("signal", results.datasets["signal"]))

# %%
render.terminal(selection.overview(Source(results)))

# %% [markdown]
# The same figures as in the report:

# %%
pictures = page.pictures(Source(results))
pictures["cutflow"].figure("Fast simulation")

# %%
pictures["n_minus_1_chi2_4c"].figure("Fast simulation")

# %% [markdown]
# A variation of the selection is a copy of its cuts.

# %%
looser = dataclasses.replace(SELECTION, chi2_4c_max=60.0)
varied = run(FILESET, "signal", cuts=looser)
n, n_looser = (r.datasets["signal"].selections["search"].n_passed for r in (results, varied))
print(f"{n} events pass chi2 < {SELECTION.chi2_4c_max:g}, {n_looser} pass chi2 < {looser.chi2_4c_max:g}")
