"""The report in a real browser: it sorts, filters, shows samples, and runs nothing that users wrote."""

import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from report_pages import made_report

from xaieval.plots import DIVERGING

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the browser is driven by playwright: pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium here: `make browser` installs it on Debian"
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of two runs on pictures and one on texts, in all of which names and errors hold scripts."""
    return made_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, report):
    """The report, opened; an error in the console or a request to a network fails the test."""
    opened, said = browser.new_page(viewport={"width": 1200, "height": 900}), []
    opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]", timeout=60_000)
    yield opened
    assert said == []
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("img[src=x], b:has(> b), [onerror]").count() == 0
    opened.close()


class Tags(HTMLParser):
    """All tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_file_loads_nothing_and_holds_two_scripts_of_its_own(report):
    tags = Tags(report.read_text()).found
    assert [attributes.get("type") for tag, attributes in tags if tag == "script"] == ["application/json", "module"]
    addresses = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(addresses) > 5
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


def numbers(page, column):
    cells = page.locator(f"table.leaderboard >> nth=0 >> css=tbody tr td:nth-child({column})")
    return [float(cell.get_attribute("data-order")) for cell in cells.all() if cell.get_attribute("data-order")]


@needs_browser
def test_a_leaderboard_sorts_by_mouse_and_by_keyboard(page):
    assert len(numbers(page, 2)) == 4
    header = page.locator("table.leaderboard >> nth=0 >> css=thead th").nth(1)
    header.click()
    sync_api.expect(header).to_have_attribute("aria-sort", "ascending")  # DataTables sorts a moment later
    rising = numbers(page, 2)
    assert rising == sorted(rising)
    header.get_by_role("button").press("Enter")
    sync_api.expect(header).to_have_attribute("aria-sort", "descending")
    assert numbers(page, 2) == rising[::-1] != rising
    last = page.locator("table.leaderboard >> nth=0 >> css=tbody tr").last
    assert last.locator("th").inner_text() == "failing"  # it has no number, so it is last in both directions


@needs_browser
def test_filters_hide_sentinels_families_models_and_methods(page):
    rows = page.locator("table.leaderboard >> nth=0 >> css=tbody tr")
    heads = page.locator("table.leaderboard >> nth=0 >> css=thead th:visible")
    assert (rows.count(), heads.count()) == (5, 1 + 3 + 4)
    page.locator("input[data-filter=sentinel]").uncheck()
    assert [row.get_attribute("data-sentinel") for row in rows.all()] == ["0"] * 4
    page.locator("input[data-family=complexity]").uncheck()
    assert heads.count() == 1 + 2 + 4
    page.locator("input[data-filter=method]").fill("Grad")
    assert rows.locator("th").all_inner_texts() == ["gradient"]
    page.locator("select[data-filter=model]").select_option("planted_text")
    assert page.locator(".board:visible").count() == 1
    assert page.locator(".board:visible").get_attribute("data-dataset") == "texts"


def drawn(page, words):
    """Waits until all maps are drawn so."""
    page.wait_for_function(
        "words => [...document.querySelectorAll('#cards canvas')].every(one => one.dataset.drawn?.endsWith(words))",
        arg=words,
    )


PIXELS = """name => {
  const one = document.querySelector(`#cards canvas[data-method="${name}"]`);
  return [...one.getContext("2d").getImageData(0, 0, one.width, one.height).data];
}"""


@needs_browser
def test_samples_are_chosen_by_keyboard_and_shown_side_by_side(page):
    drawn(page, "map 0")
    name = page.locator("#name").inner_text()
    assert page.locator("#cards .card h4").count() == 1 + 5
    gray = {tuple(page.evaluate(PIXELS, "gradient")[at : at + 3]) for at in range(0, 16 * 16 * 4, 4)}
    scale = {tuple(color[:3]) for color in mpl.colormaps[DIVERGING](range(256), bytes=True).tolist()}
    assert len(gray) > 9
    assert gray <= scale | {(0, 0, 0), (255, 255, 255)}  # a gray map has got its colors, and the object its line
    page.locator("#strip [aria-selected=true]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#name").inner_text() != name
    page.keyboard.press("End")
    assert page.locator("#strip [role=option]").last.get_attribute("aria-selected") == "true"
    page.get_by_label("Previous sample").click()
    assert page.locator("#strip [role=option]").last.get_attribute("aria-selected") == "false"
    assert "no map is kept" in page.locator(".card", has_text="failing").inner_text()
    assert "<script>" in page.locator(".card", has_text="failing").inner_text()


@needs_browser
def test_samples_are_ordered_from_best_to_worst(page):
    def order(metric):
        page.get_by_label("Order by").select_option(metric)
        return [float(text) for text in page.locator("#strip i").all_inner_texts()]

    assert order("insertion") == sorted(order("insertion"), reverse=True)
    assert order("deletion") == sorted(order("deletion"))
    page.get_by_label("worst first").check()
    assert order("deletion") == sorted(order("deletion"), reverse=True)
    page.get_by_label("Order by").select_option("sparseness")
    page.locator("#of").select_option("gradient")
    chosen = page.locator(".card", has=page.get_by_text("gradient", exact=True)).locator(".chosen + dd").inner_text()
    assert float(page.locator("#strip [aria-selected=true] i").inner_text()) == pytest.approx(float(chosen), abs=0.006)


@needs_browser
def test_the_slider_takes_away_all_of_a_photo_and_moves_the_cursor(page):
    page.get_by_label("Along").select_option(label="deletion")
    slider = page.locator("#gone")
    slider.focus()
    page.keyboard.press("End")
    drawn(page, "masked 100")
    pixels = page.evaluate(PIXELS, "gradient")
    assert {tuple(pixels[at : at + 4]) for at in range(0, len(pixels), 4)} == {(0, 0, 0, 255)}
    right = float(page.locator("#cursor").get_attribute("x1"))
    page.keyboard.press("Home")
    drawn(page, "masked 0")
    photo = page.evaluate(PIXELS, "")
    assert page.evaluate(PIXELS, "gradient") == photo
    assert float(page.locator("#cursor").get_attribute("x1")) < right
    page.get_by_label("Along").select_option(label="insertion")
    drawn(page, "masked 0")
    assert sum(page.evaluate(PIXELS, "gradient")[::4]) == 0  # nothing is put back yet
    assert page.locator("#curves path").count() == 4


SHOWN = """metric => [...document.querySelectorAll("#cards dl div")]
  .filter(one => one.firstChild.textContent === metric)
  .map(one => Number(one.lastChild.textContent)).filter(Number.isFinite)"""


@needs_browser
def test_the_area_below_a_curve_is_the_score_beside_the_map(page):
    for metric in ("deletion", "insertion"):
        page.get_by_label("Along").select_option(label=metric)
        areas = []
        for path in page.locator("#curves path").all():
            x, y = np.array(re.findall(r"([\d.]+) ([\d.]+)", path.get_attribute("d")), float).T
            areas.append(np.trapezoid((194 - y) / 184, (x - 44) / 572))
        assert areas == pytest.approx(page.evaluate(SHOWN, metric), abs=0.006)


@needs_browser
def test_more_patches_go_the_further_the_slider_is(page):
    page.get_by_label("Along").select_option(label="deletion")
    shares = []
    for percent in (25, 50, 75):
        page.locator("#gone").fill(str(percent))
        drawn(page, f"masked {percent}")
        pixels = page.evaluate(PIXELS, "gradient")
        shares.append({at for at in range(0, len(pixels), 4) if pixels[at : at + 3] == [0, 0, 0]})
    assert all(before < after for before, after in pairwise(shares))
    assert [len(share) / 256 for share in shares] == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.05
    )  # patches differ in size


@needs_browser
def test_texts_are_colored_and_their_tokens_go(page):
    page.locator("#shelf").select_option(label="texts, planted_text")
    spans = page.locator("#cards .card >> nth=0 >> css=.text span")
    assert "<script>" in "".join(spans.all_inner_texts()).replace(" ", "")
    assert len({span.evaluate("one => one.style.background") for span in spans.all()}) > 1
    page.get_by_label("Along").select_option(label="deletion")
    page.locator("#gone").fill("100")
    scored = spans.evaluate_all("all => all.filter(one => one.title !== 'no score').length")
    assert page.locator("#cards .card >> nth=0 >> css=.gone").count() == scored > 5


@needs_browser
def test_charts_are_unpacked(page):
    widths = page.locator("#charts img").evaluate_all(
        "all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))"
    )
    assert len(widths) >= 4
    assert min(widths) > 100


@needs_browser
def test_failures_and_comparisons_are_listed(page):
    assert "ArithmeticError: <script>window.hacked=1</script>" in page.locator("#failures td.error").first.inner_text()
    lines = page.locator("#comparison tbody tr")
    text = lines.filter(has_text="gradient").filter(has_text="sparseness").first.inner_text()
    assert ".000" in text
    assert page.locator("#provenance summary").first.inner_text().startswith("xaieval model=callable")


@needs_browser
def test_a_phone_needs_no_scrolling_to_the_side_and_paper_no_controls(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert page.locator(".controls:visible").count() == 0
    assert page.locator("#cards .card:visible").count() == 6
