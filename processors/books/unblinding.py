"""Freezing what the box is made of before the data are looked at, and opening it afterwards, once and with a reason.

What is frozen is a record that others can check: the requirements, the calibration that the identification is made
with, and the code, each with its digest. `line` writes them as one line, to be deposited where nobody of the analysis
can change it; `compare` says what differs between that line, the record and the present package.
"""

from __future__ import annotations

import dataclasses
import getpass
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import provenance
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import REASON_LENGTH_MIN, is_reason
from jpsi_lnv.analysis.documents import Form, digest_of_json, write_json
from jpsi_lnv.analysis.objects import calibration as calibrations
from jpsi_lnv.analysis.selection.blinding import BlindingError, differences
from jpsi_lnv.processors.books.fileset import Fileset

FROZEN: Final = Path("frozen.json")
# What has to be as it was frozen, and what is written down where it is not: mending code is no reason to refuse.
BINDING: Final = ("cuts_digest", "calibration_digest")
NOTED: Final = ("source_digest", "commit")
_LINE: Final = "jpsi-lnv frozen {time} cuts {cuts_digest} calibration {calibration_digest} code {source_digest} commit {commit} record {digest}"  # noqa: E501
_DEPOSITED: Final = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\S+)", re.escape(_LINE)))
_MEND: Final = "write them with `lnv freeze` before the box is opened"
_FORM: Final = Form("frozen requirements", _MEND, BlindingError)
_CUTS: Final = Form("requirements of", _MEND, BlindingError, content=Cuts)


def freeze(cuts: Cuts, path: Path, *, replace: bool = False, calibration: Path | None = None) -> dict[str, Any]:
    """Write the requirements that are final, with time, commit and digests; return what was written.

    Args:
        cuts: The requirements.
        path: File to write.
        replace: Whether other frozen requirements may be given up.
        calibration: File of the calibration of the blind data; None: the package's own.

    Raises:
        BlindingError: Other requirements are frozen in `path` already, or it cannot be written.
        CalibrationError: The calibration is not usable.
    """
    present = digests(cuts, calibrations.stamp(calibration))
    if path.exists() and not replace:
        former = read_frozen(path)
        changed = differences(former["cuts"], dataclasses.asdict(cuts)) or _changed(former, present, BINDING)
        if changed:
            msg = f"{path}: other cuts are frozen since {former['time']}: {changed}; pass --replace to give them up"
            raise BlindingError(msg)
        return former
    record = {"time": _now(), "cuts": dataclasses.asdict(cuts), **present}
    record["digest"] = digest_of_json(record)
    try:
        write_json(path, record)
    except OSError as error:
        msg = f"{path}: cannot write the frozen cuts ({error.strerror})"
        raise BlindingError(msg) from error
    return record


def digests(cuts: Cuts, calibration: str) -> dict[str, str | None]:
    """Return the digests of requirements, calibration and present code, and the commit."""
    return {
        "cuts_digest": cuts.digest(),
        "calibration_digest": calibration,
        "source_digest": provenance.source_digest(),
        "commit": provenance.commit(),
    }


def read_frozen(path: Path) -> dict[str, Any]:
    """Return what `freeze` wrote.

    Raises:
        BlindingError: The file is missing, not one of `lnv freeze`, or was changed after it was written.
    """
    record: dict[str, Any] = _FORM.read(path)
    try:
        content = {key: record[key] for key in ("time", "cuts", *BINDING, *NOTED)}
        cuts = _CUTS.check(content["cuts"], path)
        wanted = (record["digest"], content["cuts_digest"])
    except KeyError as error:
        msg = f"{path}: not a file of `lnv freeze` of this version ({type(error).__name__}: {error})"
        raise BlindingError(msg) from error
    if (got := (digest_of_json(content), cuts.digest())) != wanted:
        msg = f"{path}: was changed after it was written: got digests {got}, it says {wanted}; restore it"
        raise BlindingError(msg)
    return content | {"digest": record["digest"]}


def box(path: Path = FROZEN) -> Cuts:
    """Return the requirements that the box of blind data is made of: the frozen ones, or the package's own.

    Args:
        path: File of `freeze`; where there is none, nothing is frozen yet.

    Raises:
        BlindingError: The file is not one of `lnv freeze`.
    """
    return Cuts(**read_frozen(path)["cuts"]) if path.exists() else SELECTION


def require_calibration(fileset: Fileset, path: Path = FROZEN) -> None:
    """Refuse blind datasets whose calibration is not the frozen one: what two of them show could tell what is hidden.

    Args:
        fileset: Datasets of the run.
        path: File of `freeze`; where there is none, nothing is frozen yet.

    Raises:
        BlindingError: The calibration of a blind dataset differs, or the file is not one of `lnv freeze`.
        CalibrationError: A calibration is not usable.
    """
    if not path.exists():
        return
    wanted = read_frozen(path)["calibration_digest"]
    for name, dataset in fileset.items():
        got = calibrations.stamp(dataset.metadata.calibration)
        if dataset.metadata.is_blind and got != wanted:
            msg = (
                f"dataset {name!r} is blind: the calibration is not the frozen one: got digest {got} "
                f"({dataset.metadata.calibration or calibrations.SIMULATED}), {path} has {wanted}; "
                "restore it, or freeze again with `lnv freeze --replace --calibration FILE`"
            )
            raise BlindingError(msg)


def require_frozen(cuts: Cuts, path: Path, fileset: Fileset) -> None:
    """Refuse other requirements than the frozen ones on recorded events; simulation may be looked at with any.

    Args:
        cuts: The requirements of a run.
        path: File of `freeze`; where there is none, nothing is frozen yet.
        fileset: What the run reads.

    Raises:
        BlindingError: Other requirements are frozen, and the fileset holds recorded events.
    """
    recorded = [name for name, dataset in fileset.items() if not dataset.metadata.is_simulation]
    if not (recorded and path.exists()):
        return
    frozen = read_frozen(path)
    if given := differences(frozen["cuts"], dataclasses.asdict(cuts)):
        msg = (
            f"{path}: the cuts are frozen since {frozen['time']}, and {recorded[0]!r} holds recorded events: {given}; "
            "run simulation alone (--datasets), or give the frozen cuts up with `lnv freeze --replace`"
        )
        raise BlindingError(msg)


def line(record: Mapping[str, Any]) -> str:
    """Return what is frozen as one line without blanks in its values, to be deposited elsewhere."""
    return _LINE.format(**{key: str(value) for key, value in record.items()})


@dataclass(frozen=True)
class Comparison:
    """One thing that was frozen: what the deposited line, the record and the present package say of it."""

    what: str
    deposited: str | None
    frozen: str
    now: str | None

    @property
    def is_same(self) -> bool:
        """Whether all that is known agrees."""
        return len({str(value) for value in (self.deposited, self.frozen, self.now) if value is not None}) == 1


def compare(
    path: Path, deposited: str | None = None, cuts: Cuts = SELECTION, calibration: Path | None = None
) -> list[Comparison]:
    """Return how what is frozen compares with a deposited line and with the present package.

    Args:
        path: File of `freeze`.
        deposited: The line that `line` gave when it was written; None: there is none to compare with.
        cuts: The present requirements.
        calibration: File of the present calibration; None: the package's own.

    Raises:
        BlindingError: The file is not one of `lnv freeze`, or the text is no such line.
    """
    record = read_frozen(path)
    said: Mapping[str, str] = {}
    if deposited is not None:
        match = _DEPOSITED.fullmatch(" ".join(deposited.split()))
        if match is None:
            msg = f"got the line {deposited!r}; wanted the one that `lnv freeze` printed: {_LINE}"
            raise BlindingError(msg)
        said = match.groupdict()
    now = {**digests(cuts, calibrations.stamp(calibration)), "time": None, "digest": None}
    return [
        Comparison(what, said.get(what), str(record[what]), now[what]) for what in ("digest", *BINDING, *NOTED, "time")
    ]


def unblind(fileset: Fileset, cuts: Cuts, reason: str, frozen: Path = FROZEN) -> tuple[Fileset, dict[str, Any]]:
    """Return the fileset with every blind dataset opened, and the record that goes into the result.

    The record says who asked for it, why, when and from which commit, and what differs from what was frozen.

    Args:
        fileset: Datasets of the run.
        cuts: Cuts of the run.
        reason: Why the box is opened.
        frozen: File of `lnv freeze`.

    Raises:
        BlindingError: There is no reason, nothing is frozen, cuts or calibration differ from the frozen ones, or no
            dataset of the run is blind.
    """
    if not is_reason(reason):
        msg = f"--unblind {reason!r}: wanted the reason in words, at least {REASON_LENGTH_MIN} characters"
        raise BlindingError(msg)
    record = read_frozen(frozen)
    if changed := differences(record["cuts"], dataclasses.asdict(cuts)):
        msg = f"{frozen}: this run's cuts are not the frozen ones: {changed}; restore or freeze them"
        raise BlindingError(msg)
    require_calibration(fileset, frozen)
    present = digests(cuts, record["calibration_digest"])
    blind = sorted(name for name, d in fileset.items() if d.metadata.is_blind)
    if not blind:
        msg = f"--unblind: none of the datasets {sorted(fileset)} is blind; leave the option out"
        raise BlindingError(msg)
    opened = {
        name: dataclasses.replace(d, metadata=dataclasses.replace(d.metadata, blind=False, open_reason=reason.strip()))
        for name, d in fileset.items()
        if name in blind
    }
    return fileset | opened, {
        "reason": reason.strip(),
        "who": _who(),
        "time": _now(),
        "datasets": blind,
        **{key: present[key] for key in ("cuts_digest", "commit")},
        "differs": _changed(record, present, NOTED),
        "frozen": {key: record[key] for key in ("time", "digest", "commit", "source_digest")},
    }


def _changed(record: Mapping[str, Any], present: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return differences({name: record[name] for name in names}, {name: present[name] for name in names})


def _who() -> str:
    """Return the account and the machine that ask; an account without a name has its number."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"{name}@{platform.node()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
