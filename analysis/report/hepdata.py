"""A HEPData submission, checked by hepdata-validator: limits, efficiencies, spectrum, cut flows and the likelihood."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.datasets import DATA, SIGNAL, mass_mev
from jpsi_lnv.analysis.documents import digest_of_file
from jpsi_lnv.analysis.efficiency import binomial_sigma
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.limits import likelihood
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.report import drawing, mass_scan, page, result, selection, spectra
from jpsi_lnv.analysis.report.drawing import Picture, total
from jpsi_lnv.analysis.report.source import RECAST_CLOSURE, Source, cuts_of, flags, label, stamp
from jpsi_lnv.analysis.report.tables import Field, Table

SUBMISSION: Final = "submission"
PHRASES: Final = ("Exclusive", "Lepton number violation", "Majorana neutrino", "J/psi decay")
# What a table of HEPData is found by: the observable of each.
BRANCHING_FRACTION, EVENTS, EFFICIENCY = "BR", "N", "EFF"
# Systematic uncertainties that are no uncertainty of an efficiency, and those of each mass by itself.
NOT_OF_EFFICIENCY: Final = {"n_jpsi"}
OF_ONE_MASS: Final = {"mc_statistics"}
THUMBNAIL_WIDTH: Final = 240
EDGE_DIGITS: Final = 6
# Digits of an energy in GeV.
ENERGY_DIGITS: Final = 4
_LIKELIHOODS: Final = (
    ("Likelihood in the HistFactory JSON of pyhf", "HistFactory"),
    ("Likelihood in the HEP Statistics Serialization Standard, for ROOT and pyhs3", "HS3"),
)
_MAP: Final = "Map of the efficiency for other models: simulated decays and which of them pass, Parquet"
_INSTALL: Final = "pip install 'jpsi-lnv[hepdata]' or make install-all"


class HepdataError(LnvError):
    """A submission cannot be written."""


def write(directory: Path, source: Source, inspire: int | None = None) -> list[Path]:
    """Write a submission and return what to upload: the archive, and the likelihood if events are shown.

    Args:
        directory: Where the files go; a submission of before is replaced.
        source: Results and limits.
        inspire: Number of the publication's record in INSPIRE.

    Raises:
        HepdataError: hepdata_lib is missing, there are no limits, numbers of another result, or the validator finds
            fault.
    """
    hepdata_lib = _library()
    if source.foreign:
        msg = f"numbers of different results are no submission: {'; '.join(source.foreign.values())}"
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
    if inspire is not None:
        submission.add_record_id(inspire, "inspire")
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
    made = [_limit_table(source), _spectrum(source), *_efficiencies(source), *_cutflows(source)]
    methods = result.methods(source)
    if methods is not None:
        words = f"B(J/psi -> {cuts_of(source.results).channel.reaction}) by different methods"
        made.append(_table("Limits by method", methods, words, source, BRANCHING_FRACTION))
    found = [table for table in made if table is not None]
    for table, name in zip(found, ("limits", cuts_of(source.results).channel.mass), strict=False):
        if name in pictures:
            _add_image(table, pictures[name], directory, source)
    return found


def _empty(name: str, description: str, source: Source, observable: str) -> Any:
    """Return a table of HEPData without columns, with the words by which it is found."""
    made = _library().Table(name)
    made.description = description
    made.location = "Generated by jpsi-lnv"
    energies = {round(d.metadata.sqrt_s, ENERGY_DIGITS) for d in source.results.of_kind(SIGNAL, DATA).values()}
    made.keywords = {
        "reactions": [f"J/PSI --> {' '.join(cuts_of(source.results).channel.final_state).upper()}"],
        "observables": [observable],
        "cmenergies": sorted(energies),
        "phrases": list(PHRASES),
    }
    return made


def _table(name: str, table: Table, description: str, source: Source, observable: str, independent: int = 1) -> Any:
    """Return one of our tables as one of HEPData: raw values, the first columns independent."""
    made = _empty(name, description, source, observable)
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
    table = _table("Limits", shown, f"{scan.title}. {scan.note}", source, BRANCHING_FRACTION)
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
    channel = cuts_of(source.results).channel
    histogram = total(searches, channel.mass, spectra.BEFORE_REGION)
    if histogram is None:
        return None
    hepdata_lib = _library()
    (axis,) = histogram.axes
    mass = hepdata_lib.Variable(f"M({channel.symbols})", is_independent=True, is_binned=True, units="GeV/c^2")
    mass.values = list(pairwise(np.round(axis.edges, EDGE_DIGITS).tolist()))
    counts = _variable(Field("Events", ""), [int(n) for n in histogram.values()], False, source)
    words = f"M({channel.symbols}) of measured momenta after all other requirements: {', '.join(searches)}"
    table = _empty(f"Mass of {channel.symbols}", words, source, EVENTS)
    table.add_variable(mass)
    table.add_variable(counts)
    return table


def _cutflows(source: Source) -> list[Any]:
    chosen = {name: source.results.datasets[name] for name in source.searches(SIGNAL, DATA)}
    flows = {name: selection.cutflow(name, dataset, cuts=cuts_of(source.results)) for name, dataset in chosen.items()}
    return [_table(f"Cut flow {name}", flow, flow.note, source, EVENTS) for name, flow in flows.items()]


def _efficiencies(source: Source) -> list[Any]:
    """Return the efficiency at every mass with its uncertainties, and the covariance of them all; none without masses.

    Every source but the number of simulated events is taken as common to all masses.
    """
    records = mass_scan.scan_records(source)
    if not records:
        return []
    masses = [record["m_majorana"] for record in records]
    efficiency = result.values(records, "efficiency")
    produced = np.array([mass_scan.n_produced(source, m) for m in masses], dtype=np.float64)
    statistical = binomial_sigma(produced * efficiency, produced)
    common = efficiency * _common_uncertainties(source, masses)
    values = _variable(Field("efficiency", ""), efficiency.tolist(), False, source)
    for name, sigma in (("stat", statistical), ("sys", np.sqrt(np.square(common).sum(axis=0)))):
        uncertainty = _library().Uncertainty(name)
        uncertainty.values = sigma.tolist()
        values.add_uncertainty(uncertainty)
    words = "Selected over produced simulated events at each mass of the neutrino; both pairs in the interval around it"
    table = _empty("Efficiencies", words, source, EFFICIENCY)
    table.add_variable(_variable(Field("m_majorana", ""), masses, True, source))
    table.add_variable(values)
    return [table, _covariance(source, masses, np.diag(statistical**2) + common.T @ common)]


def _covariance(source: Source, masses: Sequence[float], matrix: FloatArray) -> Any:
    """Return a matrix (M, M) of masses as a table of pairs."""
    words = "Covariance of the efficiencies: every source but the simulated events is common to all masses"
    table = _empty("Covariance of the efficiencies", words, source, EFFICIENCY)
    first, second = zip(*product(masses, masses), strict=True)
    table.add_variable(_variable(Field("m_majorana", ""), first, True, source))
    table.add_variable(_variable(Field("m_majorana_other", ""), second, True, source))
    table.add_variable(_variable(Field("covariance", ""), matrix.ravel().tolist(), False, source))
    return table


def _common_uncertainties(source: Source, masses: Sequence[float]) -> FloatArray:
    """Return (S, M) relative uncertainties of the efficiency by source and mass; none where they were not measured."""
    tables = {mass_mev(t["m_majorana"]): t["rows"] for t in source.extras.get("systematics", {}).get("tables", [])[1:]}
    rows = [{r["source"]: r["value"] for r in tables.get(mass_mev(m), ())} for m in masses]
    found = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in found if name not in NOT_OF_EFFICIENCY | OF_ONE_MASS]
    return np.array([[row.get(name, 0.0) for row in rows] for name in names]).reshape(len(names), len(masses))


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
