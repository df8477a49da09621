"""Texts whose tokens are colored: on a page and in a figure."""

import re
import warnings
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
import torch
from jinja2 import Environment
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from text_models import LENGTH, WIDTH, WORDS, bag, text
from wordpiece import wordpiece

from xaieval import plots
from xaieval.config import ConfigError
from xaieval.datasets.encode import Encoder
from xaieval.datasets.texts import TextSample
from xaieval.glyphs import MISSING
from xaieval.text_html import Html, to_html
from xaieval.text_plots import DIVERGING, SEQUENTIAL, TextRow, draw_texts, show_texts, text_rows

NAMES = ("[CLS]", "un", "believ", " film", ",", " not", "[SEP]")
SCORES = np.array([9.0, 1.0, -2.0, 0.5, 0.0, 2.0, 9.0])
PRESENT = np.array([False, *[True] * 5, False])


def row(maps=None, names=NAMES, present=PRESENT, **options):
    return TextRow("text 0\npositive", names, {"gradient": SCORES} if maps is None else maps, present, **options)


def spans(page):
    """The tokens of a page with their background and their score."""
    found = re.findall(r'<span style="([^"]*)" title="([^"]*)">([^<]*)</span>', page)
    colors = [re.search(r"background:(#\w+)", style) for style, _, _ in found]
    return [(token, color and color[1], said) for (_, said, token), color in zip(found, colors, strict=True)]


def color(name, place):
    return to_hex(mpl.colormaps[name](place))


def drawn(figure):
    """Each text of a figure."""
    return [one.get_text() for one in figure.axes[0].texts]


# -- colors --


def test_a_signed_map_is_symmetric_and_special_tokens_have_no_color():
    found = spans(to_html([row()]))
    span = np.percentile(np.abs(SCORES[1:-1]), 99)
    assert found[0] == ("[CLS]", None, "no score")
    assert found[-1] == ("[SEP]", None, "no score")
    for (token, background, said), name, score in zip(found[1:-1], NAMES[1:-1], SCORES[1:-1], strict=True):
        assert token == name.strip()
        assert background == color(DIVERGING, np.clip((score / span + 1) / 2, 0, 1))
        assert said == (f"{score:+.3g}" if score else "0")
    assert mpl.colormaps[DIVERGING](0.5)[:3] == pytest.approx((1, 1, 1), abs=0.05)


def test_an_unsigned_map_begins_white_at_zero():
    found = spans(to_html([row({"rise": np.abs(SCORES)})]))
    span = np.percentile(np.abs(SCORES[1:-1]), 99)
    assert found[4][1] == "#ffffff"
    assert found[1][1:] == (color(SEQUENTIAL, 1 / span), "1")  # without a plus
    assert spans(to_html([row({"rise": np.abs(SCORES)}, signed=frozenset({"rise"}))]))[1][1] != found[1][1]


@pytest.mark.parametrize("values", [np.zeros(7), np.full(7, 3.0), np.full(7, np.nan)], ids=["zero", "constant", "nan"])
def test_maps_with_hardly_any_values_are_shown(values):
    found = [background for _, background, _ in spans(to_html([row({"a": values})]))[1:-1]]
    assert len(set(found)) == 1
    assert drawn(draw_texts([row({"a": values})]))


def test_letters_are_read_on_every_color():
    """Contrast of at least 4.5 to 1, of letters that are black or white (WCAG 2.1, 1.4.3)."""

    def light(code):
        rgb = np.array([int(code[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    values = np.linspace(-1, 1, 41)
    for scores in (values, np.abs(values)):
        page = to_html([TextRow("a", tuple("x" * 41), {"a": scores})])
        found = re.findall(r"color:(#\w+);background:(#\w+)", page)
        assert len(found) == 41
        for ink, background in found:
            low, high = sorted((light(ink), light(background)))
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_word_has_one_color_for_the_sum_of_its_tokens():
    found = spans(to_html([row(groups=np.array([-1, 0, 0, 1, 2, 3, -1]))]))
    assert [token for token, _, _ in found] == ["[CLS]", "unbeliev", "film", ",", "not", "[SEP]"]
    assert found[1][2] == "-1"


# -- a page --


def test_the_page_reads_as_the_text_does():
    page = to_html([row(mask=np.array([False, True, True, *[False] * 4]), note="text 0: 3 of 8 tokens were cut")])
    plain = re.sub(r"<[^>]*>", "", page)
    assert "gradient: [CLS] unbeliev film, not [SEP]" in plain
    assert "text 0 \N{MIDDLE DOT} positive" in plain
    assert "text 0: 3 of 8 tokens were cut" in plain
    assert page.count("text-decoration:underline") == 2


def test_what_comes_from_a_text_is_escaped_once():
    evil = "<script>alert('x & y')</script>"
    shown = row({evil: SCORES}, (*NAMES[:-2], f" {evil}", "[SEP]"), note=evil)
    page = (
        Environment(autoescape=True)
        .from_string("<body>{{ texts }}</body>")
        .render(texts=to_html([TextRow(evil, shown.names, shown.maps, shown.present, note=evil)]))
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 4
    assert "&amp;lt;" not in page
    assert to_html([shown])._repr_html_() == to_html([shown])


def test_methods_stand_below_one_another_and_a_missing_map_is_left_out():
    page = to_html([row({"one": SCORES, "two": SCORES}), row({"two": SCORES})])
    assert page.count("<em>one</em>") == 1
    assert page.count("<em>two</em>") == 2
    assert page.count("<div") == 2


# -- a figure --


def test_a_figure_says_the_same():
    figure = draw_texts([row({"one": SCORES, "two": np.abs(SCORES)}, note="cut after 5 tokens")])
    tokens = [name.strip() for name in NAMES]
    assert drawn(figure) == [
        *("text", "0", "\N{MIDDLE DOT}", "positive", "one", *tokens, "two", *tokens),
        *("cut", "after", "5", "tokens"),
    ]
    colors = [to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches]
    assert colors == [
        background for _, background, _ in spans(to_html([row({"one": SCORES, "two": np.abs(SCORES)})])) if background
    ]
    assert len(figure.axes) == 3  # the text, and a bar for each scale


def test_letters_lie_in_their_boxes_and_lines_in_the_figure():
    names = tuple(f" word{place}" for place in range(60)) + ("w" * 200,)
    figure = draw_texts([TextRow("long", names, {"a": np.arange(61.0)})])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes, renderer = figure.axes[0], canvas.get_renderer()
    width, height = canvas.get_width_height()
    letters = [one.get_window_extent(renderer) for one in axes.texts if one.get_text()[0] == "w"]
    boxes = [patch.get_window_extent(renderer) for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(letters) == len(boxes) == 60 + 5
    for inner, outer in zip(letters, boxes, strict=True):
        assert outer.x0 <= inner.x0 <= inner.x1 <= outer.x1 + 1
        assert outer.y0 <= inner.y0 <= inner.y1 <= outer.y1
        assert 0 <= outer.x0 <= outer.x1 <= width
        assert 0 <= outer.y0 <= outer.y1 <= height
    ordered = sorted(boxes, key=lambda box: (-round(box.y0), box.x0))
    assert all(one.x1 <= two.x0 + 0.01 for one, two in pairwise(ordered) if abs(one.y0 - two.y0) < 1)


def test_what_no_font_has_is_a_square_without_a_warning():
    family = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
    names = (
        "caf",
        "e\N{COMBINING ACUTE ACCENT}",
        f" {family}",
        " $x^2$",
        " \\frac",
        "\n",
        " a\tb",
        "\u202e",
        "\x07",
        " \U000f0000",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_texts([TextRow("a", names, {"a": np.arange(10.0)})])
        FigureCanvasAgg(figure).draw()
    found = drawn(figure)[2:]
    assert found[:2] == ["caf", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
    assert found[2] in (MISSING, "\N{WOMAN}\N{WOMAN}\N{GIRL}")
    assert found[3:5] == ["$x^2$", "\\frac"]
    assert found[-1] == MISSING


# -- from explicands --


def test_rows_are_cut_to_each_text_and_know_what_the_explicand_knows():
    mask = torch.zeros(3, LENGTH, dtype=torch.bool)
    mask[:, 1] = True
    work = text(bag(), groups=WORDS, mask=mask)
    names = [[f"t{place}" for place in range(size)] for size in (7, 5, 4)]
    maps = {"norm": torch.ones(3, WIDTH, LENGTH), "sum": torch.ones(3, 1, LENGTH)}
    first, second, third = text_rows(work, maps, names, ["", "cut", ""])
    assert first.title == "image 0\nclass 0"
    assert second.names == ("t0", "t1", "t2", "t3", "t4")
    assert second.note == "cut"
    assert third.present is not None
    assert third.groups is not None
    assert third.mask is not None
    assert third.present.tolist() == [False, True, True, False]
    assert third.groups.tolist()[1:3] == [0, 1]
    assert third.mask.tolist() == [False, True, False, False]
    assert third.maps["norm"].tolist() == [0, 2, 2, 0]  # the norm of four ones
    assert first.signed == frozenset()
    assert len(drawn(show_texts(work, maps, names))) > 20


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"texts \(3, 4, 7\) need the names of their tokens, a list for each; got 1 lists"
    ):
        text_rows(text(bag()), {"a": torch.ones(3, 1, LENGTH)}, [["a"]])
    with pytest.raises(ValueError, match="expected at least one text with one map"):
        to_html([row({})])


def test_matplotlib_is_asked_for(monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    for use in (draw_texts, to_html):
        with pytest.raises(ConfigError, match="drawing needs matplotlib"):
            use([row()])


def test_what_the_encoder_reads_is_shown_as_it_was_written():
    written = "The unbelievable film, not good"
    encoder = Encoder(wordpiece(), lambda ids: torch.zeros(len(ids), 2, ids.shape[1]), 32)
    reading = encoder.sample(TextSample("s", written)).reading
    assert reading is not None
    assert "".join(reading.spelled[1:-1]) == written
    shown = TextRow("s", reading.spelled, {"a": np.arange(10.0)}, reading.present.numpy())
    assert f"[CLS] {written} [SEP]" in re.sub(r"<[^>]*>", "", to_html([shown]))
    assert Html("x").__html__() == "x"
