"""Texts with their tokens colored, as a part of a page: `to_html(text_rows(explicand, {"gradient": ...}, [...]))`."""

from __future__ import annotations

import html
from collections.abc import Sequence

from xaieval.plots import require_matplotlib
from xaieval.text_plots import Shown, TextRow, names_of, shown_of

STYLE = "padding:1px 2px;border-radius:2px"


class Html(str):
    """A part of a page, in which what came from a text is escaped: neither Jinja nor a notebook escapes it again."""

    def __html__(self) -> str:
        return self

    def _repr_html_(self) -> str:
        return self


def to_html(rows: Sequence[TextRow]) -> Html:
    """The texts as HTML, a line of text for each method.

    The tooltip of a token tells its score, with a plus or minus where the map is signed.

    Raises:
        ConfigError: matplotlib, whose color maps are taken, is not installed.
        ValueError: There is nothing to show.
    """
    require_matplotlib()
    names, signed = names_of(rows)
    return Html("\n".join(_section(row, names, signed) for row in rows))


def _section(row: TextRow, names: Sequence[str], signed: set[str]) -> str:
    title = html.escape(" \N{MIDDLE DOT} ".join(row.title.splitlines()))
    parts = [f"<p><strong>{title}</strong></p>"]
    for name in names:
        if name in row.maps:
            spans = "".join(_span(shown, name in signed) for shown in shown_of(row, name, name in signed))
            parts.append(f'<p dir="auto" style="line-height:1.8"><em>{html.escape(name)}</em>: {spans}</p>')
    if row.note:
        parts.append(f"<p><small>{html.escape(row.note)}</small></p>")
    return '<div class="xaieval-text">\n' + "\n".join(parts) + "\n</div>"


def _span(shown: Shown, signed: bool) -> str:
    style = f"{STYLE};color:{shown.ink}"
    if shown.color is not None:
        style += f";background:{shown.color}"
    if shown.marked:
        style += ";text-decoration:underline"
    said = "no score" if shown.score is None else f"{shown.score:{'+' if signed and shown.score else ''}.3g}"
    text = f'<span style="{style}" title="{said}">{html.escape(shown.cell.text)}</span>'
    return f" {text}" if shown.cell.blank else text
