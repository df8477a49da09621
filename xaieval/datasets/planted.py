"""Images whose only evidence is a planted patch, so that localization and faithfulness have an exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.draws import seed_of

CELL = 4
"""Side of the pattern that a patch repeats, and of the model's filters, in pixels."""

DARKEST, BRIGHTEST = 0.3, 0.6
"""Between these lies the brightness of every pixel, in the patch and outside."""

CHROMA = 0.2
"""A colored pixel has its own channel this much above its brightness twice, and the two others below it once."""

PATTERNS = ("rows", "columns", "blocks", "checkerboard")
"""The classes, in the order of `patterns`."""


def patterns() -> Tensor:
    """The cell of each class, +1 where it is red and -1 where it is green, `(4, CELL, CELL)`.

    Walsh functions: any two of them agree on one half of the pixels.
    """
    halves = torch.tensor([1.0, 1.0, -1.0, -1.0])
    turns = torch.tensor([1.0, -1.0, 1.0, -1.0])
    rows = halves[:, None].expand(CELL, CELL)
    return torch.stack((rows, rows.T, rows * rows.T, turns[:, None] * turns))


def patch_cells(side: int) -> int:
    """Cells per side of the patch in an image of this side: 2/7 of it, rounded down, so 16 of 56 pixels."""
    return 2 * side // (7 * CELL)


@dataclass(frozen=True)
class Place:
    """A sample before it is drawn: its class, and the row and column of the patch in pixels."""

    id: str
    target: int
    row: int
    column: int


@dataclass(frozen=True)
class Planted(Dataset):
    """Smooth gray noise with one square patch, in which the pattern of the class is laid over the noise in color.

    Colors change no pixel's brightness (the mean of its channels), so that edges tell nothing of the patch; every
    class has as many red as green pixels, so that colors tell nothing of the class. The patch lies anywhere on a grid
    of 4 pixels, all places equally probable; its side is 2/7 of the image's. Classes take turns. With `model=planted`,
    whose logits depend on nothing but the patch, the mask is exactly what an explanation has to find.

    Everything depends on `seed` and the sample's number alone, so that a larger `count` keeps the first samples.

    Args:
        count: Number of samples.
        seed: Of noise and places.
        name: What to call the dataset in tables.

    Raises:
        ValueError: No sample.
    """

    count: int = 24
    seed: int = 0
    name: str = "planted"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Planted expected count to be at least 1, got {self.count}")

    def load(self, preprocess: Preprocess) -> Samples[Place]:
        """The samples; each is drawn when it is indexed, in the size of the model's crop.

        Raises:
            DatasetError: A crop too small for a patch of one cell.
        """
        side = preprocess.crop
        if not patch_cells(side):
            raise DatasetError(
                f"Planted needs images of at least {7 * CELL // 2} pixels a side, the model takes {side}"
            )
        places = [_place(self.seed, number, side) for number in range(self.count)]
        return Samples(places, partial(_read, self.seed, side))


def _place(seed: int, number: int, side: int) -> Place:
    generator = torch.Generator().manual_seed(seed_of("planted place", seed, number))
    free = side // CELL - patch_cells(side) + 1
    row, column = (CELL * torch.randint(free, (2,), generator=generator)).tolist()
    return Place(f"planted_{seed}_{number}", number % len(PATTERNS), row, column)


def _read(seed: int, side: int, place: Place) -> Sample:
    cells = patch_cells(side)
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[place.row : place.row + CELL * cells, place.column : place.column + CELL * cells] = True
    red = torch.zeros(side, side)
    red[mask] = patterns()[place.target].repeat(cells, cells).flatten()
    own = torch.stack((red > 0, red < 0, torch.zeros_like(mask)))  # the channel above the others, at pixels of the mask
    color = mask * torch.where(own, 2 * CHROMA, -CHROMA)
    return Sample(place.id, _noise(place.id, side) + color, place.target, mask, (place.id,))


def _noise(name: str, side: int) -> Tensor:
    """Brightness `(1, side, side)`: uniform noise of four sizes, the coarser the stronger."""
    generator = torch.Generator().manual_seed(seed_of("planted noise", name))
    total, weights = torch.zeros(1, 1, side, side), (4, 3, 2, 1)
    for weight, cells in zip(weights, (5, 9, 18, 36), strict=True):
        layer = torch.rand(1, 1, cells, cells, generator=generator)
        total += weight / sum(weights) * functional.interpolate(layer, (side, side), mode="bilinear")
    return DARKEST + (BRIGHTEST - DARKEST) * total[0]
