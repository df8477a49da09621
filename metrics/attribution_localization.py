"""Attribution localization, weighted: how many times as much relevance lies on the object as its size explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.localization import Localization, positive_share


@dataclass(frozen=True)
class AttributionLocalization(Localization):
    """The weighted inside-total relevance ratio, minus its chance 1 (Kohlbrenner 2020, arXiv 1910.09840).

    With `r = sum_S a+ / sum a+` the share of the positive score inside the mask S (mu in the paper) and c the mask's
    share of the features, mu_w = r / c. The value is `mu_w - 1 = (r - c) / c`: 0 for a uniform map, `1 / c - 1` where
    everything lies inside. `.raw` gives r, `.chance` c, `.weighted` mu_w.

    RelevanceMass has the same r and divides by `1 - c`. The weighted form lets the smallest objects rule a mean, as it
    is bounded by their 1 / c alone: prefer RelevanceMass to compare methods.

    Higher is better. Bounds: at least -1. Cost: no evaluation. Needs: mask. Undefined without a positive score.

    Differs from the paper: masks in place of bounding boxes; chance is taken off. Quantus takes absolute scores by
    default and divides by a size that depends on the batch.
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, math.inf)
    reference: ClassVar[str] = "arXiv:1910.09840"

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The share of the positive score."""
        return positive_share(scores, region)

    def above(self, found: Tensor, chance: Tensor) -> Tensor:
        """The excess over chance in multiples of chance."""
        return (found - chance) / chance

    def weighted(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        """The paper's mu_w `(N,)`, NaN where it is undefined; a uniform map has 1."""
        return self.raw(explicand, attribution) / self.chance(explicand)

    def nothing(self, scores: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        return {"no positive score": ~(scores > 0).any(1)}
