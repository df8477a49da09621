"""The table that says how far to believe each metric, and the sentences below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isinf, isnan, nan
from pathlib import Path

import pandas as pd

from xaieval import leaderboard
from xaieval.agreement import ALL, Agreement, agreement
from xaieval.comparison import CATEGORIES, DOUBTED, ENOUGH
from xaieval.evidence import RUN
from xaieval.kept_verdicts import Column, by_column
from xaieval.separation import CONTROLS, SHUFFLED
from xaieval.table import Entry, Table, number
from xaieval.verdicts import BELIEVE, DOUBT, UNKNOWN, Findings, Verdict, findings, verdict

MARKS = {BELIEVE: "✓", DOUBT: DOUBTED, UNKNOWN: "?"}
"""What stands before a metric's name."""

CONTROL_HEADINGS = {SHUFFLED: "own\nshuffled", "random_coarse": "random\ncoarse"} | {
    name: name.replace("_", "\n") for name in ("edge_detector", "centre_blob")
}


@dataclass(frozen=True)
class Reliability:
    """How far to believe each metric on one dataset with one model.

    Attributes:
        found: What is measured of each metric, in the order of the leaderboard.
        verdicts: What to think of each.
        agreement: Between the metrics.
    """

    found: tuple[Findings, ...]
    verdicts: tuple[Verdict, ...]
    agreement: Agreement

    @property
    def by_column(self) -> dict[Column, Verdict]:
        """The verdicts by what they are about."""
        return by_column(zip(self.found, self.verdicts, strict=True))

    @property
    def title(self) -> str:
        """Dataset, model and size."""
        evidence = self.found[0].evidence
        sources = max(found.sources for found in self.found)
        few = "" if sources >= ENOUGH else f" - too few to believe any, {ENOUGH} sources are needed"
        size = f"{sources} source{'' if sources == 1 else 's'}{few}"
        return f"{evidence.dataset}, {evidence.model}: which metrics deserve belief ({size})"

    def text(self) -> str:
        """Aligned text, then a sentence for each metric."""
        return "\n".join([self._table().text(), *self.sentences(), ""])

    def markdown(self) -> str:
        """A GitHub table, then a list of sentences."""
        return "\n".join([self._table().markdown(), *(f"- {line}" for line in self.sentences()), ""])

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return replace(self._table(), notes=(*self.sentences(), *self._table().notes)).html()

    def sentences(self) -> list[str]:
        """For each metric whether its order deserves belief, and why."""
        return [
            f"{MARKS[verdict.belief]} {verdict.metric}: {_opening(verdict)}{verdict.sentence}."
            for verdict in self.verdicts
        ]

    def frame(self) -> pd.DataFrame:
        """One row per metric, with the numbers in full."""
        frame = pd.DataFrame(list(map(_record, self.found, self.verdicts)))
        return frame.assign(**{"category.tau": list(self.agreement.own.values())})

    def pairs(self) -> pd.DataFrame:
        """One row per pair of metrics: how far their orders of the methods agree."""
        evidence = self.found[0].evidence
        named = {"dataset": evidence.dataset, "model": evidence.model}
        return pd.DataFrame(
            [
                {**named, "metric": one, "other": other, **vars(match)}
                for (one, other), match in self.agreement.matches.items()
            ]
        )

    def _table(self) -> Table:
        columns = [column for column in COLUMNS if any(column.cell(found) != "-" for found in self.found)]
        rows = tuple(
            (
                Entry(f"{MARKS[verdict.belief]} {verdict.metric}"),
                *(Entry(column.cell(found)) for column in columns),
                Entry(_two(self.agreement.own[verdict.metric])),
            )
            for found, verdict in zip(self.found, self.verdicts, strict=True)
        )
        headings = ("metric", *(column.heading for column in columns), "order\nin its\ncategory")
        return Table(self.title, headings, (rows,), (LEGEND, *self._concordance()))

    def _concordance(self) -> Iterator[str]:
        """Kendall's W of the metrics of each category, and of all."""
        compared = [found.evidence.category for found in self.found if found.methods > 1]
        sizes = Counter(compared) | {ALL: len(compared)}
        found = [
            f"{name} {_two(self.agreement.concordance[name])} ({sizes[name]})"
            for name in (*CATEGORIES, ALL)
            if not isnan(self.agreement.concordance.get(name, nan))
        ]
        if found:
            yield f"Kendall's W between metrics, 1 for one order, 1 / their number by chance: {', '.join(found)}."


@dataclass(frozen=True)
class Measure:
    """A column: its heading, and what it says of a metric."""

    heading: str
    cell: Callable[[Findings], str]


LEGEND = (
    "Methods reliably better (worse) than: their own shuffled maps and sentinels, of all compared, Holm's p < .05. "
    "Spread: standard deviation between methods over what sources, the methods' seeds and the metric's draws move them "
    "by. Retest: correlation of scores with other draws. Order: Kendall's tau on resampled sources; smallest with "
    "another removal, and the largest part of the pairs both decide that turns round; mean with the other metrics of "
    "its category. MC: MetaQuantus, .5 is doing nothing. Best: the largest (score - random) / (oracle - random) of the "
    "methods. See docs/reliability.md."
)


def reliabilities(trials: pd.DataFrame) -> list[Reliability]:
    """One table for each dataset and model.

    Args:
        trials: From `xaieval.trials`, or the rows of a run alone, which tell less.
    """
    tables: dict[tuple[str, str], list[Findings]] = {}
    for found in findings(trials):
        tables.setdefault((found.evidence.dataset, found.evidence.model), []).append(found)
    return [
        Reliability(tuple(part), tuple(map(verdict, part)), agreement([found.evidence for found in part]))
        for part in tables.values()
    ]


def report(trials: pd.DataFrame, folder: Path) -> list[Reliability]:
    """Print the run's leaderboards with their marks and the tables, write all as Markdown and CSV, and say where."""
    found = reliabilities(trials)
    verdicts = {column: verdict for table in found for column, verdict in table.by_column.items()}
    boards = leaderboard.leaderboards(trials[trials["trial"] == RUN], verdicts)
    leaderboard.show(boards)
    for table in found:
        print(table.text())  # noqa: T201
    files = {
        "leaderboard.md": "\n".join(board.markdown() for board in boards),
        "leaderboard.csv": leaderboard.csv(boards),
        "reliability.md": "\n".join(table.markdown() for table in found),
        "reliability.csv": str(pd.concat([table.frame() for table in found]).to_csv(index=False)),
        "agreement.csv": str(pd.concat([table.pairs() for table in found]).to_csv(index=False)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    print(f"In {folder}: {', '.join(files)}")  # noqa: T201
    return found


def _opening(verdict: Verdict) -> str:
    if verdict.belief == BELIEVE:
        return "believe its order; "
    return f"do not rank by it, {verdict.cause}: " if verdict.belief == DOUBT else "not known, "


# -- cells --


def _against(control: str) -> Callable[[Findings], str]:
    def cell(found: Findings) -> str:
        separation = found.separations.get(control)
        if separation is None:
            return "-"
        worse = f" (-{len(separation.worse)})" if separation.worse else ""
        return f"{len(separation.better)}{worse} of {len(separation.p)}"

    return cell


def _ratio(kind: str) -> Callable[[Findings], str]:
    return lambda found: _one(found.ratios[kind].ratio)


def _removals(found: Findings) -> str:
    taus = [match.tau for match in found.removals.values() if not isnan(match.tau)]
    return _two(min(taus)) if taus else "-"


def _flips(found: Findings) -> str:
    parts = [match.decided for match in found.removals.values() if not isnan(match.decided)]
    return f"{max(parts):.0%}" if parts else "-"


def _best(found: Findings) -> str:
    """The method that goes farthest from random to the oracle."""
    if found.oracle is None:
        return "-"
    if not found.oracle.oracle_beats_random:
        return "no room" if found.no_room else "-"
    return f"{_two(max(interval.mean for interval in found.oracle.shares.values()))} of {found.oracle.oracle}"


COLUMNS: Sequence[Measure] = (
    *(Measure(f"better than\n{CONTROL_HEADINGS.get(name, name)}", _against(name)) for name in CONTROLS),
    Measure("spread\nover\nsources", _ratio("subsets")),
    Measure("spread\nover\nseeds", _ratio("seeds")),
    Measure("spread\nover\ndraws", _ratio("draws")),
    Measure("retest", lambda found: _two(found.retest.correlation)),
    Measure("order\nover\nsources", lambda found: "-" if found.stability is None else _two(found.stability.tau)),
    Measure("order\nover\nremovals", _removals),
    Measure("turned\nround", _flips),
    Measure("MC\nweights", lambda found: _two(found.consistency.weights.score)),
    Measure("MC\ninputs", lambda found: _two(found.consistency.inputs.score)),
    Measure("best, of the way from\nrandom to the oracle", _best),
)


def _one(value: float) -> str:
    return "-" if isnan(value) else "inf" if isinf(value) else number(value, 1)


def _two(value: float) -> str:
    return "-" if isnan(value) else number(value, 2)


# -- numbers in full --


def _record(found: Findings, verdict: Verdict) -> dict[str, object]:
    return {
        "dataset": found.evidence.dataset,
        "model": found.evidence.model,
        "metric": verdict.metric,
        "category": found.evidence.category,
        "belief": verdict.belief,
        "cause": verdict.cause,
        "sentence": verdict.sentence,
        "methods": found.methods,
        "sources": found.sources,
        **dict(_numbers(found)),
    }


def _numbers(found: Findings) -> Iterator[tuple[str, object]]:
    for control, separation in found.separations.items():
        name = control.replace(" ", "_")
        yield f"{name}.better", len(separation.better)
        yield f"{name}.worse", len(separation.worse)
        yield f"{name}.same", len(separation.same)
        yield f"{name}.methods", len(separation.p)
    for kind, ratio in found.ratios.items():
        yield f"{kind}.signal", ratio.signal
        yield f"{kind}.noise", ratio.noise
        yield f"{kind}.ratio", ratio.ratio
    yield "retest.correlation", found.retest.correlation
    yield "retest.tau", found.retest.tau
    if found.stability is not None:
        yield "order.tau", found.stability.tau
        yield "order.top", found.stability.top
    for removal, match in found.removals.items():
        yield f"{removal}.tau", match.tau
        yield f"{removal}.flipped", match.flipped
        yield f"{removal}.decided", match.decided
        yield f"{removal}.pairs", match.pairs
    for space, part in (("weights", found.consistency.weights), ("inputs", found.consistency.inputs)):
        yield f"{space}.iac_noise", part.iac_nr
        yield f"{space}.iac_disruption", part.iac_ar
        yield f"{space}.iec_noise", part.iec_nr
        yield f"{space}.iec_disruption", part.iec_ar
        yield f"{space}.consistency", part.score
        yield f"{space}.reason", part.reason
    if found.oracle is not None:
        yield "oracle", found.oracle.oracle
        yield "oracle.beats_random", found.oracle.oracle_beats_random
        for method, interval in found.oracle.shares.items():
            yield f"oracle.{method}", interval.mean
