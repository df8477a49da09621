"""Samples to look at: photo or text, every method's map from the store, scores, and curves with the order of pieces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xaieval.collate import collate
from xaieval.cost import Cost
from xaieval.curve import curve_name
from xaieval.curve_area import CurveArea
from xaieval.keys import versions
from xaieval.leaderboard import Leaderboard
from xaieval.metrics.deletion import Deletion
from xaieval.plan import UNKEPT, Part, Subject
from xaieval.removal import removal_of
from xaieval.report.experiments import Experiment
from xaieval.report.looks import looks, order_name
from xaieval.scores import Scores
from xaieval.store import Store
from xaieval.table import number
from xaieval.variants import with_weights

SAMPLES = 50
"""Most samples of one report: with twelve methods they take ten megabytes."""

EXTREMES = 2
"""So many of the best and of the worst samples of each metric are among them."""


@dataclass
class Album:
    """Samples of one leaderboard.

    Attributes:
        views: Ways to take pieces away, one for each metric of a curve.
        samples: What is shown of each.
        notes: What is not shown, and why.
    """

    views: list[dict[str, Any]]
    samples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def album(
    board: Leaderboard, rows: pd.DataFrame, runs: Sequence[Experiment], stores: Sequence[Store], most: int = SAMPLES
) -> Album:
    """The samples of a leaderboard.

    Args:
        board: The leaderboard.
        rows: Those behind it, as `xaieval.variants.current_rows` names them.
        runs: What was run.
        stores: Where maps and curves are looked up.
        most: So many samples.
    """
    fitting = [run for run in runs if run.dataset.name == board.dataset and board.model in _names(run)]
    curves: dict[str, CurveArea] = {
        str(name): metric
        for name, parameters in rows.groupby("metric")["metric_parameters"].last().items()
        for metric in _curve_metrics(fitting, str(parameters))
    } or {"": Deletion()}
    made = Album([_view(name, metric) for name, metric in curves.items()])
    chosen, lost = chosen_samples(board, most), 0
    groups = dict(iter(rows.groupby("sample")))
    for name in chosen:
        found = [one for run in fitting if (one := _sample(run, board, groups[name], curves, stores))]
        if found:
            made.samples.append(max(found, key=lambda one: len(one["maps"])))
        lost += not found
    made.notes = list(_notes(board, len(chosen), lost, len(fitting)))
    return made


def chosen_samples(board: Leaderboard, most: int) -> list[str]:
    """Names of the samples to show: the best and the worst of each metric by the mean over all methods, then others."""
    names = sorted({str(name) for scores in board.given.values() for name in scores.table.index})
    if len(names) <= most:
        return names
    picked: dict[str, None] = {}
    for metric in board.given:
        order = mean_scores(board, metric).dropna().sort_values(kind="stable").index
        picked |= dict.fromkeys([*order[:EXTREMES], *order[::-1][:EXTREMES]])
    spread = [names[place] for place in np.linspace(0, len(names) - 1, most).round().astype(int)]
    return sorted([*picked, *(name for name in spread if name not in picked)][:most])


def mean_scores(board: Leaderboard, metric: str) -> pd.Series:
    """For each sample the mean score of all methods that know the model and have one there."""
    real = [line.name for line in board.methods if not line.sentinel]
    means: pd.Series = board.given[metric].table.reindex(columns=real).mean(axis=1)
    return means


def _curve_metrics(runs: Sequence[Experiment], parameters: str) -> list[CurveArea]:
    """The metric of these parameters, where it is the area below a curve."""
    found = [run.metrics[parameters].component for run in runs if parameters in run.metrics]
    return [metric for metric in found[:1] if isinstance(metric, CurveArea)]


def _names(run: Experiment) -> tuple[str, str]:
    """What the model is called alone, and beside others of its name."""
    return run.classifier.name, with_weights(run.classifier.name, run.keys.weights)


def _view(name: str, metric: CurveArea) -> dict[str, Any]:
    removal = removal_of(metric.removal)
    return {
        "metric": name,
        "direction": metric.direction,
        "order": order_name(metric),
        "output": metric.output,
        "removal": metric.removal if isinstance(metric.removal, str) else type(removal).__name__,
    }


def _notes(board: Leaderboard, chosen: int, lost: int, runs: int) -> Iterable[str]:
    if chosen < board.samples:
        yield (
            f"{chosen} of {board.samples} samples: of each metric the {EXTREMES} best and worst by the mean over all "
            "methods, and others evenly."
        )
    if not runs:
        yield (
            "There are no pictures: no configuration of a run is kept beside these rows, or what it names cannot be "
            "composed here. Runs of the command keep it in their store; name the folder of the run to use its own."
        )
    elif lost:
        yield (
            f"{lost} of them {'is' if lost == 1 else 'are'} not shown: photo, model, method or the version of torch "
            f"is no longer what the rows were computed with (here {versions()})."
        )


# -- one sample --------------------------------------------------------------------------------------------------------


def _sample(
    run: Experiment,
    board: Leaderboard,
    rows: pd.DataFrame,
    curves: Mapping[str, CurveArea],
    stores: Sequence[Store],
) -> dict[str, Any] | None:
    """What is shown of a sample; None where the run did not explain it as it is now."""
    name = str(rows["sample"].iloc[0])
    if name not in run.places:
        return None
    try:
        sample = run.samples[run.places[name]]
        subject = Subject.of(run.places[name], sample, run.dataset.name, run.target)
    except (ValueError, OSError):
        return None
    if not _same(run, subject, rows):
        return None
    targets = rows["target"].dropna()
    target = torch.tensor([int(targets.iloc[-1])]) if len(targets) else None
    explicand = run.classifier.explicand(target=target, ids=[name], **collate([sample]))
    known = rows.drop_duplicates("method").set_index("method")["method_parameters"]
    parts = {str(label): run.methods[text] for label, text in known.items() if text in run.methods}
    maps = {}
    for label, part in parts.items():
        if (found := _kept_map(run, subject, part, stores)) is not None:
            attribution = found[0][None].to(explicand.device)
            explicand.remember(attribution, found[1], Cost(), part.component)
            maps[label] = attribution
    kept = {label: _kept_curves(run, subject, parts[label], stores) for label in maps}
    return {
        **looks(explicand, sample, maps, curves),
        "scores": _scores(board, name, rows),
        "curves": {label: _points(curves, tables) for label, tables in kept.items()},
    }


def _same(run: Experiment, subject: Subject, rows: pd.DataFrame) -> bool:
    """Whether a row is of this very sample: its key says so, where it has one."""
    columns = ["key", "method_parameters", "metric_parameters"]
    for key, method, metric in rows[columns].itertuples(index=False, name=None):
        if str(key).startswith(UNKEPT):
            return True
        known = method in run.methods and metric in run.metrics
        if known and run.keys.row(subject, run.methods[method], run.metrics[metric]) == key:
            return True
    return False


def _kept_map(run: Experiment, subject: Subject, part: Part, stores: Sequence[Store]) -> tuple[Tensor, str] | None:
    key = run.keys.attribution(subject, part)
    for store in stores if key is not None else ():
        if found := store.attribution(str(key)):
            return found[0], found[1]["units"]
    return None


def _kept_curves(run: Experiment, subject: Subject, part: Part, stores: Sequence[Store]) -> dict[str, Tensor]:
    key = run.keys.curves(subject, part)
    return next((found for store in stores if key and (found := store.scalars(key))), {})


def _points(curves: Mapping[str, CurveArea], tables: Mapping[str, Tensor]) -> dict[str, list[list[float]]]:
    """The curve of each metric: parts gone or back, and scores."""
    found = {}
    for name, one in curves.items():
        table = tables.get(curve_name(one.grid, one.steps, removal_of(one.removal), one.direction, one.seed))
        scores = None if table is None else Scores(table[:, :3]).of(one.output)
        if table is not None and scores is not None and bool(scores.isfinite().all()):  # of one class is no margin
            found[name] = [_rounded(table[:, 3]), _rounded(scores)]
    return found


def _scores(board: Leaderboard, name: str, rows: pd.DataFrame) -> dict[str, dict[str, list[Any]]]:
    """By metric and method: the score or null, and what is shown of it."""
    columns = ["method", "metric", "error", "reason"]
    why = {
        (method, metric): str(error or reason)
        for method, metric, error, reason in rows[columns].fillna("").itertuples(index=False, name=None)
    }
    found: dict[str, dict[str, list[Any]]] = {}
    for column in board.shown:
        table = board.given[column.name].table
        if name in table.index:
            values = zip(map(str, table.columns), map(float, table.loc[[name]].to_numpy()[0]), strict=True)
            found[column.name] = {
                method: [round(value, 6), number(value, column.decimals)]
                if math.isfinite(value)
                else [None, why[method, column.name]]
                for method, value in values
                if math.isfinite(value) or (method, column.name) in why
            }
    return found


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]
