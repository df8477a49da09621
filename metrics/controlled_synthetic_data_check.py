"""Controlled synthetic data check: whether important parts suffice to tell the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from xaieval.part_importance import Called, synthetic
from xaieval.part_metric import SufficientParts


@final
@dataclass(frozen=True)
class ControlledSyntheticDataCheck(SufficientParts):
    """Largest share of a minimal sufficient set of parts that is called important (Hesse 2023, arXiv:2308.06248).

    `max over sets S of |S and important| / |S|`. A set of seen parts is sufficient if no other class of the data has
    the same variants of them, and minimal if none of its subsets is: a model that is right must have seen all parts of
    one of them. A part is important when the map's sum in its mask, dilated by 5 x 5 pixels, exceeds a threshold times
    the sum of the map.

    Higher is better. Bounds: 0 to 1. Chance: that of as many parts called important at random; a map that calls all
    parts important gets 1, and pays for it in distractibility. Cost: one forward for all methods. Needs: parts and
    world. Undefined where the map's sum is not positive, where the class explained is not the sample's own or not the
    one predicted, and where seen parts do not tell the class.

    Differs from the paper: parts that are hidden are in no set, since no map can show them.

    Attributes:
        threshold: A part is important when its sum exceeds this share of the map's sum.
        held_out: Samples such as `Scenes(split="validation")` on which the threshold is chosen instead, for each model
            and method, see `xaieval.part_importance.choose_threshold`. Its cost is in no row. None: `threshold`.
    """

    def check(self, called: Called) -> Tensor:
        """The value `(N, 1)`."""
        return synthetic(called)
