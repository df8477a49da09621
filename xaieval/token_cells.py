"""What of a text gets one color when it is shown: a token, or all tokens of a word or of a character.

A token may come with the blanks before it, as `spelled` gives them and as some tokenizers do; where no token of a text
has any, there is one blank before each token that does not go on a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

JOINER = "\N{ZERO WIDTH JOINER}"


@dataclass(frozen=True)
class Cell:
    """Characters with one color.

    Attributes:
        characters: As they are read, each with what belongs to it, such as an accent; none of them blank at either end.
        tokens: The numbers of its tokens.
        blank: Whether there is a blank before it.
    """

    characters: tuple[str, ...]
    tokens: tuple[int, ...]
    blank: bool

    @property
    def text(self) -> str:
        """Its characters."""
        return "".join(self.characters)


def spelled(text: str, offsets: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """The characters of each token with the blanks before it; together they are the text, or what was left of it.

    Of tokens that share characters the first has them and the others none. Characters that belong to no token, such as
    accents that a tokenizer drops, go to the token before them.

    Args:
        text: The text.
        offsets: Characters [start, end) of each token, in their order; those without width have none.
    """
    names = [""] * len(offsets)
    past, before = -1, -1  # where the last token ended, and which it was
    for place, (start, end) in enumerate(offsets):
        if start == end or end <= past:
            continue
        between = "" if past < 0 else text[past:start]
        dropped = between.rstrip()
        if dropped:
            names[before] += dropped
        names[place] = between[len(dropped) :] + text[max(start, past) : end]
        past, before = end, place
    for character in text[past:] if past >= 0 else "":
        if not _goes_on(names[before], character):
            break
        names[before] += character
    return tuple(names)


def clusters(text: str) -> tuple[str, ...]:
    """Characters as they are read: a letter with its accents, an emoji with its color, a flag, a family."""
    found: list[str] = []
    for character in text:
        if found and _goes_on(found[-1], character):
            found[-1] += character
        else:
            found.append(character)
    return tuple(found)


def _goes_on(before: str, character: str) -> bool:
    """Whether a character belongs to those before it."""
    flags = sum(map(_is_half_a_flag, before))
    return (
        unicodedata.category(character) in ("Mn", "Me", "Mc")
        or character == JOINER
        or before.endswith(JOINER)
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # colors of skin
        or "\U000e0020" <= character <= "\U000e007f"  # letters of a flag's region
        or (_is_half_a_flag(character) and flags == len(before) == 1)
    )


def _is_half_a_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def cells(
    names: Sequence[str], groups: Sequence[int] | None = None, special: Sequence[bool] | None = None
) -> tuple[Cell, ...]:
    """The cells of a text, in their order.

    Args:
        names: The tokens, as they stand in the text.
        groups: The number of each token's word, negative where it has none; None: each token by itself.
        special: Which tokens the tokenizer added, beside which there is a blank; None: none.
    """
    exact = any(name[:1].isspace() or not name for name in names)
    added = [False] * len(names) if special is None else special
    found: list[tuple[str, list[int], bool]] = []
    for place, name in enumerate(names):
        text, apart = name.strip(), place > 0 and bool(added[place] or added[place - 1])
        same = place > 0 and groups is not None and groups[place] == groups[place - 1] >= 0
        blank = place > 0 and (apart or (name[:1].isspace() if exact else not same))
        if found and (same or (not blank and _joined(found[-1][0], text))):
            before, tokens, first = found[-1]
            inner = " " if blank and text else ""  # inside a word, such as a number of several parts
            found[-1] = (before + inner + text, [*tokens, place], first)
        else:
            found.append((text, [place], blank))
    return tuple(Cell(clusters(text), tuple(tokens), blank) for text, tokens, blank in found)


def _joined(before: str, text: str) -> bool:
    """Whether a token without a blank before it begins inside of a character, or has none of its own."""
    return not text or (bool(before) and _goes_on(clusters(before)[-1], text[0]))


def lines(
    row: Sequence[Cell], widths: Sequence[float], blank: float, width: float
) -> Iterator[list[tuple[int, float]]]:
    """Cells on lines of some width: on each the numbers of its cells and where they begin.

    What no blank parts stays together, unless it is wider than a line.
    """
    line: list[tuple[int, float]] = []
    end = 0.0
    for start, stop in _unbroken(row):
        whole = sum(widths[start:stop])
        if line and end + blank + whole > width:
            yield line
            line, end = [], 0.0
        elif line:
            end += blank
        for place in range(start, stop):
            if line and end + widths[place] > width:
                yield line
                line, end = [], 0.0
            line.append((place, end))
            end += widths[place]
    if line:
        yield line


def _unbroken(row: Sequence[Cell]) -> Iterator[tuple[int, int]]:
    """The runs [start, stop) of cells without a blank between them."""
    begins = [place for place, cell in enumerate(row) if cell.blank or place == 0]
    yield from pairwise([*begins, len(row)])
