"""A scene of which everything is known: a creature made of parts among objects, and how it looks with parts changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, sin
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xaieval.creature import CATEGORIES, CLASSES, JOINTS, LAYERS, LOOKS, PARTS, SCHEME, TELLING
from xaieval.drawing import Backdrop, Color, Figure, Light, Picture, paint
from xaieval.parts import Parts

__all__ = ["CATEGORIES", "CLASSES", "PARTS", "SCHEME", "TELLING", "Pose", "Scene", "Seen"]

TORSO = len(PARTS)
"""What body and head are numbered, behind the parts."""


@dataclass(frozen=True)
class Pose:
    """How a creature stands in the picture; lengths are shares of the side.

    Attributes:
        row: Of its middle.
        column: Of its middle.
        scale: The length of one unit of the creature, which is about 2.4 units wide and high.
        angle: By which it is turned clockwise, in radians.
        mirrored: Whether it looks to the left.
        swings: For each part, in [-1, 1], how far it is turned of what its joint allows.
    """

    row: float
    column: float
    scale: float
    angle: float
    mirrored: bool
    swings: tuple[float, ...]


class Seen(NamedTuple):
    """A scene in pixels: the image `(3, S, S)`, where the creature is seen `(S, S)`, and its parts."""

    image: Tensor
    mask: Tensor
    parts: Parts


@dataclass(frozen=True)
class Scene:
    """What is drawn, from the back to the front: a backdrop, objects, the creature, and objects before it.

    A `World`: what is left out or swapped changes the pixels of its silhouette alone, all others stay bit by bit.

    Attributes:
        size: Side of the picture in pixels; the scene is the same in every size.
        target: The class.
        variants: `(P,)`: the variant of each part; -1 where it is not drawn.
        shades: `(P,)`: the brightness of each part in (0, 1].
        torso: The color of body and head.
        pose: How the creature stands.
        backdrop: What is behind it all.
        light: How bright it is.
        things: Objects in the background.
        cue: Which of them is the cue; None where it is left out.
        before: Objects in front of the creature.

    Raises:
        ValueError: A size below 16 pixels, or a variant that a part does not have.
    """

    size: int
    target: int
    variants: tuple[int, ...]
    shades: tuple[float, ...]
    torso: Color
    pose: Pose
    backdrop: Backdrop
    light: Light
    things: tuple[Figure, ...]
    cue: int | None
    before: tuple[Figure, ...]

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(f"Scene expected a size of at least 16 pixels, got {self.size}")
        for part, (variant, looks) in enumerate(zip(self.variants, LOOKS, strict=True)):
            if not -1 <= variant < len(looks):
                raise ValueError(
                    f"Scene expected a variant from 0 to {len(looks) - 1} for part {part} ({PARTS[part]}), or -1 where "
                    f"it is not drawn, got {variant}"
                )

    # -- what a world tells --

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """`(K, P)`: the variant of each part that each class has; -1 at nuisance parts."""
        return CLASSES

    @property
    def objects(self) -> int:
        """Number of objects in the background."""
        return len(self.things)

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of the parts that are drawn, whether they are seen or hidden."""
        return tuple(part for part, variant in enumerate(self.variants) if variant >= 0)

    def image(
        self, without: Sequence[int] = (), objects: Sequence[int] = (), swapped: Mapping[int, int] | None = None
    ) -> Tensor:
        """Pixels `(3, S, S)` in [0, 1].

        Args:
            without: Parts that are left out.
            objects: Objects of the background that are left out.
            swapped: Variants, by the numbers of the parts that have them in place of their own.

        Raises:
            ValueError: No such part, object or variant, or a part to be swapped that is not drawn.
        """
        return torch.from_numpy(self.swapped(swapped or {}).without(without, objects).picture().pixels)

    # -- the same, changed --

    def without(self, parts: Iterable[int] = (), objects: Iterable[int] = ()) -> Scene:
        """The scene without some parts and without some objects of the background, the others numbered anew.

        Parts that are not drawn anyway change nothing.

        Raises:
            ValueError: No such part or object.
        """
        gone, away = set(parts), set(objects)
        _check("part", gone, len(PARTS))
        _check("object", away, len(self.things))
        left = [number for number in range(len(self.things)) if number not in away]
        return replace(
            self,
            variants=tuple(-1 if part in gone else variant for part, variant in enumerate(self.variants)),
            things=tuple(self.things[number] for number in left),
            cue=left.index(self.cue) if self.cue in left else None,
        )

    def swapped(self, variants: Mapping[int, int]) -> Scene:
        """The scene with other variants of some parts, by their numbers, at the same places; `target` stays.

        Raises:
            ValueError: No such part or variant, or a part that is not drawn.
        """
        _check("part", variants, len(PARTS))
        for part, variant in variants.items():
            if self.variants[part] < 0 or variant < 0:
                raise ValueError(
                    f"Scene can swap the variants of parts that are drawn, {self.parts}, for others from 0; got part "
                    f"{part} and variant {variant}; leave a part out by without()"
                )
        return replace(self, variants=tuple(variants.get(part, variant) for part, variant in enumerate(self.variants)))

    def sized(self, size: int) -> Scene:
        """The same scene in another size."""
        return replace(self, size=size)

    # -- pixels --

    def figures(self) -> list[tuple[int, Figure]]:
        """All that is drawn from the back to the front; with each the number of its part, `TORSO`, or -1."""
        creature = [
            (number, figure)
            for number, figure in ((_number(name), self._member(name)) for name in LAYERS)
            if figure is not None
        ]
        return [*((-1, thing) for thing in self.things), *creature, *((-1, thing) for thing in self.before)]

    def picture(self) -> Picture:
        """The drawing, with the number in `figures` of what is seen at each pixel."""
        return paint(self.size, self.backdrop, self.light, [figure for _, figure in self.figures()])

    def seen(self) -> Seen:
        """The pixels, and where each part is seen."""
        picture = self.picture()
        numbers = [number for number, _ in self.figures()]
        owner = np.array([*numbers, -1], np.int16)[picture.owner]  # -1, the backdrop, finds the last
        masks = owner == np.arange(len(PARTS))[:, None, None]
        whole = dict(zip(numbers, picture.areas, strict=True))  # the torso's is one of two, and not asked for
        parts = Parts(
            SCHEME,
            torch.from_numpy(_centers(masks)),
            torch.from_numpy(masks.sum((1, 2)) / np.array([whole.get(part, 1) for part in range(len(PARTS))])).float(),
            torch.tensor(
                [own == v for own, looks in zip(self.variants, LOOKS, strict=True) for v in range(len(looks))]
            ),
            torch.from_numpy(masks),
        )
        return Seen(torch.from_numpy(picture.pixels), torch.from_numpy(owner >= 0), parts)

    def _member(self, name: str) -> Figure | None:
        """A part, body or head of the creature, where it is drawn."""
        joint, pose, part = JOINTS[name], self.pose, _number(name)
        texture, shape, color, swing = "plain", "disc", self.torso, 0.0
        if part != TORSO:
            if self.variants[part] < 0:
                return None
            look = LOOKS[part][self.variants[part]]
            red, green, blue = (self.shades[part] * channel for channel in look.color)
            texture, shape, color, swing = look.texture, look.shape, (red, green, blue), pose.swings[part]
        angle, front = joint.angle + swing * joint.swing, -joint.x if pose.mirrored else joint.x
        cosine, sine = cos(pose.angle), sin(pose.angle)
        return Figure(
            shape,
            texture,
            color,
            row=pose.row + pose.scale * (sine * front + cosine * joint.y),
            column=pose.column + pose.scale * (cosine * front - sine * joint.y),
            height=pose.scale * joint.height,
            width=pose.scale * joint.width,
            angle=pose.angle + (-angle if pose.mirrored else angle),
            mirrored=pose.mirrored,
            apart=joint.apart,
        )


def _number(name: str) -> int:
    return PARTS.index(name) if name in PARTS else TORSO


def _check(what: str, numbers: Iterable[int], count: int) -> None:
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong:
        raise ValueError(f"Scene has the {what}s 0 to {count - 1}, got {wrong}")


def _centers(masks: np.ndarray) -> np.ndarray:
    """`(P, 2)`, float32: mean row and column of each mask `(P, S, S)`, NaN where it is empty."""
    rows, columns = masks.sum(2), masks.sum(1)
    area, places = rows.sum(1), np.arange(masks.shape[1])
    with np.errstate(invalid="ignore"):
        return np.stack((rows @ places / area, columns @ places / area), 1).astype(np.float32)
