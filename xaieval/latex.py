"""Tables for papers: LaTeX that compiles with booktabs alone, whatever the names in it are."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

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
    frame = pd.DataFrame([list(map(_cell, row)) for section in sections for row in section])
    frame.columns = _headings(table.headings)
    tabular = frame.style.hide(axis="index").to_latex(
        hrules=True, sparse_columns=False, column_format="l" + "r" * (len(table.headings) - 1)
    )
    notes = [f"\\par {escaped(note)}" for note in table.notes]
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        f"\\caption{{{escaped(table.title)}}}",
        "\\centering\\footnotesize",
        *_ruled(tabular.splitlines(), sections),
        "\\par\\raggedright",
        *notes,
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


def _headings(headings: Sequence[str]) -> pd.MultiIndex:
    """The lines of the headings, those with fewer lines at the bottom as in text."""
    lines = [heading.split("\n") for heading in headings]
    height = max(map(len, lines))
    return pd.MultiIndex.from_tuples([tuple(map(escaped, [""] * (height - len(own)) + own)) for own in lines])


def _ruled(lines: list[str], sections: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a tabular with a rule after each section but the last, whose rule is there."""
    end = lines.index("\\midrule") + 1
    for section in sections[:-1]:
        end += len(section)
        lines.insert(end, "\\midrule")
        end += 1
    return lines
