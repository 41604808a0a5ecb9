"""One run: verify the files, process what is missing, prove that every event is covered once, write the result."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from coffea.processor import accumulate

from jpsi_lnv.analysis import derived, provenance, results
from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA
from jpsi_lnv.analysis.documents import Form, digest_of_json, write_json
from jpsi_lnv.analysis.errors import IncompleteError, NtupleError, ResultsError
from jpsi_lnv.analysis.selection import blinding, registry
from jpsi_lnv.processors.books import ledger, unblinding, verify
from jpsi_lnv.processors.books.checkpoints import Parts, selections_of
from jpsi_lnv.processors.books.chunks import Span, common, share, work_items
from jpsi_lnv.processors.books.fileset import Fileset, identity, require_plausible, select, without
from jpsi_lnv.processors.books.ledger import Books, Covariances, cause, describe_failures, print_books
from jpsi_lnv.processors.console import console, not_a_part, option, wrote
from jpsi_lnv.processors.plugin import NONE, Plugin
from jpsi_lnv.processors.search import SearchProcessor, calibrations
from jpsi_lnv.processors.work.executors import MakeExecutor, process_chunks
from jpsi_lnv.processors.work.guard import FAILED

# Rounds of a run that drops files which turn out bad while they are processed.
ROUNDS_MAX: Final = 5
LIMITED: Final = "limited on request (--test, --max-files, --max-chunks): for tests only"
RESUME: Final = "what was finished is stored: `lnv run --resume` does the rest"


@dataclass(frozen=True)
class _BooksOfShare:
    totals: results.Totals


_OF_SHARE: Final = Form("books of a share of a run", "do the share again", ResultsError, content=_BooksOfShare)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run does besides processing.

    Attributes:
        card: The channel card.
        cuts: The cuts the processor applies, those of the card but for what was set otherwise.
        box: The requirements that the box of blind data is made of.
        cache: File that remembers verified checksums; None: in the user's cache, or beside the results without one.
        plugin: The user's own selections.
        unblinding: Record of the opening of the box (`processors.books.unblinding`); None: blind data stay blind.
    """

    output: Path = option(Path("results"), "Directory of the results, partial ones too.", unit="DIRECTORY")
    chunksize: int = option(100_000, "Largest number of events of a chunk.", least=1)
    verification: verify.How = option(
        "sha256",
        "How files are compared with the fileset before use; sha256 remembers what it read, fresh reads all again.",
        name="verify",
    )
    trust_units: bool = option(False, "Go on where numbers cannot be what their units say.")
    resume: bool = option(False, "Do only what former runs of the same code, cuts and files left undone.")
    skip_bad_files: bool = option(False, "Leave bad files out, and their events out of the normalisation.")
    max_failures: int = option(20, "Failed chunks after which a run is given up.", least=0)
    max_files: int | None = option(None, "Files per dataset.", least=1)
    max_chunks: int | None = option(None, "Chunks per dataset.", least=1)
    part: str | None = option(
        None,
        "Do one share of the chunks, such as 3/10, and store it; `lnv merge` makes one result of all shares.",
        unit="I/N",
        check=not_a_part,
    )
    card: Card | None = None
    cuts: Cuts = SELECTION
    box: Cuts = SELECTION
    cache: Path | None = None
    plugin: Plugin = NONE
    unblinding: dict[str, Any] | None = None

    @property
    def is_limited(self) -> bool:
        """Whether the run leaves events out on request."""
        return self.max_files is not None or self.max_chunks is not None


def fileset_digest(fileset: Fileset) -> str:
    """Return a digest of the content of all files and of all metadata; where the files lie does not count."""
    content = {
        name: [identity(d.metadata), sorted((f.uuid, f.sha256, f.num_entries) for f in d.files)]
        for name, d in fileset.items()
    }
    return digest_of_json(content)


def ready(fileset: Fileset, options: RunOptions, frozen: Path) -> tuple[Fileset, SearchProcessor]:
    """Return a fileset that goes through the user's own selections, too, and the processor of the run.

    Args:
        fileset: Datasets to process.
        options: Options.
        frozen: File of `lnv freeze`; where there is none, nothing is frozen yet.

    Raises:
        BlindingError: Other cuts are frozen than those for recorded events, or another calibration of blind ones.
        CalibrationError: A calibration is not usable, or recorded events have none.
    """
    unblinding.require_frozen(options.cuts, frozen, fileset)
    unblinding.require_calibration(fileset, frozen)
    processor = SearchProcessor(
        options.cuts, box=options.box, selections=options.plugin.selections, calibrations=calibrations(fileset)
    )
    return options.plugin.attach(fileset), processor


def process(fileset: Fileset, processor: SearchProcessor, options: RunOptions, make_executor: MakeExecutor) -> Books:
    """Process a fileset and return the merged accumulator with its book-keeping.

    Args:
        fileset: Datasets to process.
        processor: The processor of the run.
        options: Options.
        make_executor: Gives an executor per stage.

    Raises:
        FilesetError: A dataset names a selection that does not exist, shows recorded events without a reason, or has
            numbers of another unit.
        BlindingError: The cuts would tell what the box of a blind dataset hides.
        NtupleError: Files are not those of the fileset, and bad files are not skipped.
        ClusterError: The cluster was lost; what was finished is stored.
        ResultsError: The directory of the results cannot be written, or a partial result cannot be stored.
    """
    started = time.monotonic()
    _require_writable(options.output)
    _require_runnable(fileset, processor)
    chosen = select(fileset, None, options.max_files)
    wanted = _share(chosen, options)
    if wanted is not None:
        chosen = without(chosen, {f.path for d in chosen.values() for f in d.files if f.uuid not in wanted})
    if not options.trust_units:
        require_plausible(chosen)
    skipped = _verify(chosen, options, make_executor)
    _refuse(skipped, options)
    resume = options.resume
    for _ in range(ROUNDS_MAX):
        used = without(chosen, {record["file"] for record in skipped})
        parts = _parts(used, options)
        if not resume:
            parts.clear()
        books = _round(used, wanted, processor, parts, options, make_executor)
        bad = {r["file"]: r for r in books.failed if r["is_bad_file"]} if options.skip_bad_files else {}
        if not bad:
            break
        skipped = [*skipped, *bad.values()]
        resume = True
    # Not before: a part of a whole dataset would be lost with one bad file in it.
    parts.compact(books.accumulator)
    books.skipped = skipped
    books.requested = fileset
    books.limited = LIMITED if options.is_limited else ""
    books.wall_time = time.monotonic() - started
    return books


def _require_writable(directory: Path) -> None:
    """Raise ResultsError now rather than after hours of work if nothing can be written into a directory."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        msg = f"{directory}: results cannot be written here ({error.strerror}); mend that or give another --output"
        raise ResultsError(msg) from error


def _require_runnable(fileset: Fileset, processor: SearchProcessor) -> None:
    """Raise now rather than in every chunk: for an unknown selection, or for what would tell what a box hides."""
    for name, dataset in fileset.items():
        registry.reads(dataset.metadata.selections, name, processor.selections)
        if dataset.metadata.is_blind:
            blinding.require_same(processor.cuts, name, processor.box)
        for run in (file.runs[1] for file in dataset.files if file.runs):
            blinding.require_reason(run, name, dataset.metadata)


def _verify(fileset: Fileset, options: RunOptions, make_executor: MakeExecutor) -> list[dict[str, Any]]:
    """Return a record of every file that is not the one of the fileset."""
    if options.verification == "none":
        return []
    verified = verify.Verified(options.cache or verify.memory(verify.VERIFIED, options.output))
    checks = verify.checks(fileset, options.verification, verified)
    if not checks:
        return []
    executor = make_executor("verifying", sum(len(c) for c in checks), lambda group: verified.add(group["out"]))
    result, _ = executor(checks, verify.check_file, None)
    failed: list[dict[str, Any]] = result.get(FAILED, [])
    if others := [record for record in failed if not record["is_bad_file"]]:
        msg = f"{len(others)} of {len(checks)} files could not be compared with the fileset: {cause(others[0])}"
        raise IncompleteError(msg)
    return failed


def _refuse(bad: list[dict[str, Any]], options: RunOptions) -> None:
    if bad and not options.skip_bad_files:
        lines = [f"dataset {r['dataset']!r}, file {r['file']}: {cause(r)}" for r in bad]
        msg = "; ".join(lines) + "; mend the files or pass --skip-bad-files"
        raise NtupleError(msg)


def _share(fileset: Fileset, options: RunOptions) -> dict[str, list[Span]] | None:
    """Return the entries per file that this run is to do; None: all."""
    if options.part is None:
        return None
    number, of = map(int, options.part.split("/"))
    return share(fileset, options.chunksize, number, of)


def merge(fileset: Fileset, directories: Sequence[Path], options: RunOptions) -> Books:
    """Return the books of the shares of a run, which lie in directories of their own.

    Args:
        fileset: What the shares together are of.
        directories: The shares' output directories, in any order.
        options: Options; the output gets the sum, so that what is missing can be done there with ``resume``.

    Raises:
        ResultsError: The output cannot be written, or others can have written parts.
    """
    _require_writable(options.output)
    if absent := [str(d) for d in directories if not d.is_dir()]:
        msg = f"{', '.join(absent)}: no share of a run lies there; wanted the --output of `lnv run --part I/N`"
        raise ResultsError(msg)
    parts = _parts(fileset, options, directories)
    stored, _ = parts.load()
    books = _books(fileset, stored, {})
    files = (directory / derived.BOOKKEEPING for directory in dict.fromkeys(d.resolve() for d in directories))
    books.add_costs([_OF_SHARE.read(path).totals for path in files if path.exists()])
    books.requested = fileset
    parts.compact(stored)
    return books


def _round(
    fileset: Fileset,
    wanted: dict[str, list[Span]] | None,
    processor: SearchProcessor,
    parts: Parts,
    options: RunOptions,
    make_executor: MakeExecutor,
) -> Books:
    """Process what the stored parts do not cover."""
    stored, missing = parts.load()
    if wanted is not None:
        missing = {u: common(spans, wanted.get(u, [])) for u, spans in missing.items()}
    items = work_items(fileset, options.chunksize, missing, options.max_chunks, processor.selections)
    n_events = sum(len(i) for i in items)
    executor = make_executor("processing", n_events, _sink(parts, options.max_failures))
    result = process_chunks(items, processor, executor)
    n_resumed = sum(d[ledger.LEDGER]["n_events"] for d in stored.values())
    books = _books(fileset, accumulate([result["out"]], stored), result, wanted)
    books.n_chunks = len(items)
    books.n_resumed = n_resumed
    return books


def _books(
    fileset: Fileset, total: dict[str, Any], result: dict[str, Any], wanted: dict[str, list[Span]] | None = None
) -> Books:
    books = Books(fileset, total, result.get(FAILED, []), result.get("metrics", {}))
    books.faults = ledger.faults(fileset, {name: d[ledger.LEDGER] for name, d in total.items()}, wanted)
    return books


def _parts(fileset: Fileset, options: RunOptions, others: Sequence[Path] = ()) -> Parts:
    versions = provenance.package_versions() | {"python": platform.python_version()}
    configuration = [provenance.source_digest(), versions, options.cuts.digest(), options.box.digest()]
    configuration += [options.plugin.digest, options.card.digest if options.card else ""]
    return Parts(options.output, fileset, configuration, others)


def _sink(parts: Parts, max_failures: int) -> Callable[[dict[str, Any]], None]:
    """Return what stores a group of finished chunks and gives the run up when too much of them is bad."""
    failed: list[dict[str, Any]] = []
    covariances = Covariances()

    def store(group: dict[str, Any]) -> None:
        parts.save(group)
        covariances.add(group["out"])
        failed.extend(group.get(FAILED, []))
        if len(failed) > max_failures:
            msg = f"given up after {len(failed)} failed chunks; {describe_failures(failed)[0]}; {RESUME}"
            raise IncompleteError(msg)

    return store


def to_results(books: Books, options: RunOptions) -> results.Results:
    """Return the result of a run as `analysis.results` stores it."""
    datasets = {
        name: results.DatasetResult(
            metadata=dataset.metadata,
            n_produced=dataset.n_produced,
            n_events=books.accumulator.get(name, {}).get(ledger.LEDGER, {}).get("n_events", 0),
            selections=selections_of(books.accumulator.get(name, {})),
        )
        for name, dataset in books.fileset.items()
    }
    origin = provenance.collect(options.cuts, fileset_digest=fileset_digest(books.fileset))
    origin["box_digest"] = options.box.digest()
    origin["calibration"] = {n: c.summary() for n, c in calibrations(books.fileset).items()}
    if options.card is not None:
        origin["card"] = options.card.summary()
    if options.plugin.functions:
        origin["plugin"] = {"file": options.plugin.path.name, "digest": options.plugin.digest}
    if options.unblinding is not None:
        origin["unblinding"] = options.unblinding
    if opened := {n: d.metadata.open_reason for n, d in books.fileset.items() if d.metadata.open_reason}:
        origin["opened"] = opened
    return results.Results(datasets, origin, books.to_dict())


def repeated_candidates(result: results.Results) -> list[str]:
    """Return what says that a data file was added twice under another name: (run, event) pairs that repeat."""
    return [
        f"dataset {name!r}, selection {s!r}: run {run}, event {event} is there {n} times"
        for name, dataset in result.of_kind(DATA, CONTINUUM).items()
        for s, selection in dataset.selections.items()
        for run, event, n in _repeated(selection.candidates)
    ]


def _repeated(candidates: dict[str, AnyArray]) -> list[tuple[int, int, int]]:
    if "run" not in candidates or "event" not in candidates:
        return []
    pairs = np.stack([candidates["run"].astype(np.int64), candidates["event"].astype(np.int64)], axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return [(int(r), int(e), int(n)) for (r, e), n in zip(unique[counts > 1], counts[counts > 1], strict=True)]


def finish_part(books: Books, options: RunOptions) -> None:
    """Write and show what a share of a run did.

    Raises:
        IncompleteError: Some of it is missing.
    """
    wrote(write_json(options.output / derived.BOOKKEEPING, books.to_dict() | {"part": options.part}))
    for line in describe_failures(books.failed):
        console().print(f"failed: {line}", markup=False, soft_wrap=True)
    n_events = sum(d[ledger.LEDGER]["n_events"] for d in books.accumulator.values())
    if books.faults:
        msg = (
            f"share {options.part}: {len(books.faults)} hole(s) or overlap(s), the first is {books.faults[0]}; {RESUME}"
        )
        raise IncompleteError(msg)
    console().print(f"share {options.part} is whole: {n_events} events, stored in {options.output}", soft_wrap=True)


def finish(books: Books, options: RunOptions) -> None:
    """Write and show the result; an incomplete one is written too, and ends in an error.

    Raises:
        IncompleteError: Events are missing or there twice.
        ResultsError: The result cannot be written.
    """
    result = to_results(books, options)
    if problems := repeated_candidates(result):
        books.problems = problems
        result = to_results(books, options)
    if not result.bookkeeping["totals"]["events_processed"] and books.failed:
        msg = f"no chunk was processed, nothing is written: {describe_failures(books.failed)[0]}"
        raise IncompleteError(msg)
    try:
        results.write(options.output / derived.ACCUMULATOR, result)
        write_json(options.output / derived.BOOKKEEPING, result.bookkeeping)
    except OSError as error:
        msg = f"{options.output}: cannot write the result ({error.strerror}); mend that, then `lnv run --resume`"
        raise ResultsError(msg) from error
    print_books(result)
    wrote(options.output / derived.ACCUMULATOR, options.output / derived.BOOKKEEPING)
    if options.is_limited and books.is_sound:
        console().print(f"marked incomplete: {LIMITED}")
    elif not result.is_complete:
        n_problems = len(result.bookkeeping["problems"])
        msg = f"the result in {options.output} is incomplete: {n_problems} problem(s), listed above; {RESUME}"
        raise IncompleteError(msg)
