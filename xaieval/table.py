"""Plain tables: aligned text that is never cut, and Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import NamedTuple


class Entry(NamedTuple):
    """One cell of a table: what it says, and whether it stands out as the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A title, headings, sections of rows with a rule between them, and notes.

    Args:
        title: One line.
        headings: One for each column, of one or more lines. The first column is text, the others are numbers.
        sections: Rows of entries; empty sections are left out.
        notes: Sentences below the table.
    """

    title: str
    headings: tuple[str, ...]
    sections: tuple[tuple[tuple[Entry, ...], ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Aligned columns without colors; a star follows the best of a column."""
        heads = [heading.split("\n") for heading in self.headings]
        height = max(map(len, heads))
        top = [tuple(([""] * (height - len(head)) + head)[line] for head in heads) for line in range(height)]
        sections = [
            [tuple(_starred(entry) for entry in row) for row in section] for section in self.sections if section
        ]
        widths = [
            max(map(len, column))
            for column in zip(*top, *(row for section in sections for row in section), strict=True)
        ]
        rule = "  ".join("-" * width for width in widths)
        lines = [self.title, "", *(_aligned(line, widths) for line in top)]
        for section in sections:
            lines += [rule, *(_aligned(row, widths) for row in section)]
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])]) + "\n"

    def markdown(self) -> str:
        """A GitHub table; the best of a column is bold, a row of dashes stands between sections."""
        sections = [[[_bold(entry) for entry in row] for row in section] for section in self.sections if section]
        rule = ["—"] * len(self.headings)
        rows = [row for number, section in enumerate(sections) for row in ([rule] if number else []) + section]
        heads = [_escaped(" ".join(heading.split("\n"))) for heading in self.headings]
        lines = [
            f"### {self.title}",
            "",
            _piped(heads),
            _piped(["---", *["---:"] * (len(heads) - 1)]),
            *map(_piped, rows),
        ]
        notes = [f"- {_escaped(note)}" for note in self.notes]
        return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"

    def html(self) -> str:
        """A table for a notebook, in which everything is escaped; the best of a column is bold."""
        heads = "".join(map(_head, self.headings))
        sections = [section for section in self.sections if section]
        bodies = "".join(f"<tbody>{''.join(map(_html_row, section))}</tbody>" for section in sections)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        below = f"<ul><small>{notes}</small></ul>" if notes else ""
        title = f"<strong>{html.escape(self.title)}</strong>"
        return f'<div>{title}<table rules="groups"><thead><tr>{heads}</tr></thead>{bodies}</table>{below}</div>'


def number(value: float, decimals: int) -> str:
    """A number without the zero before its point, as `.412`; beyond six decimals as `4.1e-8`; `-` where it is NaN."""
    if not isfinite(value):
        return "-" if value != value else f"{value:g}"
    if decimals > 6 and value:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:.{min(6, decimals)}f}"
    if not text.strip("-0."):
        text = text.removeprefix("-")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def figures(value: float, count: int) -> str:
    """A single number to this many figures, without zeros at its end: `50`, `1.9`, `.034`."""
    text = number(value, max(0, decimals_for([value], count)))
    return (text.rstrip("0").rstrip(".") or "0") if "." in text and "e" not in text else text


def decimals_for(values: Sequence[float], figures: int = 3) -> int:
    """How many decimals show this many figures of the largest of the values."""
    largest = max((abs(value) for value in values if isfinite(value)), default=0.0)
    return figures - 1 - floor(log10(largest)) if largest else figures


def _starred(entry: Entry) -> str:
    return entry.text + ("*" if entry.best else "")


def _bold(entry: Entry) -> str:
    return f"**{_escaped(entry.text)}**" if entry.best else _escaped(entry.text)


def _head(heading: str) -> str:
    return f"<th>{html.escape(heading).replace(chr(10), '<br>')}</th>"


def _html_row(row: Sequence[Entry]) -> str:
    cells = (f"<strong>{html.escape(entry.text)}</strong>" if entry.best else html.escape(entry.text) for entry in row)
    first, *rest = cells
    numbers = "".join(f'<td style="text-align:right">{cell}</td>' for cell in rest)
    return f'<tr><td style="text-align:left">{first}</td>{numbers}</tr>'


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", r"\|").replace("*", r"\*").replace("<", r"\<").split())


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([first, *rest]).rstrip()
