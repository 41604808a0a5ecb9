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
# # Your own decay
#
# From a card to a limit, for a decay that no card of the package has: J/ψ → p e⁻ π⁰ + c.c., which would violate baryon
# and lepton number. A card is all that is written; the commands are those of any search.

# %%
# %matplotlib inline
import json
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

from jpsi_lnv.analysis import cards, results
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.simulation import processes, production

HERE = Path(mkdtemp())

# %%
CARD = HERE / "jpsi_pepi0.toml"
CARD.write_text("""
name = "jpsi_pepi0"
parent = "J/psi(1S)"
final_state = ["p+", "e-", "gamma", "gamma"]
alternatives = [["p+", "p-", "gamma", "gamma"], ["K+", "K-", "gamma", "gamma"], ["pi+", "pi-", "gamma", "gamma"]]

[[intermediates]]
of = "pi0"
particles = ["gamma1", "gamma2"]
window = [0.115, 0.150]

[cuts]
pid_identify = "e pi k p"
m_signal_min = 3.0
m_signal_max = 3.2
""")

# %% [markdown]
# What follows from it: the fit has five constraints, four of the four-momentum and the mass of the π⁰.

# %%
channel = cards.read(CARD).cuts.channel
print(channel.reaction, channel.particles, channel.constraints, sep="\n")


# %% [markdown]
# The signal, flat in phase space.


# %%
def lnv(*arguments):
    command = [str(Path(sys.executable).with_name("lnv")), *map(str, arguments)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    print((done.stdout + done.stderr)[-1500:])


lnv("simulate", "--card", CARD, "--process", "signal", "--events", 4000, "--executor", "iterative")

# %% [markdown]
# Pseudo-data that are shown whole: J/ψ → K⁺K⁻π⁰, as often as in that many J/ψ.

# %%
background = processes.CONTROLS["kkpi0"]
recipe = production.Recipe(processes=((background, 1.0),), sqrt_s=3.0969, has_truth=False)
with NtupleWriter(HERE / "data.root") as writer:
    writer.extend(production.make_block(recipe, "data", 0, 2000, seed=2))
n_jpsi = round(2000 / background.branching_fraction)
simulated = next((HERE / "samples").glob("signal*/fileset.json"))
fileset = json.loads(simulated.read_text())
files = fileset["signal"]["files"]
fileset["signal"]["files"] = {str(simulated.parent / name): tree for name, tree in files.items()}
metadata = {"kind": "data", "sqrt_s": 3.0969, "is_simulation": True, "n_jpsi": n_jpsi, "blind": False}
fileset["data"] = {"files": {"data.root": "Events"}, "metadata": metadata}
(HERE / "plain.json").write_text(json.dumps(fileset))
lnv("fileset", "complete", "plain.json", "--output", "fileset.json")

# %%
lnv("run", "fileset.json", "--card", CARD, "--executor", "iterative")

# %%
merged = results.read(HERE / "results" / "accumulator.zip")
search = {name: dataset.selections["search"] for name, dataset in merged.datasets.items()}
search["signal"].cutflow

# %% [markdown]
# The limit, with the background and the uncertainties that were given: none.

# %%
lnv("limits")

# %% [markdown]
# The mass of all particles, measured before the fit, after every other step:

# %%
with drawing.style():
    figure, axes = drawing.new_figure()
    search["signal"].histograms["n_minus_1_signal_region"][::4j].plot(ax=axes, yerr=False)
    axes.set_ylabel("Events / (4 MeV/$c^2$)")
    drawing.stamp(axes, "Fast simulation")
figure
