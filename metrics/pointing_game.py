"""Pointing game: whether the highest score lies on the object."""

from __future__ import annotations

import math
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

    Where the dilated mask covers nearly everything a miss costs without bound (-99 at c = .99) and one photo rules a
    mean, so above `largest_chance` the value is undefined: at .75 a miss costs 3 at most. Small objects stand apart
    with `largest_object=0.25` (`metric=pointing_game_small`), the size of the paper's "difficult" subset.

    On texts the tolerance is a distance in tokens, of which the default covers most; `metric=token_pointing`, with
    tolerance 0, asks for the top token itself, or for the top word of a text explained by words.

    Higher is better. Bounds: `-c / (1 - c)` at the largest chance to 1. Cost: no evaluation. Needs: mask.

    Differs from the paper: the mean is over samples, not over classes first; chance is taken off; where several
    pixels share the maximum, r is the probability that one of them drawn at random hits, so that a constant map
    stands at chance (Quantus has no tolerance and counts a hit where any of them is inside); the difficult subset
    also asks for a second class in the photo.

    Attributes:
        tolerance: In pixels; 0: the point has to lie on the mask itself.
        largest_object: Largest share of the features that the mask, not dilated, may cover, in (0, 1].
        largest_chance: Largest chance at which the value is defined, in (0, 1].

    Raises:
        ValueError: A negative tolerance, or a share outside (0, 1].
    """

    reference: ClassVar[str] = "arXiv:1608.00507"
    tolerance: float = 15
    largest_object: float = 1.0
    largest_chance: float = 0.75

    def __post_init__(self) -> None:
        """Check the options."""
        if self.tolerance < 0:
            raise ValueError(f"PointingGame: tolerance is a distance in pixels, at least 0, got {self.tolerance}")
        for name in ("largest_object", "largest_chance"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"PointingGame: {name} is a share, in (0, 1], got {getattr(self, name)}")

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """A miss at the largest chance, and a hit."""
        return (-self.largest_chance / (1 - self.largest_chance) if self.largest_chance < 1 else -math.inf, 1.0)

    def region(self, explicand: Explicand, mask: Tensor) -> Tensor:
        """The dilated mask, made once for all methods."""
        return explicand.kept(f"dilated:{self.tolerance}", lambda: explicand.modality.dilate(mask, self.tolerance))

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """Share of the tied maxima that hit."""
        top = scores == scores.amax(1, keepdim=True)
        return (top & region).sum(1) / top.sum(1)

    def excluded(self, explicand: Explicand) -> dict[str, Tensor]:
        """Objects that are too large, and samples where almost any point hits."""
        reasons = {f"chance above {self.largest_chance:g}": self.chance(explicand) > self.largest_chance}
        if self.largest_object < 1:
            share = PointingGame(tolerance=0).chance(explicand)
            reasons[f"object above {self.largest_object:g} of the features"] = share > self.largest_object
        return reasons
