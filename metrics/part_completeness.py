"""The score of completeness of FunnyBirds, of four checks of the parts that are called important."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.part_importance import Called, complete, deleted, preserved, synthetic, undistracted
from xaieval.part_metric import SufficientParts, nothing_irrelevant


@final
@dataclass(frozen=True)
class PartCompleteness(SufficientParts):
    """Whether important parts are all that count, and nothing else (Hesse 2023, arXiv:2308.06248).

    `((CSDC + PC + DC) / 3 + D) / 2` of the controlled synthetic data check, preservation check, deletion check and
    distractibility, with one threshold. Correctness, the second score of the three, is `single_deletion`, contrastivity
    the third is `target_sensitivity`.

    Higher is better. Bounds: 0 to 1. A model that needs parts for its prediction gives .5 to a map that calls all parts
    and objects important, and .5 to one that calls none important. Cost: that of the four, which share it with them.
    Needs: parts and world. Undefined where one of the four is.

    Differs from the paper: it is taken sample by sample, so that it has an interval, and the four count the same
    samples; the paper takes it of the four means.

    Attributes:
        threshold: A part is important when its sum exceeds this share of the map's sum.
        held_out: Samples such as `Scenes(split="validation")` on which the threshold is chosen instead, for each model
            and method, see `xaieval.part_importance.choose_threshold`. Its cost is in no row. None: `threshold`.
    """

    def check(self, called: Called) -> Tensor:
        """The value `(N, 1)`."""
        return complete(synthetic(called), preserved(called), deleted(called), undistracted(called))

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        return super().where_undefined(explicand, attribution, units) | nothing_irrelevant(explicand)
