"""Orders of methods: ranks on each sample, Borda's count, how firm an order is, and how far orders agree.

Tables are `(N, K)`, samples by methods; rank 1 is the best, and ties share their mean rank. A sample counts where all K
methods have a score. A method that has hardly any would leave no sample, so a caller leaves it out first.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

from xaieval.statistics import ELEMENTS, Values, resampled_weights, source_blocks

BITS = 40
"""Scores are rounded to this many bits of the largest, a part in 10^12: sums of some thousand are exact then, so that
the same scores tie in every resample, whatever their order."""


@dataclass(frozen=True)
class Stability:
    """How firm an order of K methods is when sources are drawn anew.

    Attributes:
        ranks: `(K,)` on all samples.
        low: `(K,)` lower (better) end of the interval of each rank.
        high: `(K,)` upper end.
        first: `(K,)` share of resamples in which the method is first; methods that tie share it.
        tau: Mean Kendall tau-b of a resample's order with that of all samples; one without any order is left out.
        top: Share of resamples in which the best of all samples stays the best.
    """

    ranks: Values
    low: Values
    high: Values
    first: Values
    tau: float
    top: float


def instance_ranks(table: ArrayLike, higher_is_better: bool) -> Values:
    """Ranks `(n, K)` of the methods on each of the n samples where all have a score.

    Raises:
        ValueError: It is no table, or has fewer than two methods.
    """
    return _ranks(_complete(table)[0], higher_is_better)


def borda(table: ArrayLike, higher_is_better: bool) -> Values:
    """Mean rank `(K,)` over the samples, Borda's count, lower is better; NaN without a sample.

    Approximates Kemeny's consensus, the order with the least sum of Kendall distances to the samples' orders (Colombo
    et al., arXiv:2202.03799), whose sum it exceeds five times at most (Coppersmith, Fleischer and Rudra 2006;
    unverified). No monotone rescaling of the scores changes it. A method that beats each other one on most samples need
    not be first.

    Raises:
        ValueError: As for `instance_ranks`.
    """
    return _mean(instance_ranks(table, higher_is_better))


def borda_of(tables: Sequence[tuple[ArrayLike, bool]]) -> Values:
    """Mean rank `(K,)` over metrics, from Borda's count over the samples of each: two levels (arXiv:2202.03799).

    Each metric counts alike, however many samples it has. One without a sample is left out.

    Args:
        tables: The scores `(N, K)` of each metric and whether higher is better, with the same methods in each.

    Raises:
        ValueError: There is no table, their methods differ in number, or as for `instance_ranks`.
    """
    counts = [borda(table, higher_is_better) for table, higher_is_better in tables]
    if len({len(count) for count in counts}) != 1:
        raise ValueError(f"borda_of: needs tables of the same methods, got {[len(count) for count in counts]} methods")
    valid = [count for count in counts if not np.isnan(count).any()]
    return _mean(rankdata(np.reshape(valid, (len(valid), len(counts[0]))), axis=1))


def rank_stability(
    table: ArrayLike,
    higher_is_better: bool,
    groups: Sequence[Hashable] | None = None,
    *,
    by: Literal["mean", "borda"] = "mean",
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Stability:
    """The order of the methods in resamples of the sources (percentile bootstrap; Efron and Tibshirani 1993).

    Args:
        table: `(N, K)`.
        higher_is_better: The metric's direction.
        groups: The source or sources of each sample, as in `xaieval.statistics.bootstrap_interval`.
        by: What decides the order, the mean score or the mean rank over samples.
        resamples: Their number.
        seed: The same seed gives the same answer; the global random state is not touched.
        level: Probability of the interval of each rank.

    Returns:
        All NaN but `ranks` where all samples are of the same sources; `ranks` too without a sample.

    Raises:
        ValueError: The shapes do not fit, `by` is another word, or as for `instance_ranks`.
    """
    if by not in ("mean", "borda"):
        raise ValueError(f"rank_stability: by must be 'mean' or 'borda', got {by!r}")
    scores, groups = _complete(table, groups)
    costs = _exact(-scores if higher_is_better else scores) if by == "mean" else _ranks(scores, higher_is_better)
    ranks, unknown = rankdata(_mean(costs)), np.full(costs.shape[1], np.nan)
    if len(costs) == 0 or len(source_blocks(groups)) == 1:
        return Stability(ranks, unknown, unknown, unknown, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    step = max(1, ELEMENTS // max(len(costs), costs.shape[1] ** 2))
    sizes = (min(step, resamples - start) for start in range(0, resamples, step))
    drawn = [_resampled(costs, groups, size, rng, ranks) for size in sizes]
    orders, taus = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(orders, ends, axis=0, method="inverted_cdf")
    winners = orders == orders.min(axis=1, keepdims=True)
    first = (winners / winners.sum(axis=1, keepdims=True)).mean(axis=0)
    tau = float(taus[np.isfinite(taus)].mean()) if np.isfinite(taus).any() else np.nan
    return Stability(ranks, low, high, first, tau, float(first[ranks == ranks.min()].sum()))


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b of two orders `(K,)` of methods; NaN where either has no order.

    Methods that either lacks (NaN) are left out.

    Raises:
        ValueError: The shapes differ.
    """
    one, other = _both(first, second)
    return float(kendalltau(one, other).statistic) if len(one) > 1 else np.nan


def kendall_w(ranks: ArrayLike) -> float:
    """Kendall's coefficient of concordance of m orders `(m, K)`.

    Kendall and Babington Smith 1939, 10.1214/aoms/1177732186.

    W = 12 S / (m^2 (K^3 - K) - m T), S the sum of squared deviations of the rank sums, T the sum of t^3 - t over the
    groups of t methods that tie in an order. 1 where all orders are equal, 1 / m on average where they are random.

    Args:
        ranks: What orders the methods in each row; lower or higher is better, if only in all rows alike. Methods that
            some row lacks (NaN) are left out.

    Returns:
        W; NaN for fewer than two orders or methods, and where all of them tie.

    Raises:
        ValueError: It is no table.
    """
    table = np.asarray(ranks, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"kendall_w: needs a table (m, K) of orders, got {table.shape}")
    table = table[:, np.isfinite(table).all(axis=0)]
    m, k = table.shape
    if min(m, k) < 2:
        return np.nan
    table = rankdata(table, axis=1)
    ties = sum((sizes**3 - sizes).sum() for sizes in (np.unique(row, return_counts=True)[1] for row in table))
    most = m**2 * (k**3 - k) - m * ties
    return float(12 * k * table.sum(axis=0).var() / most) if most else np.nan


def flipped_pairs(first: ArrayLike, second: ArrayLike) -> float:
    """Share of the pairs of methods that two orders `(K,)` put the other way round; a tie in either is no flip.

    Methods that either lacks (NaN) are left out; NaN for fewer than two.

    Raises:
        ValueError: The shapes differ.
    """
    one, other = map(_pair_signs, _both(first, second))
    return float((one * other < 0).mean()) if len(one) else np.nan


def _complete(table: ArrayLike, groups: Sequence[Hashable] | None = None) -> tuple[Values, list[Hashable]]:
    """The samples with a score for each method, and their sources."""
    scores = np.asarray(table, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"ranking: needs a table (N, K) of samples and at least 2 methods, got {scores.shape}")
    if groups is not None and len(groups) != len(scores):
        raise ValueError(
            f"ranking: groups must name the source of each of the {len(scores)} samples, got {len(groups)}"
        )
    valid = np.flatnonzero(np.isfinite(scores).all(axis=1)).tolist()
    return scores[valid], [index if groups is None else groups[index] for index in valid]


def _ranks(scores: Values, higher_is_better: bool) -> Values:
    ranks: Values = rankdata(-scores if higher_is_better else scores, axis=1).reshape(scores.shape)
    return ranks


def _mean(table: Values) -> Values:
    """Over rows; NaN without any."""
    mean: Values = table.mean(axis=0) if len(table) else np.full(table.shape[1], np.nan)
    return mean


def _exact(scores: Values) -> Values:
    """As whole numbers, a power of two times the scores: their sums do not depend on the order of the terms."""
    exponent = np.frexp(np.abs(scores).max(initial=0.0))[1]
    rounded: Values = np.round(np.ldexp(scores, BITS - exponent))
    return rounded


def _resampled(
    costs: Values, groups: list[Hashable], size: int, rng: np.random.Generator, ranks: Values
) -> tuple[Values, Values]:
    """Ranks `(size, K)` in resamples and their Kendall tau-b `(size,)` with the ranks on all samples."""
    sums = resampled_weights(groups, size, rng) @ costs  # all methods share the weights, so sums order as means do
    one, other = _pair_signs(sums), _pair_signs(ranks)
    untied = np.abs(one).sum(axis=-1) * np.abs(other).sum()
    tau = np.divide(one @ other, np.sqrt(untied), out=np.full(size, np.nan), where=untied > 0)
    return rankdata(sums, axis=1), tau


def _pair_signs(values: Values) -> Values:
    """Which of each pair of methods comes first, `(..., K (K - 1) / 2)`: -1, 1, or 0 for a tie."""
    left, right = np.triu_indices(values.shape[-1], 1)
    return np.sign(values[..., left] - values[..., right])


def _both(first: ArrayLike, second: ArrayLike) -> tuple[Values, Values]:
    """The methods that both orders have."""
    one, other = (np.asarray(order, dtype=np.float64) for order in (first, second))
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"ranking: both orders need the same methods (K,), got {one.shape} and {other.shape}")
    valid = np.isfinite(one) & np.isfinite(other)
    return one[valid], other[valid]
