"""A user's own selections, from a Python file: loaded here, sent to the workers with the processor, named by a digest.

::

    import hist
    from jpsi_lnv import Step

    def fast_kaon(events):
        kaons = events.is_kaon & (events.momentum > 1.0)
        return events.count_tracks(kaons) > 0

    STEPS = (Step("fast_kaon", "a kaon above 1 GeV/c", fast_kaon),)

    def fast_kaons(chunk):
        filled = hist.Hist(hist.axis.Regular(60, 0.0, 1.5, name="p", label="$p(K)$ [GeV/$c$]"))
        filled.fill(chunk.events.momentum[chunk.events.is_kaon])
        return {"cutflow": chunk.cut_flow(STEPS), "histograms": {"p_kaon": filled}}

    SELECTIONS = {"fast_kaons": fast_kaons}

Each function of ``SELECTIONS`` gets a `VisibleChunk` of every dataset of the run and returns its cut flow and, if it
likes, histograms; they stand in the accumulator, in ``cutflow.json`` and in the report under its name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import hist

from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection, VisibleChunk
from jpsi_lnv.processors.books.fileset import Fileset

Own = Callable[[VisibleChunk], Found]
FORM: Final = "wanted SELECTIONS, a dict of names and functions of a chunk (docs/howto_plugin.md)"
PARTS: Final = frozenset({"cutflow", "histograms"})


class PluginError(LnvError):
    """A user's own selections cannot be used."""


@dataclass(frozen=True)
class Plugin:
    """The selections of a file.

    Attributes:
        path: The file.
        digest: Of its content: partial results of another one are not used, and the result names it.
        functions: Name -> function.
    """

    path: Path
    digest: str
    functions: Mapping[str, Own]

    @property
    def selections(self) -> dict[str, Selection]:
        """All selections as the processor takes them, the package's and those of the file."""
        own = {name: Selection(partial(run_own, name, function)) for name, function in self.functions.items()}
        return registry.SELECTIONS | own

    def attach(self, fileset: Fileset) -> Fileset:
        """Return a fileset all of whose datasets go through the selections, too."""
        return {
            name: dataclasses.replace(
                dataset,
                metadata=dataclasses.replace(
                    dataset.metadata, selections=(*dataset.metadata.selections, *self.functions)
                ),
            )
            for name, dataset in fileset.items()
        }


NONE: Final = Plugin(Path(), "", {})


def load(path: Path | None) -> Plugin:
    """Return the selections of a file; none without one.

    It becomes no module that others could import: so its functions travel to the workers as they are.

    Raises:
        PluginError: The file cannot be read or run, or holds no selections under names of their own.
    """
    if path is None:
        return NONE
    try:
        source = path.read_bytes()
        module = types.ModuleType(f"plugin {path.name}")
        module.__file__ = str(path)
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 the user's own file, given to be run
    except Exception as error:
        msg = f"{path}: cannot be used as a plugin ({type(error).__name__}: {error}); {FORM}"
        raise PluginError(msg) from error
    functions = vars(module).get("SELECTIONS")
    if not isinstance(functions, dict) or not functions:
        msg = f"{path}: got {type(functions).__name__} as SELECTIONS; {FORM}"
        raise PluginError(msg)
    for name, function in functions.items():
        if not (isinstance(name, str) and name.isidentifier() and callable(function)):
            msg = f"{path}: got SELECTIONS[{name!r}] = {function!r}; {FORM}"
            raise PluginError(msg)
        if name in registry.SELECTIONS or name == "ledger":
            msg = f"{path}: the name {name!r} is taken; wanted one that is not among {', '.join(registry.SELECTIONS)}"
            raise PluginError(msg)
    return Plugin(path, hashlib.sha256(source).hexdigest(), functions)


def run_own(name: str, function: Own, chunk: Chunk) -> dict[str, Found]:
    """Return what a user's function finds in what may be seen of a chunk, under its name.

    Raises:
        PluginError: It returned something else than a cut flow and histograms.
    """
    found: Any = function(chunk.visible)
    if not isinstance(found, dict) or not {"cutflow"} <= found.keys() <= PARTS:
        got = sorted(found) if isinstance(found, dict) else type(found).__name__
        msg = f"selection {name!r} of the plugin returned {got}; wanted a dict of 'cutflow' and 'histograms'"
        raise PluginError(msg)
    histograms = found.get("histograms", {})
    if wrong := [key for key, histogram in histograms.items() if not isinstance(histogram, hist.Hist)]:
        msg = f"selection {name!r} of the plugin: {wrong[0]!r} is no hist.Hist"
        raise PluginError(msg)
    return {name: {"cutflow": found["cutflow"], "histograms": histograms}}
