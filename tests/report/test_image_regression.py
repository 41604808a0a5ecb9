"""Figures look as they did; `make golden` renews the images when a change is meant to move them."""

from pathlib import Path

import pytest
from matplotlib.testing.compare import compare_images

from jpsi_lnv.analysis.report import drawing, page, source

IMAGES = Path(__file__).with_name("images")
NAMES = ("m_kkee", "limits", "n_minus_1_chi2_4c", "cutflow", "methods")
# Root mean square of the differences of pixels, 0 to 255: another rounding of a coordinate, not another figure.
TOLERANCE = 2.0


@pytest.mark.parametrize("name", NAMES)
def test_figure_looks_as_before(whole, name, renew_golden, tmp_path):
    pictures = {p.name: p for section in page.sections(whole) for p in section.pictures}
    figure = pictures[name].figure(source.label(whole.results))
    drawing.save(figure, IMAGES if renew_golden else tmp_path, name, ["png"])
    if not renew_golden:
        difference = compare_images(str(IMAGES / f"{name}.png"), str(tmp_path / f"{name}.png"), TOLERANCE)
        assert difference is None, difference


def test_another_figure_is_noticed(whole, tmp_path):
    pictures = {p.name: p for section in page.sections(whole) for p in section.pictures}
    figure = pictures["m_kkee"].figure("something else")
    drawing.save(figure, tmp_path, "m_kkee", ["png"])
    assert compare_images(str(IMAGES / "m_kkee.png"), str(tmp_path / "m_kkee.png"), TOLERANCE) is not None
