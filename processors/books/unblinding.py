"""Freezing the cuts before the data are looked at, and opening the box afterwards, once and with a reason."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import provenance
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.documents import Form, write_json
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.processors.books.fileset import Fileset

FROZEN: Final = Path("frozen.json")
REASON_LENGTH_MIN: Final = 10


class BlindingError(LnvError):
    """The box may not be opened."""


def freeze(cuts: Cuts, path: Path, *, replace: bool = False) -> dict[str, Any]:
    """Write the cuts that are final, with time, commit and digests; return what was written.

    Args:
        cuts: The cuts.
        path: File to write.
        replace: Whether other frozen cuts may be given up.

    Raises:
        BlindingError: Other cuts are frozen in `path` already, or it cannot be written.
    """
    if path.exists() and not replace:
        former = read_frozen(path)
        if changed := differences(former["cuts"], dataclasses.asdict(cuts)):
            msg = f"{path}: other cuts are frozen since {former['time']}: {changed}; pass --replace to give them up"
            raise BlindingError(msg)
        return former
    record = {
        "time": _now(),
        "cuts": dataclasses.asdict(cuts),
        "cuts_digest": cuts.digest(),
        "commit": provenance.commit(),
        "source_digest": provenance.source_digest(),
    }
    try:
        write_json(path, record)
    except OSError as error:
        msg = f"{path}: cannot write the frozen cuts ({error.strerror})"
        raise BlindingError(msg) from error
    return record


_FROZEN: Final = Form("frozen cuts", "write them with `lnv freeze` before the box is opened", BlindingError)


def read_frozen(path: Path) -> dict[str, Any]:
    """Return what `freeze` wrote.

    Raises:
        BlindingError: The file is missing or not one of `lnv freeze`.
    """
    record: dict[str, Any] = _FROZEN.read(path)
    try:
        return record | {"cuts": dict(record["cuts"]), "cuts_digest": str(record["cuts_digest"])}
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not a file of `lnv freeze` ({type(error).__name__}: {error})"
        raise BlindingError(msg) from error


def differences(frozen: dict[str, Any], given: dict[str, Any]) -> str:
    """Return which values differ, such as ``chi2_4c_max 20.0 -> 25.0``; empty if none does."""
    names = sorted(n for n in frozen.keys() | given.keys() if frozen.get(n) != given.get(n))
    return ", ".join(f"{n} {frozen.get(n)} -> {given.get(n)}" for n in names)


def unblind(fileset: Fileset, cuts: Cuts, reason: str, frozen: Path = FROZEN) -> tuple[Fileset, dict[str, Any]]:
    """Return the fileset with every blind dataset opened, and the record that goes into the result.

    Args:
        fileset: Datasets of the run.
        cuts: Cuts of the run.
        reason: Why the box is opened.
        frozen: File of `lnv freeze`.

    Raises:
        BlindingError: There is no reason, nothing is frozen, the cuts differ from the frozen ones, or no dataset of
            the run is blind.
    """
    if len(reason.strip()) < REASON_LENGTH_MIN:
        msg = f"--unblind {reason!r}: wanted the reason in words, at least {REASON_LENGTH_MIN} characters"
        raise BlindingError(msg)
    record = read_frozen(frozen)
    changed = differences(record["cuts"], dataclasses.asdict(cuts))
    if changed or record["cuts_digest"] != cuts.digest():
        msg = (
            f"{frozen}: this run's cuts are not the frozen ones: {changed or 'another digest'}; restore or freeze them"
        )
        raise BlindingError(msg)
    blind = sorted(name for name, d in fileset.items() if d.metadata.is_blind)
    if not blind:
        msg = f"--unblind: none of the datasets {sorted(fileset)} is blind; leave the option out"
        raise BlindingError(msg)
    opened = {
        name: dataclasses.replace(d, metadata=dataclasses.replace(d.metadata, blind=False)) if name in blind else d
        for name, d in fileset.items()
    }
    return opened, {
        "reason": reason.strip(),
        "time": _now(),
        "datasets": blind,
        "cuts_digest": cuts.digest(),
        "commit": provenance.commit(),
        "frozen": {k: record.get(k) for k in ("time", "commit", "source_digest")},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
