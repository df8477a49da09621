"""What rows tell of faithfulness curves: performance by the part that is masked, how odd masked texts are, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xaieval.component import Metric
from xaieval.faithfulness_curve import FaithfulnessCurve, Masked
from xaieval.palette import looks
from xaieval.plots import require_matplotlib
from xaieval.pooled import metric_of
from xaieval.statistics import resampled_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESAMPLES, LEVEL = 1000, 0.95

CHANCE = "random masking"
"""The name of the curve that all methods are compared with."""

PANEL, HEIGHT = 4.2, 3.4
"""Width and height of a model's panel in inches."""


def of_masking(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of metrics that mask what is important, ratio by ratio."""
    kinds = {text: isinstance(metric_of(text), Masked) for text in rows["metric_parameters"].unique()}
    return rows[rows["metric_parameters"].map(kinds).astype(bool)]


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Faithfulness curves with intervals: columns dataset, model, method, ratio, mean, low, high.

    Means over samples of right answers at each ratio, with 95 % bootstrap intervals over their sources; that of random
    masking under the method's name `random masking`.

    Args:
        rows: Any rows; those of ACU and RACU count.
    """
    found = []
    largest = sorted(_tables(rows, FaithfulnessCurve), key=lambda entry: -len(entry[2]))  # random masking on most
    for key, _, table, sources in largest:
        own, chance = np.split(table, 2, axis=1)
        found += [_described(key, own, sources), _described((*key[:2], CHANCE), chance, sources)]
    kept = _joined(found)
    return kept.drop_duplicates(["dataset", "model", "method", "ratio"], ignore_index=True)


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of masked texts out of distribution with intervals: the columns of `curves` and alpha.

    Args:
        rows: Any rows; those of MaSF count.
    """
    found = []
    for key, metric, table, sources in _tables(rows, Masked):
        if not isinstance(metric, FaithfulnessCurve):
            alpha = float(getattr(metric, "alpha", 0.05))
            found.append(_described(key, table < alpha, sources).assign(alpha=alpha))
    return _joined(found)


def draw_curves(rows: pd.DataFrame) -> Figure:
    """Performance by the part that is masked, a line and a band for each method and one panel for each model.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There are no such rows.
    """
    return _draw(curves(rows), "part of the pieces masked", "share of right answers", "faithfulness curve")


def draw_shares(rows: pd.DataFrame) -> Figure:
    """The share of masked texts out of distribution by the part that is masked, likewise; a line where it should be.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: There are no such rows.
    """
    frame = shares(rows)
    level = None if frame.empty else float(frame["alpha"].iloc[0])
    return _draw(frame, "part of the pieces masked", f"share of p < {level}", "MaSF", level)


def write_figures(rows: pd.DataFrame, folder: Path) -> list[Path]:
    """The pictures of those rows that there are, as PNG; none where matplotlib is not installed."""
    written = []
    if find_spec("matplotlib") is not None:
        for name, frame, draw in (("curves", curves, draw_curves), ("masf", shares, draw_shares)):
            if not frame(rows).empty:
                written.append(folder / f"faithfulness_{name}.png")
                draw(rows).savefig(written[-1])
    return written


def _tables(rows: pd.DataFrame, kind: type[Metric]) -> list[tuple[tuple[str, ...], Metric, np.ndarray, list[Any]]]:
    """For each dataset, model and method the metric, its values `(n, K)` and their sources."""
    known = rows[rows["values"].notna()] if "values" in rows else rows.iloc[:0]
    found = []
    for key, own in known.groupby(["dataset", "model", "method", "metric_parameters"], sort=False):
        metric = metric_of(str(key[-1]))
        if isinstance(metric, kind):
            table = np.array([list(entry) for entry in own["values"]])
            found.append((tuple(map(str, key[:3])), metric, table, [tuple(photos) for photos in own["sources"]]))
    return found


def _described(key: Sequence[str], table: np.ndarray, sources: list[Any]) -> pd.DataFrame:
    """Means of the columns of a table `(n, K)` with bootstrap intervals."""
    weights = resampled_weights(sources, RESAMPLES, np.random.default_rng(0))
    drawn = weights @ table / weights.sum(1, keepdims=True)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    names = dict(zip(("dataset", "model", "method"), key, strict=True))
    ratio = np.linspace(0, 1, table.shape[1])
    return pd.DataFrame({**names, "ratio": ratio, "mean": table.mean(0), "low": low, "high": high})


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["dataset", "model", "method", "ratio", "mean", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _draw(frame: pd.DataFrame, across: str, upward: str, what: str, level: float | None = None) -> Figure:
    """A panel for each dataset and model, with one key for all at the right."""
    require_matplotlib()
    from matplotlib.figure import Figure

    if frame.empty:
        raise ValueError(f"there is no {what} in these rows: compute the metrics acu, racu and masf")
    panels = list(frame.groupby(["dataset", "model"]))
    names = sorted(set(frame["method"]), key=lambda name: (name == CHANCE, name))
    figure = Figure(figsize=(PANEL * len(panels) + 1.8, HEIGHT), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for one, ((dataset, model), own) in zip(axes, panels, strict=True):
        _panel(one, own, names)
        one.set(title=f"{model}, {dataset}", xlabel=across, xlim=(0, 1))
        if level is not None:
            one.axhline(level, color="0.4", linewidth=0.8, linestyle=":")
    axes[0].set(ylabel=upward, ylim=(0, None))
    handles = {handle.get_label(): handle for one in axes for handle in one.get_lines() if handle.get_label() in names}
    figure.legend([handles[name] for name in names], names, loc="outside right upper", fontsize=7, frameon=False)
    return figure


def _panel(axes: Axes, frame: pd.DataFrame, names: Sequence[str]) -> None:
    """A line and a band for each method; random masking dashed, without markers, above all others."""
    look = looks(name for name in names if name != CHANCE)
    for name in names:
        own = frame[frame["method"] == name].sort_values("ratio")
        options = look[name].options() if name in look else {"color": "black", "linestyle": "--", "linewidth": 1.8}
        if not own.empty:
            axes.plot(own["ratio"], own["mean"], **options, label=name, zorder=2 if name in look else 3)
            axes.fill_between(own["ratio"], own["low"], own["high"], color=options["color"], alpha=0.12, linewidth=0)
    axes.spines[["top", "right"]].set_visible(False)
