"""Scores of methods side by side: each metric on the samples that are valid for all its methods.

A method with a score on fewer than half of a metric's samples would take the others' comparison away, so it stands
apart: its mean is over its own samples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xaieval.column_intervals import interquartile_intervals
from xaieval.pooled import with_scores
from xaieval.statistics import Interval, bootstrap_interval, independent, paired_difference
from xaieval.table import decimals_for, figures

ENOUGH = 20
"""Independent sources below which nothing is ranked."""

DOUBTED = "✗"
"""Before the name of a metric whose order of methods is not to be believed."""

CATEGORIES = (
    "faithfulness",
    "localization",
    "concepts",
    "robustness",
    "randomization",
    "complexity",
    "axioms",
    "fairness",
)
"""The order of the columns."""

RANKING = ("faithfulness", "localization", "concepts")
"""Categories that decide the order of the methods: a map that knows nothing can be perfectly robust and sparse."""

COSTS = (
    "method_forwards",
    "method_backwards",
    "method_seconds",
    "metric_forwards",
    "metric_backwards",
    "metric_seconds",
)


@dataclass(frozen=True)
class Method:
    """A row: name, whether it knows nothing of the model, and what it costs alone, per sample."""

    name: str
    sentinel: bool
    forwards: float
    backwards: float
    seconds: float

    @property
    def cost(self) -> tuple[str, str, str]:
        """Forwards, backwards and seconds, to two or three figures."""
        return figures(self.forwards, 3), figures(self.backwards, 3), figures(self.seconds, 2)


@dataclass(frozen=True)
class Score:
    """One method on one metric.

    Attributes:
        interval: Mean with its interval, over the common samples if `compared`, else over the method's own valid ones.
        deviation: Standard deviation over the same samples (n - 1 below the sum of squares); NaN for fewer than two.
        middle: Interquartile mean over the same samples, with its interval.
        compared: Whether the method has a score on at least half of the samples, and so shares the common ones.
        valid: Number of samples with a score.
        absent: Number of samples that other methods have and this one has not.
        reasons: Number of samples undefined for each reason.
        errors: Number of samples that raised each error.
        costs: Mean of each of `COSTS` over the samples.
    """

    interval: Interval
    deviation: float
    middle: Interval
    compared: bool
    valid: int
    absent: int
    reasons: dict[str, int]
    errors: dict[str, int]
    costs: dict[str, float]


@dataclass(frozen=True)
class Column:
    """A metric.

    Attributes:
        name: With the parameters that tell it from its namesakes.
        higher_is_better: Its direction.
        lowest: Lower end of its range.
        highest: Upper end.
        category: Such as `faithfulness`.
        samples: Number of samples with rows.
        common: Number of samples on which the methods are compared.
        sources: Number of independent sources behind the common samples.
        scores: By the method's name.
        doubt: Why the order of the methods is not to be believed; empty where nothing is known against it.
    """

    name: str
    higher_is_better: bool
    lowest: float
    highest: float
    category: str
    samples: int
    common: int
    sources: int
    scores: dict[str, Score]
    doubt: str = ""

    @property
    def heading(self) -> str:
        """Name, marked where it is not to be ranked by, then direction and range."""
        name = f"{DOUBTED} {self.name}" if self.doubt else self.name
        return f"{name}\n{'↑' if self.higher_is_better else '↓'} {_range(self.lowest, self.highest)}".rstrip()

    @property
    def undefined(self) -> bool:
        """Whether it means nothing for this model and dataset: no method has a score, and none failed or is missing."""
        return not any(score.valid or score.errors or score.absent for score in self.scores.values())

    @property
    def decimals(self) -> int:
        """For three figures of the largest mean, and at least three decimals of a fraction."""
        return column_decimals([score.interval.mean for score in self.scores.values()], self.lowest, self.highest)

    def best(self, names: Sequence[str]) -> set[str]:
        """The best of these methods; none where sources are too few, the order is in doubt, or there is no rival."""
        means = {name: self.scores[name].interval.mean for name in names if self.scores[name].compared}
        if self.sources < ENOUGH or self.doubt or len(means) < 2:
            return set()
        best = (max if self.higher_is_better else min)(means.values())
        return {name for name, mean in means.items() if mean == best}


class Pair(NamedTuple):
    """A paired difference, its standard deviation, and the number of independent sources behind it."""

    interval: Interval
    deviation: float
    sources: int


class Scores(NamedTuple):
    """One metric: scores as a table `(samples, methods)`, the sources of each sample, and the rows behind them."""

    table: pd.DataFrame
    sources: list[Hashable]
    rows: pd.DataFrame


def scores_by_metric(rows: pd.DataFrame) -> dict[str, Scores]:
    """The scores of each metric, ordered by category and name.

    Samples are sorted, so that the order in which they were computed moves no interval.
    """
    methods = sorted(rows["method"].unique())
    found = {}
    for metric, own in with_scores(rows).groupby("metric"):
        table = own.pivot(index="sample", columns="method", values="score").reindex(columns=methods).sort_index()
        sources = own.drop_duplicates("sample").set_index("sample")["sources"].loc[table.index]
        found[str(metric)] = Scores(table, [tuple(names) for names in sources], own)
    return dict(sorted(found.items(), key=lambda item: _place(item[1].rows["category"].iloc[-1], item[0])))


def _place(category: str, name: str) -> tuple[int, str, str]:
    return CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES), category, name


def method_of(name: str, rows: pd.DataFrame) -> Method:
    """A method from its rows; its cost counts once per sample, whatever the number of metrics."""
    once = rows.dropna(subset=[*COSTS[:3]]).drop_duplicates("sample", keep="last")
    return Method(name, bool(rows["sentinel"].iloc[-1]), *(float(once[column].mean()) for column in COSTS[:3]))


def sections(methods: Sequence[Method]) -> tuple[list[Method], list[Method]]:
    """The methods, then the sentinels."""
    return [line for line in methods if not line.sentinel], [line for line in methods if line.sentinel]


def column_of(metric: str, scores: Scores, doubt: str = "") -> Column:
    """A metric with the scores of all methods, compared on their common valid samples, and what speaks against it."""
    table, last = scores.table, scores.rows.iloc[-1]
    valid = np.isfinite(table.to_numpy(dtype=np.float64))
    often = valid.any(axis=0) & (2 * valid.sum(axis=0) >= len(table))
    common = valid[:, often].all(axis=1) & often.any()
    compared = often & common.any()
    used = np.where(compared, common[:, None], valid)
    middles = interquartile_intervals(np.where(used, table, np.nan), scores.sources)
    return Column(
        name=metric,
        higher_is_better=bool(last["higher_is_better"]),
        lowest=float(last["lowest"]),
        highest=float(last["highest"]),
        category=str(last["category"]),
        samples=len(table),
        common=int(common.sum()),
        sources=sources_behind(scores, common),
        scores={
            str(name): _score(scores, str(name), used[:, index], bool(compared[index]), middles[index])
            for index, name in enumerate(table.columns)
        },
        doubt=doubt,
    )


def _score(scores: Scores, name: str, used: NDArray[np.bool_], compared: bool, middle: Interval) -> Score:
    rows = scores.rows[scores.rows["method"] == name]
    values, failed = scores.table[name].to_numpy(dtype=np.float64), rows["error"].notna()
    return Score(
        interval=bootstrap_interval(values[used], _at(scores.sources, used)),
        deviation=deviation(values[used]),
        middle=middle,
        compared=compared,
        valid=int(np.isfinite(values).sum()),
        absent=len(values) - len(rows),
        reasons=dict(Counter(rows.loc[~failed, "reason"].dropna().astype(str)).most_common()),
        errors=dict(Counter(str(error).partition("\n")[0] for error in rows.loc[failed, "error"]).most_common()),
        costs={column: float(rows[column].mean()) for column in COSTS},
    )


def _at(sources: list[Hashable], used: NDArray[np.bool_]) -> list[Hashable]:
    return [source for source, use in zip(sources, used.tolist(), strict=True) if use]


def deciding(columns: Sequence[Column], enough: int = ENOUGH) -> list[Column]:
    """The columns that decide the order of the methods, of those with enough sources and nothing known against them."""
    ranked = [column for column in columns if column.sources >= enough and not column.doubt]
    return [column for column in ranked if column.category in RANKING] or ranked


def ranks_of(names: list[str], columns: Sequence[Column], enough: int = ENOUGH) -> dict[str, float]:
    """Mean over the deciding columns of each method's rank in (0, 1]; a method compared on none of them comes last."""
    judges = deciding(columns, enough)
    if not judges:
        return {}
    ranks = pd.DataFrame(index=names)
    for column in judges:
        shown = {name: column.scores[name].interval.mean for name in names if column.scores[name].compared}
        ranks[column.name] = pd.Series(shown, dtype=float).rank(pct=True, ascending=not column.higher_is_better)
    return {str(name): float(rank) for name, rank in ranks.mean(axis=1).fillna(2.0).items()}


def pair_of(scores: Scores, method: str, reference: str) -> Pair:
    """Method minus reference on the samples where both have a score."""
    first, second = (scores.table[name].to_numpy(dtype=np.float64) for name in (method, reference))
    return Pair(
        interval=paired_difference(first, second, scores.sources),
        deviation=deviation(first - second),
        sources=sources_behind(scores, np.isfinite(first - second)),
    )


def sources_behind(scores: Scores, used: NDArray[np.bool_]) -> int:
    """Number of independent sources behind these samples."""
    return independent(_at(scores.sources, used))


def deviation(values: NDArray[np.float64]) -> float:
    """The standard deviation of the finite values (n - 1 below the sum of squares), NaN for fewer than two."""
    valid = values[np.isfinite(values)]
    return float(valid.std(ddof=1)) if len(valid) > 1 else math.nan


def column_decimals(means: Sequence[float], lowest: float, highest: float) -> int:
    """Decimals for three figures of the largest of the means, and at least three for what lies in [-1, 1]."""
    decimals = max(0, decimals_for(means))
    return max(3, decimals) if max(abs(lowest), abs(highest)) <= 1 else decimals


def _range(lowest: float, highest: float) -> str:
    if math.isinf(lowest) and math.isinf(highest):
        return ""
    if math.isinf(highest):
        return f"≥ {lowest:g}"
    return f"≤ {highest:g}" if math.isinf(lowest) else f"{lowest:g} to {highest:g}"
