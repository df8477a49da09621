"""Which characters of a text a figure can show: by the fonts that are installed."""

from __future__ import annotations

import unicodedata
from functools import cache

from xaieval.token_cells import clusters

FONTS = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Symbols2", "Noto Emoji"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Hebrew", "Noto Sans Thai", "Arial Unicode MS"),
    *("Segoe UI Symbol", "Segoe UI Emoji", "Apple Symbols", "Hiragino Sans", "Microsoft YaHei", "Symbola"),
)
"""Fonts in the order in which they are tried for a character; those that are installed."""

MISSING = "\N{WHITE SQUARE}"
"""Stands in a figure for a character that no font has."""

LINE_BREAK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"


def drawable(text: str) -> str:
    """A text of which every character is in a font: others are a square each, with all that belongs to them."""
    return "".join(map(_glyph, clusters(text)))


@cache
def _glyph(character: str) -> str:
    if character in ("\n", "\r", "\r\n"):
        return LINE_BREAK
    if character.isspace():
        return " "
    composed = unicodedata.normalize("NFC", character)
    kept = "".join(one for one in composed if unicodedata.category(one) != "Cf" and not _selects(one))
    if not kept:
        return ""
    return kept if all(ord(one) in _known() for one in kept) else MISSING


def _selects(character: str) -> bool:
    """Whether a character only chooses how the one before it is drawn."""
    return "\ufe00" <= character <= "\ufe0f"


@cache
def fonts() -> tuple[str, ...]:
    """Those of the fonts that are installed."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in FONTS if name in installed)


@cache
def _known() -> frozenset[int]:
    """Every character that some of the fonts has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=name)) for name in fonts()]
    return frozenset(code for file in files for code in get_font(file).get_charmap())
