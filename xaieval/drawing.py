"""Pixels of flat figures on a cluttered backdrop, each of which can be left out without touching the others' pixels.

Every pixel belongs to the backdrop or to one figure and is the color of that alone times the light at its place: there
are no soft edges, no shadows and no reflections. So masks are exact, and a figure that is left out changes the pixels
where it was seen and no others. Places and lengths are shares of the image's side, so that a drawing looks alike in
every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Color = tuple[float, float, float]

DARK = 0.45
"""How bright the dark places of a texture are, where the others are 1."""

NOISE = ((4, 0.5), (11, 0.3), (32, 0.2))
"""Cells per side and weight of each layer of the backdrop's noise."""


def _crescent(x: Floats, y: Floats) -> Mask:
    return (np.hypot(x, y) < 1) & (np.hypot(x, y + 0.75) > 0.85)


def _rays(number: int, inner: float) -> Callable[[Floats, Floats], Mask]:
    """A star of so many rays, between which the edge comes as near as `inner`."""

    def shape(x: Floats, y: Floats) -> Mask:
        swing = np.cos(number * np.arctan2(y, x))
        inside: Mask = np.hypot(x, y) < (1 + inner) / 2 + (1 - inner) / 2 * swing
        return inside

    return shape


def _spoon(x: Floats, y: Floats) -> Mask:
    return (np.hypot((x - 0.4) / 0.6, y) < 1) | ((np.abs(y) < 0.35) & (x < 0.4))


def _hook(x: Floats, y: Floats) -> Mask:
    bent = (np.hypot(x + 1, y - 1) < 2) & (y > -0.9)
    return bent & (np.hypot(x + 1, y - 1.3) > 1.45)


SHAPES: dict[str, Callable[[Floats, Floats], Mask]] = {
    "band": lambda x, y: np.abs(y + 0.3 * x**2) < 0.6,
    "box": lambda x, y: (np.abs(x) < 0.9) & (np.abs(y) < 0.75),
    "cap": lambda x, y: (np.hypot(x, (y - 0.6) / 1.5) < 0.85) & (y < 0.6) | (np.abs(y - 0.7) < 0.2),
    "cone": lambda x, y: np.abs(y) < (1 - x) / 2,
    "crescent": _crescent,
    "cross": lambda x, y: np.minimum(np.abs(x), np.abs(y)) < 0.36,
    "diamond": lambda x, y: np.abs(x) + np.abs(y) < 1,
    "disc": lambda x, y: np.hypot(x, y) < 1,
    "fan": lambda x, y: (np.hypot(x - 1, y) < 2) & (np.abs(y) < 0.15 + 0.6 * (1 - x)),
    "flower": _rays(6, 0.6),
    "fork": lambda x, y: (np.abs(y) < 1) & (np.abs(y) > -0.5 * x - 0.1) & (np.abs(y) < 0.75 - 0.45 * x),
    "hat": lambda x, y: (np.abs(x) < 0.6) & (y < 0.9) | (np.abs(y - 0.7) < 0.3),
    "hook": _hook,
    "hourglass": lambda x, y: np.abs(y) < 0.25 + 0.75 * np.abs(x),
    "spire": lambda x, y: np.abs(x) < (1 + y) / 2,
    "spoon": _spoon,
    "star": _rays(5, 0.4),
    "zigzag": lambda x, y: np.abs(y + 0.4 - np.abs(2.5 * x - np.round(2.5 * x)) * 1.6) < 0.6,
}
"""What lies in a figure of half extent 1, x to its front and y down."""


TEXTURES: dict[str, Callable[[Floats, Floats], Mask]] = {
    "barred": lambda x, y: np.abs(x) < 0.3,
    "checked": lambda x, y: (np.floor(1.7 * x) + np.floor(1.7 * y)) % 2 > 0,
    "dotted": lambda x, y: np.hypot(2 * x - np.round(2 * x), 2 * y - np.round(2 * y)) < 0.33,
    "plain": lambda x, y: np.zeros(np.broadcast_shapes(x.shape, y.shape), np.bool_),
    "pupiled": lambda x, y: np.hypot(x, y) < 0.5,
    "ringed": lambda x, y: np.abs(np.hypot(x, y) - 0.5) < 0.2,
    "slit": lambda x, y: np.abs(y) < 0.3,
    "striped": lambda x, y: np.floor(2.5 * x) % 2 > 0,
}
"""Where a figure is dark."""


@dataclass(frozen=True)
class Figure:
    """A flat shape of one color with a texture.

    Attributes:
        shape: One of `SHAPES`.
        texture: One of `TEXTURES`.
        color: Of its bright places, red, green and blue in [0, 1].
        row: Of its middle.
        column: Of its middle.
        height: Half of its extent from top to bottom before it is turned.
        width: Half of its extent from back to front before it is turned.
        angle: By which it is turned clockwise after it was mirrored, in radians.
        mirrored: Whether its front is on the left.
        apart: Where it is a pair: how far each of both lies from the middle, in half extents; 0: a single one.
    """

    shape: str
    texture: str
    color: Color
    row: float
    column: float
    height: float
    width: float
    angle: float = 0.0
    mirrored: bool = False
    apart: float = 0.0


@dataclass(frozen=True)
class Backdrop:
    """What is behind all figures: noise between two colors.

    Attributes:
        seed: Of the noise.
        colors: Both colors.
    """

    seed: int
    colors: tuple[Color, Color]


@dataclass(frozen=True)
class Light:
    """How bright it is: `level` in the middle, changing by `row` and `column` from edge to edge."""

    level: float
    row: float
    column: float


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing in one size.

    Attributes:
        pixels: `(3, S, S)`, float32 in [0, 1].
        owner: `(S, S)`: the number of the figure that is seen at each pixel, -1 at the backdrop.
        areas: The number of pixels of each figure's silhouette, whether they are seen, covered or outside the picture.
    """

    pixels: NDArray[np.float32]
    owner: NDArray[np.int16]
    areas: tuple[int, ...]


def paint(size: int, backdrop: Backdrop, light: Light, figures: Sequence[Figure]) -> Picture:
    """The picture `size` x `size` pixels of figures, the last ones in front."""
    pixels = _backdrop(size, backdrop)
    owner = np.full((size, size), -1, np.int16)
    areas = []
    for number, figure in enumerate(figures):
        inside, dark, top, left = silhouette(size, figure)
        areas.append(int(np.count_nonzero(inside)))
        # Outside the picture, silhouettes count but are not painted.
        rows = slice(max(top, 0), max(top + inside.shape[0], 0))
        columns = slice(max(left, 0), max(left + inside.shape[1], 0))
        cut = (slice(rows.start - top, size - top), slice(columns.start - left, size - left))
        inside, tone = inside[cut], np.where(dark[cut], np.float32(DARK), np.float32(1))
        for channel, value in zip(pixels, figure.color, strict=True):
            np.copyto(channel[rows, columns], tone * np.float32(value), where=inside)
        np.copyto(owner[rows, columns], np.int16(number), where=inside)
    along = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    pixels *= light.level + light.row * along[:, None] + light.column * along
    return Picture(pixels, owner, tuple(areas))


def silhouette(size: int, figure: Figure) -> tuple[Mask, Mask, int, int]:
    """A figure alone, also where the picture does not reach.

    Returns:
        Its pixels and its dark pixels in a box around it, and the box's first row and column in the picture.
    """
    cosine, sine = np.cos(figure.angle), np.sin(figure.angle)
    wide = figure.width * (1 + figure.apart)
    half = (abs(cosine) * figure.height + abs(sine) * wide, abs(sine) * figure.height + abs(cosine) * wide)
    (top, down), (left, right) = _along(size, figure.row, half[0]), _along(size, figure.column, half[1])
    down, right = down[:, None], right[None]
    x = (cosine * right + sine * down) / figure.width
    y = (cosine * down - sine * right) / figure.height
    if figure.mirrored:
        x = -x
    box = (np.abs(x) < 1 + figure.apart) & (np.abs(y) < 1)
    if figure.apart:
        x = np.abs(x) - figure.apart
    return SHAPES[figure.shape](x, y) & box, TEXTURES[figure.texture](x, y), top, left


def _along(size: int, middle: float, half: float) -> tuple[int, Floats]:
    """The first of the pixels within `half` of a middle, and where all of them lie from there."""
    first, last = int(np.floor((middle - half) * size)), int(np.ceil((middle + half) * size))
    return first, (np.arange(first, last) + 0.5) / size - middle


def _backdrop(size: int, backdrop: Backdrop) -> NDArray[np.float32]:
    """`(3, S, S)`: the sum of noise of several sizes says how much of each color there is."""
    generator = np.random.default_rng(backdrop.seed)
    share = np.zeros((size, size), np.float32)
    for cells, weight in NOISE:
        spread = _spread(size, cells)
        share += np.float32(weight) * (spread @ generator.random((cells, cells), np.float32) @ spread.T)
    first, second = np.array(backdrop.colors, np.float32)[:, :, None, None]
    pixels: NDArray[np.float32] = first + (second - first) * share
    return pixels


@lru_cache
def _spread(size: int, cells: int) -> NDArray[np.float32]:
    """`(size, cells)`: linear interpolation between values in the middles of cells."""
    place = np.clip((np.arange(size) + 0.5) / size * cells - 0.5, 0, cells - 1)
    weights: Floats = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells)))
    return weights.astype(np.float32)
