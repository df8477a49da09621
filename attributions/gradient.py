"""The gradient of the class score at the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class Gradient(Method):
    """`df_c/dx`, signed, with all channels: `(N, C, *F)` (Simonyan 2013, arXiv:1312.6034, section 3).

    Units: gradient of the logit `f_c` per pixel unit. On a linear model `w.x + b` it is `w`.

    Cost: one forward and one backward, shared with everything else that needs the gradient at the input.

    Differs from the paper: the paper shows the maximum over channels of the absolute value; here nothing is reduced
    before a metric or a picture asks for it.
    """

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = "arXiv:1312.6034"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The gradient `(N, C, *F)` of the logit."""
        return explicand.gradient.clone()
