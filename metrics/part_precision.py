"""Part precision: whether the parts with most evidence are those with the largest true effect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.part_importance import seen_parts
from xaieval.part_metric import PartMetric, effect_ranks, evidence, evidence_ranks, no_order


@final
@dataclass(frozen=True)
class PartPrecision(PartMetric):
    """Share of the k parts with most evidence among those with the largest true effect, less chance (arXiv:2308.06248).

    `r = |top-k by evidence and top-k by effect| / k` over the seen parts of a sample. Evidence is the sum of the map in
    the pixels where the part is seen, with its sign, and of gradients what `part_agreement` says; the effect is `f(x) -
    f(x without the part)`, from drawing the scene without it, f being the logit of the class explained. `.raw` gives r,
    `.chance` its mean `c = k / P` over random orders of P seen parts; the value is `(r - c) / (1 - c)`.

    Higher is better. Bounds: at most 1. Chance: 0. Cost: one forward for the image and one without each part, for all
    methods. Needs: parts and world. Undefined where fewer than 3 parts are seen, or no more than k, or all have the
    same effect.

    Differs from the paper: there parts are ordered, as in `part_agreement`, and none are chosen. Ties, within 1e-6 of
    the largest, at the k-th place of either order count with the mean over all ways to break them.

    Attributes:
        k: How many parts are chosen.
    """

    bounds: ClassVar[tuple[float, float]] = (-math.inf, 1.0)

    k: int = 2

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"PartPrecision: k is a number of parts, at least 1, got {self.k}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)`."""
        chance = self.chance(explicand)
        return (self.raw(explicand, attribution, units) - chance) / (1 - chance)

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where parts have no order, or all are chosen."""
        return no_order(explicand) | {"no more parts seen than chosen": seen_parts(explicand).sum(1) <= self.k}

    def raw(self, explicand: Explicand, attribution: Tensor, units: str | None = None) -> Tensor:
        """The value r `(N,)` before chance is taken off."""
        said, seen = evidence_ranks(explicand, evidence(explicand, attribution, units)), seen_parts(explicand)
        one, two = (chosen(order.masked_fill(~seen, -1), self.k) for order in (said, effect_ranks(explicand)))
        return (one * two * seen).sum(1).float() / self.k

    def chance(self, explicand: Explicand) -> Tensor:
        """The value c `(N,)` of an explanation that knows nothing."""
        return self.k / seen_parts(explicand).sum(1)


def chosen(order: Tensor, k: int) -> Tensor:
    """How probable each is `(N, P)` to be among the k with the highest ranks `(N, P)`, ties broken at random."""
    k = min(k, order.shape[1])
    last = order.sort(dim=1, descending=True).values[:, k - 1 : k]
    above, tied = order > last, order == last
    places = k - above.sum(1, keepdim=True)
    return torch.where(tied, places / tied.sum(1, keepdim=True), above.double())
