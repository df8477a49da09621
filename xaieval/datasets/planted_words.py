"""The planted rule: what a text says, as the sum of the valences of its words, each flipped by a negator before it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

NEGATORS = frozenset({"hardly", "never", "nobody", "not", "without"})
"""Each flips the next sentiment word of its clause."""

STOPS = frozenset(",.;:!?")
"""Where a clause ends."""


class Word(NamedTuple):
    """A word or a punctuation mark in lower case, and its characters [start, end) in the text."""

    text: str
    start: int
    end: int


def words_in(text: str) -> tuple[Word, ...]:
    """The words of a text, punctuation apart."""
    return tuple(Word(found[0].lower(), *found.span()) for found in re.finditer(r"[\w']+|[^\w\s]", text))


def planted_score(words: Sequence[str], valences: Mapping[str, float]) -> float:
    """How positive a text is.

    The sum of v(w) s(w) over its sentiment words, where s(w) = -1 if an odd number of negators stand between w and the
    sentiment word or the end of a clause before it, else 1. The sign of the score is the planted label.

    Args:
        words: Words and punctuation in lower case, in their order; what is removed is left out, or any other word.
        valences: Of the sentiment words; all others count 0.
    """
    total, sign = 0.0, 1
    for word in words:
        if word in NEGATORS:
            sign = -sign
        elif word in STOPS:
            sign = 1
        elif word in valences:
            total += sign * valences[word]
            sign = 1
    return total


def effects(words: Sequence[str], valences: Mapping[str, float]) -> tuple[float, ...]:
    """What the score loses with each word alone: score - score without it.

    A negator loses twice what it flips, and 0 where it flips nothing. Where one sentiment word is gone, its negator
    flips the next of the clause.
    """
    whole = planted_score(words, valences)
    candidates = [word in NEGATORS or word in valences for word in words]
    return tuple(
        whole - planted_score(_without(words, place), valences) if counts else 0.0
        for place, counts in enumerate(candidates)
    )


def _without(words: Sequence[str], place: int) -> Sequence[str]:
    return [*words[:place], *words[place + 1 :]]
