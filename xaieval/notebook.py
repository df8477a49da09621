"""How objects show themselves in a notebook: small parts of a page, in which what users wrote is escaped."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from xaieval.component import Method, Metric
    from xaieval.explicand import Explicand

SHOWN, SIDE = 8, 96
"""How many samples of an explicand are shown, and the side of their pictures in pixels."""

LONGEST = 80
"""Characters of a value or an id; a longer one ends in three dots."""


def component(one: Method | Metric) -> str:
    """A method or metric: what it is in a sentence, its claims, its paper and its parameters."""
    from xaieval.component import Method
    from xaieval.listing import first_sentence

    if isinstance(one, Method):
        kind = "sentinel" if one.sentinel else "oracle" if one.oracle else "method"
        facts = [kind, f"units {one.units}"]
    else:
        low, high = one.bounds
        direction = "higher" if one.higher_is_better else "lower"
        facts = ["metric", one.category, f"{direction} is better", f"{low:g} to {high:g}"]
    facts += [f"needs {', '.join(one.needs)}"] if one.needs else []
    name, said = type(one).__name__, first_sentence(type(one).__doc__ or "")
    about = " \N{MIDDLE DOT} ".join([*map(html.escape, facts), paper(getattr(one, "reference", ""))]).rstrip(
        " \N{MIDDLE DOT}"
    )
    # A dataclass without a docstring is given its own signature as one, which the parameters say better.
    first = "" if said.startswith(f"{name}(") else f"<br>{html.escape(said)}"
    fields: tuple[Any, ...] = dataclasses.fields(one) if dataclasses.is_dataclass(one) else ()
    rows = [(field.name, shortened(repr(getattr(one, field.name)))) for field in fields]
    return f"<div><strong>{html.escape(name)}</strong> <small>{about}</small>{first}{table(rows)}</div>"


def explicand(one: Explicand) -> str:
    """What is explained, by which model and for which classes, what was spent, and pictures of the first samples."""
    size = " x ".join(map(str, one.shape[1:]))
    samples = f"{one.count} sample{'' if one.count == 1 else 's'} of {size}"
    spent = f"{one.cost.forwards:g} forwards and {one.cost.backwards:g} backwards per sample so far"
    known = [name for name in ("mask", "present", "parts") if getattr(one, name) is not None]
    facts = [samples, one.classifier.name, spent, *([f"with {', '.join(known)}"] if known else [])]
    line = " \N{MIDDLE DOT} ".join(html.escape(fact) for fact in facts)
    cards = "".join(_card(one, row) for row in range(min(one.count, SHOWN)))
    more = f"<p><small>and {one.count - SHOWN} more</small></p>" if one.count > SHOWN else ""
    return f"<div><strong>Explicand</strong> <small>{line}</small><div>{cards}</div>{more}</div>"


def paper(reference: str) -> str:
    """A reference as a link where it is an arXiv id or a DOI."""
    if reference.startswith("arXiv:"):
        address = f"https://arxiv.org/abs/{reference.removeprefix('arXiv:')}"
    elif reference.removeprefix("doi:").startswith("10."):
        address = f"https://doi.org/{reference.removeprefix('doi:')}"
    else:
        return html.escape(reference)
    return f'<a href="{html.escape(address)}">{html.escape(reference)}</a>'


def table(rows: Iterable[Sequence[str]], headings: Sequence[str] = ()) -> str:
    """A table of texts, the first column aligned left; empty without a row."""
    lines = [_row(row, "td") for row in rows]
    if not lines:
        return ""
    head = f"<thead>{_row(headings, 'th')}</thead>" if headings else ""
    return f"<table>{head}<tbody>{''.join(lines)}</tbody></table>"


def shortened(text: str) -> str:
    """At most so many characters."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _row(cells: Sequence[str], kind: str) -> str:
    sides = ("left", *["right"] * (len(cells) - 1))
    parts = (
        f'<{kind} style="text-align:{side}">{html.escape(cell).replace(chr(10), "<br>")}</{kind}>'
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(parts)}</tr>"


def _card(one: Explicand, row: int) -> str:
    """A sample: its picture where it has one, its id, and the class explained."""
    from xaieval.plots import title_of

    said = "<br>".join(html.escape(shortened(line)) for line in title_of(one, row).split("\n"))
    picture = _picture(one.inputs[row]) if one.inputs.dim() == 4 else ""
    return f'<span style="display:inline-block;margin:4px;text-align:center">{picture}<small>{said}</small></span>'


def _picture(inputs: Tensor) -> str:
    """Pixels `(C, H, W)` in [0, 1] as a small picture inside the page."""
    pixels: Any = (inputs.detach().expand(3, -1, -1).movedim(0, -1).clamp(0, 1) * 255).round().byte().cpu().numpy()
    buffer, picture = io.BytesIO(), Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    picture.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{data}" style="width:{SIDE}px;image-rendering:pixelated"><br>'
