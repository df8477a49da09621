"""Parts of a picture, told by points or masks in its own pixels, as they are seen in the crop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from xaieval.datasets.preprocess import Preprocess
from xaieval.parts import Parts, Scheme

NOWHERE = torch.full((2,), torch.nan)


@dataclass(frozen=True, eq=False)
class Seen:
    """One part in the crop.

    Attributes:
        center: Row and column `(2,)`, NaN where it is not seen.
        visible: Share of it that is seen.
        mask: `(crop, crop)`, bool; None where only a point is known.
    """

    center: Tensor
    visible: float
    mask: Tensor | None = None


def seen_point(preprocess: Preprocess, point: tuple[float, float], size: tuple[int, int], visible: float = 1) -> Seen:
    """A part known by a point: seen if the point lies in the crop.

    Args:
        preprocess: Resizes and cuts the picture.
        point: Row and column in the picture; a whole number is the middle of a pixel.
        size: Width and height of the picture.
        visible: Share of the part that is seen in the picture.
    """
    center = preprocess.points(torch.tensor(point, dtype=torch.float64), size)
    if not bool(((center >= -0.5) & (center < preprocess.crop - 0.5)).all()):
        return Seen(NOWHERE, 0.0)
    return Seen(center.clamp(0, preprocess.crop - 1), visible)  # the outer half of a pixel at the edge is that pixel


def seen_mask(
    preprocess: Preprocess, mask: Image.Image, point: tuple[float, float] | None = None, visible: float = 1
) -> Seen:
    """A part known by a mask: seen as far as its pixels lie in the crop.

    A part so small that no pixel of it is left by resizing is not seen.

    Args:
        preprocess: Resizes and cuts the picture.
        mask: Of the size of the picture.
        point: Row and column of its center in the picture; None, or outside the crop: the middle of what is seen.
        visible: Share of the part that is seen in the picture.
    """
    cut, share = preprocess.mask(mask)
    if share == 0:
        return Seen(NOWHERE, 0.0, cut)
    given = None if point is None else seen_point(preprocess, point, mask.size)
    return Seen(given.center if given is not None and given.visible else middle(cut), visible * share, cut)


def middle(mask: Tensor) -> Tensor:
    """The centroid `(2,)` of a mask `(H, W)`, or the pixel of the mask that is nearest to it where it lies outside."""
    pixels = mask.nonzero().float()
    centroid = pixels.mean(0)
    nearest = (pixels - centroid).square().sum(1).min(0)
    return centroid if nearest.values <= 0.5 else pixels[nearest.indices]


def told(scheme: Scheme, seen: Mapping[int, Seen], concepts: Iterable[int], side: int | None) -> Parts:
    """What a sample tells.

    Args:
        scheme: Names of parts and concepts.
        seen: By the numbers of the parts; those not in it are not seen.
        concepts: Numbers of those that hold.
        side: Of the crop, where parts have masks; None where they have none.
    """
    empty = None if side is None else torch.zeros(side, side, dtype=torch.bool)
    parts = [seen.get(part, Seen(NOWHERE, 0.0, empty)) for part in range(len(scheme.parts))]
    holds = torch.zeros(len(scheme.concepts), dtype=torch.bool)
    holds[list(concepts)] = True
    return Parts(
        scheme,
        torch.stack([part.center for part in parts]),
        torch.tensor([part.visible for part in parts], dtype=torch.float32),
        holds,
        None if empty is None else torch.stack([empty if part.mask is None else part.mask for part in parts]),
    )
