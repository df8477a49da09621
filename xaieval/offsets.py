"""From characters to tokens, by the offsets that a tokenizer gives; a text is never searched for a token's string.

Offsets are characters [start, end) of the text for each token, in their order. Special tokens and padding have a width
of zero. Tokens of one character (the bytes of an emoji) share its offsets; a token may begin with the space before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def tokens_of(spans: Sequence[tuple[int, int]], offsets: Tensor) -> Tensor:
    """Which tokens belong to any of the spans: those that have at least one character in common with it.

    Args:
        spans: Characters [start, end), in any order.
        offsets: `(..., T, 2)`, integers.

    Returns:
        Boolean `(..., T)`; a token without width is in no span.
    """
    edges = torch.tensor(list(spans), dtype=offsets.dtype, device=offsets.device).reshape(-1, 2)
    starts = torch.maximum(offsets[..., None, 0], edges[:, 0])
    ends = torch.minimum(offsets[..., None, 1], edges[:, 1])
    return (starts < ends).any(-1)


def words_of(text: str, offsets: Tensor) -> Tensor:
    """Which word each token belongs to.

    Words are those of Unicode (UAX 29, through the package `regex`): between spaces, with punctuation and symbols
    apart, apostrophes and decimal points inside ("don't", "3.5"), each Chinese character on its own; an emoji or a
    letter with its combining characters is never divided. Tokens of one word share it, and words that a token straddles
    are one word. A token of spaces alone is a word by itself, unless tokens share these spaces.

    Args:
        text: The text.
        offsets: `(T, 2)`, integers.

    Returns:
        Number of the word `(T,)`, int64, counted from 0 in the order of their first tokens without gaps; -1 for a token
        without width.

    Raises:
        ModuleNotFoundError: The package `regex` is not installed.
    """
    places = offsets.tolist()
    word_at = _words(text, places)
    numbers: dict[int, int] = {}
    words = [
        numbers.setdefault(word_at[_first(text, start, end)], len(numbers)) if start < end else -1
        for start, end in places
    ]
    return torch.tensor(words, dtype=torch.int64, device=offsets.device)


def _words(text: str, places: Sequence[Sequence[int]]) -> list[int]:
    """For each character the one that its word begins with."""
    begins = _breaks(text)
    for start, end in places:
        # what a token holds of characters that are no space is one word
        solid = [place for place in range(start, end) if not text[place].isspace()]
        inside = range(solid[0] + 1, solid[-1] + 1) if solid else range(start + 1, end)
        begins.difference_update(inside)
    edges = sorted(begins | {0}) + [len(text)]
    return [edge for edge, following in pairwise(edges) for _ in range(following - edge)]


def _breaks(text: str) -> set[int]:
    """Where words begin; spaces and the characters after them always do."""
    try:
        import regex
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("words_of needs the package regex: pip install 'xaieval[text]'") from error
    return {found.start() for found in regex.finditer(r"(?w)\b", text)}


def _first(text: str, start: int, end: int) -> int:
    """The first character of a token that is no space, or its first one."""
    return next((place for place in range(start, end) if not text[place].isspace()), start)
