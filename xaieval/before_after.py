"""What one perturbation does to a table of scores, samples x methods: to a method's own, and to the methods' order."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from xaieval.statistics import Values

Flags = NDArray[np.bool_]
Share = Callable[[Values, Values, Flags], float]

FEWEST = 6
"""Pairs that a test needs: with five, no difference however large comes below p = .05 (two of 2^5 signs, .0625)."""

EXACT = 50
"""Pairs up to which a test is exact."""


def unmoved(before: Values, after: Values, pairs: Flags) -> float:
    """Mean p over methods of the test between a method's scores `(n, M)` before and after.

    Only the pairs `(n, M)` count, and methods with at least `FEWEST`; NaN without such a method.
    """
    tested = [signed_rank(before[own, one], after[own, one]) for one, own in enumerate(pairs.T) if own.sum() >= FEWEST]
    return float(np.mean(tested)) if tested else nan


def signed_rank(before: Values, after: Values) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of scores `(n,)`, zeros split among the signs; 1 for identical scores.

    Exact for up to `EXACT` pairs without zeros and ties, otherwise by the normal approximation with their correction.
    """
    sizes = np.abs(after - before)
    if not sizes.any():
        return 1.0
    # SciPy's own choice goes through all signs where there are ties: a second for 13 pairs.
    if sizes.all() and len(np.unique(sizes)) == len(sizes) <= EXACT:
        return float(wilcoxon(before, after, zero_method="zsplit", method="exact").pvalue)
    return float(wilcoxon(before, after, zero_method="zsplit", method="approx").pvalue)


def ranks_kept(before: Values, after: Values, pairs: Flags) -> float:
    """Share of scores `(n, M)` whose rank within the sample is what it was.

    Ties share their average rank, so the order of the columns means nothing, and ranks from either end are kept alike.
    Without ties this is the share of rank places held by the method that held them before. Only the pairs `(n, M)`
    count, and samples with at least two; NaN without.
    """
    pairs = pairs & (pairs.sum(axis=1, keepdims=True) > 1)
    first, second = (rankdata(np.where(pairs, table, nan), axis=1, nan_policy="omit") for table in (before, after))
    return float((first == second)[pairs].mean()) if pairs.any() else nan


def fallen(before: Values, after: Values, pairs: Flags) -> float:
    """Share of scores `(n, M)` that are lower than before, equal ones not; only the pairs count, NaN without."""
    return float((after < before)[pairs].mean()) if pairs.any() else nan
