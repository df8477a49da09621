"""Ranks of the methods on every metric: how often each is first, and how firm the order is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from xaieval.cells import headed, with_deviation
from xaieval.column_intervals import mean_intervals
from xaieval.comparison import ENOUGH, Column, Method, Scores, deciding, deviation, sources_behind
from xaieval.leaderboard import Leaderboard
from xaieval.ranking import Stability, borda, borda_of, instance_ranks, rank_stability
from xaieval.statistics import Interval
from xaieval.table import Entry, Table, figures, number

DECIMALS = 2

Cell = Callable[["Order", int], str]


@dataclass(frozen=True)
class Order:
    """The order of the methods that are compared on a metric.

    Attributes:
        names: Of the methods.
        intervals: Means of each method's ranks over the samples where all of them have a score, 1 is best, with their
            95 % bootstrap intervals.
        deviations: Standard deviation of these ranks (n - 1 below the sum of squares).
        n: Number of these samples.
        sources: Number of independent sources behind them.
        stability: Places in the order of the means, and what they are when sources are drawn anew.
    """

    names: tuple[str, ...]
    intervals: tuple[Interval, ...]
    deviations: tuple[float, ...]
    n: int
    sources: int
    stability: Stability

    @property
    def means(self) -> tuple[float, ...]:
        """The means alone."""
        return tuple(interval.mean for interval in self.intervals)


@dataclass(frozen=True)
class Joint:
    """The order over several metrics: the mean of each method's places on them.

    Attributes:
        metrics: Their names.
        left_out: Metrics that would decide as well, if all methods were compared on them.
        means: By method; 1 is best.
        deviations: Standard deviation over the metrics.
    """

    metrics: tuple[str, ...]
    left_out: tuple[str, ...]
    means: dict[str, float]
    deviations: dict[str, float]


@dataclass(frozen=True)
class Ranks:
    """Ranks of the methods, without sentinels, on one dataset with one model.

    Attributes:
        dataset: Name.
        model: Name.
        names: The methods that are compared on any metric, in the leaderboard's order.
        columns: The leaderboard's.
        orders: By metric; a metric on which fewer than two methods are compared has none.
        joint: Over the metrics that decide the leaderboard's order.
    """

    dataset: str
    model: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    orders: dict[str, Order]
    joint: Joint

    def text(self) -> str:
        """Aligned text, without colors and never cut."""
        return self._table(_in_short, with_sd=False).text()

    def markdown(self) -> str:
        """A GitHub table, with standard deviations."""
        return self._table(_in_full, with_sd=True).markdown()

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return self._table(_in_short, with_sd=False).html()

    def frame(self) -> pd.DataFrame:
        """One row per metric and method, with the numbers in full; the metric `Borda` is the order over metrics."""
        shared = {"dataset": self.dataset, "model": self.model}
        found = pd.DataFrame([shared | record for record in (*self._records(), *self._joint_records())])
        return found.astype({"sources": "Int64"})

    def _table(self, cell: Cell, with_sd: bool) -> Table:
        columns = [self._column(column, cell) for column in self.columns]
        if self.joint.metrics:
            columns.append(self._joint_column(with_sd))
        return Table(
            title=f"{self.dataset}, {self.model}: ranks of the methods",
            headings=("method", *(heading for heading, _ in columns)),
            sections=(
                tuple((Entry(name), *(cells.get(name, Entry("-")) for _, cells in columns)) for name in self.names),
            ),
            notes=tuple(self._notes(", standard deviation (sd)" if with_sd else "")),
        )

    def _column(self, column: Column, cell: Cell) -> tuple[str, dict[str, Entry]]:
        """Its heading, and the cells of the compared methods."""
        order = self.orders.get(column.name)
        if order is None:
            return column.heading, {}
        least = min(order.means) if order.sources >= ENOUGH else math.nan
        cells = {name: Entry(cell(order, place), order.means[place] == least) for place, name in enumerate(order.names)}
        return headed(column, [order.n]), cells

    def _joint_column(self, with_sd: bool) -> tuple[str, dict[str, Entry]]:
        least = min(self.joint.means.values())
        cells = {}
        for name, mean in self.joint.means.items():
            spread = self.joint.deviations[name] if with_sd else math.nan
            cells[name] = Entry(with_deviation(number(mean, DECIMALS), spread, DECIMALS), mean == least)
        count = len(self.joint.metrics)
        return f"Borda\nover {count}\nmetric{'' if count == 1 else 's'}", cells

    def _notes(self, told: str) -> Iterator[str]:
        yield (
            f"Mean rank over n samples (1 is best, ties share their mean){told}: place in the order of these means, "
            "[its 95 % interval] and share of first places when sources are drawn anew. -: not compared on the metric."
        )
        if self.joint.metrics:
            yield f"Borda: mean place over the metrics that decide, {', '.join(self.joint.metrics)}."
        elif not deciding(self.columns):
            yield f"Too few to rank: fewer than {ENOUGH} independent sources."
        if self.joint.left_out:
            yield f"Not in Borda, as some of its methods are not compared there: {', '.join(self.joint.left_out)}."
        firm = [f"{name} {_firmness(order.stability)}" for name, order in self.orders.items() if _known(order)]
        if firm:
            yield (
                "Kendall's tau of the orders when sources are drawn anew with the one here, and how often the best "
                f"stays best: {'; '.join(firm)}."
            )

    def _records(self) -> Iterator[dict[str, object]]:
        for metric, order in self.orders.items():
            for place, name in enumerate(order.names):
                yield {
                    "metric": metric,
                    "method": name,
                    "mean": order.means[place],
                    "mean_low": order.intervals[place].low,
                    "mean_high": order.intervals[place].high,
                    "sd": order.deviations[place],
                    "n": order.n,
                    "sources": order.sources,
                    "place": order.stability.ranks[place],
                    "low": order.stability.low[place],
                    "high": order.stability.high[place],
                    "first": order.stability.first[place],
                    "tau": order.stability.tau,
                    "best_stays": order.stability.top,
                }

    def _joint_records(self) -> Iterator[dict[str, object]]:
        places = dict(zip(self.joint.means, rankdata(list(self.joint.means.values())).tolist(), strict=True))
        for name, mean in self.joint.means.items():
            yield {
                "metric": "Borda",
                "method": name,
                "mean": mean,
                "sd": self.joint.deviations[name],
                "n": len(self.joint.metrics),
                "place": places[name],
            }


def ranks(boards: Sequence[Leaderboard]) -> list[Ranks]:
    """The ranks of each leaderboard; none where fewer than two methods are compared on any metric.

    Args:
        boards: From `xaieval.leaderboard.leaderboards`.
    """
    return [found for found in map(_ranks, boards) if found.orders]


def _ranks(board: Leaderboard) -> Ranks:
    methods = tuple(method for method in board.methods if not method.sentinel)
    orders = {
        column.name: _order(names, column.higher_is_better, board.given[column.name])
        for column in board.columns
        if len(names := _compared(column, methods)) > 1
    }
    compared = {name for order in orders.values() for name in order.names}
    names = tuple(method.name for method in methods if method.name in compared)
    return Ranks(board.dataset, board.model, names, board.columns, orders, _joint(board, methods))


def _compared(column: Column, methods: Sequence[Method]) -> tuple[str, ...]:
    return tuple(method.name for method in methods if column.scores[method.name].compared)


def _order(names: tuple[str, ...], higher_is_better: bool, scores: Scores) -> Order:
    table = scores.table[list(names)].to_numpy(dtype=np.float64)
    own, complete = instance_ranks(table, higher_is_better), np.isfinite(table).all(axis=1)
    return Order(
        names=names,
        intervals=tuple(mean_intervals(own, [scores.sources[row] for row in np.flatnonzero(complete).tolist()])),
        deviations=tuple(map(deviation, own.T)),
        n=len(own),
        sources=sources_behind(scores, complete),
        stability=rank_stability(table, higher_is_better, scores.sources, by="borda"),
    )


def _joint(board: Leaderboard, methods: Sequence[Method]) -> Joint:
    """Over the deciding metrics on which all methods are compared that are compared on any of them."""
    compared = {column.name: _compared(column, methods) for column in deciding(board.columns)}
    names = tuple(method.name for method in methods if any(method.name in own for own in compared.values()))
    metrics = tuple(name for name, own in compared.items() if own == names)
    left_out = tuple(name for name in compared if name not in metrics)
    if len(names) < 2 or not metrics:
        return Joint((), left_out, {}, {})
    directions = {column.name: column.higher_is_better for column in board.columns}
    tables = [
        (board.given[metric].table[list(names)].to_numpy(dtype=np.float64), directions[metric]) for metric in metrics
    ]
    places = np.array([rankdata(borda(*table)) for table in tables])
    means, deviations = borda_of(tables).tolist(), [deviation(own) for own in places.T]
    return Joint(metrics, left_out, dict(zip(names, means, strict=True)), dict(zip(names, deviations, strict=True)))


def _in_short(order: Order, place: int) -> str:
    return f"{number(order.means[place], DECIMALS)}{_drawn(order.stability, place)}"


def _in_full(order: Order, place: int) -> str:
    mean = with_deviation(number(order.means[place], DECIMALS), order.deviations[place], DECIMALS)
    return f"{mean}{_drawn(order.stability, place)}"


def _drawn(stability: Stability, place: int) -> str:
    """Such as `: 2 [1, 2.5] 40 %`, empty where all is of one source."""
    first = float(stability.first[place])
    return "" if math.isnan(first) else f": {place_told(stability, place)} {100 * first:.0f} %"


def place_told(stability: Stability, place: int) -> str:
    """Such as `2 [1, 2.5]`, the place alone where all is of one source."""
    ends = (stability.ranks, stability.low, stability.high)
    own, low, high = (figures(float(values[place]), 3) for values in ends)
    return own if math.isnan(stability.low[place]) else f"{own} [{low}, {high}]"


def _known(order: Order) -> bool:
    return not math.isnan(order.stability.top)


def _firmness(stability: Stability) -> str:
    return f"{number(stability.tau, DECIMALS)} and {100 * stability.top:.0f} %"
