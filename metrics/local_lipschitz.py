"""Local Lipschitz: how far an explanation moves for each unit that the input does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.robustness import Robustness


@dataclass(frozen=True)
class LocalLipschitz(Robustness):
    """Largest quotient of the changes of an explanation and its input (Alvarez-Melis 2018, arXiv 1806.08049).

        value = max_j ||a(y_j) - a(x)|| / ||y_j - x||

    in L2 over channels and present features, `y_j` uniform in the L-infinity ball of `radius` around x, not clipped to
    pixels, and the explained class that of x. The maximum over draws is a lower bound of the local Lipschitz constant.
    On `f = w x` the gradient has 0, and input x gradient lies between the root mean square of w and the largest |w_i|.

    The value has the units of the explanation over those of the input, pixels or, for a text, the root mean square of
    its embeddings: it cannot be compared between methods whose maps have other scales, as MaxSensitivity can.

    Lower is better, and 0 is reached by any explanation that ignores the input. Bounds: at least 0. Cost: `copies`
    times that of the method, once for all robustness metrics with the same copies. Needs: method. Undefined for a zero
    map, and `skipped: cost` over the budget.

    Differs from the paper: neighbors are drawn, where the paper looks for the largest quotient in a ball by Bayesian
    optimization.

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

    reference: ClassVar[str] = "arXiv:1806.08049"

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The largest quotient `(N,)`."""
        step = self.stepped(explicand)[..., 0] / explicand.scale[:, None]
        return (self.moved(explicand, attribution, method)[..., 0] / step).amax(1)
