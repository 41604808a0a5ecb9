"""The whole search once more: from ntuples and their fileset to both limits, in the order of the publication.

This file is the analysis' definition in short; `events`, `search`, `controls`, `background`, `systematics` and
`limits` say what its words mean. Nothing of the package is used but one file of numbers, the calibration of the
calorimeter. Events must be open: there is no blinding here.
"""

import json
import math

import background
import controls
import limits
import search
import systematics
from events import Events, load_emc_tables


def run(fileset, emc_tables):
    """Return every number on the way: cut flows, probes, rates, backgrounds, uncertainties, limits.

    Args:
        fileset: Path of the plain fileset; its files lie relative to it.
        emc_tables: Path of the calibration of the calorimeter.
    """
    content = json.loads(fileset.read_text(encoding="utf-8"))
    metadata = {name: of["metadata"] for name, of in content.items()}
    tables = load_emc_tables(emc_tables)
    found = {"cutflow": {}, "n_produced": {}, "candidates": {}, "misid": {}, "controls": {}, "flows": {}}
    for name, of in content.items():
        files = {str(fileset.parent / file): tree for file, tree in of["files"].items()}
        one_dataset(name, metadata[name], Events(files, metadata[name]["sqrt_s"], tables), found)
    return found | limits_of(metadata, found)


def one_dataset(name, of, events, found):
    """Run on one dataset the selections that its metadata name."""
    if of.get("blind", False):
        msg = f"{name}: got blind data, wanted open ones"
        raise ValueError(msg)
    found["n_produced"][name] = events.n
    side = 0 if of["kind"] == "data" else 1
    for selection in of["selections"]:
        sample = selection.removeprefix("control_")
        if selection == "search":
            found["cutflow"][name], found["candidates"][name] = search.section_iii(events)
        elif selection == "misid":
            found["misid"][name] = background.misid(events)
        elif sample in ("ppbarpipi", "kkpipi"):
            flow, probes = controls.hadrons(events, "p" if sample == "ppbarpipi" else "k")
            found["flows"].setdefault(sample, [None, None])[side] = flow
            found["controls"].setdefault(sample, [None, None])[side] = probes
        elif selection.startswith("control_"):
            found["controls"].setdefault(sample, [None, None])[side] = controls.tag_and_probe(events, sample)


def at_mass(m):
    """Return whether a candidate belongs to a mass: both M(Ke) of the pairing that differs least within 12.5 MeV."""

    def belongs(candidate):
        a, b, c, d = candidate["m_ke"]
        pair = (a, b) if abs(a - b) <= abs(c - d) else (c, d)
        return all(-0.0125 <= mass - m < 0.0125 for mass in pair)

    return belongs


def limits_of(metadata, found):
    """Return backgrounds, uncertainties and limits: of the overall search (None) and at each mass."""
    of_kind = {k: [n for n in found["candidates"] if metadata[n]["kind"] == k] for k in ("signal", "majorana", "data")}
    two = {metadata[n]["m_majorana"]: n for n in of_kind["majorana"] if metadata[n]["majorana_mode"] == "2nu"}
    n_jpsi = math.fsum(metadata[n]["n_jpsi"] for n in of_kind["data"])
    signal = [c for n in of_kind["signal"] for c in found["candidates"][n]]
    n_signal = sum(found["n_produced"][n] for n in of_kind["signal"])
    # All efficiencies whose uncertainties by the maps are taken together.
    channels = {None: signal, "+": [c for c in signal if c["charge"] > 0], "-": [c for c in signal if c["charge"] < 0]}
    channels |= {m: found["candidates"][two[m]] for m in sorted(two)}
    efficiencies = [len(found["candidates"][n]) / found["n_produced"][n] for n in of_kind["majorana"]]
    all_maps, rates = systematics.maps(found["controls"]), background.rates_of(found["misid"], found["controls"])
    result = {"background": {}, "uncertainty": {}, "limits": {}}
    for m in (None, *sorted(two)):
        belongs = (lambda _: True) if m is None else at_mass(m)
        n_produced = n_signal if m is None else found["n_produced"][two[m]]
        inside = [c for c in channels[m] if belongs(c)]
        efficiency = len(inside) / n_produced
        if m is None:
            model = abs(math.fsum(efficiencies) / len(efficiencies) - efficiency) / efficiency
        else:
            model = systematics.angles(inside, m)
        rows = systematics.table(
            found["controls"], found["flows"], all_maps, channels, m, len(inside), n_produced, model
        )
        processes = background.processes(
            metadata, found["misid"], found["n_produced"], found["candidates"], n_jpsi, belongs, rates
        )
        delta = math.hypot(*rows.values())
        n_obs = sum(sum(map(belongs, found["candidates"][n])) for n in of_kind["data"])
        n_bkg, sigma = math.fsum(count / tau for count, tau, _ in processes.values()), background.width(processes)
        numbers = {"n_obs": n_obs, "n_bkg": n_bkg, "n_bkg_sigma": sigma, "efficiency": efficiency, "delta_sys": delta}
        yields = {
            "rolke": limits.rolke(n_obs, efficiency, delta * efficiency, n_bkg, sigma),
            "recommended": limits.cls(n_obs, efficiency, delta * efficiency, processes),
        }
        result["background"][m], result["uncertainty"][m] = processes, rows
        result["limits"][m] = numbers | {"n_jpsi": n_jpsi} | yields
    return result
