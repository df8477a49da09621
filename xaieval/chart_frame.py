"""What charts of results share: a part for each dataset and model, panels, the key of methods, notes, files."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from xaieval.comparison import deciding
from xaieval.leaderboard import Leaderboard, leaderboards
from xaieval.palette import Look, looks
from xaieval.plots import checked, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Results = pd.DataFrame | Sequence[Leaderboard]
"""Rows of cells, or the leaderboards made of them."""

WIDTH, ACROSS = 3.1, 3
"""Of a panel in inches, and how many stand beside each other."""

SMALL = 7
"""Points of all letters but titles."""

LETTER = 0.072
"""Inches that a letter of a title takes at most, so that none is cut."""

LETTERS = 17
"""Of a note, to an inch."""


@dataclass(frozen=True)
class Part:
    """What is drawn of one dataset with one model.

    Attributes:
        title: One line.
        width: In inches.
        height: Likewise.
        draw: Draws into an empty figure.
    """

    title: str
    width: float
    height: float
    draw: Callable[[SubFigure], None]

    @classmethod
    def of_panels(cls, title: str, count: int, height: float, draw: Callable[[SubFigure], None]) -> Part:
        """Lines of panels of some height, with a key of methods beside them."""
        return cls(title, WIDTH * min(count, ACROSS) + 1.5, math.ceil(count / ACROSS) * height + 0.9, draw)


def boards_of(results: Results, metrics: Sequence[str] | None) -> list[Leaderboard]:
    """Leaderboards with the columns to draw: of these metrics, of those that decide the order, or of all there are.

    Raises:
        ValueError: No leaderboard has such a metric.
    """
    boards = leaderboards(results) if isinstance(results, pd.DataFrame) else list(results)
    known = {column.name for board in boards for column in board.columns}
    if unknown := [name for name in metrics or () if name not in known]:
        raise ValueError(f"there is no metric {', '.join(unknown)} in these results, only {', '.join(sorted(known))}")
    found = []
    for board in boards:
        named = {column.name: column for column in board.columns}
        columns = deciding(board.columns) or board.shown
        if metrics is not None:
            columns = [named[name] for name in metrics if name in named]
        found.append(replace(board, columns=tuple(columns)))
    return found


def figure_of(parts: Sequence[Part], lacking: str) -> Figure:
    """The parts below each other.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There are none.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    if not parts:
        raise ValueError(f"there is nothing to draw: {lacking}")
    heights = [part.height for part in parts]
    size = (max(max(part.width, LETTER * len(part.title)) for part in parts), sum(heights))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    places: Any = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)
    for place, part in zip(places[:, 0], parts, strict=True):
        place.suptitle(part.title, fontsize=SMALL + 2, x=0.01, ha="left")
        part.draw(place)
    return without_math(figure)


def panels(figure: SubFigure, count: int) -> list[Axes]:
    """Empty panels in lines, without frames at the top and the right."""
    lines = math.ceil(count / ACROSS)
    found: list[Axes] = list(figure.subplots(lines, min(count, ACROSS), squeeze=False).flat)
    for axes in found[count:]:
        axes.remove()
    for axes in found[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    return found[:count]


def looks_of(board: Leaderboard) -> dict[str, Look]:
    """By name, so that a method looks the same whatever its place in the order."""
    real, sentinels = (sorted(one.name for one in board.methods if one.sentinel is kind) for kind in (False, True))
    return looks(real, sentinels)


def key(figure: SubFigure, look: dict[str, Look]) -> None:
    """The methods at the right."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **one.options(), label=name) for name, one in look.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False, handlelength=4)


def note(figure: SubFigure, sentences: Iterable[str], across: str = "") -> None:
    """Sentences below all panels, and above them what the axes show."""
    text = " ".join(filter(None, sentences))
    width = round(LETTERS * figure.figure.get_figwidth())
    lines = [*([across, ""] if across else []), *textwrap.wrap(text, width)]
    figure.supxlabel("\n".join(lines), fontsize=SMALL, color="0.2")


def without_math(figure: Figure) -> Figure:
    """A dollar in a name is a dollar, not the beginning of a formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
    return figure


def save(figure: Figure, *paths: Path) -> None:
    """A figure in files, each of the kind that its name ends in, such as `.svg` and `.png`.

    Raises:
        ConfigError: A path that a figure cannot be saved to.
    """
    for path in map(checked, paths):
        figure.savefig(path)


def svg(figure: Figure) -> str:
    """A figure as an element `<svg>` for a page, in which what users wrote is escaped."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
