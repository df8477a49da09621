"""Two runs side by side: the same cells of both, paired sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from xaieval.cells import decimals_of, difference_in_short, with_half_width
from xaieval.comparison import ENOUGH, Column, Pair, column_of, pair_of, scores_by_metric
from xaieval.differences import mark
from xaieval.report.sources import Source
from xaieval.variants import current_rows, metrics_apart, weights_apart

HALVES = ("first", "second")


@dataclass(frozen=True)
class Line:
    """One method on one metric in both runs.

    Attributes:
        names: Dataset, model, method and metric.
        means: In the first and in the second run, over the samples that have a score in both.
        difference: Second minus first with its interval, and whether it is for the better where that is beyond chance.
        order: The difference as a number.
        samples: Number of samples with a score in both.
    """

    names: tuple[str, str, str, str]
    means: tuple[str, str]
    difference: str
    order: float
    samples: int


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        lines: What both have.
        notes: How to read it.
    """

    first: str
    second: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def compared(first: Source, second: Source) -> Comparison:
    """The second run against the first."""
    both, count = metrics_apart(pd.concat([first.rows, second.rows], ignore_index=True)), len(first.rows)
    halves = [_prepared(both.iloc[:count]), _prepared(both.iloc[count:])]
    models = [set(half["model"]) for half in halves]
    notes = [
        "Second minus first: mean difference over the samples that have a score in both, with its 95 % bootstrap "
        f"interval. ▲ better, ▼ worse, where the interval leaves 0 out and there are at least {ENOUGH} sources; the "
        "number of lines is not corrected for."
    ]
    same = len(set(halves[0]["key"]) & set(halves[1]["key"]))
    if same:
        notes.append(f"{same} cells are the very same in both, computed once.")
    if trained := _changed(halves, "model", "weights"):
        notes.append(f"Other weights in the second: {', '.join(trained)}.")
    if not models[0] & models[1] and all(len(names) == 1 for names in models):
        halves = [half.assign(model=" / ".join(name for names in models for name in names)) for half in halves]
        notes.append("The runs are of different models on the same samples.")
    if others := _changed(halves, "method", "method_parameters"):
        notes.append(f"Other parameters in the second: {', '.join(others)}.")
    if alone := _alone(*halves):
        notes.append(f"In one of the two only, so not compared: {alone}.")
    lines = tuple(_lines(*halves))
    if not lines:
        notes.append("There is no method and metric that both have on the same samples.")
    return Comparison(first.name, second.name, lines, tuple(notes))


def _prepared(rows: pd.DataFrame) -> pd.DataFrame:
    parts = [current_rows(part) for _, part in weights_apart(rows).groupby(["dataset", "model"])]
    return pd.concat(parts, ignore_index=True) if parts else rows


def _changed(halves: Sequence[pd.DataFrame], part: str, what: str) -> list[str]:
    """Models or methods of both halves that have nothing of `what` in common."""
    known = [half.dropna(subset=what).groupby(part)[what].agg(set) for half in halves]
    both = known[0].index.intersection(known[1].index)
    return [str(name) for name in both if not known[0][name] & known[1][name]]


def _alone(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Methods and metrics that only one half has."""
    names = [set(first[part]) ^ set(second[part]) for part in ("method", "metric")]
    return ", ".join(sorted(map(str, names[0] | names[1])))


def _lines(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Line]:
    columns = ["dataset", "model", "method", "metric"]
    groups = [dict(iter(half.groupby(columns))) for half in (first, second)]
    for names in sorted(groups[0].keys() & groups[1].keys()):
        both = pd.concat([group[names].assign(method=half) for half, group in zip(HALVES, groups, strict=True)])
        scores = scores_by_metric(both)[str(names[3])]
        pair = pair_of(scores, HALVES[1], HALVES[0])
        if pair.interval.n:
            yield _line(
                (str(names[0]), str(names[1]), str(names[2]), str(names[3])), column_of(str(names[3]), scores), pair
            )


def _line(names: tuple[str, str, str, str], column: Column, pair: Pair) -> Line:
    before, after = (with_half_width(column.scores[half].interval, column.decimals) for half in HALVES)
    text = difference_in_short(pair, decimals_of(column, [pair]), [])
    return Line(names, (before, after), text + mark(pair, column), pair.interval.mean, pair.interval.n)
