"""What a row of the results holds: one cell, that is one sample x method x metric x model x dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite, nan
from typing import Any

import pandas as pd
import pyarrow as pa


def _column(name: str, kind: pa.DataType, meaning: str, required: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={"meaning": meaning})


SCHEMA = pa.schema(
    [
        _column("key", pa.string(), "content key of the cell, from `key_of`", required=True),
        _column("sample", pa.string(), "id of what was explained, unique in its dataset", required=True),
        _column("sources", pa.list_(pa.string()), "independent sources behind it; several for a mosaic", required=True),
        _column("dataset", pa.string(), "name", required=True),
        _column("model", pa.string(), "name", required=True),
        _column("weights", pa.string(), "digest of the model's weights, structure and normalization"),
        _column("method", pa.string(), "name", required=True),
        _column("metric", pa.string(), "name", required=True),
        _column("method_parameters", pa.string(), "canonical JSON", required=True),
        _column("metric_parameters", pa.string(), "canonical JSON", required=True),
        _column("units", pa.string(), "gradient, contribution or importance"),
        _column("higher_is_better", pa.bool_(), "direction of the metric", required=True),
        _column("lowest", pa.float64(), "lower bound of the metric, may be -inf", required=True),
        _column("highest", pa.float64(), "upper bound of the metric, may be inf", required=True),
        _column("category", pa.string(), "of the metric, such as faithfulness", required=True),
        _column("sentinel", pa.bool_(), "whether the method knows nothing of the model", required=True),
        _column("target", pa.int64(), "explained class"),
        _column("target_rule", pa.string(), "how it was chosen: predicted or label"),
        _column(
            "score", pa.float64(), "in the metric's range; NaN where undefined or the row has `values`", required=True
        ),
        _column("values", pa.list_(pa.float64()), "of a pooled metric: its `aggregate` makes one number of many"),
        _column("reason", pa.string(), "why it is undefined, such as `zero map` or `skipped: cost`"),
        _column("error", pa.string(), "what was raised; such a cell is tried again"),
        _column("method_forwards", pa.float64(), "standalone cost of the attribution, per sample"),
        _column("method_backwards", pa.float64(), "likewise"),
        _column("method_seconds", pa.float64(), "likewise"),
        _column("metric_forwards", pa.float64(), "standalone cost of the score, per sample"),
        _column("metric_backwards", pa.float64(), "likewise"),
        _column("metric_seconds", pa.float64(), "likewise"),
        _column("paid_forwards", pa.float64(), "what the run spent on the cell"),
        _column("paid_backwards", pa.float64(), "likewise"),
        _column("paid_seconds", pa.float64(), "likewise"),
        _column("seed", pa.int64(), "of the run", required=True),
        _column("precision", pa.string(), "float32, bfloat16 or bfloat16_all", required=True),
        _column("device", pa.string(), "type, such as cpu or cuda", required=True),
        _column("versions", pa.string(), "JSON, from `versions`"),
        _column("config_hash", pa.string(), "of the composed configuration"),
        _column("time", pa.timestamp("us", tz="UTC"), "when the row was written", required=True),
    ]
)
"""The columns of `Store.rows`; required ones are in every part, the others are null where unknown."""

_GIVEN = frozenset(field.name for field in SCHEMA if not field.nullable) - {"score", "sources", "time"}


def complete_row(row: Mapping[str, object]) -> dict[str, object]:
    """The row with what follows from the rest: `time` now, `sources` the sample itself, `score` NaN.

    A score that is not finite and has no values, reason or error gets the reason `not finite`. Values are finite or
    none.

    Raises:
        ValueError: A column is unknown, or a required one is missing.
    """
    unknown = sorted(row.keys() - set(SCHEMA.names))
    missing = sorted(_GIVEN - {name for name, value in row.items() if value is not None})
    if unknown or missing:
        raise ValueError(
            "a row must have the columns of xaieval.rows.SCHEMA, got one with "
            f"unknown columns {unknown} and missing columns {missing}"
        )
    given: Any = row.get("score")
    score = nan if given is None else float(given)
    listed: Any = row.get("values")
    values = tuple(map(float, listed)) if listed is not None and all(map(isfinite, listed)) else None
    error, reason = row.get("error") or None, row.get("reason") or None
    if not isfinite(score):
        score, reason = nan, reason or (None if error or values else "not finite")
    sources, time = row.get("sources") or (row["sample"],), row.get("time") or datetime.now(UTC)
    known = {"sources": sources, "score": score, "values": values, "reason": reason, "error": error, "time": time}
    return {**row, **known}


def foreign(schema: pa.Schema) -> str:
    """What makes a file no part of a store, empty if nothing does. Columns of a later version are left alone."""
    for field in SCHEMA:
        index = schema.get_field_index(field.name)
        if index < 0 and not field.nullable:
            return f"it has no column {field.name!r}"
        if index >= 0 and schema.field(index).type != field.type:
            return f"its column {field.name!r} is {schema.field(index).type}, expected {field.type}"
    return ""


def conform(table: pa.Table, columns: list[str]) -> pa.Table:
    """These columns of a part in this order; those that an earlier version did not know are null."""
    schema, known = pa.schema([SCHEMA.field(name) for name in columns]), set(table.column_names)
    arrays = [table[field.name] if field.name in known else pa.nulls(len(table), field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The rows of a table as a frame: `sources` and `values` hold tuples, `target` nullable integers."""
    frame: pd.DataFrame = table.to_pandas()
    for name in ("sources", "values"):
        lists = [None if entries is None else tuple(entries) for entries in table[name].to_pylist()]
        frame[name] = pd.Series(lists, index=frame.index, dtype=object)
    frame["target"] = frame["target"].astype("Int64")
    return frame


def to_table(frame: pd.DataFrame) -> pa.Table:
    """The inverse of `to_frame`: an undefined score stays NaN, which `pa.Table.from_pandas` would make null."""
    columns = {field: frame[field.name] for field in SCHEMA}
    arrays = [
        pa.array(column, field.type, from_pandas=True) if field.nullable else pa.array(column.to_list(), field.type)
        for field, column in columns.items()
    ]
    return pa.table(arrays, schema=SCHEMA)


def one_per_key(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per key, oldest first: a success beats an error, among equals the later beats the earlier."""
    order = frame.assign(success=frame["error"].isna())[["success", "time"]]
    best_last = order.sort_values(["success", "time"], kind="stable").index
    kept = frame.loc[best_last].drop_duplicates("key", keep="last")
    return kept.sort_values(["time", "key"], kind="stable").reset_index(drop=True)


def expand_parameters(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column for every parameter, such as `method.samples`; inner ones have longer names.

    Args:
        frame: Rows with the JSON columns `method_parameters` and `metric_parameters`.

    Returns:
        The same rows and columns, then the parameters; NaN where a method or metric has no such parameter.
    """
    columns = [frame]
    for part in ("method", "metric"):
        texts = frame[f"{part}_parameters"]
        known = {
            text: {f"{part}.{name}": value for name, value in flat_parameters(text).items()} for text in texts.unique()
        }
        columns.append(pd.DataFrame([known[text] for text in texts], index=frame.index))
    return pd.concat(columns, axis=1)


def flat_parameters(text: str) -> dict[str, object]:
    """A component's JSON as one flat mapping: `{"method": {"samples": 5}}` gives `method.samples`. Lists: tuples."""
    return dict(_flat(json.loads(text), ""))


def _flat(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    else:
        yield path, _tuples(value)


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
