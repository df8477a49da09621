"""A chart of how far metrics agree on the order of the methods."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from xaieval.agreement import Agreement, agreement
from xaieval.chart_frame import SMALL, Part, figure_of, note
from xaieval.comparison import ENOUGH
from xaieval.evidence import Evidence, evidences
from xaieval.statistics import independent
from xaieval.table import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure


def agreement_heat_map(rows: pd.DataFrame) -> Figure:
    """How far metrics agree on the order of the methods: Kendall's tau-b of their means, for each pair of metrics.

    What speaks for a number stands below it: of the pairs of methods whose difference both metrics decide by more than
    chance, how many they put the other way round. Where they decide none, the tau may be chance.

    Args:
        rows: Of cells.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: No two metrics compare two methods or more.
    """
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for evidence in evidences(rows):
        if evidence.scores.shape[1] > 1:
            groups.setdefault((evidence.dataset, evidence.model), []).append(evidence)
    parts = []
    for (dataset, model), own in groups.items():
        if len(own) > 1:
            sources = min(independent(list(one.sources.values())) for one in own)
            few = "" if sources >= ENOUGH else f" - too few to rank, {ENOUGH} are needed"
            title, side = f"{dataset}, {model}: agreement of metrics, {sources} sources{few}", 0.5 * len(own)
            parts.append(Part(title, side + 2.8, side + 2.0, partial(_heat_map, agreement(own))))
    return figure_of(parts, "the agreement of metrics needs two metrics that compare two methods or more")


def _heat_map(found: Agreement, figure: SubFigure) -> None:
    """Blue for agreement, red for its opposite; the sign is in the number too, so gray is enough to read it."""
    taus, axes = found.tau, figure.subplots()
    values, names = taus.to_numpy(), list(taus.index)
    picture = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1)
    for row, one in enumerate(names):
        for place, other in enumerate(names):
            tau = float(values[row, place])
            ink = "white" if abs(tau) > 0.6 else "black"
            said = number(tau, 2) + ("" if one == other else _turned(found, one, other))
            axes.text(place, row, said, ha="center", va="center", fontsize=SMALL - 1, color=ink)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=SMALL)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    sentences = (
        "Kendall's tau-b of the orders of methods; below it, of the pairs of methods that both metrics decide by more",
        "than chance, how many they put the other way round; nothing stands there where they decide none.",
    )
    note(figure, sentences)


def _turned(found: Agreement, one: str, other: str) -> str:
    match = found.matches[one, other]
    return f"\n{round(match.decided * match.pairs)} of {match.pairs}" if match.pairs else ""
