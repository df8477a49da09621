"""Top recall: how much of the object is among the most active features, a fixed part of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.localization import Detection, top_hits

TWELFTHS = 12
"""In how many parts the area is counted."""


@dataclass(frozen=True)
class TopRecall(Detection):
    """Share of the mask among the `alpha / 12` most active features, minus chance (Aysel 2025, arXiv 2501.19271).

    With `Omega` the `alpha d / 12` top of d features and S the mask,

        r = |Omega and S| / |S|,    c = alpha / 12.

    Of a mask of one pixel, the center of a part, r says whether the map hits it: the rule of concept location (CLM),
    for which `metric=clm_alpha6` and others make this mask. `.raw` gives r, `.chance` the value c of a map that knows
    nothing, the same for every mask; the value is `(r - c) / (1 - c)`, or r with `above_chance=False`. A mask larger
    than Omega cannot be found whole: then r is at most `alpha d / (12 |S|)`.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask. Looks at the order of the scores alone.

    Differs from the paper: any mask, not a point alone. `alpha d / 12` is not rounded: the last feature counts with the
    part of it that Omega takes, so that chance is alpha / 12 for every number of features. Ties there count with the
    mean over all ways to break them, so that a constant map stands at chance exactly.

    Attributes:
        alpha: How many twelfths of the features are the most active, in (0, 12); the paper has 1, 3 and 6.
        above_chance: Take chance off.

    Raises:
        ValueError: An alpha outside (0, 12).
    """

    reference: ClassVar[str] = "arXiv:2501.19271"
    alpha: float = 6

    def __post_init__(self) -> None:
        """Check the options."""
        if not 0 < self.alpha < TWELFTHS:
            raise ValueError(f"TopRecall: alpha is a number of twelfths of the features, in (0, 12), got {self.alpha}")

    def expected(self, scores: Tensor | None, region: Tensor, count: Tensor) -> Tensor:
        """The part of the features that is the most active."""
        return torch.full_like(count, self.alpha / TWELFTHS, dtype=torch.float32)

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The share of the region, its mean over breaks of ties."""
        area = self.alpha * (scores != -math.inf).sum(1, keepdim=True).double() / TWELFTHS
        places = (area - 1e-9).ceil()  # 3 x 1 / 12 x 4 may be above 1 in floating point
        hits, left, tied, inside = top_hits(scores, region, places.long())
        left = left - (places - area)[:, 0]  # of the last place a part
        return ((hits + left * inside / tied) / region.sum(1)).float()
