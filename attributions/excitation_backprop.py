"""Excitation backpropagation: probabilities that pass from each unit to those that excite it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.relevance import TINY, Layer, excitation
from xaieval.relevance_rules import LayerCall, Relevance


@final
@dataclass(frozen=True)
class ExcitationBackprop(Method):
    """Winning probabilities of a layer, summed over its channels and upsampled, `(N, 1, *F)`.

    Zhang 2016 (arXiv:1608.00507, section 3.2, eq. 5, unverified): with p = 1 at the explained logit, 0 at the others,
    input j of a layer gets `p_j = x_j+ sum_i w_ij+ p_i / sum_k w_ik+ x_k+`. Average poolings are such layers, sums
    (skip connections) share in proportion to the positive parts of their terms, max pooling gives to its winners;
    biases and constants excite nothing. Rectifiers pass p on, batch normalizations too: one right after a layer turns
    the signs of weights where its scale is negative, as if it were folded into them. All of the 1 arrives, but for what
    reaches a unit that nothing excites.

    Contrastive (section 3.4): at the input of the last layer, what its negated weights share out is taken off;
    positive parts of the map are kept. What speaks for and against the class as much is gone.

    Only what lies between layer and logits needs rules; the model before it may be anything.

    Units: importance. Upsampling is bilinear and keeps values.

    Cost: one forward and one backward.

    Differs from the paper: negative activations, which it does not have, count as 0; p starts at one logit, not at a
    softmax. The default layer is that of TorchRay in ResNets (`layer3`). At the layer before a global average pooling
    and a linear layer with weights w the map is `sum_k w_ck+ A_k` but for a factor, that of LayerCAM.

    Attributes:
        layer: Dotted name; empty: the model's default, the input of the last block that makes it spatially smaller.
        contrastive: Whether what speaks against the class is taken off.

    Raises:
        ValueError: The model has no such layer, the call never reaches it, or its output has no places.
        UnsupportedError: The model calls a function after the layer that has no rule.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1608.00507"
    layer: str = ""
    contrastive: bool = False

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        layer = self.layer or explicand.layer("excitation_backprop")
        _, probability = explicand.propagated_to(layer, lambda: _Excitation(self.contrastive))
        maps = probability.sum(1, keepdim=True)
        return explicand.upsample(maps.clamp(min=0) if self.contrastive else maps)


class _Excitation(Relevance):
    """What is positive shares out; constants and what is negative excite nothing.

    Args:
        contrastive: Whether the last layer takes off what its negated weights share out.
    """

    def __init__(self, contrastive: bool) -> None:
        super().__init__("excitation backpropagation")
        self._contrastive = contrastive

    def share(self, call: LayerCall, inputs: Tensor, relevance: Tensor) -> Tensor:
        excited = excitation(call.layer, inputs, relevance).inputs
        if not self._contrastive or call.place != self.layers_called:
            return excited
        negated = Layer(call.layer.apply, -call.layer.weight)
        return excited - excitation(negated, inputs, relevance).inputs

    def contribution(self, summand: Any, constant: bool = False) -> Any:
        return 0.0 if constant else summand.clamp(min=0)

    def stabilize(self, values: Tensor) -> Tensor:
        return values.clamp(min=TINY)

    def passage(self, scaled: Tensor) -> Tensor | float:
        return (scaled > 0).to(scaled.dtype)
