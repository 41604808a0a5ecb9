"""Rows of the tables that `lnv limits` prints; branching fractions in units of a power of ten."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jpsi_lnv.analysis.limits import methods

HIDDEN: Final = "-"
Row = dict[str, Any]


def power_of_ten(limit: methods.Limit) -> int:
    """Return the power of ten in which a branching-fraction limit has one digit before the point."""
    value = limit.branching_fraction_ul or limit.expected.median / limit.inputs.n_jpsi
    return math.floor(math.log10(value)) if 0.0 < value < math.inf else 0


def limit_row(by_method: Sequence[methods.Limit], power: int) -> Row:
    """Return one mass: its inputs and the limit by each method, branching fractions in 10**power."""
    inputs = by_method[0].inputs
    row: Row = {
        "m(nu)": "all" if inputs.m_majorana is None else f"{inputs.m_majorana:.3f}",
        "n": HIDDEN if inputs.n_obs is None else str(inputs.n_obs),
        "b": f"{inputs.n_bkg:.3g}",
        "eff %": f"{100 * inputs.efficiency:.2f}",
        "sys %": f"{100 * inputs.delta_sys:.1f}",
    }
    if len(by_method) == 1:
        row |= {"N_up": _number(by_method[0].n_up), "BF": _scaled(by_method[0].branching_fraction_ul, power)}
    else:
        label = {limit.method: methods.METHODS[limit.method].label for limit in by_method}
        row |= {label[limit.method]: _scaled(limit.branching_fraction_ul, power) for limit in by_method}
    return row | {"expected": _scaled(by_method[0].expected.median / inputs.n_jpsi, power)}


def limit_footer(by_method: Sequence[methods.Limit]) -> str:
    """Return what the confidence level means, and where the inputs of the first row come from."""
    meanings = [f"{limit.method}: {methods.METHODS[limit.method].meaning}" for limit in by_method]
    sources = [f"{name}: {source}" for name, source in by_method[0].inputs.provenance.items()]
    certain = ["expected bands coincide: without background zero events are the only outcome"]
    return "\n".join([*meanings, *sources, *(certain if by_method[0].expected.is_certain else [])])


def check_tables(found: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Row]]]:
    """Return title and rows of every table of the checks that has rows."""
    yield "Overall limit against the assumed background", [_background_row(r) for r in found["background_scan"]]
    yield "Overall limit against the chi2 requirement", [_chi2_row(r) for r in found["chi2_scan"]]
    if found["p_values"]:
        yield "Smallest p-value of the mass scan against the assumed background", [_p_row(r) for r in found["p_values"]]
    for key, title in (("conjugate_channels", "Conjugate channels"), ("periods", "Data-taking periods")):
        if found[key]:
            yield f"{title} in one likelihood", _channel_rows(found[key])
    yield "Smallest coverage for 0 to 20 signal events", [_coverage_row(curve) for curve in curves]


def closure_row(row: Any) -> Row:
    """Return one row of Table 2 beside its recomputation (`analysis.report.closure.ClosureRow`)."""
    return {
        "m(nu)": f"{row.m_majorana:.3f}",
        "n": str(row.n_obs),
        "eff %": f"{100 * row.efficiency:.2f}",
        "sys %": f"{100 * row.delta_sys:.1f}",
        "published": f"{row.published:.2f}",
        "recomputed": f"{row.recomputed:.3f}",
        "published/recomputed": f"{row.ratio:.3f}",
        "with 10.87e9 J/psi": f"{row.recomputed_inferred:.3f}",
        "published/that": f"{row.ratio_inferred:.3f}",
    }


def relation_row(relation: Mapping[str, Any]) -> Row:
    """Return one relation between published numbers, from `closure.json`."""
    return {
        "relation": relation["what"],
        "published": " / ".join(f"{p:g}" for p in relation["published"]),
        "computed": f"{relation['computed']:.4g}",
        "holds": "yes" if relation["holds"] else "no",
        "remark": relation["remark"],
    }


def _number(value: float | None) -> str:
    return HIDDEN if value is None else f"{value:.2f}"


def _scaled(value: float | None, power: int) -> str:
    return HIDDEN if value is None else f"{value / 10.0**power:.2f}"


def _observed_and_expected(record: Mapping[str, Any]) -> Row:
    expected, is_certain = record["expected_n_up"], record["expected_is_certain"]
    return {
        "n": HIDDEN if record["n_obs"] is None else str(record["n_obs"]),
        "eff %": f"{100 * record['efficiency']:.2f}",
        "N_up": _number(record["n_up"]),
        "expected": _number(expected["median"]),
        "68 %": HIDDEN if is_certain else _range(expected, "1_sigma"),
        "95 %": HIDDEN if is_certain else _range(expected, "2_sigma"),
    }


def _range(expected: Mapping[str, float | None], band: str) -> str:
    return f"{_number(expected[f'minus_{band}'])} .. {_number(expected[f'plus_{band}'])}"


def _background_row(record: Mapping[str, Any]) -> Row:
    return {"b": f"{record['n_bkg']:g}"} | _observed_and_expected(record)


def _chi2_row(record: Mapping[str, Any]) -> Row:
    return {"chi2 <": f"{record['chi2_4c_max']:g}"} | _observed_and_expected(record)


def _p_row(record: Mapping[str, Any]) -> Row:
    return {
        "b in all masses": f"{record['n_bkg']:g}",
        "m(nu)": f"{record['m_majorana']:.3f}",
        "local p": _p(record["local_p"]),
        "global p": _p(record["global_p"]),
    }


def _p(value: float | None) -> str:
    return "none without background" if value is None else f"{value:.3g}"


def _channel_rows(combined: Mapping[str, Any]) -> list[Row]:
    rows = [
        {"channel": c["name"], "n": str(c["n_obs"]), "eff %": f"{100 * c['efficiency']:.2f}", "N_up": ""}
        for c in combined["channels"]
    ]
    return [*rows, {"channel": "together", "n": "", "eff %": "", "N_up": _number(combined["n_up"])}]


def _coverage_row(curve: Mapping[str, Any]) -> Row:
    is_exact = curve["delta_sys"] == 0.0
    return {
        "method": curve["method"],
        "sys %": f"{100 * curve['delta_sys']:.1f}",
        "smallest": f"{curve['smallest']:.3f}",
        "error": "exact" if is_exact else f"{max(curve['error']):.3f}",
        "at signal": f"{curve['smallest_at']:.2f}",
    }
