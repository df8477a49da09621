"""Leaderboards, failures and provenance as what a template writes: texts, and the numbers to sort them by."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from xaieval.comparison import Column, Method
from xaieval.leaderboard import Leaderboard, cell_text, in_full, in_short
from xaieval.report.sources import Source


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What stands there.
        order: What it is sorted by; empty: last.
        told: What is told on top of it.
        best: Whether it is the best of its column.
    """

    text: str
    order: str = ""
    told: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A method: its name, whether it is a sentinel, a cell for each metric, and valid cells and cost."""

    name: str
    sentinel: bool
    cells: tuple[Cell, ...]
    tail: tuple[Cell, ...]


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Attributes:
        title: Dataset, model and size.
        dataset: Name.
        model: Name.
        columns: The metrics.
        lines: The methods, then the sentinels.
        notes: How to read it, and what is undefined or in doubt.
    """

    title: str
    dataset: str
    model: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """Cells of one method that raised the same error."""

    names: tuple[str, str, str]
    metrics: str
    error: str
    samples: str
    count: int


@dataclass(frozen=True)
class Origin:
    """Where a source is from: its name and store, facts as names and texts, and runs as commands and configurations."""

    name: str
    facts: tuple[tuple[str, str], ...]
    runs: tuple[tuple[str, str], ...]


def board_of(board: Leaderboard) -> Board:
    """The table of a leaderboard."""
    lines = tuple(_line(board, method) for method in board.methods)
    return Board(board.title, board.dataset, board.model, board.shown, lines, board.notes())


def _line(board: Leaderboard, method: Method) -> Line:
    rivals = [line.name for line in board.methods if not line.sentinel]
    cells = tuple(_cell(column, method.name, rivals) for column in board.shown)
    cost = zip(method.cost, (method.forwards, method.backwards, method.seconds), strict=True)
    valid = board.valid_of(method)
    return Line(
        method.name, method.sentinel, cells, (Cell(f"{valid} %", valid), *(Cell(*_sorted(*one)) for one in cost))
    )


def _cell(column: Column, method: str, rivals: Sequence[str]) -> Cell:
    score = column.scores[method]
    text = cell_text(column, method, in_short)
    if not score.valid:
        return Cell(text, told="; ".join([*score.errors, *score.reasons]))
    told = f"{in_full(column, score)}; valid {score.valid} of {column.samples}"
    return Cell(*_sorted(text, score.interval.mean), told, method in column.best(rivals))


def _sorted(text: str, value: float) -> tuple[str, str]:
    return text, f"{value:.9g}" if math.isfinite(value) else ""


def failures(rows: pd.DataFrame) -> list[Failure]:
    """The errors of all cells: those of one dataset, model and method that say the same together."""
    found = []
    failed = rows[rows["error"].notna()]
    for names, part in failed.groupby(["dataset", "model", "method", "error"], sort=False):
        samples = list(dict.fromkeys(part["sample"]))
        more = f" and {len(samples) - 5} more" if len(samples) > 5 else ""
        dataset, model, method, error = map(str, names)
        found.append(
            Failure(
                (dataset, model, method),
                ", ".join(dict.fromkeys(part["metric"])),
                error,
                ", ".join(samples[:5]) + more,
                len(part),
            )
        )
    return found


def origin(source: Source) -> Origin:
    """What is known of how a source came about."""
    rows = source.rows
    facts = {"cells": f"{len(rows)}", "store": str(source.store) if source.store else "none"}
    if len(rows):
        first, last = (f"{time:%Y-%m-%d %H:%M} UTC" for time in (rows["time"].min(), rows["time"].max()))
        facts["computed"] = first if first == last else f"{first} to {last}"
        facts["versions"] = "; ".join(map(_versions, rows["versions"].dropna().unique()))
        facts |= {name: ", ".join(map(str, rows[name].unique())) for name in ("device", "precision", "seed")}
    runs = tuple((config.command, json.dumps(config.values, indent=2, default=str)) for config in source.configs)
    return Origin(source.name, tuple(facts.items()), runs)


def _versions(text: str) -> str:
    return ", ".join(f"{name} {version}" for name, version in json.loads(text).items())
