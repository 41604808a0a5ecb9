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
# # A dask cluster
#
# The same run on workers: processes of this machine here, jobs of SLURM or HTCondor or any `tcp://` address elsewhere.

# %%
import os

from jpsi_lnv.analysis.report import origin, render
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.interactive import run

FILESET = os.environ.get("LNV_FILESET", "../samples/fileset.json")
DATASETS = "signal,pseudo_data"
here = run(FILESET, DATASETS, executor="iterative")

# %% [markdown]
# The link leads to the dashboard while the run lasts.

# %%
there = run(FILESET, DATASETS, executor="dask", where=ClusterOptions(workers=2), chunksize=4000)

# %% [markdown]
# Counts and histograms add up exactly: where the chunks ran and how large they were leaves no trace.

# %%
for name, dataset in here.datasets.items():
    ours, theirs = (d.selections["search"] for d in (dataset, there.datasets[name]))
    print(f"{name}: {dataset.n_events} events, {ours.n_passed} selected")
    print("  equal cut flows:", ours.cutflow == theirs.cutflow)
    print("  equal histograms:", all(ours.histograms[h] == theirs.histograms[h] for h in ours.histograms))

# %% [markdown]
# The book-keeping proves that every event of every file is in the result once.

# %%
print("complete:", there.is_complete)
render.terminal(origin.books(there))

# %% [markdown]
# On a batch system it is `ClusterOptions(cluster="slurm", site=Path("docs/examples/sites.toml"), workers=20)`; with a
# scheduler that runs already `ClusterOptions(cluster="tcp://host:8786")`.
