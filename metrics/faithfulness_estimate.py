"""Faithfulness estimate: whether an explanation predicts the effect of each feature alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, pearson, rounding_of
from xaieval.each_patch import EachPatch
from xaieval.explicand import Explicand
from xaieval.removal import Removal


@dataclass(frozen=True)
class FaithfulnessEstimate(Metric):
    """Pearson correlation of scores and drops over single patches (Alvarez-Melis 2018, arXiv 1806.07538).

    `corr_i(a_i, f(x) - f(x without patch i))`, `(N,)`, over all patches of a grid, `a_i` the sum of the patch's scores;
    for a gradient `sum (x - x~) g` with the perturbed input x~. Exactly 1 where f is additive and the map holds its
    contributions against the same removal, and for feature ablation on the same grid and removal, whose scores are the
    drops themselves.

    Higher is better. Bounds: -1 to 1. Chance: 0. Cost: a forward for each patch, one set for all methods. Undefined
    where all drops or all predictions are equal.

    Differs from the paper: patches of a grid instead of features, the logit instead of the probability.

    Attributes:
        grid: Patches per side, at most one per pixel.
        removal: What replaces a patch.

    Raises:
        ValueError: A grid with fewer than two patches.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:1806.07538"
    grid: int = 14
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.grid < 2:
            raise ValueError(f"FaithfulnessEstimate: a correlation needs a grid of at least 2, got {self.grid}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The correlation `(N,)` over the patches that exist."""
        draws = EachPatch.of(explicand, self.grid, self.removal)
        change, predicted = explicand.response(draws).change, explicand.predicted(draws, attribution, units)
        return pearson(change, predicted, explicand.patches(self.grid).present)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        draws, present = EachPatch.of(explicand, self.grid, self.removal), explicand.patches(self.grid).present
        response, predicted = explicand.response(draws), explicand.predicted(draws, attribution, units)
        return super().undefined(explicand, attribution, units) | {
            "constant response": constant(response.change, response.rounding, present),
            "constant prediction": constant(predicted, rounding_of(predicted), present),
        }
