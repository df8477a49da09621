"""Mosaics: grids of photos of different classes, so that localization has a ground truth without annotation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import factorial

import torch
from torch import Tensor

from xaieval.datasets.base import Dataset, Entry, Sample, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.draws import seed_of


@dataclass(frozen=True)
class Cell:
    """One cell of a mosaic: the photos at `tiles` (row by row), the class explained, and where it lies."""

    id: str
    target: int | None
    tiles: tuple[int, ...]
    cell: int


@dataclass(frozen=True)
class Mosaic(Dataset):
    """The grid pointing game of Böhle et al. (2021), arXiv:2104.00032, from the labeled photos of any dataset.

    Every mosaic gives `grid**2` samples: the same image, with the class of one tile as target and its cell as mask.
    Classes of a mosaic differ; classes, then photos of them, are drawn evenly and depend on `seed` alone, so that a
    larger `count` keeps the first mosaics. No mosaic occurs twice.

    Differs from the paper: by default tiles are shrunk so that the mosaic has the size of the model's crop, since
    many models take no other size; `tile=224` gives the paper's full-size tiles, which a network recognizes better
    (median rank of a tile's class in EfficientNet-Lite0's logits on 8 mosaics of ImageNet photos: 2, shrunk 22) at
    four times the cost. Photos are not chosen by the model's confidence, so that all models get the same mosaics.

    Args:
        dataset: Where the photos come from; those without a target are left out.
        grid: Tiles per side, at least 2.
        count: Number of mosaics.
        seed: Of the draw of the photos.
        tile: Side of a tile in pixels; None: the model's crop divided by `grid`.
        name: What to call the dataset in tables; empty: `mosaic_` and the name of the inner one.

    Raises:
        ValueError: A grid, count or tile that is too small.
    """

    dataset: Dataset
    grid: int = 2
    count: int = 25
    seed: int = 0
    tile: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for field, value, least in (("grid", self.grid, 2), ("count", self.count, 1), ("tile", self.tile or 1, 1)):
            if value < least:
                raise ValueError(f"Mosaic expected {field} to be at least {least}, got {value}")
        if not self.name:
            object.__setattr__(self, "name", f"mosaic_{self.dataset.name}")

    def load(self, preprocess: Preprocess) -> Samples[Cell]:
        """The cells, mosaic by mosaic and row by row.

        Raises:
            DatasetError: Too few classes for one mosaic, or too few photos for `count` different ones.
        """
        tile = self.tile or -(-preprocess.crop // self.grid)
        resize = round(preprocess.resize * tile / preprocess.crop)
        photos = self.dataset.load(replace(preprocess, resize=max(resize, tile), crop=tile))
        entries = photos.entries if isinstance(photos, Samples) else tuple(photos)
        classes = _by_class(entries)
        self._check(classes)
        side = self.tile * self.grid if self.tile else preprocess.crop
        return Samples(list(self._cells(entries, classes)), partial(_read, photos, self.grid, side))

    def _check(self, classes: list[list[int]]) -> None:
        size = self.grid**2
        if len(classes) < size:
            raise DatasetError(
                f"Mosaic(grid={self.grid}) needs photos of {size} different classes, but {self.dataset.name} has "
                f"labels of {len(classes)}; label more photos or make the grid smaller"
            )
        possible = _mosaics(classes, size)
        if self.count > possible:
            raise DatasetError(
                f"Mosaic(grid={self.grid}) can lay {possible} different mosaics from {self.dataset.name}, expected "
                f"count={self.count}; lower count or label more photos"
            )

    def _cells(self, entries: Sequence[Entry], classes: list[list[int]]) -> Iterator[Cell]:
        for tiles in islice(_draw(classes, self.grid**2, self.seed), self.count):
            mosaic = "+".join(entries[tile].id for tile in tiles)
            for cell, tile in enumerate(tiles):
                yield Cell(f"{mosaic}/{cell}", entries[tile].target, tiles, cell)


def _by_class(entries: Sequence[Entry]) -> list[list[int]]:
    """Positions of the labeled photos, a list for each class."""
    members = defaultdict(list)
    for index, entry in enumerate(entries):
        if entry.target is not None:
            members[entry.target].append(index)
    return [members[target] for target in sorted(members)]


def _mosaics(classes: list[list[int]], size: int) -> int:
    """Number of ordered choices of `size` photos of different classes: size! e_size(photos per class)."""
    choices = [1] + [0] * size
    for members in classes:
        for chosen in range(size, 0, -1):
            choices[chosen] += choices[chosen - 1] * len(members)
    return choices[size] * factorial(size)


def _draw(classes: list[list[int]], size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Different mosaics without end, each from a generator of its own."""
    drawn: set[tuple[int, ...]] = set()
    attempt = 0
    while True:
        generator = torch.Generator().manual_seed(seed_of("mosaic", seed, attempt))
        order = torch.randperm(len(classes), generator=generator)[:size].tolist()
        tiles = tuple(classes[i][int(torch.randint(len(classes[i]), (), generator=generator))] for i in order)
        attempt += 1
        if tiles not in drawn:
            drawn.add(tiles)
            yield tiles


def _read(photos: Sequence[Sample], grid: int, side: int, cell: Cell) -> Sample:
    tiles = [photos[index] for index in cell.tiles]
    image = torch.empty(tiles[0].input.shape[0], side, side)
    for index, tile in enumerate(tiles):
        rows, columns = _place(index, grid, side)
        image[:, rows, columns] = tile.input[:, : rows.stop - rows.start, : columns.stop - columns.start]
    sources = tuple(source for tile in tiles for source in tile.sources)
    return Sample(cell.id, image, cell.target, _mask(cell.cell, grid, side), sources)


def _place(cell: int, grid: int, side: int) -> tuple[slice, slice]:
    """Rows and columns of a cell; pixel y lies in row y * grid // side, as patches do."""
    edges = [-(-index * side // grid) for index in range(grid + 1)]
    row, column = divmod(cell, grid)
    return slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1])


def _mask(cell: int, grid: int, side: int) -> Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[_place(cell, grid, side)] = True
    return mask
