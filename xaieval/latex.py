"""Tables for papers: LaTeX that compiles with booktabs alone, whatever the names in it are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from xaieval.table import Entry, Table

_WRITTEN = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after the end of a row it would begin a length
        **{special: f"\\{special}" for special in "&%$#_{}"},
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "±": r"$\pm$",
        "†": r"$\dagger$",
        "✗": r"$\times$",
        "▲": r"$\bigtriangleup$",
        "▼": r"$\bigtriangledown$",
        "\n": " ",
    }
)


def latex(table: Table) -> str:
    """A LaTeX table with rules of booktabs; the best of a column is bold, a rule stands between sections.

    The text of names is escaped. Letters beyond ASCII stay as they are, which every LaTeX of today reads as far as its
    font has them.
    """
    sections = [section for section in table.sections if section]
    bodies = [["\\midrule", *(_row(map(_cell, row)) for row in section)] for section in sections]
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        f"\\caption{{{escaped(table.title)}}}",
        "\\centering\\footnotesize",
        f"\\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
        "\\toprule",
        *map(_row, _headings(table.headings)),
        *chain.from_iterable(bodies),
        "\\bottomrule",
        "\\end{tabular}",
        "\\par\\raggedright",
        *(f"\\par {escaped(note)}" for note in table.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it, never as it reads commands."""
    return text.translate(_WRITTEN)


def _cell(entry: Entry) -> str:
    text = escaped(entry.text)
    text = f"${text[0]}${text[1:]}" if text[:1] in ("-", "+") and text[1:] else text  # a minus, not a hyphen
    return f"\\textbf{{{text}}}" if entry.best else text


def _headings(headings: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The lines of the headings, those with fewer lines at the bottom as in text."""
    lines = [[escaped(line) for line in heading.split("\n")] for heading in headings]
    height = max(map(len, lines))
    return zip(*([""] * (height - len(own)) + own for own in lines), strict=True)


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
