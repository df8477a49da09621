"""Single deletion: whether parts are ordered as the logit drops without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.part_importance import part_sums
from xaieval.part_metric import PartMetric, no_order, rank_correlation


@final
@dataclass(frozen=True)
class SingleDeletion(PartMetric):
    """Rank correlation of what a map says of each part and the logit's drop without it (Hesse 2023, arXiv:2308.06248).

    `1/2 + 1/2 Spearman(sum of the map in the part's mask, f(x) - f(x without the part))` over the seen parts, with
    masks dilated by 5 x 5 pixels and f the logit of the class explained. It is the score of correctness of FunnyBirds.
    `part_agreement` is the same with masks as they are, from -1 to 1.

    Higher is better. Bounds: 0 to 1. Chance: .5. Cost: one forward for the image and one without each part, for all
    methods. Needs: parts and world. Undefined where fewer than 3 parts are seen or all have the same effect.

    Differs from the paper: parts that are hidden do not count; drops within 1e-6 of the largest logit are tied, and so
    are sums within 1e-6 of the largest; a map with the same sum in all parts is at chance.
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)`."""
        sums = part_sums(explicand, explicand.features(attribution, units).double())
        return (1 + rank_correlation(explicand, sums)) / 2

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where parts have no order."""
        return no_order(explicand)
