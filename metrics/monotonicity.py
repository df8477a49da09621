"""Monotonicity: whether the score grows with every feature put back, from the lowest score to the highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.correlation import constant, rounding_of
from xaieval.curve_area import CurveMetric
from xaieval.explicand import Explicand


@dataclass(frozen=True)
class Monotonicity(CurveMetric):
    """Share of steps at which the score does not fall while patches are put back (Luss 2019, arXiv 1905.12698).

    Patches are put back from the lowest sum of scores to the highest, ties at random: `1/L sum_k [f(x_k) >=
    f(x_(k-1))]`, `(N,)`, `x_0` with everything removed and `x_L` the input. These are the inputs of a deletion of the
    top patches read backwards. A change within rounding, 1e-6 of the largest score, counts as none, and a step without
    a patch not at all. The paper's test holds where the value is 1.

    Higher is better. Bounds: 0 to 1. Cost: `steps` - 1 forwards and the two end points, the curve of Deletion with the
    same fields. Undefined where the score is the same all along.

    It tells signs more than orders: where the score is additive in the patches and steps are of one patch, the value is
    the share of the contributions that are not negative, for every map.

    Differs from the paper: a share instead of yes or no; patches of a grid, some at each step. AIX360 leaves out the
    first step, from the baseline. Quantus gives 1 for any map, since it puts the baseline back in place of the input.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps L from nothing to the whole input.
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What stands where nothing has been put back.
        seed: Seed of the ties.

    Raises:
        ValueError: An output that does not exist, or no step.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    reference: ClassVar[str] = "arXiv:1905.12698"
    exceptions: ClassVar[dict[str, str]] = {
        "seed": "four steps fall or not; another order of ties has the same number of them there",
        "exact_beats_permuted": "additive in single patches, the value is the share of positive ones for every map",
        "permuted_beats_negated": "additive in single patches, the value is the share of positive ones for every map",
    }

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The share `(N,)`."""
        curve = self.curve(explicand, attribution, "deletion")
        scores = curve.scores.of(self.output)
        taken = curve.fraction.diff(dim=1) > 0
        kept = scores.diff(dim=1) <= rounding_of(scores)[:, None]
        return (kept & taken).sum(1) / taken.sum(1)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        scores = self.curve(explicand, attribution, "deletion").scores.of(self.output)
        reasons = super().undefined(explicand, attribution, units)
        return reasons | {"constant curve": constant(scores, rounding_of(scores))}
