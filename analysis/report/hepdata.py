"""A HEPData submission: limits, spectrum, cut flows, figures and the likelihood, checked by hepdata-validator."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.datasets import DATA, SIGNAL
from jpsi_lnv.analysis.documents import digest_of_file
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.limits import likelihood
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.report import drawing, mass_scan, page, result, selection, spectra
from jpsi_lnv.analysis.report.drawing import Picture, total
from jpsi_lnv.analysis.report.source import LIMITS, RECAST_CLOSURE, Source, flags, label, stamp
from jpsi_lnv.analysis.report.tables import Field, Table

SUBMISSION: Final = "submission"
REACTION: Final = "J/PSI --> K+ K+ E- E-"
THUMBNAIL_WIDTH: Final = 240
EDGE_DIGITS: Final = 6
_LIKELIHOODS: Final = (
    ("Likelihood in the HistFactory JSON of pyhf", "HistFactory"),
    ("Likelihood in the HEP Statistics Serialization Standard, for ROOT and pyhs3", "HS3"),
)
_MAP: Final = "Map of the efficiency for other models: simulated decays and which of them pass, Parquet"
_INSTALL: Final = "pip install 'jpsi-lnv[hepdata]' or make install-all"


class HepdataError(LnvError):
    """A submission cannot be written."""


def write(directory: Path, source: Source) -> list[Path]:
    """Write a submission and return what to upload: the archive, and the likelihood if events are shown.

    Args:
        directory: Where the files go; a submission of before is replaced.
        source: Results and limits.

    Raises:
        HepdataError: hepdata_lib is missing, there are no limits or those of another result, or the validator finds
            fault.
    """
    hepdata_lib = _library()
    if LIMITS in source.foreign:
        msg = f"limits and spectrum of different results are no submission: {source.foreign[LIMITS]}"
        raise HepdataError(msg)
    if result.headline(source) is None:
        msg = "no limits.json beside the accumulator: nothing to submit; run `lnv limits` first"
        raise HepdataError(msg)
    # `_create` changes the working directory, so that paths have to be absolute.
    directory = directory.resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    submission = hepdata_lib.Submission()
    submission.comment = _comment(source)
    likelihoods = _write_likelihoods(directory, source)
    for path, (description, file_type) in zip(likelihoods, _LIKELIHOODS, strict=False):
        submission.add_additional_resource(description, str(path), copy_file=True, file_type=file_type)
    if (of_map := _map(directory.parent, source)) is not None:
        submission.add_additional_resource(_MAP, str(of_map), copy_file=True)
    for table in _tables(source, directory):
        submission.add_table(table)
    archive = _create(submission, directory)
    _validate(directory / SUBMISSION)
    return [archive, *likelihoods]


def _library() -> Any:
    try:
        import hepdata_lib  # noqa: PLC0415 optional extra
    except ImportError as error:
        msg = f"hepdata_lib is not installed ({error}); {_INSTALL}"
        raise HepdataError(msg) from error
    return hepdata_lib


def _comment(source: Source) -> str:
    """Return the abstract: the result, whose events it is, and what else must be known."""
    said = [result.sentence(source)]
    if whose := label(source.results):
        said.append(f"{whose}: these numbers are no measurement.")
    said += [f"{flag.label}: {flag.explanation}" for flag in flags(source)]
    return " ".join(said)


def _write_likelihoods(directory: Path, source: Source) -> list[Path]:
    """Write the likelihood of the headline for pyhf and in HS3; none while events are hidden."""
    record = result.headline(source)
    if record is None or record["n_obs"] is None:
        return []
    inputs = LimitInputs.from_record(record)
    documents = {derived.LIKELIHOOD: likelihood.workspace(inputs), derived.LIKELIHOOD_HS3: likelihood.hs3(inputs)}
    for name, document in documents.items():
        (directory / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return [directory / name for name in documents]


def _map(results: Path, source: Source) -> Path | None:
    """Return the map of the efficiency whose closure the report shows; None without one.

    Raises:
        HepdataError: The file is another one than that of the closure.
    """
    closure = source.extras.get(RECAST_CLOSURE)
    if closure is None:
        return None
    path, wanted = results / closure["map"]["file"], closure["map"]["digest"]
    if (got := digest_of_file(path)) != wanted:
        msg = f"{path}: digest {got}, its closure is of {wanted}; run `lnv recast --make-map` again"
        raise HepdataError(msg)
    return path


def _tables(source: Source, directory: Path) -> list[Any]:
    pictures = page.pictures(source)
    made = [_limit_table(source), _spectrum(source), *_cutflows(source)]
    methods = result.methods(source)
    if methods is not None:
        made.append(_table("Limits by method", methods, "B(J/psi -> K+ K+ e- e- + c.c.) by different methods", source))
    found = [table for table in made if table is not None]
    for table, name in zip(found, ("limits", "m_kkee"), strict=False):
        if name in pictures:
            _add_image(table, pictures[name], directory, source)
    return found


def _table(name: str, table: Table, description: str, source: Source, independent: int = 1) -> Any:
    """Return one of our tables as one of HEPData: raw values, the first columns independent."""
    hepdata_lib = _library()
    made = hepdata_lib.Table(name)
    made.description = description
    made.location = "Generated by jpsi-lnv"
    made.keywords["reactions"] = [REACTION]
    for i, column in enumerate(table.fields):
        made.add_variable(_variable(column, [row.get(column.key) for row in table.rows], i < independent, source))
    return made


def _variable(column: Field, values: Sequence[Any], is_independent: bool, source: Source) -> Any:
    variable = _library().Variable(column.key, is_independent=is_independent, is_binned=False)
    variable.values = ["-" if value is None else value for value in values]
    if not is_independent and (whose := label(source.results)):
        variable.add_qualifier("Events", whose)
    return variable


def _limit_table(source: Source) -> Any:
    scan = mass_scan.scan(source)
    if scan is None:
        return None
    records = [r for r in scan.rows if r["m_majorana"] is not None] or list(scan.rows)
    columns = tuple(column for column in scan.fields if column.key != "expected")
    shown = Table("limits", scan.title, columns, tuple(records))
    table = _table("Limits", shown, f"{scan.title}. {scan.note}", source)
    expected = _variable(Field("expected_branching_fraction_ul", ""), [r["expected"] for r in records], False, source)
    for n_sigma in (1, 2):
        ends = [_band(record, f"minus_{n_sigma}_sigma", f"plus_{n_sigma}_sigma") for record in records]
        # Without background the bands have no width; an uncertainty of zero would say that it was measured.
        if np.any(ends):
            band = _library().Uncertainty(f"{n_sigma} sigma", is_symmetric=False)
            band.values = ends
            expected.add_uncertainty(band)
    table.add_variable(expected)
    return table


def _band(record: Any, low: str, high: str) -> tuple[float, float]:
    """Return the ends of a band of the expected limit, as differences from the median."""
    median, lower, upper = (result.expected(record, name) or 0.0 for name in ("median", low, high))
    return lower - median, upper - median


def _spectrum(source: Source) -> Any:
    searches = source.searches(DATA) or source.searches(SIGNAL)
    histogram = total(searches, "m_kkee", spectra.BEFORE_REGION)
    if histogram is None:
        return None
    hepdata_lib = _library()
    (axis,) = histogram.axes
    mass = hepdata_lib.Variable("M(KKee)", is_independent=True, is_binned=True, units="GeV/c^2")
    mass.values = list(itertools.pairwise(np.round(axis.edges, EDGE_DIGITS).tolist()))
    counts = _variable(Field("Events", ""), [int(n) for n in histogram.values()], False, source)
    table = hepdata_lib.Table("Mass of KKee")
    table.description = f"M(KKee) of measured momenta after all other requirements: {', '.join(searches)}"
    table.location = "Generated by jpsi-lnv"
    table.keywords["reactions"] = [REACTION]
    table.add_variable(mass)
    table.add_variable(counts)
    return table


def _cutflows(source: Source) -> list[Any]:
    chosen = {name: source.results.datasets[name] for name in source.searches(SIGNAL, DATA)}
    flows = {name: selection.cutflow(name, dataset) for name, dataset in chosen.items()}
    return [_table(f"Cut flow {name}", flow, flow.note, source) for name, flow in flows.items()]


def _add_image(table: Any, picture: Picture, directory: Path, source: Source) -> None:
    """Add a figure and its thumbnail; hepdata_lib's own way would call ImageMagick."""
    from PIL import Image  # noqa: PLC0415 comes with matplotlib; only this needs it

    full, thumbnail = directory / f"{picture.name}.png", directory / f"thumb_{picture.name}.png"
    full.write_bytes(drawing.encode(picture.figure(*stamp(source)), "png"))
    with Image.open(full) as image:
        image.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
        image.save(thumbnail)
    table.add_additional_resource("Image file", str(full), copy_file=True)
    table.add_additional_resource("Thumbnail image file", str(thumbnail), copy_file=True)


def _create(submission: Any, directory: Path) -> Path:
    """Write the files; the library puts its archive into the working directory, so that has to be ours."""
    with contextlib.chdir(directory):
        submission.create_files(SUBMISSION, validate=False)
    return directory / "submission.tar.gz"


def _validate(directory: Path) -> None:
    from hepdata_validator.full_submission_validator import FullSubmissionValidator  # noqa: PLC0415 optional extra

    validator = FullSubmissionValidator()
    with warnings.catch_warnings():
        # The validator leaves its files to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        is_valid = validator.validate(directory=str(directory))
    if not is_valid:
        found = "; ".join(str(m) for messages in validator.get_messages().values() for m in messages)
        msg = f"{directory}: hepdata-validator refuses the submission: {found}"
        raise HepdataError(msg)
