"""A report from stores and folders of runs: what is read, and in which order."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from xaieval import charts
from xaieval.chart_frame import looks_of
from xaieval.leaderboard import Leaderboard, leaderboards
from xaieval.report.album import SAMPLES, Album, album, mean_scores
from xaieval.report.compare import compared
from xaieval.report.experiments import experiments
from xaieval.report.page import Chart, Named, Page, Shelf, charts_of, dashes_of
from xaieval.report.sources import Source, all_rows, all_verdicts, read_sources
from xaieval.report.tables import board_of, failures, origin
from xaieval.store import Store
from xaieval.variants import current_rows, weights_apart


def page_of(paths: Sequence[Path], output: Path) -> Page:
    """The report of some stores and runs.

    Args:
        paths: Their folders.
        output: The file that it is for.

    Raises:
        ConfigError: At one of these places is neither a store nor a run, or there is no cell.
        StoreError: A store cannot be read.
    """
    sources = read_sources(paths)
    rows = weights_apart(all_rows(sources))
    current = pd.concat([current_rows(part) for _, part in rows.groupby(["dataset", "model"])])
    boards = leaderboards(rows, all_verdicts(sources))
    shelves, problems = _shelves(boards, current, sources)
    return Page(
        command=shlex.join(["xaieval", "report", *map(str, paths), "--output", str(output)]),
        boards=[board_of(board) for board in boards],
        charts=[chart for board in boards for chart in _charts(board, rows)],
        shelves=shelves,
        comparisons=[compared(sources[0], source) for source in sources[1:]],
        failures=failures(current),  # an error that is mended is none
        origins=[origin(source) for source in sources],
        problems=problems,
    )


def _shelves(
    boards: Sequence[Leaderboard], current: pd.DataFrame, sources: Sequence[Source]
) -> tuple[list[Shelf], list[str]]:
    """The albums of all leaderboards, which share the samples of a report, and what could not be read."""
    runs, problems = experiments(config for source in sources for config in source.configs)
    stores = [Store(path) for path in dict.fromkeys(source.store for source in sources) if path is not None]
    shelves = []
    for board in boards:
        part = current[(current["dataset"] == board.dataset) & (current["model"] == board.model)]
        found = album(board, part, runs, stores, max(1, SAMPLES // len(boards)))
        shelves.append(
            Shelf(
                f"{board.dataset}, {board.model}",
                tuple(_methods(board)),
                tuple((column.name, column.higher_is_better) for column in board.shown),
                {column.name: _means(board, column.name, found) for column in board.shown},
                found,
            )
        )
    return shelves, problems


def _methods(board: Leaderboard) -> Iterator[Named]:
    """The methods with the looks that they have in charts."""
    look = looks_of(board)
    for line in board.methods:
        yield Named(line.name, line.sentinel, look[line.name].color, dashes_of(look[line.name].line))


def _means(board: Leaderboard, metric: str, shown: Album) -> dict[str, float]:
    means = mean_scores(board, metric).reindex([sample["name"] for sample in shown.samples])
    return {str(name): float(value) for name, value in means.dropna().items()}


def _charts(board: Leaderboard, rows: pd.DataFrame) -> Iterator[Chart]:
    part = rows[(rows["dataset"] == board.dataset) & (rows["model"] == board.model)]
    drawn = {
        "Ranks": partial(charts.rank_plot, [board]),
        "Cost and quality": partial(charts.cost_quality, [board]),
        "Performance profiles": partial(charts.performance_profiles, [board]),
        "Agreement of metrics": partial(charts.agreement_heat_map, part),
    }
    for title, draw in drawn.items():
        yield from charts_of(draw, title, board.model, board.dataset)
