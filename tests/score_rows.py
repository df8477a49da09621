"""Rows with known scores, as the store gives them."""

import io
import json
from csv import DictReader
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from xaieval.leaderboard import csv
from xaieval.rows import SCHEMA, complete_row

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
METRICS = {
    "insertion": (True, 0.0, 1.0, "faithfulness"),
    "deletion": (False, 0.0, 1.0, "faithfulness"),
    "pointing_game": (True, -np.inf, 1.0, "localization"),
    "max_sensitivity": (False, 0.0, np.inf, "robustness"),
    "sparseness": (True, 0.0, 1.0, "complexity"),
}
COSTS = {"method_forwards": 50.0, "method_backwards": 25.0, "method_seconds": 0.5}


def cells(method, metric, scores, *, parameters=None, **columns):
    """Rows of one method on one metric; a score may be a string, which is the reason why there is none."""
    higher, lowest, highest, category = METRICS[metric.split("@")[0]]
    shared = {
        "dataset": "photos",
        "model": "toy",
        "method": method,
        "metric": metric.split("@")[0],
        "method_parameters": json.dumps(parameters or {}),
        "metric_parameters": json.dumps({"samples": int(metric.split("@")[1])} if "@" in metric else {}),
        "higher_is_better": higher,
        "lowest": lowest,
        "highest": highest,
        "category": category,
        "sentinel": method.startswith(("random", "centre")),
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
        "target_rule": "predicted",
        "time": NOON,
        **COSTS,
    }
    return [
        {
            **shared,
            "key": f"{method}{parameters}{metric}{number}",
            "sample": f"photo {number:02}",
            "score": None if isinstance(score, str) else score,
            "reason": score if isinstance(score, str) else None,
            **columns,
        }
        for number, score in enumerate(scores)
    ]


def frame(*groups):
    """The rows as `Store.rows` gives them, in a mixed order."""
    rows = [complete_row(row) for group in groups for row in group]
    table = pd.DataFrame([{name: row.get(name) for name in SCHEMA.names} for row in rows])
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


def noise(seed, count=30):
    return np.random.default_rng(seed).uniform(size=count).round(3).tolist()


def records(tables):
    return list(DictReader(io.StringIO(csv(tables))))
