"""Distractibility: whether what the model does not use is left unimportant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.part_importance import Called, undistracted
from xaieval.part_metric import ImportantParts, nothing_irrelevant


@final
@dataclass(frozen=True)
class Distractibility(ImportantParts):
    """Share of irrelevant parts and objects that are not called important (Hesse 2023, arXiv:2308.06248).

    A seen part or background object is irrelevant if the logit of the class explained drops by less than 5 % of its
    size when it is left out of the scene; it may rise. It is important when the map's sum in its mask, dilated by 5 x 5
    pixels, exceeds a threshold times the sum of the map. The mask of an object is the pixels that change without it.

    Higher is better. Bounds: 0 to 1. Chance: that of as many parts and objects called important at random; 1 for a map
    that calls none important, which the checks of completeness see. Cost: one forward for the image and one without
    each part and object, for all methods. Needs: parts and world. Undefined where the map's sum is not positive, and
    where nothing is irrelevant.

    Differs from the paper: the drop is measured by the absolute value of the logit, so that it means the same where
    that is negative; what is hidden counts neither way.

    Attributes:
        threshold: A part is important when its sum exceeds this share of the map's sum.
        held_out: Samples such as `Scenes(split="validation")` on which the threshold is chosen instead, for each model
            and method, see `xaieval.part_importance.choose_threshold`. Its cost is in no row. None: `threshold`.
    """

    def check(self, called: Called) -> Tensor:
        """The value `(N, 1)`."""
        return undistracted(called)

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        return super().where_undefined(explicand, attribution, units) | nothing_irrelevant(explicand)
