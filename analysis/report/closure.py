"""Closure with the publication: its limits recomputed from its own inputs, and what does not agree.

Relations that hold and relations that do not are listed alike; reasons that are guesses are called so.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.derived import CLOSURE
from jpsi_lnv.analysis.limits import rolke
from jpsi_lnv.analysis.report import paper
from jpsi_lnv.analysis.report.drawing import Section
from jpsi_lnv.analysis.report.result import headline as limit
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Field, Table, fixed, in_powers, located, percent, significant, yes_no

# An inference: 10.087e9 with its zero left out, as which the last column of Table 2 comes out almost.
N_JPSI_INFERRED: Final = 10.87e9
INFERRED: Final = in_powers(N_JPSI_INFERRED, 3)
PERCENT: Final = 0.01
BILLION: Final = 1e9
# Half of the last digit of a limit such as 1.11, relative: what rounding explains.
HALF_DIGIT: Final = 0.005
# The same of a limit in 1e-9, and the uncertainty from which on a row tells whether it was used.
DIGIT: Final = 0.005
WIDE: Final = 0.12
# Masses (GeV/c^2) of the rows that stand out, and of the neighbours of the first.
OUTLIER: Final = 1.250
NEIGHBOURS: Final = (1.225, 1.275)
EQUAL_INPUTS: Final = (0.925, 0.950)
_RELATIONS: Final = (
    Field("what", "relation"),
    Field("published", "published"),
    Field("computed", "computed", significant(4)),
    Field("holds", "holds", yes_no),
    Field("remark", "remark"),
)
_ROWS: Final = (
    Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),
    Field("n_obs", "N obs", str),
    Field("efficiency", "ε", percent(2), "%"),
    Field("delta_sys", "Δ sys", percent(1), "%"),
    Field("n_up", "N up", fixed(2)),
    Field("published", "published", fixed(2), "10⁻⁹"),
    Field("recomputed", "recomputed", fixed(3), "10⁻⁹"),
    Field("ratio", "ratio", fixed(3)),
    Field("recomputed_inferred", "with 10.87 × 10⁹ J/ψ", fixed(3), "10⁻⁹"),
    Field("ratio_inferred", "ratio", fixed(3)),
)


@dataclass(frozen=True)
class ClosureRow:
    """One row of Table 2 beside its recomputation; limits in 1e-9.

    Attributes:
        m_majorana: Mass in GeV/c^2.
        efficiency: As a fraction, published.
        n_obs: Observed events, published.
        delta_sys: As a fraction, published.
        n_up: Recomputed limit of the produced yield.
        published: Published limit of the branching fraction.
        recomputed: n_up over the published number of J/psi.
        recomputed_inferred: n_up over `N_JPSI_INFERRED`.
        ratio: published/recomputed.
        ratio_inferred: published/recomputed_inferred.
    """

    m_majorana: float
    efficiency: float
    n_obs: int
    delta_sys: float
    n_up: float
    published: float
    recomputed: float
    recomputed_inferred: float
    ratio: float
    ratio_inferred: float


@dataclass(frozen=True)
class Relation:
    """Numbers of the publication that ought to agree.

    Attributes:
        what: The relation.
        published: The numbers as printed.
        computed: What the first should be, given the rest.
        holds: Whether they agree within the printed digits.
        remark: What can be said about it.
    """

    what: str
    published: tuple[float, ...]
    computed: float
    holds: bool
    remark: str = ""


def n_up(efficiency: npt.ArrayLike, n_obs: npt.ArrayLike, delta_sys: npt.ArrayLike) -> FloatArray:
    """Return yield limits (N,) by the publication's method: unbounded profile likelihood, Poisson background zero."""
    _, upper = rolke.intervals(
        rolke.Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=n_obs,
        n_bkg_region=paper.N_BACKGROUND,
        tau=1.0,
        efficiency=efficiency,
        efficiency_sigma=np.multiply(delta_sys, efficiency),
        confidence_level=paper.CONFIDENCE_LEVEL,
    )
    return upper


@cache
def rows() -> tuple[ClosureRow, ...]:
    """Return Table 2 beside its recomputation, 39 rows."""
    efficiency = PERCENT * np.array([point.efficiency_percent for point in paper.MASS_SCAN])
    delta_sys = PERCENT * np.array([point.delta_sys_percent for point in paper.MASS_SCAN])
    limits = n_up(efficiency, [point.n_obs for point in paper.MASS_SCAN], delta_sys)
    return tuple(_row(point, float(limit)) for point, limit in zip(paper.MASS_SCAN, limits, strict=True))


def _row(point: paper.MassPoint, limit: float) -> ClosureRow:
    published = point.branching_fraction_ul_1e9
    recomputed, inferred = BILLION * limit / paper.N_JPSI, BILLION * limit / N_JPSI_INFERRED
    return ClosureRow(
        m_majorana=point.m_majorana,
        efficiency=point.efficiency_percent * PERCENT,
        n_obs=point.n_obs,
        delta_sys=point.delta_sys_percent * PERCENT,
        n_up=limit,
        published=published,
        recomputed=recomputed,
        recomputed_inferred=inferred,
        ratio=published / recomputed,
        ratio_inferred=published / inferred,
    )


def headline() -> dict[str, float]:
    """Return the overall limit: published, and recomputed from the published inputs."""
    efficiency, delta_sys = paper.EFFICIENCY_PERCENT_LIMIT * PERCENT, paper.SYSTEMATIC_PERCENT_TOTAL * PERCENT
    limit = float(n_up(efficiency, paper.N_OBSERVED, delta_sys)[0])
    return {
        "n_up_published": paper.N_UP,
        "n_up": limit,
        "branching_fraction_ul_published": paper.BRANCHING_FRACTION_UL,
        "branching_fraction_ul": limit / paper.N_JPSI,
        "branching_fraction_ul_inferred_n_jpsi": limit / N_JPSI_INFERRED,
        "n_jpsi": paper.N_JPSI,
        "n_jpsi_inferred": N_JPSI_INFERRED,
    }


def relations() -> tuple[Relation, ...]:
    """Return every relation between published numbers that was looked at, those that hold first."""
    return (*_relations_that_hold(), _as_if_known(), *_conflicts_of_the_limits(), *_conflicts_of_the_inputs())


def _as_if_known() -> Relation:
    """Return what the scan looks like without the uncertainty of the efficiency: an observation, no explanation."""
    table = rows()
    known = n_up([r.efficiency for r in table], [r.n_obs for r in table], np.zeros(len(table)))
    as_if = BILLION * known / N_JPSI_INFERRED
    published, inferred = (np.array([getattr(r, name) for r in table]) for name in ("published", "recomputed_inferred"))
    is_wide = np.array([r.delta_sys >= WIDE for r in table])
    is_empty = np.array([r.n_obs == 0 for r in table])
    ratio, ratio_known = ((published / x) for x in (inferred, as_if))
    # In half of the last digit as a fraction of what was published, which is how ratios are compared.
    pulls, pulls_known = (np.square((r - 1.0) * published / DIGIT) for r in (ratio, ratio_known))
    chi2, chi2_known = (p[is_empty].sum() for p in (pulls, pulls_known))
    i = next(i for i, row in enumerate(table) if row.m_majorana == OUTLIER)
    return Relation(
        f"mean of published/recomputed of the {is_wide.sum()} rows of {WIDE:.0%} and more, as if the efficiency were "
        f"known and {INFERRED} J/psi had been used",
        (1.0,),
        float(ratio_known[is_wide].mean()),
        holds=math.isclose(ratio_known[is_wide].mean(), 1.0, rel_tol=HALF_DIGIT),
        remark=f"an observation: {ratio[is_wide].mean():.3f} with the uncertainty; chi2 of the {is_empty.sum()} "
        f"ratios without events, in half of the last digit, {chi2:.0f} with it and {chi2_known:.0f} without, of which "
        f"row {OUTLIER:.3f} makes {pulls[i]:.0f} and {pulls_known[i]:.0f}; the row with one event prefers it "
        f"({ratio[~is_empty][0]:.3f} with, {ratio_known[~is_empty][0]:.3f} without)",
    )


def _relations_that_hold() -> tuple[Relation, ...]:
    tracking, pid = paper.TRACKING_PERCENT_PER_TRACK, paper.PID_PERCENT_PER_TRACK
    systematic = paper.SYSTEMATIC_PERCENT
    return (
        _agree("yield limit of one event, efficiency 15.83 %, 7.0 %", (paper.N_UP,), headline()["n_up"], 1),
        _agree(
            "total of Table 1 in quadrature, percent",
            (paper.SYSTEMATIC_PERCENT_TOTAL,),
            math.hypot(*systematic.values()),
            1,
        ),
        _agree(
            "tracking, two electrons and two kaons, percent", (systematic["tracking"],), 2 * sum(tracking.values()), 1
        ),
        _agree("PID, two electrons and two kaons, percent", (systematic["pid"],), 2 * sum(pid.values()), 1),
    )


def _agree(what: str, published: tuple[float, ...], computed: float, digits: int, remark: str = "") -> Relation:
    return Relation(what, published, computed, round(computed, digits) == published[0], remark)


def _conflicts_of_the_limits() -> tuple[Relation, ...]:
    table = {row.m_majorana: row for row in rows()}
    ratios = [row.ratio for row in table.values()]
    inferred = [row.ratio_inferred for row in table.values()]
    outlier, first, second = table[OUTLIER], *(table[m] for m in EQUAL_INPUTS)
    around = statistics.mean(table[m].ratio for m in NEIGHBOURS)
    others = [abs(row.ratio_inferred - 1.0) for row in table.values() if row.m_majorana != OUTLIER]
    return (
        _agree(
            "branching-fraction limit in 1e-9 from 23.2 and 10 087e6 J/psi",
            (BILLION * paper.BRANCHING_FRACTION_UL,),
            BILLION * paper.N_UP / paper.N_JPSI,
            1,
            f"23.2 over {INFERRED} would give {BILLION * paper.N_UP / N_JPSI_INFERRED:.2f}",
        ),
        Relation(
            "median of published/recomputed limits of Table 2",
            (1.0,),
            statistics.median(ratios),
            holds=math.isclose(statistics.median(ratios), 1.0, rel_tol=HALF_DIGIT),
            remark=f"between {min(ratios):.3f} and {max(ratios):.3f}; as if {INFERRED} J/psi had been used "
            f"(an inference): then the median is {statistics.median(inferred):.3f}, "
            f"largest deviation {max(others):.1%} outside row {OUTLIER:.3f}",
        ),
        Relation(
            f"efficiency of row {OUTLIER:.3f} in percent that its limit wants, going by its neighbours",
            (outlier.efficiency / PERCENT,),
            outlier.efficiency / PERCENT * around / outlier.ratio,
            holds=math.isclose(around, outlier.ratio, rel_tol=HALF_DIGIT),
            remark="its ratio is off its neighbours' by "
            f"{outlier.ratio / around - 1.0:+.1%}: the efficiency is probably misprinted",
        ),
        Relation(
            f"limits of rows {EQUAL_INPUTS[0]:.3f} and {EQUAL_INPUTS[1]:.3f} in 1e-9, whose inputs are equal",
            (first.published, second.published),
            first.recomputed,
            holds=first.published == second.published,
            remark="equal inputs give equal limits",
        ),
    )


def _conflicts_of_the_inputs() -> tuple[Relation, ...]:
    efficiency = paper.EFFICIENCY_PERCENT_SELECTION * PERCENT
    of_statistics = math.sqrt((1.0 - efficiency) / (efficiency * paper.N_SIGNAL_MC)) / PERCENT
    efficiencies = [point.efficiency_percent for point in paper.MASS_SCAN]
    largest = max(abs(e / paper.EFFICIENCY_PERCENT_SELECTION - 1.0) for e in efficiencies) / PERCENT
    limits = [point.branching_fraction_ul_1e9 for point in paper.MASS_SCAN]
    difference = paper.EFFICIENCY_PERCENT_LIMIT / paper.EFFICIENCY_PERCENT_SELECTION - 1.0
    return (
        _agree(
            "MC statistics in percent, binomial, 100 000 events at 15.68 %",
            (paper.SYSTEMATIC_PERCENT["mc_statistics"],),
            of_statistics,
            1,
        ),
        _agree(
            "MC modelling in percent: largest relative difference of efficiencies",
            (paper.SYSTEMATIC_PERCENT["mc_modelling"],),
            largest,
            1,
            f"Table 2 has efficiencies of {min(efficiencies)} to {max(efficiencies)} %; the rule is not stated",
        ),
        _agree(
            "efficiency in percent, where the limit is computed and where it is determined",
            (paper.EFFICIENCY_PERCENT_LIMIT, paper.EFFICIENCY_PERCENT_SELECTION),
            paper.EFFICIENCY_PERCENT_SELECTION,
            2,
            f"{difference:.2%} apart; MC modelling of {paper.SYSTEMATIC_PERCENT['mc_modelling']} % is that, rounded: a "
            "possibility",
        ),
        _agree(
            "smallest limit of the scan in 1e-9, text and table",
            (paper.TEXT_LIMIT_RANGE[0], min(limits)),
            min(limits),
            2,
            f"one conflict: the text ends the masses at {paper.TEXT_MASS_RANGE[1]:.3f} GeV/c^2, the table at "
            f"{paper.MASS_SCAN[-1].m_majorana:.3f}, whose limit is the smallest",
        ),
    )


def to_dict() -> dict[str, Any]:
    """Return the content of `closure.json`: the 39 rows, the headline, relations that hold, and conflicts."""
    listed = relations()
    return {
        "source": paper.SOURCE,
        "headline": headline(),
        "rows": [dataclasses.asdict(row) for row in rows()],
        "agreements": [dataclasses.asdict(r) for r in listed if r.holds],
        "conflicts": [dataclasses.asdict(r) for r in listed if not r.holds],
    }


def section(source: Source) -> Section:
    """Return the section of the closure; empty without a limit."""
    return Section(
        "closure",
        "Closure",
        f"The publication ({paper.SOURCE}) recomputed from its own inputs; nothing here depends on this result.",
        folded=(relation_table(), row_table()) if limit(source) else (),
    )


def row_table() -> Table:
    """Return the published scan beside its recomputation from the published inputs."""
    return Table(
        "closure",
        "Published limits, recomputed from the published inputs",
        _ROWS,
        located((vars(row) for row in rows()), f"{CLOSURE}#/rows"),
        note="ratio: published over recomputed",
    )


def relation_table() -> Table:
    """Return the relations between published numbers, those that hold first."""
    content = to_dict()
    listed = [
        {**row, "published": " / ".join(f"{p:g}" for p in row["published"]), "remark": row["remark"] or None}
        for name in ("agreements", "conflicts")
        for row in located(content[name], f"{CLOSURE}#/{name}")
    ]
    return Table("closure_relations", "Relations between published numbers", _RELATIONS, tuple(listed))
