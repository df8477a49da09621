"""Pointing game: whether the highest score lies on the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.localization import Localization


@dataclass(frozen=True)
class PointingGame(Localization):
    """Whether the largest score lies on or near the mask, minus chance (Zhang 2016, arXiv 1608.00507).

    A pixel hits where some pixel of the mask is strictly nearer than `tolerance` (squared distance below 225 for 15
    pixels, as in TorchRay's code). `.raw` gives the hit r, `.chance` the share c of pixels that hit, that is the
    area of the dilated mask; the value is `(r - c) / (1 - c)`: 1 for a hit and `-c / (1 - c)` for a miss, so a
    random point has mean 0.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask.

    Differs from the paper: the mean is over samples, not over classes first; chance is taken off; where several
    pixels share the maximum, r is the probability that one of them drawn at random hits, so that a constant map
    stands at chance.

    Attributes:
        tolerance: In pixels; 0: the point has to lie on the mask itself.

    Raises:
        ValueError: A negative tolerance.
    """

    reference: ClassVar[str] = "arXiv:1608.00507"
    tolerance: float = 15

    def __post_init__(self) -> None:
        """Check the options."""
        if self.tolerance < 0:
            raise ValueError(f"PointingGame: tolerance is a distance in pixels, at least 0, got {self.tolerance}")

    def region(self, explicand: Explicand, mask: Tensor) -> Tensor:
        """The dilated mask, made once for all methods."""
        return explicand.kept(f"dilated:{self.tolerance}", lambda: explicand.modality.dilate(mask, self.tolerance))

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """Share of the tied maxima that hit."""
        top = scores == scores.amax(1, keepdim=True)
        return (top & region).sum(1) / top.sum(1)
