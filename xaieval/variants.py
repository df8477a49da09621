"""Names of models, methods and metrics in a table: variants of one name are told apart by what differs."""

from __future__ import annotations

import pandas as pd

from xaieval.rows import flat_parameters

SETTINGS = ("precision", "device", "target_rule")
"""Columns of the rows that tell variants of a method apart, beside its parameters."""


def with_weights(model: str, weights: str) -> str:
    """How a model is called beside another of its name."""
    return f"{model} weights={weights[:8]}"


def weights_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, where models of one name with different weights have names of their own.

    So that no table mixes what was computed before and after a training. Rows that know no weights keep the name.
    """
    counts = rows.groupby("model")["weights"].nunique()
    several = rows["model"].isin(counts.index[counts > 1]) & rows["weights"].notna()
    named = rows.loc[several, ["model", "weights"]].itertuples(index=False, name=None)
    model = rows["model"].copy()
    model[several] = [with_weights(*one) for one in named]
    return rows.assign(model=model)


def current_rows(part: pd.DataFrame) -> pd.DataFrame:
    """The latest row of each cell; `method` and `metric` tell variants apart, `name` is the method's own name."""
    frame = metrics_apart(part.sort_values("time", kind="stable"))
    frame = frame.assign(name=frame["method"], method=_labels(frame, "method", SETTINGS))
    return frame.drop_duplicates(["method", "metric", "sample"], keep="last")


def metrics_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, where metrics of one name are told apart by their parameters."""
    return rows.assign(metric=_labels(rows, "metric", ()))


def _labels(frame: pd.DataFrame, part: str, settings: tuple[str, ...]) -> list[str]:
    """Names, each followed by the parameters and settings in which its namesakes differ."""
    columns = [part, f"{part}_parameters", *settings]
    variants = list(frame[columns].fillna("").itertuples(index=False, name=None))
    details = {
        variant: flat_parameters(variant[1]) | dict(zip(settings, variant[2:], strict=True))
        for variant in dict.fromkeys(variants)
    }
    labels = {variant: _label(variant, details, short=True) for variant in details}
    if len(set(labels.values())) < len(labels):  # classes of one name in several modules
        labels = {variant: _label(variant, details, short=False) for variant in details}
    return [labels[variant] for variant in variants]


def _label(variant: tuple[str, ...], details: dict[tuple[str, ...], dict[str, object]], short: bool) -> str:
    own, namesakes = details[variant], [detail for other, detail in details.items() if other[0] == variant[0]]
    words = [variant[0]]
    for name, value in own.items():
        if any(name not in other or other[name] != value for other in namesakes):
            path = name.removesuffix("_target_").removesuffix(".")
            shown = str(value).rpartition(".")[2] if short and name != path else _value(value)
            words.append(f"{path or 'class'}={shown}")
    return " ".join(words)


def _value(value: object) -> str:
    return ",".join(map(_value, value)) if isinstance(value, tuple) else str(value)
