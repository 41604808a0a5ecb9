"""What a report contains, section by section: one list, which the terminal, the files and the HTML page share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jpsi_lnv.analysis.report import (
    coverage_figure,
    cut_table,
    limit_figures,
    limit_tables,
    paper,
    reference_tables,
    run_tables,
    selection_tables,
    spectra,
    status,
    study_figures,
    study_tables,
    validation_page,
)
from jpsi_lnv.analysis.report.pictures import Picture
from jpsi_lnv.analysis.report.source import VALIDATION, Source
from jpsi_lnv.analysis.report.tables import Table

# First letters of the names of figures that belong to the selection; the others are distributions.
OF_THE_SELECTION: Final = ("cutflow", "n_minus_1")


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        name: Anchor.
        title: Heading.
        introduction: A sentence or two.
        pictures: Its figures.
        tables: Its tables.
        folded: Tables that the page shows on request.
    """

    name: str
    title: str
    introduction: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """Return every table, folded or not."""
        return self.tables + self.folded


def sections(source: Source) -> tuple[Section, ...]:
    """Return the sections that the source can fill."""
    every = (
        _result(source),
        _selection(source),
        _spectra(source),
        _candidates(source),
        _studies(source),
        _simulation(source),
        _closure(source),
        _origin(source),
    )
    return tuple(s for s in every if s.pictures or s.all_tables)


def _present(*tables: Table | None) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None)


def _result(source: Source) -> Section:
    return Section(
        "result",
        "Result",
        limit_tables.method_sentence(source),
        tuple(limit_figures.pictures(source)),
        _present(limit_tables.scan(source), limit_tables.beside_published(source), limit_tables.methods(source)),
    )


def _event_pictures(source: Source, *, of_the_selection: bool) -> tuple[Picture, ...]:
    found = spectra.pictures(source, status.cuts_of(source.results))
    return tuple(p for p in found if p.name.startswith(OF_THE_SELECTION) == of_the_selection)


def _selection(source: Source) -> Section:
    flows = [
        selection_tables.cutflow(name, dataset, selection)
        for name, dataset in source.results.datasets.items()
        for selection in dataset.selections
    ]
    return Section(
        "selection",
        "Selection",
        "Every requirement, what it leaves of every dataset, and the distribution of its variable after all others.",
        _event_pictures(source, of_the_selection=True),
        (selection_tables.overview(source), cut_table.cuts(status.cuts_of(source.results))),
        tuple(flows),
    )


def _spectra(source: Source) -> Section:
    return Section(
        "distributions",
        "Distributions",
        "Masses, the quality of the kinematic fit and the identification of the tracks.",
        _event_pictures(source, of_the_selection=False),
    )


def _candidates(source: Source) -> Section:
    table = selection_tables.candidates(source, "data", "continuum")
    introduction = "Events of the data that pass every requirement, as far as they are not hidden."
    return Section("candidates", "Candidates", introduction, tables=_present(table if table.rows else None))


def _studies(source: Source) -> Section:
    return Section(
        "studies",
        "Studies",
        "What enters the limit besides counts, and how the limit moves with the choices that were made.",
        (*coverage_figure.pictures(source), *study_figures.pictures(source)),
        study_tables.all_tables(source),
    )


def _simulation(source: Source) -> Section:
    found = source.extras.get(VALIDATION)
    introduction = "The fast simulation beside its references, from lnv simulate --validate; made from no result."
    if found is None:
        return Section("simulation", "Simulation", introduction)
    comparisons, identification = validation_page.tables(found)
    return Section(
        "simulation", "Simulation", introduction, validation_page.pictures(found), (comparisons,), (identification,)
    )


def _closure(source: Source) -> Section:
    if limit_tables.headline(source) is None:
        return Section("closure", "Closure", "")
    return Section(
        "closure",
        "Closure",
        f"The publication ({paper.SOURCE}) recomputed from its own inputs; nothing here depends on this result.",
        folded=(reference_tables.closure_relations(), reference_tables.closure_rows()),
    )


def _origin(source: Source) -> Section:
    return Section(
        "origin",
        "Origin",
        "Which events the result is made of, and with which code.",
        tables=_present(
            run_tables.books(source),
            run_tables.failures(source),
            run_tables.changed_cuts(source),
            run_tables.provenance(source),
        ),
    )
