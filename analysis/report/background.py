"""The background: the mass of the data before the mass window, the expected events and the rates they rest on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis import background
from jpsi_lnv.analysis.channel import WORDS
from jpsi_lnv.analysis.constants import N_JPSI
from jpsi_lnv.analysis.report import drawing, spectra
from jpsi_lnv.analysis.report.drawing import Picture, Section, present
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import PLACE, Field, Table, count, decay, fixed, in_powers, located, significant

# Mean rates that the background is shown against.
RATES: Final = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
RATE_RANGE: Final = (1e-5, 2e-2)
# A misidentification that fewer candidates need is not listed.
SELDOM: Final = 0.05
# A round rate of hadrons that pass for electrons, larger than that of the fast simulation.
ROUND_RATE: Final = 1e-3
# Places in the file of `lnv background`.
FILE: Final = "background.json#"
CHANNELS: Final = f"{FILE}/channels"
FIRST: Final = f"{CHANNELS}/0"
# What a place says of numbers that are worked out from those in it.
ASSUMED: Final = " at assumed rates"
PION, KAON = "pi_to_electron", "k_to_electron"
# How many J/psi the publication has.
PUBLISHED: Final = in_powers(N_JPSI, 4)
# What a track is and is taken for, where it is not written as it is printed.
SYMBOLS: Final = {w.word: w.symbol for w in WORDS.values()} | {"k": "K", "pi": "π", "mu": "μ", "pbar": "anti-p"}

_PROCESSES: Final = (
    Field("name", "process", decay),
    Field("needed", "needs"),
    Field("weight", "weight", significant(3)),
    Field("n_direct", "pass", count),
    Field("n_kinematic", "kinematic", count),
    Field("m", "m", significant(3)),
    Field("expected", "expected", significant(2)),
    Field("upper_90", "alone < (90 %)", significant(2)),
)
_MASSES: Final = (
    Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),
    Field("centre", "centre", significant(2), at="/quoted/centre"),
    Field("low", "68 % from", significant(2), at="/quoted/low"),
    Field("high", "to", significant(2), at="/quoted/high"),
    Field("upper_90", "< (90 %)", significant(2), at="/quoted/upper_90"),
    Field("leading", "leading process", decay),
)


def _factor(kappa: float) -> str:
    """Return a width of a logarithm as the factor that it is."""
    return significant(2)(math.exp(kappa))


_FACTORS: Final = (
    Field("name", "rate"),
    Field("rate", "mean", significant(2)),
    Field("kappa", "known to a factor", _factor),
    Field("source", "from"),
)
_CLOSURE: Final = (
    Field("dataset", "dataset, or pairs"),
    Field("counted", "counted", count),
    Field("expected", "expected", significant(3)),
    Field("sigma", "±", significant(2)),
)
_OVERLAPS: Final = (
    Field("final_state", "final state", decay),
    Field("exclusive", "exclusive", significant(3)),
    Field("exclusive_sigma", "±", significant(2)),
    Field("inclusive", "inclusive", significant(3)),
    Field("inclusive_sigma", "±", significant(2)),
    Field("n_inclusive", "inclusive candidates", count),
)
# A misidentification in the words of the closure.
_PAIRED: Final = re.compile(r"(\w+) to (\w+)")
_NOT_SIMULATED: Final = (Field("process", "process", decay),)


def section(source: Source) -> Section:
    """Return the section of the background."""
    return Section(
        "background",
        "Background",
        "What other decays leave in the signal region, and the data around it."
        + (f" {words(source.extras['background'])}" if "background" in source.extras else ""),
        present(spectra.mass(source), spectra.pairs(source), _against_rates(source)),
        present(contributions(source), per_mass(source), assumed_rates(source)),
        present(factors(source), closure(source), overlaps(source), not_simulated(source)),
    )


def words(content: Mapping[str, Any]) -> str:
    """Return the quoted estimate in sentences: for the data, and for as many J/psi as the publication has."""
    channel, scale = background.channels(content)[None], N_JPSI / content["n_jpsi"]
    published = channel.quoted(scale)
    rates = {name: content["factors"][name]["rate"] for name in (PION, KAON) if name in content["factors"]}
    at_round = scale * background.against_rate(channel.processes, rates, dict.fromkeys(rates, ROUND_RATE))
    in_use, write = scale * math.fsum(p.expected for p in channel.processes), significant(1)
    return (
        f"Quoted for {in_powers(content['n_jpsi'], 3)} J/ψ: {channel.quoted()} events; for {PUBLISHED}, as many as the "
        f"publication has: {published}, led by {decay(published.leading)}. The candidates alone stand for "
        f"{write(in_use)} events there with the rates in use, and for {write(at_round)} if one pion or kaon in "
        f"{1 / ROUND_RATE:.0f} passed for an electron. Background alone would show at least one event there with a "
        f"probability of {write(published.p_any)}. This is how often an experiment without signal sees something, not "
        "how likely the published event is to be background. The limit takes the counts m, their scales and the "
        "factors as they are, with nothing added where a count is zero: to assume less background never makes it "
        "stronger. The quoted estimate adds what a count can hide. A side band without an event is quoted by its own "
        "bound."
    )


def contributions(source: Source) -> Table | None:
    """Return what each process adds to the background of the overall search; None if it was not estimated."""
    found = source.extras.get("background")
    if found is None:
        return None
    channel = found["channels"][0]
    rows = [p | {"needed": _needed(p["needs"])} for p in located(channel["processes"], f"{FIRST}/processes")]
    quoted, hidden = channel["quoted"], "".join(f"; {name} is hidden" for name in channel["hidden"])
    return Table(
        "background",
        "Expected background in the signal region",
        _PROCESSES,
        tuple(sorted(rows, key=lambda row: -row["upper_90"])),
        f"quoted: {quoted['text']}, leading {decay(quoted['leading'])}{hidden}; weight: events of the data per "
        "simulated one; m: equivalent number of candidates",
    )


def _needed(needs: Mapping[str, float]) -> str:
    """Return the misidentifications that a candidate of a process needs, such as ``2 π → e``."""
    return ", ".join(f"{n:.2g} {_mistake(name)}" for name, n in needs.items() if n > SELDOM)


def _mistake(name: str) -> str:
    """Return a misidentification in symbols: ``pi_to_electron`` is π → e."""
    return " → ".join(SYMBOLS.get(word, word) for word in name.split("_to_"))


def per_mass(source: Source) -> Table | None:
    """Return the quoted estimate of every channel; None if there is none."""
    channels = source.extras.get("background", {}).get("channels", [])
    rows = tuple(c | c["quoted"] for c in located(channels, CHANNELS))
    return Table("background_per_mass", "Quoted background, overall and per mass", _MASSES, rows) if rows else None


def factors(source: Source) -> Table | None:
    """Return the rates of misidentification; None without an estimate."""
    found = source.extras.get("background", {}).get("factors", {})
    rows = tuple({"name": _mistake(n), PLACE: f"{FILE}/factors/{n}"} | f for n, f in found.items())
    return Table("misid_rates", "Rates of misidentification", _FACTORS, rows) if rows else None


def closure(source: Source) -> Table | None:
    """Return the test of the weights with loosened identification; None without an estimate."""
    rows = source.extras.get("background", {}).get("closure", [])
    note = (
        "events that pass with E/p > 0.5 and CL ratio > 0.1, χ² and signal region aside; pairs: tracks of an event "
        "that make both mistakes, in all datasets; expected: loosened rates"
    )
    title = "Closure of the weights with loosened identification"
    named = ({**row, "dataset": _PAIRED.sub(_paired, row["dataset"])} for row in located(rows, f"{FILE}/closure"))
    return Table("background_closure", title, _CLOSURE, tuple(named), note) if rows else None


def _paired(mistake: re.Match[str]) -> str:
    """Return a misidentification of a pair in symbols."""
    return _mistake("_to_".join(mistake.groups()))


def overlaps(source: Source) -> Table | None:
    """Return what inclusive and exclusive samples give for the same final states; None if they share none."""
    rows = source.extras.get("background", {}).get("overlaps", [])
    note = (
        "events in the signal region; an inclusive sample has every resonance, an exclusive one those it was made with"
    )
    title = "Inclusive and exclusive samples where they overlap"
    return Table("background_overlaps", title, _OVERLAPS, located(rows, f"{FILE}/overlaps"), note) if rows else None


def not_simulated(source: Source) -> Table | None:
    """Return what could contribute and was not simulated; None without an estimate, or if nothing lacks."""
    rows = tuple({"process": p} for p in source.extras.get("background", {}).get("not_simulated", []))
    return Table("not_simulated", "Not simulated, and in no number above", _NOT_SIMULATED, rows) if rows else None


def assumed_rates(source: Source) -> Table | None:
    """Return the expected events in as many J/psi as the publication has, for assumed mean rates; None without any."""
    expected = _expected_at(source)
    if expected is None:
        return None
    at = f"{FIRST}/processes{ASSUMED}"
    fields = tuple(Field(f"{rate:g}", f"K → e {rate:g}", significant(2), at=at) for rate in RATES)
    rows = tuple({"pion": f"{pion:g}"} | {f.key: expected(pion, float(f.key)) for f in fields} for pion in RATES)
    title = f"Expected background in {PUBLISHED} J/ψ for assumed rates"
    return Table("background_rates", title, (Field("pion", "π → e"), *fields), rows, "other rates as in the estimate")


def _expected_at(source: Source) -> Callable[[float, float], float] | None:
    """Return what gives the expected events for mean rates pi -> e and K -> e."""
    content = source.extras.get("background")
    if content is None or not {PION, KAON} <= content["factors"].keys():
        return None
    channel, scale = background.channels(content)[None], N_JPSI / content["n_jpsi"]
    rates = {name: content["factors"][name]["rate"] for name in (PION, KAON)}
    return lambda pion, kaon: scale * background.against_rate(channel.processes, rates, {PION: pion, KAON: kaon})


def _against_rates(source: Source) -> Picture | None:
    expected = _expected_at(source)
    if expected is None:
        return None
    used = {name: source.extras["background"]["factors"][name]["rate"] for name in (PION, KAON)}

    def draw(axes: Axes) -> None:
        pions = np.geomspace(*RATE_RANGE)
        for kaon in RATES:
            axes.plot(pions, [expected(pion, kaon) for pion in pions], label=f"{kaon:g}")
        axes.plot(used[PION], expected(*used.values()), "o", color=drawing.SIGNAL, label=f"{used[KAON]:.1g} (in use)")
        axes.set(xscale="log", yscale="log", xlabel=r"mean rate $\pi\to e$", ylabel="expected background")
        axes.set_ylim(top=drawing.LOG_HEADROOM * axes.get_ylim()[1])
        axes.legend(title=r"$K\to e$", loc="upper left", ncols=2)

    return Picture(
        "background_rates",
        "Expected background against assumed rates",
        f"Events in the signal region of {PUBLISHED} J/ψ against the mean rate at which a pion is taken for an "
        "electron, one line per rate at which a kaon is; the point has the rates in use.",
        draw,
    )
