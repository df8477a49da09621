"""Where one method stands among the others: its rank in each family of metrics, its rivals, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from xaieval.cells import decimals_of, difference_in_short
from xaieval.comparison import DOUBTED, ENOUGH, Column, Method, deciding, ranks_of, sections
from xaieval.family_ranks import Family, family_ranks
from xaieval.leaderboard import Leaderboard
from xaieval.pairs import LEVEL, mark, tested_pairs
from xaieval.table import Entry, Table, decimals_for, number

RIVALS = 3
"""The method is compared sample by sample with so many of the best others."""

OWN = "> "
"""Before the name of the method in the table of all."""


@dataclass(frozen=True)
class Standing:
    """A method among the others on one dataset with one model.

    Attributes:
        board: All of them.
        method: Its name.
        order: It and the others, without sentinels, best first.
        families: The categories of metrics in which methods are compared.
    """

    board: Leaderboard
    method: str
    order: tuple[Method, ...]
    families: tuple[Family, ...]

    @property
    def rivals(self) -> tuple[str, ...]:
        """The best others with a score."""
        others = [line.name for line in self.order if line.name != self.method and _scored(self.board, line.name)]
        return tuple(others[:RIVALS])

    def text(self) -> str:
        """Aligned text, without colors and never cut."""
        return "\n".join(table.text() for table in self.tables())

    def tables(self) -> Iterator[Table]:
        """Ranks and costs of all, the rivals on every metric, and the samples that tell the method from the best."""
        yield self._ranks()
        if self._shared(self.rivals):
            yield self._rivals(self._shared(self.rivals))
        if columns := self._shared(self.rivals[:1]):
            yield self._samples([column for column in columns if not column.doubt] or columns, self.rivals[0])

    def _shared(self, rivals: Sequence[str]) -> list[Column]:
        """The metrics that score a sample for the method and for one of these."""
        return [column for column in self.board.shown if any(len(self._gaps(column, rival)) for rival in rivals)]

    def _gaps(self, column: Column, rival: str) -> pd.Series[float]:
        """How far the method is ahead of another on each of their common samples; below 0 it is behind."""
        table = self.board.given[column.name].table
        gaps = (table[self.method] - table[rival]).dropna()
        return gaps if column.higher_is_better else -gaps

    # -- ranks -------------------------------------------------------------------------------------------------------

    def _ranks(self) -> Table:
        headings = (family.heading for family in self.families)
        return Table(
            self.board.title,
            ("method", *headings, "forwards", "backwards", "seconds"),
            (tuple(self._line(line) for line in self.order),),
            tuple(note for note in self._notes() if note),
        )

    def _line(self, line: Method) -> tuple[Entry, ...]:
        name = f"{OWN}{line.name}" if line.name == self.method else line.name
        places = (Entry(family.place(line.name), family.first(line.name)) for family in self.families)
        return (Entry(name), *places, *map(Entry, line.cost))

    def _notes(self) -> Iterator[str]:
        yield (
            "Place in the order of mean ranks over a family's metrics and samples (1 is best), [its 95 % interval] "
            "when sources are drawn anew; -: not compared on all of these metrics. Forwards, backwards, seconds: per "
            "sample, as if the method ran alone."
        )
        told = [f"{family.category}: {', '.join(family.metrics)}" for family in self.families]
        yield f"Ranked by {'; '.join(told)}." if told else "No metric has scores of two methods: there is no rank."
        judges = [column.name for column in _judges(self.board)]
        yield f"Best first by the mean rank on {', '.join(judges)}." if judges else "No metric orders them: by name."
        doubts = [f"{column.name} ({column.doubt.partition(':')[0]})" for column in self.board.shown if column.doubt]
        yield f"{DOUBTED} Not to be ranked by: {', '.join(doubts)}." if doubts else ""
        apart = list(self._apart())
        yield f"{self.method} is not compared on {', '.join(apart)}." if apart else ""
        yield self._sentinels()
        own = [family for family in self.families if self.method in family.names]
        places = [f"{family.category} {family.place(self.method)} of {len(family.names)}" for family in own]
        yield f"{self.method}: {'; '.join(places)}." if places else ""

    def _apart(self) -> Iterator[str]:
        """Metrics on which the method is not compared, and why."""
        for column in self.board.shown:
            score = column.scores[self.method]
            if not score.compared:
                why = next(iter((*score.errors, *score.reasons)), f"valid on {score.valid} of {column.samples}")
                yield f"{column.name} ({why})"

    def _sentinels(self) -> str:
        """On which metrics a map that knows nothing of the model scores better."""
        sentinels = [line.name for line in sections(self.board.methods)[1] if line.name != self.method]
        found = []
        for column in self.board.shown:
            compared = [name for name in sentinels if column.scores[name].compared]
            if compared and column.scores[self.method].compared and not column.doubt:
                found.append((column.name, [name for name in compared if self._behind(column, name)]))
        better = [f"{metric} ({', '.join(names)})" for metric, names in found if names]
        if better:
            return f"Sentinels, which know nothing of the model, have a better mean on {'; '.join(better)}."
        return (
            f"{self.method} has a better mean than every sentinel on {', '.join(name for name, _ in found)}."
            if found
            else ""
        )

    def _behind(self, column: Column, other: str) -> bool:
        own, its = (column.scores[name].interval.mean for name in (self.method, other))
        return its > own if column.higher_is_better else its < own

    # -- rivals ------------------------------------------------------------------------------------------------------

    def _rivals(self, columns: Sequence[Column]) -> Table:
        return Table(
            f"{self.method} against the best {len(self.rivals)}",
            ("metric", *(f"{rival}\nwon-lost, difference" for rival in self.rivals)),
            (tuple((Entry(_named(column)), *self._against(column)) for column in columns),),
            (
                "Samples won, lost (and tied), then the mean paired difference to this rival with its 95 % bootstrap "
                f"interval. ▲ better, ▼ worse: p < {LEVEL} in a sign flip test by source, after Holm's correction over "
                f"these rivals; no mark below {ENOUGH} independent sources.",
            ),
        )

    def _against(self, column: Column) -> Iterator[Entry]:
        pairs = [(self.method, rival) for rival in self.rivals]
        tested = tested_pairs(column, self.board.given[column.name], pairs)
        decimals = decimals_of(column, [one.difference for one in tested])
        for rival, one in zip(self.rivals, tested, strict=True):
            gaps = self._gaps(column, rival)
            told = f"{_counted(gaps)}  {difference_in_short(one.difference, decimals, ())}{mark(one, column)}"
            yield Entry(told if len(gaps) else "-")

    # -- samples -----------------------------------------------------------------------------------------------------

    def _samples(self, columns: Sequence[Column], best: str) -> Table:
        return Table(
            f"Where {self.method} differs most from {best}",
            ("metric", "ahead on", self.method, best, "behind on", self.method, best),
            (tuple((Entry(_named(column)), *self._extremes(column, best)) for column in columns),),
            (f"The sample, the score of {self.method} and that of {best}; -: there is none.",),
        )

    def _extremes(self, column: Column, best: str) -> Iterator[Entry]:
        """The samples on which the method is most ahead and most behind, and the scores of both there."""
        gaps, table = self._gaps(column, best), self.board.given[column.name].table
        decimals = max(column.decimals, decimals_for(gaps.tolist(), 2))
        for end in (int(gaps.argmax()) if gaps.max() > 0 else -1, int(gaps.argmin()) if gaps.min() < 0 else -1):
            if end < 0:
                yield from (Entry("-"), Entry(""), Entry(""))
                continue
            sample = str(gaps.index[end])
            scores = (float(table[name].loc[sample]) for name in (self.method, best))
            yield from (Entry(sample), *(Entry(number(score, decimals)) for score in scores))


def standing(board: Leaderboard, method: str) -> Standing:
    """Where a method stands on a leaderboard, in whose order the others are; too few sources make an order, too.

    Args:
        board: From `xaieval.leaderboard.leaderboards`.
        method: Its name there.

    Raises:
        ValueError: The leaderboard has no such method.
    """
    lines = [line for line in board.methods if line.name == method or not line.sentinel]
    names = [line.name for line in lines]
    if method not in names:
        raise ValueError(f"standing: the leaderboard has no method {method!r}, only {', '.join(names)}")
    ranks = ranks_of(names, _judges(board), enough=1)
    order = sorted(lines, key=lambda line: (ranks.get(line.name, 0.0), line.name))
    return Standing(board, method, tuple(order), tuple(family_ranks(board, names, method)))


def _judges(board: Leaderboard) -> list[Column]:
    """The metrics that order the methods; those of too few sources where none has enough."""
    return deciding(board.columns) or deciding(board.columns, enough=1)


def _scored(board: Leaderboard, name: str) -> bool:
    return any(column.scores[name].valid for column in board.shown)


def _named(column: Column) -> str:
    """Name, direction and range in one line."""
    return column.heading.replace("\n", " ")


def _counted(gaps: pd.Series[float]) -> str:
    """Such as `5-3`, or `5-2-1` with a tie."""
    counts = [int((gaps > 0).sum()), int((gaps < 0).sum()), int((gaps == 0).sum())]
    return "-".join(map(str, counts if counts[2] else counts[:2]))
