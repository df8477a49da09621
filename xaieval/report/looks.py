"""What a page shows of one sample: the photo or text, every method's map, and the order in which pieces go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from xaieval import plots
from xaieval.curve import Order
from xaieval.curve_area import CurveArea
from xaieval.datasets.base import Sample
from xaieval.explicand import Explicand
from xaieval.removal import Removal, Zero, ZeroEmbedding, removal_of
from xaieval.report import pictures
from xaieval.text_plots import TextRow, shown_of, text_rows


def order_name(metric: CurveArea) -> str:
    """What tells apart the orders in which metrics take pieces away."""
    return f"{metric.grid}:{metric.seed}"


def looks(
    explicand: Explicand, sample: Sample, maps: Mapping[str, Tensor], curves: Mapping[str, CurveArea]
) -> dict[str, Any]:
    """What a page shows of a sample: names, classes, photo or text, maps, and in which order pieces go.

    Args:
        explicand: The sample alone, bound to its model.
        sample: The sample.
        maps: `(1, C, *F)` or `(1, 1, *F)` by method, with noted units.
        curves: Metrics that take pieces away, by name.
    """
    label, known = sample.target, explicand.classifier.categories
    common = {
        "name": sample.id,
        "target": _class(int(explicand.target[0]), known),
        "label": "" if label is None else _class(label, known),
    }
    if sample.reading is None:
        return common | _picture(explicand, maps, curves)
    (row,) = text_rows(explicand, maps, [sample.reading.spelled], [sample.reading.note])
    return common | _text(explicand, row, maps, curves)


def _class(number: int, names: Sequence[str] | None) -> str:
    return names[number] if names and number < len(names) else f"class {number}"


def _picture(explicand: Explicand, maps: Mapping[str, Tensor], curves: Mapping[str, CurveArea]) -> dict[str, Any]:
    (row,) = plots.rows_of(explicand, maps)
    found = {}
    for name, values in row.maps.items():
        signed = plots.is_signed(row, name)
        source, low, high = pictures.map_bytes(values, signed)
        found[name] = {"src": source, "signed": signed, "low": f"{low:.3g}", "high": f"{high:.3g}"}
    ranks = {order_name(one): one for one in curves.values()}
    removed = {view: _replacement(explicand, removal_of(one.removal)) for view, one in curves.items()}
    return {
        "photo": pictures.photo(row.image),
        "size": list(explicand.shape[2:]),
        "mask": None if row.mask is None or row.mask.all() or not row.mask.any() else pictures.mask(row.mask),
        "maps": found,
        "grids": {name: list(explicand.patches(one.grid).shape) for name, one in ranks.items()},
        "orders": _orders(explicand, maps, ranks),
        "removed": {view: source for view, source in removed.items() if source is not None},
    }


def _orders(
    explicand: Explicand, maps: Mapping[str, Tensor], curves: Mapping[str, CurveArea]
) -> dict[str, dict[str, list[int]]]:
    """By order and method each piece's place, 0 goes first."""
    return {
        name: {method: _rank(explicand, values, one).int().tolist() for method, values in maps.items()}
        for name, one in curves.items()
    }


def _rank(explicand: Explicand, attribution: Tensor, metric: CurveArea) -> Tensor:
    pieces = explicand.patches(metric.grid)
    values = explicand.piece_scores(pieces, attribution)
    return Order.of(explicand, values, pieces.present, metric.steps, metric.seed).rank[0]


def _replacement(explicand: Explicand, removal: Removal) -> str | None:
    """The photo with everything replaced; None where that is black, empty where it depends on what is left."""
    if isinstance(removal, Zero | ZeroEmbedding):
        return None
    if not removal.fixed:
        return ""
    return pictures.photo(removal.values(explicand)[0].movedim(0, -1).expand(-1, -1, 3).clamp(0, 1).cpu().numpy())


def _text(
    explicand: Explicand, row: TextRow, maps: Mapping[str, Tensor], curves: Mapping[str, CurveArea]
) -> dict[str, Any]:
    """The cells of the text with their colors, and the place of each cell in each order, -1 where it never goes."""
    found = {}
    ranks = {order_name(one): one for one in curves.values()}
    orders: dict[str, dict[str, list[int]]] = {name: {} for name in ranks}
    for name in row.maps:
        signed = plots.is_signed(row, name)
        cells = shown_of(row, name, signed)
        found[name] = {
            "signed": signed,
            "cells": [
                [one.cell.text, one.cell.blank, one.color, one.ink, _said(one.score), one.marked] for one in cells
            ],
        }
        for order, one in ranks.items():
            rank = _rank(explicand, maps[name], one)
            spread = explicand.patches(one.grid).spread(rank[None].float())[0, 0].int().tolist()
            orders[order][name] = [
                -1 if cell.score is None else spread[_first_present(row, cell.cell.tokens)] for cell in cells
            ]
    return {"maps": found, "orders": orders, "note": row.note}


def _first_present(row: TextRow, tokens: Sequence[int]) -> int:
    return next((token for token in tokens if row.present is None or row.present[token]), tokens[0])


def _said(score: float | None) -> str:
    return "" if score is None else f"{score:.3g}"
