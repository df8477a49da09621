"""The graph of the causal units of a class, drawn: layers from left to right, the class at the right end."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from xaieval.causal import CausalGraph
from xaieval.plots import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, HEIGHT = 1.6, 4.0
"""Width of a layer and height of the figure in inches."""

NUMBERED = 24
"""Units up to which each one of a layer has its number beside it."""


def draw(graph: CausalGraph, title: str = "") -> Figure:
    """Draw a graph: a column of causes for each layer, named after it, with an edge from each cause to each effect.

    Args:
        graph: The graph.
        title: Name of the class; empty: its number.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    columns = [*graph.causes, (graph.target,)]
    figure = Figure(figsize=(COLUMN * (len(columns) + 0.5), HEIGHT), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    places = [_heights(len(units)) for units in columns]
    for number, (causes, effects) in enumerate(pairwise(places)):
        _edges(axes, number, causes, effects)
    for number, (units, heights) in enumerate(zip(columns, places, strict=True)):
        _units(axes, number, units, heights)
    names = [f"into {name}\n{len(causes)} causes" for name, causes in zip(graph.layers, graph.causes, strict=True)]
    axes.set_xticks(range(len(columns)), [*names, title or f"class {graph.target}"], fontsize=7)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.05, 1.05), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _heights(count: int) -> np.ndarray:
    """Where the units of a column stand, in [0, 1], the first at the top."""
    return 1 - (np.arange(count) + 0.5) / max(count, 1)


def _edges(axes: Axes, number: int, causes: np.ndarray, effects: np.ndarray) -> None:
    """Lines between all units of one column and all of the next; the more there are, the fainter."""
    from matplotlib.collections import LineCollection

    lines = [[(number, cause), (number + 1, effect)] for cause in causes for effect in effects]
    strength = float(np.clip(20 / max(len(lines), 1), 0.03, 0.8))
    axes.add_collection(LineCollection(lines, colors="0.3", linewidths=0.6, alpha=strength, zorder=1))


def _units(axes: Axes, number: int, units: tuple[int, ...], heights: np.ndarray) -> None:
    """The units of a column, with their numbers where there is room."""
    axes.scatter(np.full(len(units), number), heights, s=18, color="C0", zorder=2)
    if len(units) <= NUMBERED:
        for unit, height in zip(units, heights, strict=True):
            axes.annotate(str(unit), (number, height), (4, 2), textcoords="offset points", fontsize=6)
