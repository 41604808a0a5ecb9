"""Figures look as they did; `make golden` renews the images when a change is meant to move them."""

from pathlib import Path

import pytest
from matplotlib.testing.compare import compare_images

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.events.schema import HELIX
from jpsi_lnv.analysis.report import candidates, drawing, page, source
from jpsi_lnv.analysis.report.tables import Table

IMAGES = Path(__file__).with_name("images")
NAMES = (
    "m_kkee",
    "limits",
    "limits_yield",
    "efficiency",
    "n_minus_1_chi2_4c",
    "conversion_delta_xy",
    "cutflow",
    "methods",
)
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


def test_an_event_is_displayed_as_before(renew_golden, tmp_path):
    row = {"dataset": "data", "run": 1, "event": 2, "m_kkee": 3.097, "chi2_kkee": 4.2, "field": 1.0}
    for k, track in enumerate(("k1", "k2", "e1", "e2")):
        helix = (0.01, 1.5 * k, (-1.5 if k > 1 else 1.5) + 0.2 * k, 0.1, 0.8 - 0.5 * k)
        row |= {f"{name}_{track}": value for name, value in zip(HELIX, helix, strict=True)} | {f"p_{track}": 0.7}
    (picture,) = candidates.displays(Table("candidates", "", (), (row,)), KKEE)
    drawing.save(picture.figure("Fast simulation"), IMAGES if renew_golden else tmp_path, "event", ["png"])
    if not renew_golden:
        difference = compare_images(str(IMAGES / "event.png"), str(tmp_path / "event.png"), TOLERANCE)
        assert difference is None, difference


def test_another_figure_is_noticed(whole, tmp_path):
    pictures = {p.name: p for section in page.sections(whole) for p in section.pictures}
    figure = pictures["m_kkee"].figure("something else")
    drawing.save(figure, tmp_path, "m_kkee", ["png"])
    assert compare_images(str(IMAGES / "m_kkee.png"), str(tmp_path / "m_kkee.png"), TOLERANCE) is not None


CHROMIUM = Path("/usr/bin/chromium")
# Of a page more may differ: another version of the browser or of a font sets letters elsewhere.
TOLERANCE_OF_A_PAGE = 12.0


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip("no chromium: apt-get install chromium, or make ci-packages")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, or make install-all")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1300])
def test_the_page_looks_as_before(browser, reported, width, scheme, renew_golden, tmp_path):
    name = f"page_{width}_{scheme}.png"
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.goto((reported.output / "report.html").as_uri())
    page.screenshot(path=(IMAGES if renew_golden else tmp_path) / name)
    context.close()
    if not renew_golden:
        difference = compare_images(str(IMAGES / name), str(tmp_path / name), TOLERANCE_OF_A_PAGE)
        assert difference is None, difference
