"""How a cell tells a mean: with half its interval in text, with interval and standard deviation in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from xaieval.comparison import Column, Pair, column_decimals
from xaieval.statistics import Interval
from xaieval.table import number

Difference = Callable[[Pair, int, Sequence[int]], str]
"""How a difference is told, from its decimals and the numbers of samples of all differences in its column."""


def with_half_width(interval: Interval, decimals: int) -> str:
    """Such as `.412±.031`."""
    half = (interval.high - interval.low) / 2
    return number(interval.mean, decimals) + ("" if math.isnan(half) else f"±{number(half, decimals)}")


def with_both_ends(interval: Interval, decimals: int, write: Callable[[float, int], str] = number) -> str:
    """Such as `.412 [.381, .443]`; numbers are written with `write`."""
    mean, low, high = (write(value, decimals) for value in interval[:3])
    return mean if math.isnan(interval.low) else f"{mean} [{low}, {high}]"


def with_deviation(text: str, deviation: float, decimals: int) -> str:
    """The text, then such as ` sd .103`, where there is one."""
    return text if math.isnan(deviation) else f"{text} sd {number(deviation, decimals)}"


def signed(value: float, decimals: int) -> str:
    """A number with a plus before it where it is larger than 0."""
    text = number(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def headed(column: Column, counts: Iterable[int]) -> str:
    """The heading of a metric with the numbers of samples behind its cells, such as `n = 35` or `n = 30 to 35`."""
    found = {count for count in counts if count}
    if not found:
        return column.heading
    low, high = min(found), max(found)
    return f"{column.heading}\nn = {low}" + (f" to {high}" if high > low else "")


def difference_in_short(pair: Pair, decimals: int, counts: Sequence[int]) -> str:
    """Mean difference and its interval."""
    return with_both_ends(pair.interval, decimals, signed)


def difference_in_full(pair: Pair, decimals: int, counts: Sequence[int]) -> str:
    """With its standard deviation, and its number of samples where the column has several."""
    text = with_deviation(difference_in_short(pair, decimals, counts), pair.deviation, decimals)
    several = pair.interval.n and len({count for count in counts if count}) > 1
    return f"{text} n = {pair.interval.n}" if several else text


def arrow(pair: Pair, column: Column) -> str:
    """Whether the difference is for the better."""
    return " ▲" if (pair.interval.mean > 0) == column.higher_is_better else " ▼"


def decimals_of(column: Column, pairs: Iterable[Pair]) -> int:
    """Decimals for the differences of a column."""
    return column_decimals([pair.interval.mean for pair in pairs], column.lowest, column.highest)


def record(pair: Pair) -> dict[str, object]:
    """The numbers in full."""
    return {**pair.interval._asdict(), "sd": pair.deviation, "sources": pair.sources}
