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
# # Your own file
#
# From a flat ntuple of somebody's analysis job, with other names and units, to a mass plot. Such a file is made first,
# of simulated signal, since everybody's own is different.

# %%
# %matplotlib inline
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import uproot

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.events.schema import BRANCHES, required_branches
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.simulation import processes, production

HERE = Path(mkdtemp())
recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=3.0969)
with NtupleWriter(HERE / "simulated.root") as writer:
    writer.extend(production.make_block(recipe, "signal", 0, 4000, seed=1))

# %% [markdown]
# The foreign file: all names begin with `my_`, and distances are in mm.

# %%
columns = uproot.open(HERE / "simulated.root")["Events"].arrays(required_branches())
in_mm = {"Track_dr", "Track_dz", "ip_x", "ip_y", "ip_z"}
foreign = {f"my_{name}": columns[name] * (10.0 if name in in_mm else 1) for name in required_branches()}
with uproot.recreate(HERE / "ana.root") as file:
    file.mktree("ana", {name: str(array.type.content) for name, array in foreign.items()})
    file["ana"].extend(foreign)

# %% [markdown]
# Its mapping says which branch is which column, and in which unit. `lnv mapping init ana.root` drafts one with all the
# branches that it finds; here it is written by a loop.

# %%
units = {"Track_dr": "mm", "Track_dz": "mm", "ip_x": "mm", "ip_y": "mm", "ip_z": "mm"}
lines = ['tree = "ana"', 'units = "schema"', "[columns]"]
for name in required_branches():
    unit = units.get(name)
    lines.append(f'{name} = {{branch = "my_{name}", unit = "{unit}"}}' if unit else f'{name} = "my_{name}"')
(HERE / "mapping.toml").write_text("\n".join(lines))
print(BRANCHES["Track_dr"][1].meaning, "in", BRANCHES["Track_dr"][1].unit, "|", lines[10])


# %% [markdown]
# A skim reads it by the mapping and writes an ntuple of the search, with its fileset. Units that cannot be stop it.


# %%
def lnv(*arguments):
    command = [str(Path(sys.executable).with_name("lnv")), *arguments]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    print((done.stdout + done.stderr)[-1500:])


lnv(
    "skim",
    "ana.root",
    "--mapping",
    "mapping.toml",
    "--dataset",
    "mine",
    "--kind",
    "signal",
    "--output",
    "ntuples",
    "--executor",
    "iterative",
)

# %%
lnv("run", "ntuples/fileset.json", "--executor", "iterative", "--output", "results")

# %%
mine = results.read(HERE / "results" / "accumulator.zip").datasets["mine"].selections["search"]
mine.cutflow

# %% [markdown]
# The mass of the candidates that pass everything else, from your own file:

# %%
with drawing.style():
    figure, axes = drawing.new_figure()
    mine.histograms["n_minus_1_signal_region"][::2j].plot(ax=axes, yerr=False)
    axes.set_ylabel("Events / (2 MeV/$c^2$)")
    drawing.stamp(axes, "Fast simulation")
figure
