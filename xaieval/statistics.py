"""Intervals and paired comparisons over samples, from `scipy.stats.bootstrap`.

Samples that share a source (one photo explained for several classes, mosaics with common tiles) are not
independent, so sources are resampled, not samples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import bootstrap

from xaieval.table import decimals_for, number

Values = NDArray[np.float64]
Aggregate = Callable[[Values], Any]

ELEMENTS = 2**21
"""Numbers that are resampled at once: 16 MB, whatever the number of samples and resamples."""


class Interval(NamedTuple):
    """A mean (or another aggregate) with its interval over samples.

    Attributes:
        mean: The aggregate of the values; NaN without any.
        low: Lower end; NaN where fewer than two independent clusters leave it unknown.
        high: Upper end.
        n: Number of valid samples.
    """

    mean: float
    low: float
    high: float
    n: int

    def _repr_html_(self) -> str:
        """As a notebook shows it: the mean, both ends, and the number of samples."""
        decimals = max(0, decimals_for(self[:3]))
        mean, low, high = (number(value, decimals) for value in self[:3])
        return f"{mean} <small>[{low}, {high}] n = {self.n}</small>"

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside; an unknown interval excludes nothing."""
        return value < self.low or value > self.high


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    aggregate: Aggregate | None = None,
    vectorized: bool = False,
) -> Interval:
    """Percentile bootstrap interval of the mean over samples (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: `(N,)`, or `(N, K)` for an aggregate of K numbers per sample. Samples that are not finite are left out.
        groups: The source of each sample, or a tuple of sources where it has several. Samples of one source are
            drawn together. Where samples share some of their sources only, sources are drawn and a sample's weight is
            the product of its sources' counts to first order (arXiv:1906.11293 for the product): the interval is rather
            too wide than too narrow. None: each sample is of its own source.
        level: Probability of the interval.
        resamples: Number of resamples.
        seed: The same seed gives the same interval; the global random state is not touched.
        aggregate: What is estimated, from the values of a resample `(n,)` or `(n, K)`; None: the mean. It takes no
            weights, so samples that are connected through sources are drawn together.
        vectorized: Whether the aggregate takes many resamples `(..., n)` at once: 20 times as fast.

    Returns:
        The interval. Where all is of one source there is none (NaN); equal values have one of length 0.

    Raises:
        ValueError: The shapes of values and groups do not fit, or several numbers per sample come without an aggregate.

    Example:
        >>> mean, low, high, n = bootstrap_interval([0.1, 0.4, 0.4, 0.5])
        >>> f"{mean:.2f} [{low:.2f}, {high:.2f}] of {n}"
        '0.35 [0.18, 0.47] of 4'
        >>> bootstrap_interval([0.1, 0.4, 0.4, 0.5], groups=["cat", "cat", "cat", "cat"]).low  # one photo says nothing
        nan
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 1 and (table.ndim != 2 or aggregate is None):
        raise ValueError(f"bootstrap_interval: values must be (N,), or (N, K) with an aggregate, got {table.shape}")
    table, groups = _valid(table, groups)
    if not len(table):
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(table.mean() if aggregate is None else aggregate(table))
    blocks = source_blocks(groups) if aggregate is None else connected(groups)
    if len(blocks) == 1:
        return Interval(mean, np.nan, np.nan, len(table))
    if (table == table[0]).all():
        return Interval(mean, mean, mean, len(table))
    options = {"n_resamples": resamples, "confidence_level": level, "rng": np.random.default_rng(seed)}
    if aggregate is None:
        low, high = _means(table, blocks, **options)
    elif vectorized and len(set(map(len, blocks))) == 1:
        low, high = _alike(aggregate, table, blocks, **options)
    else:
        low, high = _any(aggregate, table, blocks, **options)
    return Interval(mean, float(low), float(high), len(table))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    aggregate: Aggregate | None = None,
) -> Interval:
    """Interval of the mean of `first - second` over the samples where both are valid.

    Args:
        first: `(N,)` or `(N, K)`; sample i is the same as in `second`.
        second: Likewise.
        groups: As in `bootstrap_interval`.
        level: Probability of the interval.
        resamples: Number of resamples.
        seed: As in `bootstrap_interval`.
        aggregate: None: the mean of differences; otherwise `aggregate(first) - aggregate(second)` on the same resample.

    Returns:
        The interval; `n` counts the common valid samples.

    Raises:
        ValueError: The shapes do not fit.

    Example:
        >>> mean, low, high, n = paired_difference([0.1, 0.5, 0.9], [0.0, 0.4, np.nan])
        >>> f"{mean:.2f} [{low:.2f}, {high:.2f}] of {n}"
        '0.10 [0.10, 0.10] of 2'
    """
    pair = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"paired_difference: both need the same shape, got {pair[0].shape} and {pair[1].shape}")
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    if aggregate is None:
        return bootstrap_interval(pair[0] - pair[1], groups, **options)
    width = int(np.prod(pair[0].shape[1:]))

    def difference(table: Values) -> float:
        one, other = (half.reshape(-1, *pair[0].shape[1:]) for half in (table[:, :width], table[:, width:]))
        return float(aggregate(one) - aggregate(other))

    both = np.concatenate([values.reshape(len(values), width) for values in pair], axis=1)
    return bootstrap_interval(both, groups, aggregate=difference, **options)


def independent(groups: Sequence[Hashable]) -> int:
    """Number of distinct sources behind the samples; a mosaic counts by its sources."""
    return len({source for group in groups for source in _sources(group)})


def source_blocks(groups: Sequence[Hashable]) -> list[tuple[int, ...]]:
    """The samples of each source, in order; sources that always occur together are one."""
    members: dict[Hashable, list[int]] = {}
    for sample, group in enumerate(groups):
        for source in dict.fromkeys(_sources(group)):
            members.setdefault(source, []).append(sample)
    return sorted(set(map(tuple, members.values())))


def connected(groups: Sequence[Hashable]) -> list[tuple[int, ...]]:
    """The samples connected through sources, directly or not: blocks in order that share no source."""
    blocks = source_blocks(groups)
    rows = np.repeat(np.arange(len(blocks)), list(map(len, blocks)))
    columns = len(blocks) + np.concatenate(blocks)
    size = len(blocks) + len(groups)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][len(blocks) :]
    return sorted(tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels))


def resampled_weights(groups: Sequence[Hashable], resamples: int, rng: np.random.Generator) -> Values:
    """What each sample counts in each resample of sources, `(resamples, N)`.

    A sample of one source counts as often as its source is drawn. One of several sources weighs the product of their
    counts to first order, as in `bootstrap_interval`, which is less than 0 where most of them are not drawn.

    Args:
        groups: As in `bootstrap_interval`.
        resamples: Their number.
        rng: Where the draws come from.
    """
    blocks = source_blocks(groups)
    weights: Values = 1 + (drawn_counts(len(blocks), resamples, rng) - 1) @ membership(blocks, len(groups))
    return weights


def membership(blocks: Sequence[tuple[int, ...]], samples: int) -> Values:
    """1 where a block holds a sample, else 0, `(blocks, samples)`."""
    members = np.zeros((len(blocks), samples))
    for row, block in enumerate(blocks):
        members[row, list(block)] = 1
    return members


def drawn_counts(blocks: int, resamples: int, rng: np.random.Generator) -> Values:
    """How often each block is drawn in each resample, `(resamples, blocks)`: the draws of `scipy.stats.bootstrap`."""
    places = rng.integers(0, blocks, (resamples, blocks)) + blocks * np.arange(resamples)[:, None]
    counts: NDArray[np.intp] = np.bincount(places.ravel(), minlength=resamples * blocks)
    return counts.reshape(resamples, blocks).astype(np.float64)


def _sources(group: Hashable) -> tuple[Hashable, ...]:
    return group if isinstance(group, tuple) else (group,)


def _valid(table: Values, groups: Sequence[Hashable] | None) -> tuple[Values, list[Hashable]]:
    """The finite samples and their sources."""
    if groups is not None and len(groups) != len(table):
        raise ValueError(f"groups must name the source of each of the {len(table)} samples, got {len(groups)}")
    valid = np.flatnonzero(np.isfinite(table).all(axis=tuple(range(1, table.ndim)))).tolist()
    return table[valid], [index if groups is None else groups[index] for index in valid]


def _means(values: Values, blocks: list[tuple[int, ...]], **options: Any) -> tuple[float, float]:
    """Ends for the mean, from the sum and the number of the samples of each source."""

    def ratio(sums: Values, counts: Values, axis: int) -> Values:
        quotient: Values = sums.sum(axis=axis) / counts.sum(axis=axis)
        return quotient

    sums, counts = (
        np.array([table[list(block)].sum() for block in blocks]) for table in (values, np.ones(len(values)))
    )
    if counts.sum() > len(values):
        return _overlapping(values, sums - counts * values.mean(), **options)
    if (counts == counts[0]).all():  # the common case, in half the time
        return _percentiles((sums / counts,), np.mean, vectorized=True, **options)
    return _percentiles((sums, counts), ratio, paired=True, vectorized=True, **options)


def _overlapping(values: Values, totals: Values, **options: Any) -> tuple[float, float]:
    """Ends for the mean from what each source adds to it, the total of (value - mean) over its samples.

    With m_p the count of source p in a resample, sample i weighs prod m_p = 1 + sum (m_p - 1) + ... over its sources;
    to first order the mean moves by sum (m_p - 1) totals_p / N.
    """
    ends = _percentiles((totals,), np.mean, vectorized=True, **options)
    low, high = (values.mean() + len(totals) * (end - totals.mean()) / len(values) for end in ends)
    return low, high


def _any(aggregate: Aggregate, table: Values, blocks: list[tuple[int, ...]], **options: Any) -> tuple[float, float]:
    def of_blocks(drawn: NDArray[np.intp]) -> float:
        return float(aggregate(table[np.concatenate([blocks[number] for number in drawn])]))

    return _percentiles((np.arange(len(blocks)),), of_blocks, vectorized=False, **options)


def _alike(aggregate: Aggregate, values: Values, blocks: list[tuple[int, ...]], **options: Any) -> tuple[float, float]:
    """As `_any`, all at once: resamples of blocks of one size have one number of samples."""
    members = np.array(blocks)

    def of_blocks(drawn: NDArray[np.intp], axis: int) -> Values:
        resamples = values[members[np.moveaxis(drawn, axis, -1)]]
        return np.asarray(aggregate(resamples.reshape(*resamples.shape[:-2], -1)))

    return _percentiles((np.arange(len(blocks)),), of_blocks, vectorized=True, **options)


def _percentiles(data: tuple[NDArray[Any], ...], statistic: Callable[..., Any], **options: Any) -> tuple[float, float]:
    batch = max(1, ELEMENTS // len(data[0]))
    result = bootstrap(data, statistic, method="percentile", batch=batch, **options)
    return result.confidence_interval.low, result.confidence_interval.high
