"""Performance profiles: the share of samples on which a method scores above a threshold (arXiv:2108.13264)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd

from xaieval.column_intervals import mean_intervals
from xaieval.comparison import Column, Scores
from xaieval.leaderboard import Leaderboard
from xaieval.statistics import Values

THRESHOLDS = 41
"""Between the smallest and the largest score of a metric, evenly, both included."""


def profiles(boards: Sequence[Leaderboard]) -> pd.DataFrame:
    """One row per metric, method and threshold: the share of samples with a score above it, strictly.

    Each share has its own 95 % bootstrap interval over samples and their number `n`. The samples are those behind the
    leaderboard's means. Where lower is better, the better method has the smaller shares.

    Args:
        boards: From `xaieval.leaderboard.leaderboards`.
    """
    records = [
        {"dataset": board.dataset, "model": board.model, **record}
        for board in boards
        for column in board.columns
        for record in _records(column, board.given[column.name])
    ]
    return pd.DataFrame(records)


def _records(column: Column, scores: Scores) -> Iterator[dict[str, object]]:
    table = _used(column, scores)
    if not np.isfinite(table).any():
        return
    thresholds = np.unique(np.linspace(np.nanmin(table), np.nanmax(table), THRESHOLDS))
    above = np.where(np.isnan(table)[:, :, None], np.nan, table[:, :, None] > thresholds)
    shares = mean_intervals(above.reshape(len(table), -1), scores.sources)
    for (name, threshold), share in zip(product(scores.table.columns, thresholds.tolist()), shares, strict=True):
        if share.n:
            yield {
                "metric": column.name,
                "higher_is_better": column.higher_is_better,
                "method": str(name),
                "threshold": threshold,
                "share": share.mean,
                "low": share.low,
                "high": share.high,
                "n": share.n,
            }


def _used(column: Column, scores: Scores) -> Values:
    """The scores behind each mean: on the common samples where the method is compared, else on its own."""
    table = scores.table.to_numpy(dtype=np.float64)
    compared = np.array([column.scores[str(name)].compared for name in scores.table.columns])
    common = np.isfinite(table[:, compared]).all(axis=1)
    used: Values = np.where(np.isfinite(table) & (~compared | common[:, None]), table, np.nan)
    return used
