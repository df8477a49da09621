"""The gradient times the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class InputXGradient(Method):
    """`(x - x0) df_c/dx` with the removal `zero` as x0, `(N, C, *F)` (Shrikumar 2016, arXiv:1605.01713, section 3.1).

    The first-order change of the logit when each feature alone goes to zero. On images x0 is black, which is 0, so this
    is input times gradient as everyone writes it.

    Units: contribution in logits, against the baseline zero. Sums to `f_c(x)` on a linear model without bias and on
    every other model of which `f_c(a x) = a f_c(x)` for a > 0, such as rectifier networks without biases.

    Cost: one forward and one backward, shared with everything else that needs the gradient at the input.

    Differs from the paper: pixels are in [0, 1], so the zero is black and not the mean color of the training images.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1605.01713"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The product `(N, C, *F)`."""
        return (explicand.inputs - explicand.removal("zero").values) * explicand.gradient
