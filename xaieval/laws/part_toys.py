"""Parts and concepts of the laws' images, and images drawn without some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaieval.laws.toys import SIDE, images
from xaieval.modalities.images import Images
from xaieval.parts import Parts, Scheme

CLASSES = ((0, 0, 1, 1, 0), (0, 0, 0, 0, 1), (1, 1, 0, 0, 2), (1, 1, 1, 1, 3))
"""The variant of each part that each class has: with each of two other classes it shares two parts, all four others."""

NAMES = ("first", "second", "third", "fourth", "fifth")
SCHEME = Scheme(NAMES, tuple(f"{name}: {kind}" for name in NAMES for kind in "ab"), (0, 0, 1, 1, 2, 2, 3, 3, 4, 4))
CORNERS = ((1, 1), (1, 11), (6, 6), (11, 1), (11, 11))
OBJECTS = ((0, 6), (14, 6))
GRAY = 0.5


@dataclass(frozen=True)
class Named(Images):
    """Images whose pixels are said to be concepts."""

    def concepts(self) -> tuple[str, ...]:
        """Without names."""
        return ()


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image whose parts can be put to gray.

    Attributes:
        pixels: `(3, H, W)`.
        masks: Of its parts, `(P, H, W)`.
    """

    pixels: Tensor
    masks: Tensor

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """See `World`."""
        return CLASSES

    @property
    def objects(self) -> int:
        """See `World`."""
        return len(OBJECTS)

    @property
    def parts(self) -> tuple[int, ...]:
        """See `World`."""
        return tuple(range(len(self.masks)))

    def image(
        self, without: Sequence[int] = (), objects: Sequence[int] = (), swapped: Mapping[int, int] | None = None
    ) -> Tensor:
        """See `World`; a variant turns the colors of its part."""
        image = self.pixels.clone()
        for part, variant in (swapped or {}).items():
            image = torch.where(self.masks[part], image.roll(variant, 0), image)
        for part in without:
            image = image.masked_fill(self.masks[part], GRAY)
        for row, column in (OBJECTS[number] for number in objects):
            image[:, row : row + 2, column : column + 3] = GRAY
        return image


def told(count: int, seed: int = 0) -> dict[str, Any]:
    """Parts and worlds of the first images of a seed, by the names that `Classifier.explicand` gives them."""
    masks = torch.zeros(count, len(CORNERS), SIDE, SIDE, dtype=torch.bool)
    for number in range(count):
        for part, (row, column) in enumerate(CORNERS):
            masks[number, part, row : row + 3 + number % 2, column : column + 4] = True
    height = torch.arange(count)[:, None] % 2
    centers = torch.stack(
        [torch.tensor(CORNERS)[:, 0] + (2 + height) / 2, (torch.tensor(CORNERS)[:, 1] + 1.5).expand(count, -1)], -1
    )
    holds = (torch.arange(count)[:, None] + torch.arange(len(SCHEME.concepts))) % 2 == 0
    worlds = [Drawn(*pair) for pair in zip(images(count, seed=seed), masks, strict=True)]
    return {"parts": Parts(SCHEME, centers.float(), torch.ones(count, len(CORNERS)), holds, masks), "worlds": worlds}
