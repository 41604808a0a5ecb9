"""The selections by name, as the metadata of a dataset list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.selection import control_fit, control_probes, helix_pulls, misid, pid_chi, search, topology
from jpsi_lnv.analysis.selection.chunk import Selection

SELECTIONS: Final[dict[str, Selection]] = {
    datasets.SEARCH: search.SEARCH,
    datasets.CONTROL_EE: control_probes.EE,
    datasets.CONTROL_EEEE: control_probes.EEEE,
    datasets.CONTROL_CONVERSION: control_probes.CONVERSION,
    datasets.CONTROL_KKPI0: control_probes.KKPI0,
    datasets.CONTROL_KKPIPI: control_fit.KKPIPI,
    datasets.CONTROL_PPBARPIPI: control_fit.PPBARPIPI,
    datasets.MISID: misid.MISID,
    datasets.TOPOLOGY: topology.TOPOLOGY,
    datasets.VARIATIONS: search.VARIATIONS,
    datasets.HELIX_PULLS: helix_pulls.HELIX_PULLS,
    datasets.PID_CHI: pid_chi.PID_CHI,
}


def find(name: str, dataset: str, among: Mapping[str, Selection] = SELECTIONS) -> Selection:
    """Return the selection that the metadata of a dataset name.

    Raises:
        FilesetError: There is none of this name.
    """
    try:
        return among[name]
    except KeyError:
        msg = (
            f"dataset {dataset!r}: selection {name!r} of its metadata does not exist; there are {sorted(among)}: "
            "mend the metadata in the fileset"
        )
        raise FilesetError(msg) from None


def reads(names: Iterable[str], dataset: str, among: Mapping[str, Selection] = SELECTIONS) -> frozenset[str]:
    """Return the branches that selections read of every chunk that has events."""
    return frozenset().union(*(find(name, dataset, among).reads for name in names))
