"""What stands below a leaderboard: how to read its numbers, what is undefined, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from xaieval.comparison import DOUBTED, ENOUGH, Column, Method, Score, deciding
from xaieval.component import SKIPPED
from xaieval.unsupported import UNSUPPORTED


def notes_of(columns: Sequence[Column], methods: Sequence[Method], others: Sequence[Column]) -> tuple[str, ...]:
    """One sentence or list for each kind of note that there is something to say of.

    Args:
        columns: Those of the table.
        methods: Its rows.
        others: The metrics without a score of any method, which have no column.
    """
    notes = [
        "Means with 95 % bootstrap intervals over n samples (± half the width), resampled by source.",
        _listed("Each metric is over the samples valid for all its methods", map(_common, columns)),
        _order(columns),
        _listed(f"{DOUBTED} Not to be ranked by", _doubted(columns)),
        _listed("† Valid on fewer than half of the samples, so over its own and not compared", _apart(columns)),
        _listed("Undefined", map(_undefined, columns)),
        _skipped(columns),
        _listed("Unsupported layers", _unsupported(columns, methods)),
        _listed("Defined for no method", _nowhere(others)),
        _listed("Not computed", map(_absent, columns)),
        _listed("Errors", map(_errors, columns)),
    ]
    return tuple(note for note in notes if note)


def _nowhere(columns: Sequence[Column]) -> Iterator[str]:
    """Metrics by the reason that most methods have."""
    names: dict[str, list[str]] = {}
    for column in columns:
        reasons = Counter(reason for score in column.scores.values() for reason in score.reasons)
        (reason, _), *_ = reasons.most_common(1) or [("no samples", 0)]
        names.setdefault(reason.removeprefix(f"{UNSUPPORTED}: "), []).append(column.name)
    for reason, found in names.items():
        yield f"{', '.join(found)} ({reason})"


def _order(columns: Sequence[Column]) -> str:
    judges = deciding(columns)
    if not judges and any(column.sources >= ENOUGH for column in columns):
        return "No metric here tells an order that is to be believed; sorted by name."
    if not judges:
        return f"Too few to rank: fewer than {ENOUGH} independent sources; sorted by name."
    few = _listed("Too few sources to rank", (f"{c.name} ({c.sources})" for c in columns if c.sources < ENOUGH))
    order = f"Sorted by mean rank on {', '.join(column.name for column in judges)}; bold (in text *) is the best mean."
    return f"{order} {few}".rstrip()


def _doubted(columns: Sequence[Column]) -> Iterator[str]:
    """Metrics of one cause and sentence together."""
    names: dict[str, list[str]] = {}
    for column in columns:
        if column.doubt:
            names.setdefault(column.doubt, []).append(column.name)
    for doubt, doubted in names.items():
        yield f"{', '.join(doubted)} ({doubt})"


def _unsupported(columns: Sequence[Column], methods: Sequence[Method]) -> Iterator[str]:
    """Why methods do not explain the model, once for all metrics."""
    names: dict[str, dict[str, None]] = {}
    for method in methods:
        for reason in (reason for column in columns for reason in column.scores[method.name].reasons):
            if reason.startswith(UNSUPPORTED):
                names.setdefault(reason.removeprefix(UNSUPPORTED).lstrip(": "), {})[method.name] = None
    for why, refused in names.items():
        yield f"{why} ({', '.join(refused)})"


def _apart(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        for name, score in column.scores.items():
            if score.valid and not score.compared:
                yield f"{name} on {column.name} ({score.valid} of {column.samples})"


def _skipped(columns: Sequence[Column]) -> str:
    """What a cell that is skipped means."""
    skipped = any(SKIPPED in score.reasons for column in columns for score in column.scores.values())
    told = "Skipped for cost: the metric explains again and again, which would take more evaluations than its budget."
    return told if skipped else ""


def _listed(title: str, items: Iterable[str]) -> str:
    found = "; ".join(item for item in items if item)
    return f"{title}: {found}." if found else ""


def _common(column: Column) -> str:
    return "" if column.common == column.samples else f"{column.name} {column.common} of {column.samples}"


def _undefined(column: Column) -> str:
    """The partly undefined methods; where nothing is valid, the cell itself says why."""
    counts = {name: _other_reasons(score) for name, score in column.scores.items() if score.valid}
    return _by_cause(column.name, counts)


def _other_reasons(score: Score) -> dict[str, int]:
    """The reasons that are about samples, not about the model."""
    return {reason: count for reason, count in score.reasons.items() if not reason.startswith(UNSUPPORTED)}


def _absent(column: Column) -> str:
    missing = [f"{name} {score.absent} of {column.samples}" for name, score in column.scores.items() if score.absent]
    return f"{column.name} ({', '.join(missing)})" if missing else ""


def _errors(column: Column) -> str:
    return _by_cause(column.name, {name: score.errors for name, score in column.scores.items()})


def _by_cause(metric: str, counts: dict[str, dict[str, int]]) -> str:
    """Such as `relevance_rank: empty mask 5 (every method), zero map 3 (gradient 2, sobol 1)`."""
    causes = dict.fromkeys(cause for found in counts.values() for cause in found)
    parts = []
    for cause in causes:
        methods = {name: found[cause] for name, found in counts.items() if cause in found}
        if len(methods) == len(counts) > 1 and len(set(methods.values())) == 1:
            parts.append(f"{cause} {next(iter(methods.values()))} (every method)")
        else:
            parts.append(f"{cause} ({', '.join(f'{name} {count}' for name, count in methods.items())})")
    return f"{metric}: {', '.join(parts)}" if parts else ""
