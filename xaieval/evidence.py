"""What the trials say of each metric: tables of samples x methods, from the run and from what was repeated or changed.

Trials are rows of `xaieval.rows.SCHEMA` with two columns more, `trial` and `variant`; `method` and `metric` keep the
names of the run. Rows without these columns are those of the run itself.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from xaieval.comparison import Scores, scores_by_metric
from xaieval.pooled import with_scores
from xaieval.score_tables import often
from xaieval.variants import current_rows

RUN = "run"
"""The trial that is the run itself."""

PERTURBED = ("weights_noise", "weights_disruption", "inputs_noise", "inputs_disruption")
"""Trials in which the model or the input is perturbed."""

KEPT = "prediction_kept"
"""The metric of rows that say whether a perturbed prediction is still the class explained."""

Scored = TypeVar("Scored", pd.DataFrame, "pd.Series[float]")

_PERMUTED = "xaieval.attributions.permuted.Permuted"

ORACLES = (
    "xaieval.attributions.greedy_insertion.GreedyInsertion",
    "xaieval.attributions.ground_truth.GroundTruth",
    "xaieval.attributions.part_effects.PartEffects",
)
"""Methods that are bounds, also where a run has them among its own: one that beats what knows nothing proves nothing
for a metric that no explanation does well on."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything known of one metric on one dataset with one model. A table is samples x methods, NaN where undefined.

    Attributes:
        dataset: Name.
        model: Name.
        metric: Name in the leaderboard.
        higher_is_better: Its direction.
        category: Such as `faithfulness`.
        parameters: The metric's canonical JSON.
        lowest: Lower end of its range.
        highest: Upper end.
        scores: Of the methods with a score on at least half of the samples, as the leaderboard compares them, without
            `ORACLES`.
        sources: The sources of each sample.
        sentinels: Scores of what knows nothing of the model.
        shuffled: Scores of the methods' own shuffled maps, by the method's name.
        seeds: A table for each repetition of the methods that have a seed, with another seed.
        draws: A table for each repetition of the metric with another seed, on the very same maps.
        own: The removal of the run; empty where the metric has none.
        removals: Scores under other removals.
        oracles: Scores of maps made from the metric's own answer.
        perturbed: For each of the trials `PERTURBED`, a table for each perturbation.
        kept: Beside it, 1 where the perturbed prediction is still the class explained, otherwise 0.
    """

    dataset: str
    model: str
    metric: str
    higher_is_better: bool
    category: str
    parameters: str
    lowest: float
    highest: float
    scores: pd.DataFrame
    sources: Mapping[str, Hashable]
    sentinels: pd.DataFrame
    shuffled: pd.DataFrame
    seeds: tuple[pd.DataFrame, ...]
    draws: tuple[pd.DataFrame, ...]
    own: str
    removals: Mapping[str, pd.DataFrame]
    oracles: pd.DataFrame
    perturbed: Mapping[str, tuple[pd.DataFrame, ...]]
    kept: Mapping[str, tuple[pd.Series, ...]]

    def oriented(self, table: Scored) -> Scored:
        """The scores with their sign turned where lower is better, so that more is better."""
        return table if self.higher_is_better else -table

    def sources_of(self, samples: Iterable[str]) -> list[Hashable]:
        """The sources of these samples, as `xaieval.statistics` takes them."""
        return [self.sources[sample] for sample in samples]


def evidences(trials: pd.DataFrame) -> list[Evidence]:
    """The evidence on each metric of each dataset and model, in the order of the leaderboards and their columns.

    Args:
        trials: Rows as the module says. Where no trial `shuffled` is among them, the rows of a sentinel `Permuted`
            that wraps exactly a method of the run are that method's shuffled map.
    """
    if "trial" not in trials:
        trials = trials.assign(trial=RUN, variant="")
    trials = trials.reset_index(drop=True)
    return [found for _, part in trials.groupby(["dataset", "model"]) for found in _of_part(part)]


def _of_part(part: pd.DataFrame) -> Iterator[Evidence]:
    """One dataset and model."""
    run = part[part["trial"] == RUN]
    if run.empty:
        return
    current = current_rows(run)
    others = _latest(part[part["trial"] != RUN])
    for name in ("method", "metric"):
        labels = _labels(run.loc[current.index, name], current[name])
        others[name] = [labels.get(own, own) for own in others[name]]
    kept = {str(trial): _kept(rows) for trial, rows in others[others["metric"] == KEPT].groupby("trial")}
    for metric, scores in scores_by_metric(current).items():
        yield _evidence(metric, scores, others[others["metric"] == metric], kept)


def _evidence(
    metric: str, scores: Scores, others: pd.DataFrame, kept: Mapping[str, Mapping[str, pd.Series]]
) -> Evidence:
    last, table = scores.rows.iloc[-1], scores.table
    of_trial = {str(trial): _tables(rows) for trial, rows in others.groupby("trial")}
    knows_nothing = set(scores.rows.loc[scores.rows["sentinel"].astype(bool), "method"])
    bounds = set(scores.rows.loc[of_oracles(scores.rows), "method"])
    perturbed = {trial: of_trial.get(trial, {}) for trial in PERTURBED if trial in kept}
    return Evidence(
        dataset=str(last["dataset"]),
        model=str(last["model"]),
        metric=metric,
        higher_is_better=bool(last["higher_is_better"]),
        category=str(last["category"]),
        parameters=str(last["metric_parameters"]),
        lowest=float(last["lowest"]),
        highest=float(last["highest"]),
        scores=often(table.loc[:, [name not in knows_nothing | bounds for name in table.columns]]),
        sources=dict(zip(table.index, scores.sources, strict=True)),
        sentinels=table.loc[:, [name in knows_nothing for name in table.columns]],
        shuffled=_only(of_trial["shuffled"]) if "shuffled" in of_trial else _wrapped(scores),
        seeds=tuple(of_trial.get("seed", {}).values()),
        draws=tuple(of_trial.get("draw", {}).values()),
        own=_removal(str(last["metric_parameters"])),
        removals=of_trial.get("removal", {}),
        oracles=_only(of_trial["oracle"]) if "oracle" in of_trial else table.iloc[:0, :0],
        perturbed={trial: tuple(_aligned(tables, kept[trial])) for trial, tables in perturbed.items()},
        kept={trial: tuple(kept[trial].values()) for trial in perturbed},
    )


def _labels(names: pd.Series, labels: pd.Series) -> dict[str, str]:
    """The leaderboard's name of each name that stands for one thing only; of namesakes trials are not told apart."""
    found = {str(name): own.unique() for name, own in labels.groupby(names)}
    return {name: str(own[0]) for name, own in found.items() if len(own) == 1}


def _latest(rows: pd.DataFrame) -> pd.DataFrame:
    cell = ["trial", "variant", "method", "metric", "sample"]
    return rows.sort_values("time", kind="stable").drop_duplicates(cell, keep="last")


def _tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scores of each variant, `2` before `10`."""
    tables = {
        str(variant): with_scores(own).pivot(index="sample", columns="method", values="score").astype(float)
        for variant, own in rows.groupby("variant")
    }
    tables = {variant: table.sort_index() for variant, table in tables.items()}
    return dict(sorted(tables.items(), key=lambda item: (len(item[0]), item[0])))


def _only(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table of a trial without variants."""
    return next(iter(tables.values()))


def _kept(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {variant: table.iloc[:, 0] for variant, table in _tables(rows).items()}


def _aligned(tables: Mapping[str, pd.DataFrame], kept: Mapping[str, pd.Series]) -> Iterator[pd.DataFrame]:
    """One table for each perturbation, empty where the metric has no scores of it."""
    for variant, series in kept.items():
        yield tables.get(variant, pd.DataFrame(index=series.index))


def of_oracles(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of `ORACLES`, whatever these are called in a run."""
    parameters = rows["method_parameters"]
    return parameters.isin([text for text in parameters.unique() if _class(text) in ORACLES])


def _class(parameters: str) -> str:
    return str(json.loads(parameters).get("_target_", ""))


def _removal(parameters: str) -> str:
    """The name of a metric's removal, of its class where it is not named; empty without one."""
    removal = json.loads(parameters).get("removal", "")
    return str(removal["_target_"]).rpartition(".")[2] if isinstance(removal, dict) else str(removal)


def _wrapped(scores: Scores) -> pd.DataFrame:
    """The maps of the run that are another method's, shuffled, under that method's name."""
    rows = scores.rows.drop_duplicates("method")
    parameters = {
        str(name): json.loads(text) for name, text in zip(rows["method"], rows["method_parameters"], strict=True)
    }
    found = {
        name: scores.table[other]
        for name, own in parameters.items()
        for other, wrapper in reversed(parameters.items())
        if wrapper.get("_target_") == _PERMUTED and wrapper["method"] == own
    }
    return pd.DataFrame(found, index=scores.table.index, dtype=float)
