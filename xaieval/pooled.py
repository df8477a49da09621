"""Pooled metrics in tables: a score for each sample, from values that make one number only together.

A pooled metric's aggregate of n samples is theta; without sample i it is theta_i. Each sample's score is its jackknife
pseudo-value (Quenouille, doi:10.1093/biomet/43.3-4.353), moved so that their mean is exactly theta:

    s_i = theta + (n - 1) (mean_j theta_j - theta_i)

Their variance over n is the jackknife's variance of theta (Efron and Stein, doi:10.1214/aos/1176345462). So means,
intervals, paired tests and ranks of these scores are those of the aggregate, to first order in 1 / n: also their mean
over some of the samples. A single s_i may lie outside the metric's range.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from xaieval.component import Metric
from xaieval.config import ConfigError, component

TOGETHER = ["dataset", "model", "method", "metric", "metric_parameters"]
"""Rows that are equal in these make one number."""

UNKNOWN = "metric not found"
OTHER = "values of another version"
ALONE = "undefined without one sample"

Scored = tuple["NDArray[np.float64] | float", str | None]


def with_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, those with `values` with a score from all that belong together, or a reason for none.

    Args:
        rows: One for each sample of a method and a metric under one condition, oldest first.
    """
    if "values" not in rows or not rows["values"].notna().any():
        return rows
    lists, samples, parameters = (rows[name].to_numpy(object) for name in ("values", "sample", "metric_parameters"))
    lengths = rows["values"].map(len, na_action="ignore").fillna(0).to_numpy(int)
    groups = np.where(lengths > 0, rows.groupby(TOGETHER).ngroup(), -1)
    metrics = {text: _pooled(text) for text in dict.fromkeys(parameters[lengths > 0])}
    score, reason = rows["score"].to_numpy(np.float64, copy=True), rows["reason"].to_numpy(object, copy=True)
    for group in np.unique(groups[lengths > 0]):
        places = np.flatnonzero(groups == group)
        metric, fitting = metrics[parameters[places[-1]]], lengths[places] == lengths[places[-1]]
        reason[places[~fitting]] = OTHER
        places = places[fitting]
        places = places[np.argsort(samples[places], kind="stable")]  # whatever was computed first
        score[places], reason[places] = (np.nan, UNKNOWN) if metric is None else pseudo_values(metric, lists[places])
    return rows.assign(score=score, reason=reason)


def pseudo_values(metric: Metric, values: Sequence[Sequence[float]]) -> Scored:
    """A score `(n,)` for each of n samples, whose mean is the metric's aggregate of all, or NaN and why.

    Args:
        metric: A pooled metric.
        values: `(n, K)`, finite.
    """
    table = torch.tensor(np.stack([np.asarray(row, dtype=np.float64) for row in values]))
    count, whole = len(table), metric.aggregate(table)
    if count == 1 or not np.isfinite(whole):
        return whole, None if np.isfinite(whole) else metric.without_value
    without = metric.leave_one_out(table).numpy()
    if not np.isfinite(without).all():
        return np.nan, ALONE
    return whole + (count - 1) * (without.mean() - without), None


def reachable(rows: pd.DataFrame) -> float | None:
    """The best value that a pooled metric can reach on these samples, where it has a best one.

    Args:
        rows: Those of one metric; of its methods the one with most values tells.
    """
    known = rows[rows["values"].notna()] if "values" in rows else rows.iloc[:0]
    metric = None if known.empty else metric_of(known["metric_parameters"].iloc[-1])
    if metric is None or not hasattr(metric, "reachable"):
        return None
    own = known[known["method"] == known["method"].value_counts().index[0]]
    width = len(own["values"].iloc[-1])
    values = torch.tensor([entry for entry in own["values"] if len(entry) == width], dtype=torch.float64)
    return float(metric.reachable(values))


def metric_of(parameters: str) -> Metric | None:
    """The metric that rows name, or None where there is none of this name here."""
    try:
        return _built(parameters)
    except ConfigError:
        return None


def _pooled(parameters: str) -> Metric | None:
    """The pooled metric that rows name, or none, with a warning."""
    try:
        metric = _built(parameters)
    except ConfigError as error:
        problem = str(error)
    else:
        if metric.pooled:
            return metric
        problem = f"{type(metric).__name__} is not pooled"
    warnings.warn(f"Rows with values of a pooled metric have no scores: {problem}", stacklevel=2)
    return None


def _built(parameters: str) -> Metric:
    metric: Metric = component("metric", json.loads(parameters), "metric_parameters")
    return metric
