"""Differences of methods to a reference, each pair on its common valid samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from xaieval.cells import (
    Difference,
    arrow,
    decimals_of,
    difference_in_full,
    difference_in_short,
    headed,
    record,
)
from xaieval.comparison import ENOUGH, Column, Method, Pair, pair_of, sections
from xaieval.leaderboard import Leaderboard
from xaieval.table import Entry, Table


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
        return self._table(difference_in_short, "").text()

    def markdown(self) -> str:
        """A GitHub table, with standard deviations."""
        return self._table(difference_in_full, ", and standard deviations (sd) over n samples").markdown()

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return self._table(difference_in_short, "").html()

    def frame(self) -> pd.DataFrame:
        """One row per metric and method, with the numbers in full."""
        shared = {"dataset": self.dataset, "model": self.model, "reference": self.reference}
        return pd.DataFrame(
            [
                {**shared, "method": method, "metric": metric, **record(pair)}
                for (metric, method), pair in self.pairs.items()
            ]
        )

    def _table(self, style: Difference, numbers: str) -> Table:
        title = f"{self.dataset}, {self.model}: every method minus {self.reference}"
        columns = [self._column(column, style) for column in self.columns]
        headings = ("method", *(heading for heading, _ in columns))
        rows = tuple(
            tuple((Entry(method.name), *(cells[method.name] for _, cells in columns)) for method in section)
            for section in sections(self.methods)
        )
        legend = (
            f"Mean paired differences to {self.reference} on common valid samples, with 95 % bootstrap intervals"
            f"{numbers}. ▲ better, ▼ worse: the interval excludes 0; no mark below {ENOUGH} independent sources."
        )
        return Table(title, headings, rows, (legend,))

    def _column(self, column: Column, style: Difference) -> tuple[str, dict[str, Entry]]:
        """Its heading, and the cells by method."""
        pairs = {method.name: self.pairs[column.name, method.name] for method in self.methods}
        decimals = decimals_of(column, pairs.values())
        counts = [pair.interval.n for pair in pairs.values()]
        cells = {name: Entry(style(pair, decimals, counts) + mark(pair, column)) for name, pair in pairs.items()}
        return headed(column, counts), cells


def differences(
    boards: Sequence[Leaderboard], references: Sequence[str] = ("random", "random_coarse", "centre_blob")
) -> list[Differences]:
    """Every method's paired difference to each reference for every metric; references without rows are left out.

    Args:
        boards: From `xaieval.leaderboard.leaderboards`.
        references: Names of methods.
    """
    return [
        _differences(board, label) for board in boards for name in references for label in _variants_of(board, name)
    ]


def _variants_of(board: Leaderboard, name: str) -> list[str]:
    """The methods of this name, told apart by their parameters if there are several."""
    rows = (scores.rows for scores in board.given.values())
    return sorted({str(label) for own in rows for label in own.loc[own["name"] == name, "method"].unique()})


def _differences(board: Leaderboard, reference: str) -> Differences:
    methods = tuple(method for method in board.methods if method.name != reference)
    pairs = {
        (metric, method.name): pair_of(scores, method.name, reference)
        for metric, scores in board.given.items()
        for method in methods
    }
    return Differences(board.dataset, board.model, reference, methods, board.columns, pairs)


def mark(pair: Pair, column: Column) -> str:
    """Whether the difference is for the better; empty where it is not beyond chance or there are few sources."""
    if pair.sources < ENOUGH or not pair.interval.excludes(0.0):
        return ""
    return arrow(pair, column)
