"""Guided backpropagation: only positive gradients pass a rectifier that let its input through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """The gradient at the input with `p 1[p > 0] 1[x > 0]` as the backward pass of every rectifier, `(N, C, *F)`.

    Springenberg 2014 (arXiv:1412.6806, section 3.4, figure 1). p is the gradient that arrives at a rectifier, x its
    input; for relu6 and hardtanh the input has to lie between both limits. Modules, functions, in-place calls and
    re-used rectifiers are all covered. (Libraries that exchange `nn.ReLU` modules give the plain gradient, without a
    word, where a network calls a function or ReLU6.)

    Units: gradient, as the literature scores it; it equals `df_c/dx` on no network with rectifiers. Expect edges rather
    than explanations: the map hardly depends on the class or on the weights of late layers (arXiv:1810.03292).

    Cost: one forward and one backward.

    Differs from the paper: signed and with all channels; nothing is reduced before a metric or a picture asks for it.

    Raises:
        ValueError: The model calls no rectifier.
    """

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = "arXiv:1412.6806"
    exceptions: ClassVar[dict[str, str]] = {
        "linear_gradient": "it refuses a model without rectifiers, where it would be the plain gradient"
    }

    def attribute(self, explicand: Explicand) -> Tensor:
        """The modified gradient `(N, C, *F)` of the logit."""
        return explicand.rectified("guided").clone()
