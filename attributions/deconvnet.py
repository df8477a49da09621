"""Deconvnet: only positive gradients pass a rectifier, whatever it let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class Deconvnet(Method):
    """The gradient at the input with `p 1[p > 0]` as the backward pass of every rectifier, `(N, C, *F)`.

    Zeiler 2013 (arXiv:1311.2901, section 2.1), in the form of Simonyan 2013 (arXiv:1312.6034, section 4): p is the
    gradient that arrives at a rectifier, whose own input does not matter. Maximum pooling passes gradients to its
    maxima, the paper's switches.

    Units: gradient, as the literature scores it; it equals `df_c/dx` on no network with rectifiers.

    Cost: one forward and one backward.

    Differs from the paper: it starts from the class logit instead of a feature; signed and with all channels.

    Raises:
        ValueError: The model calls no rectifier.
    """

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = "arXiv:1311.2901"
    exceptions: ClassVar[dict[str, str]] = {
        "linear_gradient": "it refuses a model without rectifiers, where it would be the plain gradient"
    }

    def attribute(self, explicand: Explicand) -> Tensor:
        """The modified gradient `(N, C, *F)` of the logit."""
        return explicand.rectified("deconvnet").clone()
