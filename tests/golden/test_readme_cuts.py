"""The README shows the cuts that are applied."""

from pathlib import Path

import pytest

from jpsi_lnv.analysis.report import selection

pytestmark = pytest.mark.fast

README = Path(__file__).parents[2] / "README.md"


def test_readme_shows_the_cuts_of_the_code(renew_golden):
    page = README.read_text()
    wanted = selection.insert(page)
    if renew_golden:
        README.write_text(wanted)
        return
    assert page == wanted, "renew the table with `make golden`"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no <!-- cuts -->"):
        selection.insert("nothing")
