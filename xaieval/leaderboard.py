"""The leaderboard: one row a method, one column a metric, with the uncertainty of every number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

from xaieval.cells import headed, with_both_ends, with_deviation, with_half_width
from xaieval.comparison import (
    ENOUGH,
    Column,
    Method,
    Score,
    Scores,
    column_of,
    method_of,
    ranks_of,
    scores_by_metric,
    sections,
)
from xaieval.evidence import evidences
from xaieval.kept_verdicts import Column as Judged
from xaieval.latex import latex
from xaieval.leaderboard_notes import notes_of
from xaieval.pooled import reachable
from xaieval.statistics import independent
from xaieval.table import Entry, Table
from xaieval.unsupported import UNSUPPORTED
from xaieval.variants import current_rows, weights_apart
from xaieval.verdicts import DOUBT, UNKNOWN, Findings, Verdict, verdict

IN_FULL = "Means with 95 % bootstrap intervals, resampled by source, and standard deviations (sd) over n samples."

Style = Callable[[Column, Score], str]


class Shown(Protocol):
    """What is shown as text, as Markdown and with its numbers in full."""

    def text(self) -> str:
        """Aligned text, without colors and never cut."""

    def markdown(self) -> str:
        """A GitHub table."""

    def frame(self) -> pd.DataFrame:
        """The numbers in full."""


@dataclass(frozen=True)
class Leaderboard:
    """What the methods reach on one dataset with one model.

    Attributes:
        dataset: Name.
        model: Name.
        samples: Number of explained samples.
        sources: Number of independent sources behind them.
        methods: Best first, by name where nothing can be ranked; then the sentinels.
        columns: The metrics, by category.
        given: The scores behind each column.
    """

    dataset: str
    model: str
    samples: int
    sources: int
    methods: tuple[Method, ...]
    columns: tuple[Column, ...]
    given: dict[str, Scores] = field(compare=False, repr=False)

    @property
    def title(self) -> str:
        """Dataset, model and size, and whether there are too few sources to rank."""
        few = "" if self.sources >= ENOUGH else f" - too few to rank, {ENOUGH} sources are needed"
        drawn = "" if self.sources == self.samples else f" from {self.sources} sources"
        return f"{self.dataset}, {self.model}: {self.samples} samples{drawn}{few}"

    @property
    def shown(self) -> tuple[Column, ...]:
        """The metrics that are defined for the model and the dataset: any method has a score, or failed at one."""
        return tuple(column for column in self.columns if not column.undefined) or self.columns

    def text(self) -> str:
        """Aligned text, without colors and never cut."""
        return self._table(in_short).text()

    def markdown(self) -> str:
        """A GitHub table with both ends of every interval, standard deviations and numbers of samples."""
        return self._table(in_full).markdown()

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return self._table(in_short).html()

    def latex(self) -> str:
        """A LaTeX table with half the width of every interval, for papers with the package booktabs."""
        return latex(self._table(in_short))

    def frame(self) -> pd.DataFrame:
        """One row per metric and method, with the numbers in full."""
        return pd.DataFrame([self._record(column, method) for column in self.columns for method in self.methods])

    def rich(self, width: int) -> Group | None:
        """For a terminal of this width, or None where it is too narrow.

        Nine metrics fit into 120 columns, as cost and valid cells stand below a method's name.
        """
        entries = {method.name: tuple(self._entries(method, in_short)) for method in self.methods}
        headings = [_stacked(column) for column in self.shown]
        widths = list(map(_width, headings, zip(*entries.values(), strict=True)))
        room = width - sum(widths) - len(widths)
        if room < 16:
            return None
        table = RichTable(box=box.HORIZONTALS, padding=0, show_edge=False)
        table.add_column("method", width=min(28, room), overflow="fold")
        for heading, columns in zip(headings, widths, strict=True):
            table.add_column(Text(heading), justify="right", width=columns)
        for section in sections(self.methods):
            for method in section:
                below = "\n{}f {}b {}s {}%".format(*method.cost, self.valid_of(method))
                cells = (Text(entry.text, "bold green" if entry.best else "") for entry in entries[method.name])
                table.add_row(Text.assemble(method.name, (below, "dim")), *cells)
            table.add_section()
        legend = "Below a method: forwards, backwards and seconds per sample as if it ran alone, and its valid cells."
        return Group(Text(self.title, "bold"), table, *(Text(note, "dim") for note in (*self.notes(), legend)))

    def notes(self) -> tuple[str, ...]:
        """How to read the numbers, and what is undefined or went wrong."""
        others = [column for column in self.columns if column not in self.shown]
        return (*notes_of(self.shown, self.methods, others), *self._reachable())

    def _reachable(self) -> Iterator[str]:
        """What metrics that have a best value could reach on these samples."""
        best = {column.name: reachable(self.given[column.name].rows) for column in self.columns}
        known = [f"{name} {value:.2f}" for name, value in best.items() if value is not None and isfinite(value)]
        if known:
            yield f"Best reachable with these steps of masking: {', '.join(known)}."

    def _entries(self, method: Method, style: Style) -> Iterator[Entry]:
        rivals = [line.name for line in self.methods if not line.sentinel]
        for column in self.shown:
            yield Entry(cell_text(column, method.name, style), method.name in column.best(rivals))

    def valid_of(self, method: Method) -> str:
        """How many percent of a method's cells have a score."""
        valid = sum(column.scores[method.name].valid for column in self.shown)
        return f"{100 * valid / sum(column.samples for column in self.shown):.0f}"

    def _table(self, style: Style) -> Table:
        headings = (
            "method",
            *(headed(column, [column.common]) for column in self.shown),
            "valid\n%",
            "forwards",
            "backwards",
            "seconds",
        )
        rows = tuple(
            tuple(
                (
                    Entry(method.name),
                    *self._entries(method, style),
                    Entry(self.valid_of(method)),
                    *map(Entry, method.cost),
                )
                for method in section
            )
            for section in sections(self.methods)
        )
        legend = "Valid: cells with a score. Forwards, backwards, seconds: per sample, as if the method ran alone."
        notes = self.notes() if style is in_short else (IN_FULL, *self.notes()[1:])
        return Table(self.title, headings, rows, (*notes, legend))

    def _record(self, column: Column, method: Method) -> dict[str, object]:
        score = column.scores[method.name]
        return {
            "dataset": self.dataset,
            "model": self.model,
            "method": method.name,
            "sentinel": method.sentinel,
            "metric": column.name,
            "category": column.category,
            "higher_is_better": column.higher_is_better,
            **score.interval._asdict(),
            "sd": score.deviation,
            "iqm": score.middle.mean,
            "iqm_low": score.middle.low,
            "iqm_high": score.middle.high,
            "valid": score.valid / column.samples,
            "samples": column.samples,
            "sources": column.sources,
            "compared": score.compared,
            "undefined": _counted(score.reasons),
            "errors": _counted(score.errors),
            **score.costs,
            "doubt": column.doubt,
        }


def leaderboards(rows: pd.DataFrame, verdicts: Mapping[Judged, Verdict] | None = None) -> list[Leaderboard]:
    """One leaderboard for each dataset and model, sorted by name.

    Methods are compared, metric by metric, on the samples where all of them have a score. A method with a score on
    fewer than half of them would take the others' comparison away, so it stands apart with a mean over its own samples.
    Methods (or metrics) of one name with several parameters become several rows (columns), told apart by what differs.
    Where a sample has several rows of one name and equal parameters, of an earlier version say, the latest counts.

    A metric whose order of methods is not to be believed is marked and has no part in the order of the rows. What tells
    is a verdict that is given, else what the rows themselves tell.

    Args:
        rows: The columns of `xaieval.rows.SCHEMA`, as from `Store.rows`.
        verdicts: What `xaieval reliability` found, as from `xaieval.kept_verdicts`.

    Example:
        >>> import torch
        >>> from xaieval import evaluate
        >>> module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> images = torch.full((2, 3, 8, 8), 0.5)
        >>> rows = evaluate(module, images, ["random", "gradient"], ["entropy"], ids=["a", "b"], progress=False)
        >>> (board,) = leaderboards(rows)
        >>> board.title
        'images, Sequential: 2 samples - too few to rank, 20 sources are needed'
        >>> [method.name for method in board.methods]  # sentinels come last
        ['gradient', 'random']
    """
    return [_leaderboard(part, verdicts or {}) for _, part in weights_apart(rows).groupby(["dataset", "model"])]


def csv(tables: Iterable[Shown]) -> str:
    """Tables with the numbers in full, one line for each of them."""
    frames = [table.frame() for table in tables]
    return str(pd.concat(frames).to_csv(index=False)) if frames else ""


def show(tables: Sequence[Shown], console: Console | None = None) -> None:
    """Prints tables: leaderboards with colors in a terminal that is wide enough, all else as text that is never cut."""
    console = console or Console()
    for table in tables:
        colored = console.is_terminal and isinstance(table, Leaderboard) and table.rich(console.width)
        if colored:
            console.print(colored)
        else:
            console.out(table.text(), highlight=False)


def _leaderboard(part: pd.DataFrame, verdicts: Mapping[Judged, Verdict]) -> Leaderboard:
    rows, doubts = current_rows(part), _doubts(part, verdicts)
    given = scores_by_metric(rows)
    columns = tuple(column_of(metric, scores, doubts.get(metric, "")) for metric, scores in given.items())
    methods = [method_of(str(name), own) for name, own in rows.groupby("method")]
    ranks = ranks_of([method.name for method in methods if not method.sentinel], columns)
    samples = rows.drop_duplicates("sample")
    return Leaderboard(
        dataset=str(rows["dataset"].iloc[0]),
        model=str(rows["model"].iloc[0]),
        samples=len(samples),
        sources=independent([tuple(names) for names in samples["sources"]]),
        methods=tuple(sorted(methods, key=lambda line: (line.sentinel, ranks.get(line.name, 0.0), line.name))),
        columns=columns,
        given=given,
    )


def _doubts(part: pd.DataFrame, verdicts: Mapping[Judged, Verdict]) -> dict[str, str]:
    """What speaks against each metric, where anything does."""
    found = {}
    for evidence in evidences(part):
        kept = verdicts.get(Judged(evidence.dataset, evidence.model, evidence.parameters))
        told = kept if kept is not None and kept.belief != UNKNOWN else verdict(Findings(evidence))
        if told.belief == DOUBT:
            found[evidence.metric] = f"{told.cause}: {told.sentence}"
    return found


def in_short(column: Column, score: Score) -> str:
    """A mean with half the width of its interval."""
    return with_half_width(score.interval, column.decimals)


def in_full(column: Column, score: Score) -> str:
    """A mean with both ends of its interval, its standard deviation and, where it stands apart, its n."""
    text = with_deviation(with_both_ends(score.interval, column.decimals), score.deviation, column.decimals)
    return text if score.compared else f"{text} n = {score.interval.n}"


def cell_text(column: Column, name: str, style: Style) -> str:
    """What stands in the cell of a method: its score in a style, or why there is none."""
    score = column.scores[name]
    if score.valid:
        return style(column, score) + ("" if score.compared else "†")
    if score.errors:
        return "error"
    reason = next(iter(score.reasons), "-")
    return UNSUPPORTED if reason.startswith(UNSUPPORTED) else reason  # the layer stands in the notes


def _stacked(column: Column) -> str:
    """The heading with each word of the name on its own line."""
    name, _, rest = headed(column, [column.common]).partition("\n")
    return "\n".join([*name.replace("_", " ").split(), rest])


def _width(heading: str, entries: Sequence[Entry]) -> int:
    words = (word for entry in entries for word in entry.text.split())
    return max(map(len, [*heading.split("\n"), *words]))


def _counted(counts: dict[str, int]) -> str:
    return "; ".join(f"{cause} {count}" for cause, count in counts.items())
