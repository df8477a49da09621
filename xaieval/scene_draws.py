"""Scenes at random: class by class in turns, all else drawn evenly, each by its own seed."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from math import pi

import numpy as np

from xaieval.creature import CLASSES, CUES, LOOKS, PARTS, TELLING, occurs, tells
from xaieval.drawing import SHAPES, TEXTURES, Backdrop, Color, Figure, Light
from xaieval.draws import seed_of
from xaieval.scene import Pose, Scene

FOLLOWS = {5: 0, 6: 2}
"""Which class part a nuisance part follows where concepts are correlated: the hat the beak, the collar the wing."""

HIDDEN = 0.3
"""Probability that something stands before the creature."""


@dataclass(frozen=True)
class Chances:
    """How scenes differ from independent ones; each a probability in [0, 1].

    Attributes:
        correlated: That a nuisance part follows its class part: then it is drawn where the class part is, in the
            variant of that number, and not at all where the class part has its last variant or is not drawn. Otherwise
            any variant is as probable.
        spurious: That the cue is that of the class; otherwise the cue of any class is as probable.
        dropped: That a part is left out, each by itself. Where the class parts that are left fit several classes, all
            are drawn again.
    """

    correlated: float = 0.0
    spurious: float = 0.0
    dropped: float = 0.0


def draw_scene(key: tuple[str | int, ...], target: int, size: int, chances: Chances) -> Scene:
    """The scene of a key: a class and a key give the same but for what the chances change.

    Args:
        key: What tells the scene from others; its seed.
        target: The class.
        size: Side of the picture in pixels.
        chances: How it may differ from others.
    """
    look, parts, cue = (np.random.default_rng(seed_of("scene", *key, what)) for what in ("look", "parts", "cue"))
    scene = _scene(look, target, size, seed_of("scene", *key, "noise"))
    kind = target if cue.random() < chances.spurious else _pick(cue, len(CLASSES))
    flag = replace(scene.things[0], color=_shaded(CUES[kind], 0.7 + 0.3 * cue.random()))
    return replace(scene, variants=_variants(parts, target, chances), things=(flag, *scene.things[1:]))


def _scene(draw: np.random.Generator, target: int, size: int, noise: int) -> Scene:
    scale = _between(draw, 0.25, 0.36)
    room = max(0.0, 0.5 - 1.25 * scale) + 0.06  # so that little of the creature is outside
    row, column = (0.52 + _between(draw, -room, room) for _ in range(2))
    swings = tuple(_between(draw, -1, 1) for _ in PARTS)
    pose = Pose(row, column, scale, _between(draw, -0.8, 0.8), draw.random() < 0.5, swings)
    return Scene(
        size,
        target,
        CLASSES[target],
        tuple(_between(draw, 0.7, 1) for _ in PARTS),
        _free(draw),
        pose,
        Backdrop(noise, _blend(draw)),
        Light(_between(draw, 0.56, 0.8), _between(draw, -0.2, 0.2), _between(draw, -0.2, 0.2)),
        (_cue(draw), *(_thing(draw, draw.random(), draw.random()) for _ in range(4 + _pick(draw, 5)))),
        0,
        _before(draw, pose),
    )


def _cue(draw: np.random.Generator) -> Figure:
    """A ringed flower in a corner, where the creature seldom hides it; its color is that of a class."""
    row, column = (_between(draw, 0.08, 0.14) for _ in range(2))
    row, column = (1 - place if draw.random() < 0.5 else place for place in (row, column))
    side = _between(draw, 0.09, 0.12)
    return Figure("flower", "ringed", CUES[0], row, column, side, side, _between(draw, 0, pi))


def _before(draw: np.random.Generator, pose: Pose) -> tuple[Figure, ...]:
    there, row, column = draw.random(), *(_between(draw, -1.1, 1.1) for _ in range(2))
    thing = _thing(draw, pose.row + pose.scale * row, pose.column + pose.scale * column)
    return (thing,) if there < HIDDEN else ()


def _thing(draw: np.random.Generator, row: float, column: float) -> Figure:
    shape, texture = (tuple(known)[_pick(draw, len(known))] for known in (SHAPES, TEXTURES))
    height, width = (_between(draw, 0.06, 0.14) for _ in range(2))
    return Figure(shape, texture, _free(draw), row, column, height, width, _between(draw, 0, 2 * pi))


def _variants(draw: np.random.Generator, target: int, chances: Chances) -> tuple[int, ...]:
    class_parts = CLASSES[target][:TELLING]
    while True:
        kept = [variant if draw.random() >= chances.dropped else -1 for variant in class_parts]
        if tells(kept):
            break
    for part in range(TELLING, len(PARTS)):
        follows, gone, drawn = draw.random() < chances.correlated, draw.random() < chances.dropped, draw.random()
        count, leader = len(LOOKS[part]), kept[FOLLOWS[part]]
        own = -1 if gone else int(drawn * count)
        kept.append((leader if leader < count else -1) if follows else own)
    return tuple(kept)


def _free(draw: np.random.Generator) -> Color:
    """A color that no variant and no cue has."""
    while True:
        color = _any(draw)
        if not occurs(color):
            return color


def _blend(draw: np.random.Generator) -> tuple[Color, Color]:
    """Two colors of which no mixture is that of a variant or a cue."""
    while True:
        colors = _any(draw), _any(draw)
        if not occurs(*colors):
            return colors


def _any(draw: np.random.Generator) -> Color:
    return hsv_to_rgb(draw.random(), 0.85 * draw.random() ** 0.5, _between(draw, 0.25, 1))


def _shaded(color: Color, shade: float) -> Color:
    red, green, blue = (shade * channel for channel in color)
    return red, green, blue


def _between(draw: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * draw.random()


def _pick(draw: np.random.Generator, count: int) -> int:
    return int(count * draw.random())
