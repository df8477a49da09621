"""Every pair of methods on every metric: how far they differ, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from xaieval.cells import arrow, decimals_of, difference_in_full, headed, record, signed
from xaieval.column_intervals import mean_intervals
from xaieval.comparison import ENOUGH, Column, Pair, Scores, deviation, sources_behind
from xaieval.leaderboard import Leaderboard
from xaieval.paired_tests import holm, sign_flip
from xaieval.statistics import Interval
from xaieval.table import Entry, Table

LEVEL = 0.05
"""Adjusted p below which a difference is marked."""

Cell = Callable[[Pair, int, Sequence[int]], str]


class Tested(NamedTuple):
    """Two methods on one metric, first minus second.

    Attributes:
        difference: On their common valid samples.
        p: Of no difference, by sign flips; NaN where too few independent sources allow none.
        adjusted: After Holm's correction over all pairs of the metric that are tested with it.
        improvement: How likely the first is better on a sample.
    """

    difference: Pair
    p: float
    adjusted: float
    improvement: Interval

    @property
    def differs(self) -> bool:
        """Whether the methods differ by more than chance: `LEVEL` after correction, over enough sources."""
        return self.difference.sources >= ENOUGH and self.adjusted < LEVEL


@dataclass(frozen=True)
class Pairs:
    """All pairs of the methods with scores on one dataset with one model; sentinels have a table of their own.

    Attributes:
        dataset: Name.
        model: Name.
        names: First and second method of each pair, the leaderboard's order.
        columns: The leaderboard's.
        tested: The pairs of each metric, in the order of `names`.
    """

    dataset: str
    model: str
    names: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    tested: dict[str, tuple[Tested, ...]]

    def text(self) -> str:
        """Aligned text of differences alone, without colors and never cut."""
        return self._table(_in_short, "").text()

    def markdown(self) -> str:
        """A GitHub table, with intervals and standard deviations."""
        told = " with 95 % bootstrap intervals and standard deviations (sd) over n samples"
        return self._table(difference_in_full, told).markdown()

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return self._table(_in_short, "").html()

    def frame(self) -> pd.DataFrame:
        """One row per metric and pair, with the numbers in full."""
        return pd.DataFrame(
            [
                self._record(column, names, tested)
                for column in self.columns
                for names, tested in zip(self.names, self.tested[column.name], strict=True)
            ]
        )

    def _table(self, cell: Cell, told: str) -> Table:
        columns = [self._column(column, cell) for column in self.columns]
        legend = (
            f"Mean paired differences, the first method minus the second, on their common valid samples{told}. ▲ the "
            f"first is better, ▼ worse: p < {LEVEL} in a sign flip test by source, after Holm's correction over all "
            f"pairs of the metric; no mark below {ENOUGH} independent sources."
        )
        return Table(
            title=f"{self.dataset}, {self.model}: every pair of methods",
            headings=("pair", *(heading for heading, _ in columns)),
            sections=(
                tuple(
                    (Entry(f"{first} - {second}"), *(cells[row] for _, cells in columns))
                    for row, (first, second) in enumerate(self.names)
                ),
            ),
            notes=tuple(note for note in (legend, self._untested()) if note),
        )

    def _column(self, column: Column, cell: Cell) -> tuple[str, list[Entry]]:
        """Its heading and cells."""
        tested = self.tested[column.name]
        differences = [one.difference for one in tested]
        decimals, counts = decimals_of(column, differences), [pair.interval.n for pair in differences]
        cells = [Entry(cell(one.difference, decimals, counts) + mark(one, column)) for one in tested]
        return headed(column, counts), cells

    def _untested(self) -> str:
        """The metrics with enough sources whose samples are all connected, so that no sign can be flipped."""
        names = [
            column.name
            for column in self.columns
            if any(one.difference.sources >= ENOUGH and np.isnan(one.p) for one in self.tested[column.name])
        ]
        return f"Not tested, as all samples are connected through common sources: {', '.join(names)}." if names else ""

    def _record(self, column: Column, names: tuple[str, str], tested: Tested) -> dict[str, object]:
        return {
            "dataset": self.dataset,
            "model": self.model,
            "metric": column.name,
            "higher_is_better": column.higher_is_better,
            "first": names[0],
            "second": names[1],
            **record(tested.difference),
            "p": tested.p,
            "p_holm": tested.adjusted,
            "improvement": tested.improvement.mean,
            "improvement_low": tested.improvement.low,
            "improvement_high": tested.improvement.high,
        }


def pairs(boards: Sequence[Leaderboard]) -> list[Pairs]:
    """All pairs of each leaderboard; none of one with fewer than two methods with scores.

    Args:
        boards: From `xaieval.leaderboard.leaderboards`.
    """
    return [_pairs(board) for board in boards if len(_methods(board)) > 1]


def _methods(board: Leaderboard) -> list[str]:
    """The methods with a score on any metric, without sentinels."""
    real = [method.name for method in board.methods if not method.sentinel]
    return [name for name in real if any(column.scores[name].valid for column in board.columns)]


def _pairs(board: Leaderboard) -> Pairs:
    names = tuple(combinations(_methods(board), 2))
    tested = {column.name: tested_pairs(column, board.given[column.name], names) for column in board.columns}
    return Pairs(board.dataset, board.model, names, board.columns, tested)


def tested_pairs(column: Column, scores: Scores, names: Sequence[tuple[str, str]]) -> tuple[Tested, ...]:
    """These pairs at once: they share the draws of sources and of signs, and Holm's correction is over them."""
    first, second = (scores.table[list(side)].to_numpy(dtype=np.float64) for side in zip(*names, strict=True))
    gaps = np.where(np.isfinite(first) & np.isfinite(second), first - second, np.nan)
    better = gaps > 0 if column.higher_is_better else gaps < 0
    wins = np.where(np.isnan(gaps), np.nan, better + 0.5 * (gaps == 0))
    p = sign_flip(gaps, scores.sources)
    intervals, improvements = mean_intervals(gaps, scores.sources), mean_intervals(wins, scores.sources)
    return tuple(
        Tested(
            Pair(interval, deviation(gap), sources_behind(scores, np.isfinite(gap))), float(one), float(other), improved
        )
        for interval, gap, one, other, improved in zip(intervals, gaps.T, p, holm(p), improvements, strict=True)
    )


def _in_short(pair: Pair, decimals: int, counts: Sequence[int]) -> str:
    return signed(pair.interval.mean, decimals)


def mark(tested: Tested, column: Column) -> str:
    """Whether the first is better or worse by more than chance; empty where nobody knows."""
    return arrow(tested.difference, column) if tested.differs else ""
