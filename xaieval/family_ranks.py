"""Ranks over families of metrics: where each method stands in faithfulness, in localization and so on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd

from xaieval.comparison import DOUBTED, ENOUGH, Column
from xaieval.leaderboard import Leaderboard
from xaieval.ranking import Stability, instance_ranks, rank_stability
from xaieval.ranks import place_told
from xaieval.statistics import independent


@dataclass(frozen=True)
class Family:
    """The order of the methods over the metrics of one category.

    Attributes:
        category: Its name.
        metrics: Names of the metrics behind the order.
        doubted: Whether none of them deserves belief.
        names: The methods that are compared on all of these metrics.
        sources: Number of independent sources behind the order.
        stability: Places by the mean rank over metrics and samples, and what they are when sources are drawn anew.
    """

    category: str
    metrics: tuple[str, ...]
    doubted: bool
    names: tuple[str, ...]
    sources: int
    stability: Stability

    @property
    def heading(self) -> str:
        """Its name, marked where it is not to be ranked by, and how many metrics it has."""
        name = f"{DOUBTED} {self.category}" if self.doubted else self.category
        return f"{name}\n{len(self.metrics)} metric{'' if len(self.metrics) == 1 else 's'}"

    def place(self, method: str) -> str:
        """Such as `3 [2, 5.5]`; `-` for a method without a place."""
        return place_told(self.stability, self.names.index(method)) if method in self.names else "-"

    def first(self, method: str) -> bool:
        """Whether the method stands out as the first; nobody does where sources are too few or the order in doubt."""
        if self.doubted or self.sources < ENOUGH or method not in self.names:
            return False
        return bool(self.stability.ranks[self.names.index(method)] == self.stability.ranks.min())


def family_ranks(board: Leaderboard, names: Sequence[str], method: str) -> list[Family]:
    """The order of methods in each category that has a metric on which two of them are compared.

    A category counts by the metrics on which one method is compared, and of those by the ones that deserve belief. The
    others stand in its order if they are compared on all of these.

    Args:
        board: From `xaieval.leaderboard.leaderboards`.
        names: The methods to order.
        method: The one of them that is looked at.
    """
    found = []
    for category in dict.fromkeys(column.category for column in board.shown):
        own = [column for column in board.shown if column.category == category]
        compared = [column for column in own if column.scores[method].compared] or own
        columns = [column for column in compared if not column.doubt] or compared
        ranked = [name for name in names if all(column.scores[name].compared for column in columns)]
        if len(ranked) > 1:
            found.append(_family(board, columns, ranked))
    return found


def _family(board: Leaderboard, columns: Sequence[Column], names: Sequence[str]) -> Family:
    ranks, sources = _mean_ranks(board, columns, names)
    return Family(
        category=columns[0].category,
        metrics=tuple(column.name for column in columns),
        doubted=any(column.doubt for column in columns),
        names=tuple(names),
        sources=independent(sources),
        stability=rank_stability(ranks, False, sources),
    )


def _mean_ranks(
    board: Leaderboard, columns: Sequence[Column], names: Sequence[str]
) -> tuple[pd.DataFrame, list[Hashable]]:
    """Each method's mean rank on a sample over the metrics `(samples, methods)`, and the sources of the samples.

    A metric counts on the samples where all of the methods have a score.
    """
    tables = []
    sources: dict[Hashable, Hashable] = {}
    for column in columns:
        scores = board.given[column.name]
        table = scores.table[list(names)].dropna()
        ranks = instance_ranks(table, column.higher_is_better)
        tables.append(pd.DataFrame(ranks, index=table.index, columns=table.columns))
        sources.update(zip(scores.table.index, scores.sources, strict=True))
    mean = pd.concat(tables).groupby(level=0).mean()
    return mean, [sources[sample] for sample in mean.index]
