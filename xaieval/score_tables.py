"""Tables of scores, samples x methods, NaN where undefined: what is common to them, and what is equal to rounding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from xaieval.statistics import Values

ROUNDING = 1e-5
"""Share of a metric's scale below which numbers are one: a batch of another size moves them by less."""


def common(tables: Iterable[pd.DataFrame]) -> list[str]:
    """The samples with a finite score in every cell of every table, in order; those of no column are all."""
    finite = [(table.index, np.isfinite(table.to_numpy(dtype=np.float64)).all(axis=1)) for table in tables]
    rows = [{str(sample) for sample in index[valid]} for index, valid in finite]
    return sorted(set.intersection(*rows)) if rows else []


def often(table: pd.DataFrame) -> pd.DataFrame:
    """The columns with a score on at least half of the samples: others would take a comparison away."""
    valid = np.isfinite(table.to_numpy(dtype=np.float64)).sum(axis=0)
    names = [name for name, count in zip(table.columns, valid.tolist(), strict=True) if 0 < count >= len(table) / 2]
    return table[names]


def scale_of(values: Values) -> Values:
    """The size of each sample's scores `(n,)` in a table `(n, K)`: the largest, but no less than in a usual sample.

    A few samples with huge scores do not hide what differs on the others; a sample of zeros has a scale all the same.
    """
    largest = np.abs(np.where(np.isfinite(values), values, 0.0)).max(axis=1, initial=0.0)
    usual = float(np.median(largest)) if len(largest) else 0.0
    return np.where(largest > usual, largest, usual)


def alike(table: pd.DataFrame) -> bool:
    """Whether all columns have the same scores, sample by sample, to `ROUNDING` of their scale.

    Undefined scores are left out; False where no sample has two scores, so that nothing is compared.
    """
    values = table.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values).sum(axis=1) >= 2]
    if not len(values):
        return False
    spread = np.nanmax(values, axis=1) - np.nanmin(values, axis=1)
    return bool((spread <= ROUNDING * scale_of(values)).all())


def order_of(table: pd.DataFrame) -> pd.Series:
    """The place of each method by its mean over the samples where all have a score: 0 for the lowest mean.

    Methods whose means follow each other by less than `ROUNDING` of the scale share a place. NaN without such a sample.
    """
    values = table.loc[common([table])].to_numpy(dtype=np.float64)
    if not values.size:
        return pd.Series(np.nan, index=table.columns)
    means = pd.Series(values.mean(axis=0), index=table.columns).sort_values(kind="stable")
    steps = means.diff() > ROUNDING * np.median(scale_of(values))
    return steps.cumsum().astype(float).loc[table.columns]
