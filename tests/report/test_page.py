"""report.html in a real browser: no errors, every figure loaded, tables sort, nothing wider than a phone."""

import html.parser
from pathlib import Path

import pytest

from jpsi_lnv.analysis.report.page import sections

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE = 400
# A4 without its margins, in CSS's pixels.
PAPER = 680


@pytest.fixture(scope="module")
def page_path(reported):
    return reported.output / "report.html"


class Reader(html.parser.HTMLParser):
    """Collects what a page refers to, its headings, and its pictures without words."""

    def __init__(self, text):
        super().__init__()
        self.references, self.headings, self.silent, self.identifiers, self.anchors = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.references += [given[key] for key in ("src", "href") if key in given]
        self.identifiers += [given["id"]] if "id" in given else []
        self.anchors += [given["href"][1:]] if given.get("href", "").startswith("#") else []
        if tag in {"h1", "h2", "h3"}:
            self.headings.append(int(tag[1]))
        if tag == "img" and not given.get("alt"):
            self.silent.append(given)


def test_it_refers_to_nothing_outside_itself(page_path):
    read = Reader(page_path.read_text())
    assert all(r.startswith(("#", "data:")) for r in read.references)
    assert set(read.anchors) <= set(read.identifiers)
    assert len(read.identifiers) == len(set(read.identifiers))


def test_headings_are_in_order_and_pictures_have_words(page_path):
    read = Reader(page_path.read_text())
    assert read.headings[0] == 1
    assert set(read.headings[1:]) == {2}
    assert not read.silent


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip("no chromium: apt-get install chromium, or make ci-packages")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, or make install-all")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield running
        running.close()


@pytest.fixture
def opened(browser, page_path, request):
    """Return a function that opens the page at a width and collects what the console says."""
    contexts = []

    def show(width=1200, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(page_path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()


def test_no_console_message_and_every_figure_loaded(opened, whole):
    page = opened()
    widths = page.eval_on_selector_all("img", "all => all.map(i => i.complete ? i.naturalWidth : 0)")
    assert len(widths) == sum(len(s.pictures) for s in sections(whole))
    assert min(widths) > 500
    assert page.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 1300])
def test_axe_finds_nothing_that_keeps_readers_out(opened, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make install-all")
    page = opened(width, scheme)
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 20
    assert [(v["impact"], v["id"], [n["target"] for n in v["nodes"]]) for v in found["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 1300])
def test_it_never_scrolls_sideways(opened, width, scheme):
    page = opened(width, scheme)
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_sorts_numbers_as_numbers_and_a_second_turns_round(opened):
    page = opened()
    column = "#table-datasets tbody td:nth-child(3)"
    head = page.locator("#table-datasets th:nth-child(3) button")

    def values():
        return [int(v) for v in page.eval_on_selector_all(column, "all => all.map(c => c.dataset.value)")]

    before = values()
    head.click()
    assert values() == sorted(before) != before
    head.click()
    assert values() == sorted(before, reverse=True)
    assert page.get_attribute("#table-datasets th:nth-child(3)", "aria-sort") == "descending"


def test_tables_sort_from_the_keyboard(opened):
    page = opened()
    page.locator("#table-datasets th:first-child button").focus()
    page.keyboard.press("Enter")
    assert page.get_attribute("#table-datasets th:first-child", "aria-sort") == "ascending"


def test_links_lead_to_their_sections(opened):
    page = opened()
    for link in page.locator("nav a").all():
        link.click()
        assert page.locator(link.get_attribute("href")).is_visible()


CONTRAST = """all => all.filter(e => e.textContent.trim() && !e.closest('.skip')).map(e => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parse(c).slice(0, 3).map(v => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const clear = x => (parse(getComputedStyle(x).backgroundColor)[3] ?? 1) === 0;
  let under = e; while (under && clear(under)) under = under.parentElement;
  const [a, b] = [light(getComputedStyle(e).color), light(getComputedStyle(under || document.body).backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_to_read(opened, scheme):
    page = opened(scheme=scheme)
    ratios = page.eval_on_selector_all("p, a, dt, dd, h1, h2, td, th button, figcaption, small, summary", CONTRAST)
    # WCAG 2.2, level AA for text.
    assert min(ratios) >= 4.5


def test_a_table_wider_than_the_phone_says_so_until_its_end(opened):
    page = opened(PHONE)
    place = page.locator(".table:has(#table-cutflow)")
    assert place.locator(".hint").is_visible()
    place.locator(".scroll").evaluate("s => { s.scrollLeft = s.scrollWidth; }")
    place.locator(".hint").wait_for(state="hidden")
    assert not opened(1200).locator(".table:has(#table-cuts) .hint").is_visible()


def test_a_wide_table_shows_one_group_of_columns(opened):
    page = opened()
    heads = page.locator("#table-cutflow thead th:visible")
    before = heads.all_inner_texts()
    page.get_by_label("of the produced events").first.check()
    after = heads.all_inner_texts()
    assert len(before) == len(after) > 2
    assert "[%]" in after[1]
    assert "[%]" not in before[1]


def test_the_contents_follow_the_reader(opened):
    page = opened()
    page.locator("#origin").evaluate("s => s.scrollIntoView()")
    page.locator("nav a[href='#origin'][aria-current]").wait_for()
    assert page.locator("nav a[aria-current]").count() == 1


def test_a_number_says_where_it_comes_from(opened):
    page = opened()
    number = page.locator("#table-datasets td.number").first
    assert number.get_attribute("title") is None
    number.hover()
    assert number.get_attribute("title") == number.get_attribute("data-place")


def test_figures_switch_with_the_dark(opened):
    shown = "getComputedStyle(document.querySelector('img')).filter"
    assert opened(scheme="light").evaluate(shown) == "none"
    assert "invert" in opened(scheme="dark").evaluate(shown)


def test_nothing_is_wider_than_paper_and_wide_tables_are_turned_round(opened):
    page = opened(PAPER)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
    place = "all => all.map(c => [c.getBoundingClientRect().left, c.getBoundingClientRect().top])"
    datasets = page.eval_on_selector_all("#table-cutflow th[data-group='1']", place)
    steps = page.eval_on_selector_all("#table-cutflow td:first-child", place)
    assert len({left for left, _ in datasets}) == 1 < len(datasets)
    assert len({top for _, top in steps}) == 1 < len(steps)


def test_everything_is_unfolded_on_paper_and_folded_again(opened):
    page = opened()
    n_open = "document.querySelectorAll('details[open]').length"
    before = page.evaluate(n_open)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(n_open) == page.locator("details").count() > before
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(n_open) == before


def test_files_behind_figures_and_tables_come_from_the_page_itself(opened, reported):
    page = opened()
    with page.expect_download() as waiting:
        page.locator("#figure-limits a.download").click()
    assert waiting.value.suggested_filename == "limits.csv"
    assert Path(waiting.value.path()).read_bytes() == (reported.output / "figures" / "limits.csv").read_bytes()


NAMED = {"button", "link", "image", "region", "radio", "table", "navigation", "heading", "group"}


@pytest.mark.parametrize("width", [PHONE, 1300])
def test_everything_has_a_name_for_those_who_cannot_see_it(opened, width):
    page = opened(width)
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named = [n for n in nodes if not n.get("ignored") and n["role"]["value"] in NAMED - {"group"}]
    assert len(named) > 50
    assert [n for n in named if not n.get("name", {}).get("value")] == []
