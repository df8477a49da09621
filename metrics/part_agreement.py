"""Part agreement: whether the evidence per part is ordered as the parts' true effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.part_metric import PartMetric, evidence, no_order, rank_correlation


@final
@dataclass(frozen=True)
class PartAgreement(PartMetric):
    """Rank correlation of the evidence per part and the part's true effect, found by removing it (arXiv:2308.06248).

    Spearman's rho over the seen parts of a sample between the sum of the map in the pixels where the part is seen, with
    its sign, and the effect `f(x) - f(x~)`, where x~ is the scene drawn without the part and f the logit of the class
    explained. Nothing stands in for what is removed: the scene without the part is as usual to the model as the one
    with it. Of a gradient g the evidence is what it predicts for the removal, `sum (x - x~) g`: its sum alone would be
    about a part that grows brighter. Shares of evidence instead of sums have the same order.

    Higher is better. Bounds: -1 to 1. Chance: 0. Cost: one forward for the image and one without each part, for all
    methods. Needs: parts and world. Undefined where fewer than 3 parts are seen or all have the same effect.

    Differs from the paper: `single_deletion` dilates masks by 5 x 5 pixels, sums gradients as all else, and lies
    between 0 and 1. Effects within 1e-6 of the largest logit are tied, and so are sums within 1e-6 of the largest; a
    map with the same sum in all parts is at chance.
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)`."""
        return rank_correlation(explicand, evidence(explicand, attribution, units))

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where parts have no order."""
        return no_order(explicand)
