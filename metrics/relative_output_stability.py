"""Relative output stability: the relative change of an explanation for each unit of change of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.robustness import RelativeStability


@dataclass(frozen=True)
class RelativeOutputStability(RelativeStability):
    """Relative change of an explanation over that of the logits, at its largest (Agarwal 2022, arXiv 2203.06877, ROS).

        value = max_j ||(a(y_j) - a(x)) / a(x)|| / max(||h(y_j) - h(x)||, 1e-6)

    with the logits h of all classes, whose change is not relative. Quotients inside the norm are taken feature by
    feature, norms in L2; `y_j` is uniform in the L-infinity ball of `radius` around x, not clipped to pixels, with the
    prediction of x; the explained class is that of x. On `f = w x` the gradient has 0.

    Lower is better, and 0 is reached by any explanation that ignores the input. Bounds: at least 0; values spread over
    orders of magnitude, since small scores have large relative changes: compare ranks or logarithms. Cost: `copies`
    times that of the method, once for all robustness metrics with the same copies, and one forward for each copy, once
    for all methods. Needs: method. Undefined for a zero map, where the prediction changes at every neighbor, and
    `skipped: cost` over the budget.

    Differs from the paper: a feature whose score is 0 is left out, as it has no relative change; neighbors are uniform
    in the ball. Quantus divides by 1e-6 there, so that a few such features decide, and a single neighbor with another
    prediction makes its value NaN.

    Attributes:
        copies: Neighbors of each input.
        radius: Largest change of a value: in pixel units, for a text in the root mean square of its embeddings.
        common_draws: Explain the neighbors with the draws of the original.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the neighbors.

    Raises:
        ValueError: No copy, or a radius that is not positive.
    """

    reference: ClassVar[str] = "arXiv:2203.06877"

    def change(self, explicand: Explicand) -> Tensor:
        """The change of the logits, `(N, copies)`."""
        return self.predicted(explicand)[..., 0]
