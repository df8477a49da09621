"""Frames of trials with planted scores."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from xaieval.evidence import Evidence, evidences
from xaieval.rows import SCHEMA, complete_row

Table = Mapping[str, Any]
SENTINELS = ("random", "random_coarse", "edge_detector", "centre_blob", "constant", "permuted")


def rows(
    table: Table,
    trial="run",
    variant="",
    *,
    metric="m",
    higher=True,
    sources=None,
    parameters=None,
    methods=None,
    **same,
) -> pd.DataFrame:
    """One row for each method and number of its list, which are the scores of the samples `s00`, `s01`, ...

    A string among the scores is the reason why there is none; `methods` are the parameters of methods by name.
    """
    found = [
        {
            "key": f"{trial}{variant}{metric}{method}{number}{parameters}{(methods or {}).get(method)}",
            "sample": f"s{number:02}",
            "sources": sources[number] if sources else None,
            "dataset": "sources",
            "model": "toy",
            "method": method,
            "metric": metric,
            "method_parameters": json.dumps((methods or {}).get(method, {}), sort_keys=True),
            "metric_parameters": json.dumps(parameters or {}, sort_keys=True),
            "higher_is_better": higher,
            "lowest": 0.0,
            "highest": 1.0,
            "category": "faithfulness",
            "sentinel": method.startswith(SENTINELS),
            "score": None if isinstance(score, str) else score,
            "reason": score if isinstance(score, str) else None,
            "seed": 0,
            "precision": "float32",
            "device": "cpu",
            "target_rule": "predicted",
            "time": datetime(2025, 1, 1, tzinfo=UTC),
            **same,
        }
        for method, scores in table.items()
        for number, score in enumerate(scores)
    ]
    frame = pd.DataFrame([complete_row(row) for row in found]).reindex(columns=SCHEMA.names)
    return frame.assign(trial=trial, variant=variant)


def evidence(scores: Table, *, shuffled=None, seeds=(), draws=(), removals=None, oracles=None, **options) -> Evidence:
    """The evidence on one metric; sentinels are told by their names."""
    frames = [
        rows(scores, **options),
        *(rows(table, "shuffled", **options) for table in [shuffled] if table),
        *(rows(table, "seed", str(1 + number), **options) for number, table in enumerate(seeds)),
        *(rows(table, "draw", str(1 + number), **options) for number, table in enumerate(draws)),
        *(rows(table, "removal", name, **options) for name, table in (removals or {}).items()),
        *(rows(table, "oracle", **options) for table in [oracles] if table),
    ]
    (found,) = evidences(pd.concat(frames))
    return found
