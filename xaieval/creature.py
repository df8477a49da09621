"""Creatures made of parts: what the variants of each part look like, where they are, and which class has which."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import numpy as np

from xaieval.drawing import Color
from xaieval.parts import Scheme

PARTS = ("beak", "eyes", "wing", "tail", "feet", "hat", "collar")
TELLING = 5
"""The first so many parts make the class; the others, the nuisance parts, tell nothing of it."""

CATEGORIES = ("apo", "bix", "cedu", "dorn", "ebba", "fipp", "gorm", "hulo", "inka", "jubb")

CLASSES: tuple[tuple[int, ...], ...] = (
    (0, 1, 3, 0, 3, -1, -1),
    (0, 2, 0, 3, 3, -1, -1),
    (0, 3, 3, 1, 0, -1, -1),
    (1, 0, 1, 2, 2, -1, -1),
    (1, 2, 0, 2, 1, -1, -1),
    (2, 1, 1, 0, 2, -1, -1),
    (2, 1, 2, 1, 0, -1, -1),
    (3, 0, 2, 3, 2, -1, -1),
    (3, 2, 1, 3, 1, -1, -1),
    (3, 3, 2, 1, 1, -1, -1),
)
"""`(K, P)`: the variant of each part that each class has; -1 at nuisance parts.

Any two classes share at most two parts, so that any three parts tell the class; with each class two others share two
parts each, disjoint ones; every variant is that of two or three classes.
"""

VIVID, MEDIUM = 0.88, 0.52
"""Saturations of class parts, and of nuisance parts and of the cue."""

APART = 0.035
"""By as much the color of anything else differs from that of any variant and cue, in the share of some channel in the
sum of all three, which no light changes. The colors of variants and cues lie .043 apart."""

SPOTS = 20
"""Number of the hues of class parts; those of one part are a quarter of the circle apart."""


@dataclass(frozen=True)
class Look:
    """What a variant of a part looks like: names of its color, texture and shape, and the color in [0, 1]."""

    hue: str
    texture: str
    shape: str
    color: Color

    def __str__(self) -> str:
        return f"{self.hue} {self.texture} {self.shape}"


@dataclass(frozen=True)
class Joint:
    """Where a part is on a creature that looks to the right, in units of the creature, and how far it swings.

    Attributes:
        x: Of its middle, from the creature's, to the front.
        y: The same downwards.
        width: Half of its extent along x; of a pair, that of each.
        height: The same along y.
        angle: By which it is turned clockwise, in radians.
        swing: The angle changes by as much at most, either way.
        apart: Where it is a pair: how far each lies from the middle, in half extents; 0: a single one.
    """

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0
    swing: float = 0.0
    apart: float = 0.0


JOINTS = {
    "beak": Joint(1.02, -0.33, 0.3, 0.26, 0.1, 0.2),
    "eyes": Joint(0.37, -0.6, 0.21, 0.23, 0.0, 0.1, 1.08),
    "wing": Joint(-0.16, 0.28, 0.42, 0.32, -0.25, 0.3),
    "tail": Joint(-0.92, 0.12, 0.4, 0.36, 0.25, 0.3),
    "feet": Joint(0.03, 0.9, 0.24, 0.22, 0.0, 0.1, 1.15),
    "hat": Joint(0.38, -1.05, 0.36, 0.26, 0.0, 0.15),
    "collar": Joint(0.24, -0.1, 0.46, 0.16, -0.25, 0.1),
    "body": Joint(-0.05, 0.3, 0.68, 0.56, -0.15),
    "head": Joint(0.4, -0.5, 0.5, 0.44),
}

LAYERS = ("tail", "feet", "body", "head", "collar", "hat", "wing", "beak", "eyes")
"""From the back to the front; nuisance parts hide no class part, so that leaving them out shows no more of these."""

_HUES = (
    *("red", "vermilion", "orange", "yellow", "lime", "chartreuse", "grass", "green", "emerald", "mint"),
    *("cyan", "sky", "azure", "blue", "indigo", "violet", "purple", "magenta", "pink", "crimson"),
)
_SHAPES = (
    ("cone", "spoon", "hook", "box"),
    ("disc", "diamond", "box", "flower"),
    ("disc", "hourglass", "crescent", "diamond"),
    ("fan", "fork", "flower", "box"),
    ("disc", "cross", "spire", "box"),
    ("cap", "hat", "spire"),
    ("band", "zigzag", "box"),
)
_EYES = ("pupiled", "slit", "ringed", "barred")
_TEXTURES = ("plain", "striped", "dotted", "checked")
_TINTS = ("rose", "khaki", "pistachio", "teal", "slate", "lilac")
_MEDIUM_HUES = tuple(place / 16 for place in (0, 3, 5, 8, 11, 13))


def _look(part: int, variant: int) -> Look:
    shape = _SHAPES[part][variant]
    if part >= TELLING:  # hats and collars take turns on the circle
        place = 2 * variant + part - TELLING
        return Look(_TINTS[place], _TEXTURES[1 + variant], shape, hsv_to_rgb(_MEDIUM_HUES[place], MEDIUM, 1))
    place = part + TELLING * variant
    texture = _EYES[variant] if PARTS[part] == "eyes" else _TEXTURES[(variant + part) % 4]
    return Look(_HUES[place], texture, shape, hsv_to_rgb(place / SPOTS, VIVID, 1))


LOOKS = tuple(tuple(_look(part, variant) for variant in range(len(shapes))) for part, shapes in enumerate(_SHAPES))
"""What each variant of each part looks like."""

CUES: tuple[Color, ...] = tuple(hsv_to_rgb(place / 16, MEDIUM, 1) for place in (1, 2, 4, 6, 7, 9, 10, 12, 14, 15))
"""The color of the cue of each class, an object in the background."""

MARKS: tuple[Color, ...] = (*(look.color for looks in LOOKS for look in looks), *CUES)
"""The colors of all variants, in the order of the concepts, and of all cues; nothing else has them."""

_SHARES = np.array([np.array(color) / sum(color) for color in MARKS]).T[..., None]
_WAY = np.arange(65) / 64

SCHEME = Scheme(
    PARTS,
    tuple(f"{part}: {look}" for part, looks in zip(PARTS, LOOKS, strict=True) for look in looks),
    tuple(part for part, looks in enumerate(LOOKS) for _ in looks),
)
"""Concepts are the variants: v of class part p is 4 p + v, v of nuisance part q (0: hat, 1: collar) is 20 + 3 q + v."""


def occurs(color: Color, other: Color | None = None) -> bool:
    """Whether a color, or a mixture of it and another, is but for brightness and up to `APART` that of a mark."""
    share = np.array(color)[:, None] / sum(color)
    if other is not None:
        share = share + _WAY * (np.array(other)[:, None] / sum(other) - share)
    return bool(np.abs(share[:, None] - _SHARES).max(0).min() < APART)


def tells(variants: Sequence[int]) -> bool:
    """Whether one class alone has these variants at the class parts that are drawn, -1 being not drawn."""
    fitting = sum(
        all(own in (-1, usual) for own, usual in zip(variants[:TELLING], row[:TELLING], strict=True)) for row in CLASSES
    )
    return fitting == 1
