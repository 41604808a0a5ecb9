"""One table record, written for terminals, LaTeX (booktabs), CSV, Markdown and programs."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, Final, Literal

from jpsi_lnv.analysis.report.tables import Table

if TYPE_CHECKING:
    import rich.table

_SUPERSCRIPT: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_TEX: Final = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "\u202f": r"\,",
    "±": r"$\pm$",
    "∓": r"$\mp$",
    "×": r"$\times$",
    "→": r"$\to$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "χ": r"$\chi$",
    "ψ": r"$\psi$",
    "ν": r"$\nu$",
    "π": r"$\pi$",
    "μ": r"$\mu$",
    "ρ": r"$\rho$",
    "φ": r"$\phi$",
    "ω": r"$\omega$",
    "γ": r"$\gamma$",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "Δ": r"$\Delta$",
    "Λ": r"$\Lambda$",
    "Σ": r"$\Sigma$",
    "Ξ": r"$\Xi$",
    "–": "--",
    "−": "$-$",
    "₄": "$_4$",
}
_CHARACTERS: Final = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+|[" + re.escape("".join(_TEX)) + "]")


def tex(words: str) -> str:
    """Return text with everything LaTeX cannot read replaced."""
    return _CHARACTERS.sub(_tex_character, words)


def _tex_character(match: re.Match[str]) -> str:
    found = match.group()
    return _TEX[found] if found in _TEX else f"$^{{{found.translate(_SUPERSCRIPT)}}}$"


def latex(table: Table) -> str:
    r"""Return a ``table`` environment with booktabs rules; it needs ``\usepackage{booktabs}`` and nothing else."""
    align = "".join("r" if c.is_number else "l" for c in table.fields)
    lines = [" & ".join(tex(cell) for cell in row) + r" \\" for row in table.cells()]
    head = " & ".join(tex(c.title) for c in table.fields) + r" \\"
    caption = tex(f"{table.title}. {table.note}".strip())
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def comma_separated(table: Table) -> str:
    """Return raw values under the column keys."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [c.key for c in table.fields], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)
    return out.getvalue()


def markdown(table: Table) -> str:
    """Return a pipe table as GitHub and mkdocs read it."""
    rule = "|".join("--:" if c.is_number else ":--" for c in table.fields)
    head = [c.title for c in table.fields]
    return "\n".join([_pipes(head), f"|{rule}|", *(_pipes(row) for row in table.cells())]) + "\n"


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def record(table: Table) -> dict[str, Any]:
    """Return what the JSON of a table holds: raw values, and the heads that say what they are."""
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": [{"key": c.key, "head": c.head, "unit": c.unit} for c in table.fields],
        "rows": [{c.key: row.get(c.key) for c in table.fields} for row in table.rows],
    }


def terminal(table: Table) -> rich.table.Table:
    """Return the table as rich prints it."""
    from rich.table import Table as RichTable  # noqa: PLC0415 only terminals need it
    from rich.text import Text  # noqa: PLC0415

    # As text, so that square brackets are no markup.
    title, note = Text(table.title, "italic"), Text(table.note, "dim") if table.note else None
    shown = RichTable(title=title, caption=note, title_justify="left", caption_justify="left")
    for column in table.fields:
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        shown.add_column(Text(column.title), justify=justify, overflow="fold")
    for row in table.cells():
        shown.add_row(*(Text(cell) for cell in row))
    return shown
