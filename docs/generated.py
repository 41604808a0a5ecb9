"""Hook of mkdocs: puts tables made from the code into the pages, and leaves pages without content out of the menu."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis.report import closure, documentation, render, selection

_MARKER: Final = re.compile(r"<!-- generated: (\w+)(?: (\w+))? -->")


def modules(package: str) -> str:
    """Return the lines by which mkdocstrings finds every module of a package."""
    found = sorted(Path(package).rglob("*.py"))
    names = [".".join(("jpsi_lnv", *p.with_suffix("").parts)) for p in found if p.stem != "__init__"]
    return "\n".join(f"::: {name}" for name in names)


_TABLES: Final[dict[str, Callable[..., str]]] = {
    "cuts": selection.markdown,
    "modules": modules,
    "steps": lambda: render.markdown(documentation.steps()),
    "columns": lambda collection="": render.markdown(documentation.columns(collection)),
    "final_states": lambda: render.markdown(documentation.final_states()),
    "processes": lambda: render.markdown(documentation.processes()),
    "continuum": lambda: render.markdown(documentation.continuum()),
    "parameters": lambda: render.markdown(documentation.parameters()),
    "meta": lambda: render.markdown(documentation.meta()),
    "closure": lambda: render.markdown(closure.row_table()),
    "relations": lambda: render.markdown(closure.relation_table()),
}


def on_config(config: Any) -> Any:
    """Leave out what is in the menu but not written yet."""
    docs = Path(config["docs_dir"])
    config["nav"] = [section for entry in config["nav"] if (section := _existing(entry, docs))]
    return config


def _existing(entry: dict[str, Any], docs: Path) -> dict[str, Any] | None:
    ((title, content),) = entry.items()
    if isinstance(content, str):
        return entry if (docs / content).exists() else None
    pages = [page for child in content if (page := _existing(child, docs))]
    return {title: pages} if pages else None


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every ``<!-- generated: name -->`` by its table."""
    return _MARKER.sub(lambda match: _TABLES[match[1]](*filter(None, match.groups()[1:])), markdown)
