"""Differences of methods to a reference, each pair on its common valid samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from xaieval.comparison import (
    ENOUGH,
    Column,
    Method,
    Pair,
    column_decimals,
    current_rows,
    pair_of,
    scores_by_metric,
    sections,
)
from xaieval.leaderboard import Leaderboard, leaderboard_of
from xaieval.table import Entry, Table, number


@dataclass(frozen=True)
class Differences:
    """Every method minus one reference, each pair on its common valid samples.

    Attributes:
        dataset: Name.
        model: Name.
        reference: The method that is subtracted.
        methods: The leaderboard's, without the reference.
        columns: The leaderboard's.
        pairs: By metric and method.
    """

    dataset: str
    model: str
    reference: str
    methods: tuple[Method, ...]
    columns: tuple[Column, ...]
    pairs: dict[tuple[str, str], Pair]

    def text(self) -> str:
        """Aligned text, without colors and never cut."""
        return self._table().text()

    def markdown(self) -> str:
        """A GitHub table."""
        return self._table().markdown()

    def frame(self) -> pd.DataFrame:
        """One row per metric and method, with the numbers in full."""
        shared = {"dataset": self.dataset, "model": self.model, "reference": self.reference}
        return pd.DataFrame(
            [
                {**shared, "method": method, "metric": metric, **pair.interval._asdict(), "photos": pair.photos}
                for (metric, method), pair in self.pairs.items()
            ]
        )

    def _table(self) -> Table:
        title = f"{self.dataset}, {self.model}: every method minus {self.reference}"
        headings = ("method", *(column.heading for column in self.columns))
        rows = tuple(
            tuple(
                (Entry(method.name), *(Entry(self._cell(column, method)) for column in self.columns))
                for method in section
            )
            for section in sections(self.methods)
        )
        legend = (
            f"Mean paired differences to {self.reference} on common valid samples, with 95 % bootstrap intervals. "
            f"▲ better, ▼ worse: the interval excludes 0; no mark below {ENOUGH} independent photos."
        )
        return Table(title, headings, rows, (legend,))

    def _cell(self, column: Column, method: Method) -> str:
        pair = self.pairs[column.name, method.name]
        means = [other.interval.mean for (metric, _), other in self.pairs.items() if metric == column.name]
        decimals = column_decimals(means, column.lowest, column.highest)
        mean, low, high = (_signed(value, decimals) for value in pair.interval[:3])
        if math.isnan(pair.interval.low):
            return mean
        return f"{mean} [{low}, {high}]{_mark(pair, column)}"


def differences(
    rows: pd.DataFrame, references: Sequence[str] = ("random", "random_coarse", "centre_blob")
) -> list[Differences]:
    """Every method's paired difference to each reference for every metric; references without rows are left out.

    Args:
        rows: As for `leaderboards`.
        references: Names of methods.
    """
    found = []
    for _, part in rows.groupby(["dataset", "model"]):
        current = current_rows(part)
        board = leaderboard_of(current)
        labels = (current.loc[current["name"] == name, "method"].unique() for name in references)
        found += [_differences(board, current, str(label)) for named in labels for label in sorted(named)]
    return found


def _differences(board: Leaderboard, rows: pd.DataFrame, reference: str) -> Differences:
    methods = tuple(method for method in board.methods if method.name != reference)
    pairs = {
        (metric, method.name): pair_of(scores, method.name, reference)
        for metric, scores in scores_by_metric(rows).items()
        for method in methods
    }
    return Differences(board.dataset, board.model, reference, methods, board.columns, pairs)


def _signed(value: float, decimals: int) -> str:
    text = number(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def _mark(pair: Pair, column: Column) -> str:
    if pair.photos < ENOUGH or not pair.interval.excludes(0.0):
        return ""
    return " ▲" if (pair.interval.mean > 0) == column.higher_is_better else " ▼"
