"""Top-k intersection: how many of a fixed number of top scores lie on the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.localization import Localization, check_fraction, part_of, top_share


@dataclass(frozen=True)
class TopKIntersection(Localization):
    """Share of the K top scores that lie inside the mask, minus chance (Theiner 2021, arXiv 2104.14995).

    `r = |top-K(a) inside S| / K` with K a fixed part of the features, rounded up, the same for every mask S
    (RelevanceRank takes `K = |S|`). `.raw` gives r, `.chance` its mean c over random orders, the mask's share of the
    features; the value is `(r - c) / (1 - c)`. Where the mask is smaller than K, r cannot exceed |S| / K.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask.

    Differs from the paper: K is a part of the features, not 1000 pixels, so that it means the same at any resolution
    (1000 pixels are .02 of 224 x 224); chance is taken off, where the paper's concept influence divides by it; ties at
    the K-th place count with the mean over all ways to break them, so that a constant map stands at chance exactly.

    Attributes:
        fraction: Part of the present features that are the top, in (0, 1).

    Raises:
        ValueError: A fraction outside (0, 1).
    """

    reference: ClassVar[str] = "arXiv:2104.14995"
    fraction: float = 0.02

    def __post_init__(self) -> None:
        """Check the options."""
        check_fraction("TopKIntersection", self.fraction)

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The expected share of the top K inside, over random breaks of ties."""
        return top_share(scores, region, part_of(scores, self.fraction))
