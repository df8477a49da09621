"""Bootstrap intervals of many columns over the same samples at once, with the draws shared.

A table of every pair of forty methods has 780 columns for each metric; each would draw the same sources by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from xaieval.statistics import ELEMENTS, Interval, Values, connected, drawn_counts, membership, source_blocks

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 0

Blocks = list[tuple[int, ...]]
Resampled = Callable[[Values, Values, Values], Values]
"""From values `(n, m)`, which block has which samples `(blocks, n)` and counts `(draws, blocks)`: `(draws, m)`."""


def mean_intervals(table: ArrayLike, groups: Sequence[Hashable]) -> list[Interval]:
    """The mean of each column with its 95 % percentile bootstrap interval over samples.

    Args:
        table: `(N, m)`; a column is over its own finite samples.
        groups: The source or sources of each sample.

    Returns:
        For each column what `bootstrap_interval(column, groups)` gives with the same draws, to rounding.
    """
    return _intervals(table, groups, lambda values: values.mean(axis=0), source_blocks, _means)


def interquartile_intervals(table: ArrayLike, groups: Sequence[Hashable]) -> list[Interval]:
    """The interquartile mean of each column, as in `xaieval.aggregates.interquartile_mean`, with its interval.

    A quarter of the samples, rounded down, is left out at each end (arXiv:2108.13264).

    Args:
        table: As for `mean_intervals`.
        groups: Likewise; samples connected through sources are drawn together.
    """
    return _intervals(table, groups, _interquartile, connected, _interquartile_means)


def _intervals(
    table: ArrayLike,
    groups: Sequence[Hashable],
    aggregate: Callable[[Values], Values],
    blocks_of: Callable[[Sequence[Hashable]], Blocks],
    resampled: Resampled,
) -> list[Interval]:
    """Columns that are valid on the same samples share their draws."""
    values = np.asarray(table, dtype=np.float64)
    valid = np.isfinite(values)
    found = [Interval(np.nan, np.nan, np.nan, 0)] * values.shape[1]
    kinds: dict[bytes, list[int]] = {}
    for column in range(values.shape[1]):
        kinds.setdefault(valid[:, column].tobytes(), []).append(column)
    for columns in kinds.values():
        used = np.flatnonzero(valid[:, columns[0]]).tolist()
        if used:
            blocks = blocks_of([groups[sample] for sample in used])
            for part in _parts(columns):
                own = values[used][:, part]
                means = aggregate(own)
                low, high = _ends(own, means, blocks, resampled)
                for place, column in enumerate(part):
                    found[column] = Interval(float(means[place]), float(low[place]), float(high[place]), len(used))
    return found


def _parts(columns: list[int]) -> Iterator[list[int]]:
    """As many columns as may be resampled at once."""
    size = max(1, ELEMENTS // RESAMPLES)
    yield from (columns[start : start + size] for start in range(0, len(columns), size))


def _ends(values: Values, means: Values, blocks: Blocks, resampled: Resampled) -> tuple[Values, Values]:
    """Both ends for each column: unknown with one block, without length where all values are equal."""
    if len(blocks) == 1:
        unknown = np.full(values.shape[1], np.nan)
        return unknown, unknown
    members = membership(blocks, len(values))
    drawn = [resampled(values, members, counts) for counts in _counts(len(blocks))]
    low, high = np.percentile(np.concatenate(drawn), [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
    equal = (values == values[0]).all(axis=0)
    return np.where(equal, means, low), np.where(equal, means, high)


def _counts(blocks: int) -> Iterator[Values]:
    """How often each block is drawn, `(draws, blocks)`, in parts that fit into memory."""
    rng, batch = np.random.default_rng(SEED), max(1, ELEMENTS // blocks)
    for start in range(0, RESAMPLES, batch):
        yield drawn_counts(blocks, min(batch, RESAMPLES - start), rng)


def _means(values: Values, members: Values, counts: Values) -> Values:
    """The mean of each resample; where sources share samples, to first order as in `bootstrap_interval`."""
    if members.sum() > len(values):
        mean = values.mean(axis=0)
        totals = members @ (values - mean)
        return np.asarray(mean + (counts @ totals - totals.sum(axis=0)) / len(values))
    return np.asarray((counts @ (members @ values)) / (counts @ members.sum(axis=1))[:, None])


def _interquartile(values: Values) -> Values:
    return _interquartile_means(values, np.eye(len(values)), np.ones((1, len(values)))).reshape(-1)


def _interquartile_means(values: Values, members: Values, counts: Values) -> Values:
    """The interquartile mean of each resample, from how often each sample is in it."""
    often = counts @ members
    total = often.sum(axis=1, keepdims=True)
    cut = np.floor(total / 4)
    means = np.empty((len(counts), values.shape[1]))
    for column, order in enumerate(np.argsort(values, axis=0).T):
        weights = often[:, order]
        upto = weights.cumsum(axis=1)
        kept = np.clip(np.minimum(upto, total - cut) - np.maximum(upto - weights, cut), 0, None)
        means[:, column] = kept @ values[order, column] / (total - 2 * cut)[:, 0]
    return means
