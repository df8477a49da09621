"""Charts of results: what tables say in numbers, with the same intervals and tests.

    rows = xaieval.evaluate(...)                     # or read_rows([...]), or Store(...).rows()
    save(rank_plot(rows, ["insertion"]), Path("ranks.svg"), Path("ranks.png"))

They take rows, or leaderboards already made of them, and have a part for each dataset and model. A mean never stands
without its interval. Methods differ by marker and line as well as by color. Where there are too few sources to rank,
the title says so as that of the leaderboard does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xaieval.agreement_chart import agreement_heat_map
from xaieval.cells import headed
from xaieval.chart_frame import SMALL, Part, Results, boards_of, figure_of, key, looks_of, note, panels, save, svg
from xaieval.comparison import ENOUGH, Column, Method
from xaieval.curve_charts import curves
from xaieval.leaderboard import Leaderboard
from xaieval.pairs import LEVEL, Pairs, pairs
from xaieval.palette import Look
from xaieval.profiles import profiles
from xaieval.ranks import Order, Ranks, ranks
from xaieval.statistics import Interval
from xaieval.table import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["agreement_heat_map", "cost_quality", "curves", "performance_profiles", "rank_plot", "save", "svg"]

JOINS = "not told apart"
"""Names the bars of a rank plot in the figure."""

HOLLOW = "Hollow: valid on fewer than half of the samples, so over its own and not compared."


def rank_plot(results: Results, metrics: Sequence[str] | None = None) -> Figure:
    """Mean rank of each method with its 95 % interval, and which methods cannot be told apart (critical difference).

    A bar joins methods next to each other in the order no two of which differ by more than chance: p >= .05 in sign
    flips by source with Holm's correction over all pairs of the metric, as in `xaieval leaderboard --pairs`. Below 20
    sources there are no bars.

    Args:
        results: Rows or leaderboards.
        metrics: A panel for each; None: those that decide the leaderboard's order, all where none does.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There is no such metric, or none compares two methods.
    """
    parts = []
    for board in boards_of(results, metrics):
        for own, tests in zip(ranks([board]), pairs([board]), strict=False):  # pairs may have what none compares
            most = max(len(order.names) for order in own.orders.values())
            draw = partial(_ranks, looks_of(board), own, tests)
            parts.append(Part.of_panels(board.title, len(own.orders), 0.75 + 0.19 * most, draw))
    return figure_of(parts, "no metric here compares two methods")


def cost_quality(results: Results, metrics: Sequence[str] | None = None, cost: str = "evaluations") -> Figure:
    """The mean of each metric with its 95 % interval against what a method costs, on a logarithmic axis.

    Args:
        results: Rows or leaderboards.
        metrics: A panel for each; None: those that decide the leaderboard's order, all where none does.
        cost: `evaluations`, forwards and backwards per sample as if the method ran alone, or `seconds`.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There is no such metric or cost, or nothing has both a score and a cost.
    """
    if cost not in ("evaluations", "seconds"):
        raise ValueError(f"cost must be 'evaluations' or 'seconds', got {cost!r}")
    parts = []
    for board in boards_of(results, metrics):
        costs = {method.name: _spent(method, cost) for method in board.methods}
        known = {name: value for name, value in costs.items() if math.isfinite(value)}
        columns = [column for column in board.columns if any(column.scores[name].valid for name in known)]
        if columns:
            draw = partial(_costs, board, columns, known, cost)
            parts.append(Part.of_panels(board.title, len(columns), 2.3, draw))
    return figure_of(parts, "no method here has a cost and a score")


def performance_profiles(results: Results, metrics: Sequence[str] | None = None) -> Figure:
    """The share of samples with a score above each threshold, with its 95 % interval (arXiv:2108.13264).

    A method whose line lies above another's everywhere is better on the whole distribution of samples, not only on
    average; below, where lower is better.

    Args:
        results: Rows or leaderboards.
        metrics: A panel for each; None: those that decide the leaderboard's order, all where none does.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There is no such metric, or none has a score.
    """
    parts = []
    for board in boards_of(results, metrics):
        shares = profiles([board])
        if not shares.empty:
            draw = partial(_profiles, board, shares)
            parts.append(Part.of_panels(board.title, shares["metric"].nunique(), 2.3, draw))
    return figure_of(parts, "no metric here has a score")


# -- ranks -----------------------------------------------------------------------------------------------------------


def _ranks(look: dict[str, Look], own: Ranks, tests: Pairs, figure: SubFigure) -> None:
    columns = [column for column in own.columns if column.name in own.orders]
    for axes, column in zip(panels(figure, len(columns)), columns, strict=True):
        _rank_panel(axes, column, own.orders[column.name], tests, look)
    few = [name for name, order in own.orders.items() if order.sources < ENOUGH]
    untested = [name for name in own.orders if name not in few and not _tested(tests, name)]
    joins = f"A bar joins methods that do not differ by more than chance (sign flips by source, Holm, p ≥ {LEVEL})."
    sentences = (
        joins if len(few) + len(untested) < len(columns) else "",
        f"Too few sources to tell methods apart, {ENOUGH} are needed: {', '.join(few)}." if few else "",
        f"Not tested, as samples are connected through common sources: {', '.join(untested)}." if untested else "",
    )
    note(figure, sentences, "mean rank on a sample with its 95 % interval by source; 1 is best")


def _rank_panel(axes: Axes, column: Column, order: Order, tests: Pairs, look: dict[str, Look]) -> None:
    """The methods from the best down, and the bars at the right."""
    best = sorted(range(len(order.names)), key=lambda place: order.means[place])
    names = [order.names[place] for place in best]
    for line, place in enumerate(best):
        _point(axes, order.intervals[place], line, look[order.names[place]], across=True)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set(xlim=(0.5, len(names) + 0.5), ylim=(len(names) - 0.5, -0.5))
    beside = axes.get_yaxis_transform()  # across in parts of the panel, down in lines
    for count, (first, last) in enumerate(_joined(order, names, tests, column)):
        x, ends = 1.03 + 0.03 * count, (first - 0.25, last + 0.25)
        axes.plot((x, x), ends, "k", linewidth=2.5, solid_capstyle="butt", clip_on=False, transform=beside, gid=JOINS)
    axes.set_title(headed(column, [order.n]), fontsize=SMALL + 1)


def _tested(tests: Pairs, metric: str) -> bool:
    """Whether any pair has a p; none has where all samples are connected through sources."""
    return any(math.isfinite(one.p) for one in tests.tested[metric])


def _joined(order: Order, names: Sequence[str], tests: Pairs, column: Column) -> Iterator[tuple[int, int]]:
    """First and last place of each largest run of methods of which all pairs were tested and none differs."""
    if order.sources < ENOUGH:
        return
    tested = zip(tests.names, tests.tested[column.name], strict=True)
    alike = {frozenset(pair) for pair, one in tested if math.isfinite(one.p) and not one.differs}
    end = 0
    for start in range(len(names)):
        last = start
        while last + 1 < len(names) and all(
            frozenset((names[last + 1], name)) in alike for name in names[start : last + 1]
        ):
            last += 1
        if last > max(start, end):
            yield start, last
            end = last


def _point(axes: Axes, interval: Interval, place: float, look: Look, *, across: bool, hollow: bool = False) -> None:
    """A mean with its interval along one of the axes; without one, as of a single source, the point is faint."""
    known = not math.isnan(interval.low)
    ends = np.array([[interval.mean - interval.low], [interval.high - interval.mean]]).clip(min=0) if known else None
    x, y = (interval.mean, place) if across else (place, interval.mean)
    axes.errorbar(
        x,
        y,
        xerr=ends if across else None,
        yerr=None if across else ends,
        color=look.color,
        marker=look.marker,
        markersize=5,
        markerfacecolor="white" if hollow else look.color,
        elinewidth=1.1,
        capsize=2,
        alpha=1.0 if known else 0.4,
        linestyle="none",
    )


# -- cost ------------------------------------------------------------------------------------------------------------


def _spent(method: Method, cost: str) -> float:
    return method.seconds if cost == "seconds" else method.forwards + method.backwards


def _costs(
    board: Leaderboard, columns: Sequence[Column], costs: dict[str, float], cost: str, figure: SubFigure
) -> None:
    look = looks_of(board)
    for axes, column in zip(panels(figure, len(columns)), columns, strict=True):
        for name, spent in costs.items():
            score = column.scores[name]
            if score.valid:
                _point(axes, score.interval, spent, look[name], across=False, hollow=not score.compared)
        _logarithmic(axes, list(costs.values()))
        axes.set_title(headed(column, [column.common]), fontsize=SMALL + 1)
    figure.supylabel("mean score", fontsize=SMALL + 1)
    key(figure, look)
    apart = any(score.valid and not score.compared for column in columns for score in column.scores.values())
    lacking = [method.name for method in board.methods if method.name not in costs]
    sentences = (
        "Means with 95 % bootstrap intervals by source.",
        HOLLOW if apart else "",
        f"Without a known cost: {', '.join(lacking)}." if lacking else "",
    )
    spoken = "forwards and backwards" if cost == "evaluations" else "seconds"
    note(figure, sentences, f"{spoken} per sample, as if the method ran alone")


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """At least one decade across, and 0 beside it where something costs nothing."""
    from matplotlib.ticker import NullFormatter

    spent = [value for value in values if value > 0] or [1.0]
    least = 10.0 ** math.floor(math.log10(min(spent)))
    if min(values) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=least, linscale=0.5)
    axes.set_xlim(least / 1.6 if min(values) > 0 else -0.4 * least, max(1.6 * max(spent), 12 * least))
    axes.xaxis.set_major_formatter(lambda value, _: figures(value, 2))
    axes.xaxis.set_minor_formatter(NullFormatter())


# -- profiles --------------------------------------------------------------------------------------------------------


def _profiles(board: Leaderboard, shares: pd.DataFrame, figure: SubFigure) -> None:
    look, drawn = looks_of(board), set(shares["metric"])
    columns = [column for column in board.columns if column.name in drawn]
    for axes, column in zip(panels(figure, len(columns)), columns, strict=True):
        own = shares[shares["metric"] == column.name]
        for place, name in enumerate(name for name in look if name in set(own["method"])):
            _profile(axes, name, own[own["method"] == name].sort_values("threshold"), look[name], place)
        axes.set_ylim(-0.02, 1.02)
        axes.set_title(headed(column, [column.common]), fontsize=SMALL + 1)
    figure.supylabel("share of samples above", fontsize=SMALL + 1)
    key(figure, look)
    apart = [
        f"{name} on {column.name}"
        for column in columns
        for name, score in column.scores.items()
        if score.valid and not score.compared
    ]
    sentences = (
        "Bands: 95 % bootstrap intervals by source at each threshold.",
        f"Valid on fewer than half of the samples, so over its own and not compared: {', '.join(apart)}."
        if apart
        else "",
    )
    note(figure, sentences, "score")


def _profile(axes: Axes, name: str, shares: pd.DataFrame, look: Look, place: int) -> None:
    """A line, a band, and markers that do not cover those of other lines."""
    every = max(1, len(shares) // 5)
    axes.plot(shares["threshold"], shares["share"], **look.options(), label=name, markevery=(place % every, every))
    axes.fill_between(shares["threshold"], shares["low"], shares["high"], color=look.color, alpha=0.12, linewidth=0)
