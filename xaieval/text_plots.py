"""Texts with their tokens colored by the scores of methods, one method below the other.

    show_texts(explicand, {"gradient": attribution, ...}, [sample.reading.spelled, ...])  # a figure, in a notebook

As a part of a page: `xaieval.text_html.to_html(text_rows(...))`.

A map with a sign is drawn on a diverging scale, symmetric about zero: blue is negative, white zero, red positive.
Others run from zero (white) up. Both end at the 99th percentile of the sizes. Tokens of a word that were scored
together are one, with the sum of their scores, of importance the mean. Special tokens are gray, and a rationale is
underlined where the dataset knows it. What was cut off a text is said below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.glyphs import drawable, fonts
from xaieval.plots import is_signed, limits, require_matplotlib, title_of, wrapped
from xaieval.token_cells import Cell, cells, lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIVERGING, SEQUENTIAL = "RdBu_r", "Oranges"
"""Color maps with white at zero, on which black letters are read."""

WIDTH, LEFT, LINE, SIZE = 8.0, 1.5, 0.24, 9.0
"""Width of a figure, of the names of the methods, and height of a line in inches; size of the letters in points."""

RIM = 0.02
"""Color at both sides of a cell, in inches."""

LONGEST = 40
"""Characters of a cell; a longer one, such as an address, goes on in a further cell of its color."""


@dataclass(frozen=True, eq=False)
class TextRow:
    """A text and its maps.

    Attributes:
        title: Name of the text, and of the class explained.
        names: Its tokens as they stand in the text, `T` of them.
        maps: Scores `(T,)` by the method's name, channels summed, or the norm of a gradient.
        present: Which tokens have scores, `(T,)`; None: all.
        groups: The word of each token, `(T,)`, negative where it has none; None: each by itself.
        mask: True on the rationale, `(T,)`; None where it is not known.
        signed: Names of the maps whose scores have a sign, whatever the values are.
        averaged: Names of the maps of importance, of which a word has the mean over its tokens, not the sum.
        note: What was cut off, in a sentence.
    """

    title: str
    names: Sequence[str]
    maps: Mapping[str, np.ndarray]
    present: np.ndarray | None = None
    groups: np.ndarray | None = None
    mask: np.ndarray | None = None
    signed: frozenset[str] = frozenset()
    averaged: frozenset[str] = frozenset()
    note: str = ""


def show_texts(
    explicand: Explicand,
    attributions: Mapping[str, Tensor],
    names: Sequence[Sequence[str]],
    notes: Sequence[str] | None = None,
) -> Figure:
    """Draw attributions of the same texts.

    Args:
        explicand: What was explained.
        attributions: `(N, D, T)` or `(N, 1, T)` by name.
        names: The tokens of each text, `sample.reading.spelled`.
        notes: What was cut off each, `sample.reading.note`; None: nothing.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: More names than tokens, or not one list for each text.
    """
    return draw_texts(text_rows(explicand, attributions, names, notes))


def text_rows(
    explicand: Explicand,
    attributions: Mapping[str, Tensor],
    names: Sequence[Sequence[str]],
    notes: Sequence[str] | None = None,
) -> list[TextRow]:
    """A row for each text, see `show_texts`.

    Raises:
        ValueError: More names than tokens, or not one list for each text.
    """
    if len(names) != explicand.count or any(len(tokens) > explicand.shape[2] for tokens in names):
        came = f"{len(names)} lists of {', '.join(str(len(tokens)) for tokens in names)}"
        raise ValueError(f"texts {tuple(explicand.shape)} need the names of their tokens, a list for each; got {came}")
    scores = {name: explicand.features(one).cpu().numpy() for name, one in attributions.items()}
    signed = frozenset(name for name, one in attributions.items() if explicand.units_of(one) == "contribution")
    averaged = frozenset(name for name, one in attributions.items() if explicand.units_of(one) == "importance")
    words = None if explicand.groups is None else _rows(explicand.groups.labels)

    def part(values: Any, row: int) -> Any:
        return None if values is None else values[row][: len(names[row])]

    present, masks = _rows(explicand.present), _rows(explicand.mask)
    return [
        TextRow(
            title_of(explicand, row),
            tuple(names[row]),
            {name: part(values, row) for name, values in scores.items()},
            part(present, row),
            part(words, row),
            part(masks, row),
            signed,
            averaged,
            "" if notes is None else notes[row],
        )
        for row in range(explicand.count)
    ]


def _rows(values: Tensor | None) -> np.ndarray | None:
    return None if values is None else values.cpu().numpy()


# -- what is colored -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A cell with its color.

    Attributes:
        cell: The characters.
        color: Background as `#rrggbb`; None: it has no score.
        ink: Color of the letters.
        score: That of its tokens; None: it has none.
        marked: Whether it belongs to the rationale.
    """

    cell: Cell
    color: str | None
    ink: str
    score: float | None
    marked: bool


def _present(row: TextRow) -> np.ndarray:
    return np.ones(len(row.names), bool) if row.present is None else row.present


def _cells(row: TextRow) -> tuple[Cell, ...]:
    there = _present(row)
    groups = None if row.groups is None else np.where(there, row.groups, -1).tolist()
    return cells(row.names, groups, (~there).tolist())


def shown_of(row: TextRow, name: str, signed: bool) -> list[Shown]:
    """The cells of a text, colored by one map."""
    there, found = _present(row), _cells(row)
    total = np.mean if name in row.averaged else np.sum
    scores = {cell: float(total(row.maps[name][list(cell.tokens)])) for cell in found if there[list(cell.tokens)].any()}
    values = np.array(list(scores.values()))
    span = limits(values, signed=True)[1]
    return [_colored(row, cell, scores.get(cell), span, signed) for cell in found]


def _colored(row: TextRow, cell: Cell, score: float | None, span: float, signed: bool) -> Shown:
    marked = row.mask is not None and bool(row.mask[list(cell.tokens)].any())
    if score is None or not np.isfinite(score):
        return Shown(cell, None, "#999999" if score is None else "#000000", score, marked)
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    place = (score / span + 1) / 2 if signed else max(score / span, 0.0)
    color = mpl.colormaps[DIVERGING if signed else SEQUENTIAL](min(max(place, 0.0), 1.0))
    if not signed and score <= 0:
        color = (1.0, 1.0, 1.0, 1.0)
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in color[:3]]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # above .179 black has more contrast (WCAG)
    return Shown(cell, to_hex(color), "#000000" if light > 0.179 else "#ffffff", score, marked)


def names_of(rows: Sequence[TextRow]) -> tuple[list[str], set[str]]:
    """The methods of all rows, and those that are signed."""
    names = list(dict.fromkeys(name for row in rows for name in row.maps))
    if not names:
        raise ValueError("there is nothing to show: expected at least one text with one map")
    return names, {name for name in names if any(is_signed(row, name) for row in rows)}


# -- a figure --------------------------------------------------------------------------------------------------------


def draw_texts(rows: Sequence[TextRow]) -> Figure:
    """The figure of some texts, a line of text for each method, and what the colors mean.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There is nothing to show.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    names, signed = names_of(rows)
    pen = _Pen()
    for row in rows:
        pen.say(" \N{MIDDLE DOT} ".join(row.title.splitlines()), weight="bold")
        for name in names:
            if name in row.maps:
                pen.write(wrapped(name), shown_of(row, name, name in signed))
        if row.note:
            pen.say(row.note, style="italic")
        pen.y += LINE / 2
    height = pen.y + 0.5
    figure = Figure(figsize=(WIDTH, height), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    pen.draw(axes)
    _key(figure, height, bool(signed), len(signed) < len(names))
    return figure


def _key(figure: Figure, height: float, diverging: bool, sequential: bool) -> None:
    """What the colors mean, a bar for each scale in use."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scales = [(DIVERGING, ("negative", "0", "positive"), diverging), (SEQUENTIAL, ("0", "", "most"), sequential)]
    used = [scale[:2] for scale in scales if scale[2]]
    for place, (colors, labels) in enumerate(used):
        axes = figure.add_axes(((place + 0.5) / len(used) - 0.15, 0.3 / height, 0.3, 0.1 / height))
        bar = figure.colorbar(ScalarMappable(Normalize(0, 2), colors), cax=axes, orientation="horizontal")
        bar.set_ticks([0, 1, 2], labels=labels, fontsize=7)
        bar.outline.set_visible(False)
        axes.tick_params(length=0, pad=1)


class _Pen:
    """Writes lines from the top down, in inches; what it wrote is drawn at the end, when the height is known."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        self.y = 0.1
        self._renderer = RendererAgg(int(150 * WIDTH), 150, 150)
        self._letters: list[tuple[float, float, str, dict[str, Any]]] = []
        self._boxes: list[tuple[float, float, float, str | None, bool]] = []
        self._blank = self._width("n n") - self._width("nn")

    def say(self, text: str, **font: Any) -> None:
        """A sentence over the whole width, on as many lines as it needs."""
        words = cells(text.split())
        shown = [Shown(word, None, "#000000", None, False) for word in words]
        self._lines(shown, 0.1, WIDTH - 0.2, font, 0.0)

    def write(self, name: str, shown: Sequence[Shown]) -> None:
        """A method's name, and beside it the tokens of a text."""
        top = self.y
        for line in name.splitlines():
            self._letters.append((0.1, self.y + 0.7 * LINE, drawable(line), {"fontsize": SIZE - 1}))
            self.y += 0.7 * LINE
        bottom, self.y = self.y, top
        self._lines(list(_short(shown)), LEFT, WIDTH - LEFT - 0.1, {})
        self.y = max(self.y, bottom) + 0.05

    def _lines(self, shown: Sequence[Shown], left: float, width: float, font: dict[str, Any], rim: float = RIM) -> None:
        texts = [drawable(one.cell.text) for one in shown]
        widths = [self._width(text, **font) + 2 * rim for text in texts]
        for line in lines([one.cell for one in shown], widths, self._blank, width):
            for place, x in line:
                one, start = shown[place], left + x
                self._boxes.append((start, self.y, widths[place], one.color, one.marked))
                options = {"fontsize": SIZE, "color": one.ink, **font}
                self._letters.append((start + rim, self.y + 0.7 * LINE, texts[place], options))
            self.y += LINE

    def _width(self, text: str, **font: Any) -> float:
        from matplotlib.font_manager import FontProperties

        properties = FontProperties(family=list(fonts()), size=SIZE, **font)
        width: float = self._renderer.get_text_width_height_descent(text, properties, ismath=False)[0]
        return width / 150

    def draw(self, axes: Axes) -> None:
        """Everything that was written."""
        from matplotlib.patches import Rectangle

        for x, y, width, color, marked in self._boxes:
            if color is not None:
                axes.add_patch(Rectangle((x, y + 0.02), width, LINE - 0.05, facecolor=color, linewidth=0))
            if marked:
                axes.plot((x, x + width), (y + LINE - 0.03,) * 2, color="#000000", linewidth=1.0, solid_capstyle="butt")
        for x, y, text, options in self._letters:
            axes.text(x, y, text, family=list(fonts()), parse_math=False, va="baseline", **options)


def _short(shown: Sequence[Shown]) -> Iterator[Shown]:
    """Cells of at most so many characters as fit on a line."""
    for one in shown:
        whole = one.cell.characters
        for start in range(0, max(1, len(whole)), LONGEST):
            part = Cell(whole[start : start + LONGEST], one.cell.tokens, one.cell.blank and start == 0)
            yield Shown(part, one.color, one.ink, one.score, one.marked)
