"""Intervals and paired comparisons over samples, from `scipy.stats.bootstrap`.

Samples that share a source photo (mosaics with a common tile, one photo explained for several classes) are not
independent, so they are resampled together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import bootstrap

Aggregate = Callable[[NDArray[np.float64]], float]

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
) -> Interval:
    """Percentile bootstrap interval of the mean over samples (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: `(N,)`, or `(N, K)` for an aggregate of K numbers per sample. Samples that are not finite are left out.
        groups: The source photo of each sample, or a tuple of photos where it has several. Samples connected through
            photos form a cluster, and clusters are resampled. None: each sample is a cluster.
        level: Probability of the interval.
        resamples: Number of resamples.
        seed: The same seed gives the same interval; the global random state is not touched.
        aggregate: What is estimated, from the values of a resample `(n,)` or `(n, K)`; None: the mean.

    Returns:
        The interval. One cluster has a mean but no interval (NaN); equal values have an interval of length 0.

    Raises:
        ValueError: The shapes of values and groups do not fit, or several numbers per sample come without an aggregate.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 1 and (table.ndim != 2 or aggregate is None):
        raise ValueError(f"bootstrap_interval: values must be (N,), or (N, K) with an aggregate, got {table.shape}")
    table, labels = _valid(table, groups)
    if not len(table):
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(table.mean() if aggregate is None else aggregate(table))
    if labels.max() == 0:
        return Interval(mean, np.nan, np.nan, len(table))
    if (table == table[0]).all():
        return Interval(mean, mean, mean, len(table))
    resample = _means if aggregate is None else _aggregates(aggregate)
    options = {"n_resamples": resamples, "confidence_level": level, "rng": np.random.default_rng(seed)}
    low, high = resample(table, labels, **options)
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
    """
    pair = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"paired_difference: both need the same shape, got {pair[0].shape} and {pair[1].shape}")
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    if aggregate is None:
        return bootstrap_interval(pair[0] - pair[1], groups, **options)
    width = int(np.prod(pair[0].shape[1:]))

    def difference(table: NDArray[np.float64]) -> float:
        one, other = (half.reshape(-1, *pair[0].shape[1:]) for half in (table[:, :width], table[:, width:]))
        return aggregate(one) - aggregate(other)

    both = np.concatenate([values.reshape(len(values), width) for values in pair], axis=1)
    return bootstrap_interval(both, groups, aggregate=difference, **options)


def clusters(groups: Sequence[Hashable]) -> NDArray[np.intp]:
    """Number of the cluster of each sample, `(N,)`: samples with a common photo, also through others, are in one.

    Args:
        groups: The source photo of each sample, or a tuple of photos.
    """
    photos: dict[Hashable, int] = {}
    pairs = [
        (sample, photos.setdefault(photo, len(photos)))
        for sample, group in enumerate(groups)
        for photo in (group if isinstance(group, tuple) else (group,))
    ]
    samples, sources = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    size = len(groups) + len(photos)
    graph = coo_array((np.ones(len(pairs)), (samples, sources + len(groups))), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(groups)], dtype=np.intp)


def independent(groups: Sequence[Hashable]) -> int:
    """Number of distinct source photos behind the samples; a mosaic counts by its photos."""
    return len({photo for group in groups for photo in (group if isinstance(group, tuple) else (group,))})


def _valid(table: NDArray[Any], groups: Sequence[Hashable] | None) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The finite samples and the number of each one's cluster, `0 ... clusters - 1`."""
    if groups is not None and len(groups) != len(table):
        raise ValueError(f"groups must name the photo of each of the {len(table)} samples, got {len(groups)}")
    (valid,) = np.nonzero(np.isfinite(table).all(axis=tuple(range(1, table.ndim))))
    labels = np.arange(len(valid)) if groups is None else clusters([groups[index] for index in valid.tolist()])
    return table[valid], labels


def _means(table: NDArray[np.float64], labels: NDArray[np.intp], **options: Any) -> tuple[float, float]:
    """Mean over the samples of resampled clusters, from each cluster's sum and count."""

    def mean(sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        quotient: NDArray[np.float64] = sums.sum(axis=axis) / counts.sum(axis=axis)
        return quotient

    # Centered, so that equal values have no rounding error.
    center = table.mean()
    data = np.bincount(labels, table - center), np.bincount(labels).astype(np.float64)
    low, high = _percentiles(data, mean, paired=True, vectorized=True, **options)
    return center + low, center + high


def _aggregates(aggregate: Aggregate) -> Callable[..., tuple[float, float]]:
    def interval(table: NDArray[np.float64], labels: NDArray[np.intp], **options: Any) -> tuple[float, float]:
        members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])

        def of_clusters(drawn: NDArray[np.intp]) -> float:
            return aggregate(table[np.concatenate([members[number] for number in drawn])])

        return _percentiles((np.arange(len(members)),), of_clusters, vectorized=False, **options)

    return interval


def _percentiles(data: tuple[NDArray[Any], ...], statistic: Callable[..., Any], **options: Any) -> tuple[float, float]:
    batch = max(1, ELEMENTS // len(data[0]))
    result = bootstrap(data, statistic, method="percentile", batch=batch, **options)
    return result.confidence_interval.low, result.confidence_interval.high
