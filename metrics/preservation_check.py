"""Preservation check: whether the important parts alone keep the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from xaieval.part_importance import Called, preserved
from xaieval.part_metric import ImportantParts


@final
@dataclass(frozen=True)
class PreservationCheck(ImportantParts):
    """1 where the model predicts the same class when only important parts are drawn (Hesse 2023, arXiv:2308.06248).

    All other parts are left out of the scene, background and objects stay. A part is important when the map's sum in
    its mask, dilated by 5 x 5 pixels, exceeds a threshold times the sum of the map. The prediction is the largest
    logit, before and after, whatever class is explained: explain the predicted one.

    Higher is better. Bounds: 0 to 1. Chance: that of as many parts called important at random; a map that calls all
    parts important gets 1, and pays for it in distractibility. Cost: a forward for each set of parts that nobody has
    asked for yet, and one for all methods. Needs: parts and world. Undefined where the map's sum is not positive.

    Attributes:
        threshold: A part is important when its sum exceeds this share of the map's sum.
        held_out: Samples such as `Scenes(split="validation")` on which the threshold is chosen instead, for each model
            and method, see `xaieval.part_importance.choose_threshold`. Its cost is in no row. None: `threshold`.
    """

    def check(self, called: Called) -> Tensor:
        """The value `(N, 1)`."""
        return preserved(called)
