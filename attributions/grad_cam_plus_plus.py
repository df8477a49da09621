"""Grad-CAM++: Grad-CAM with positions weighted so that several small objects count as much as a large one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.cam import channels, weighted_sum
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class GradCAMPlusPlus(Method):
    """`ReLU(sum_k w_k A_k)` with `w_k = sum_u a_ku ReLU(g_ku)`, upsampled, `(N, 1, *F)`.

    Source: Chattopadhay 2018, arXiv:1710.11063, section 3. A is a layer's output and g the logit's gradient there, `(N,
    K, h, w)` both; sums run over positions u and v. The score is `Y = exp(logit)` and the network behind the layer
    piecewise linear, so Y's first, second and third derivatives are Y g, Y g^2 and Y g^3, and the paper's

        a_ku = Y'' / (2 Y'' + Y''' sum_v A_kv) = g^2 / (2 g^2 + g^3 S_k) = 1 / (2 + g S_k),  S_k = sum_v A_kv

    needs no higher derivatives. Only positive g count, so nothing has to be said about g = 0, and with rectified A the
    divisor is never below 2. The factor Y, the same for all of a sample, is left out of `ReLU(Y g)`: it does not change
    an order and overflows for logits above 88.

    Units: importance. Upsampling is bilinear, after the rectifier, and keeps values. Blind to negative gradients.
    Rescaling the layer (A and its inverse behind it) changes nothing, rescaling the logits does.

    Cost: one forward and one backward, shared by all methods that read the layer.

    Differs from the paper: S_k below 0, which a layer without rectifier may have, counts as 0, since the divisor could
    reach 0. Implementations differ: the authors' code also divides a by its sum over positions, which the paper does
    not; others take means for the sums or add small numbers to the divisor.

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1710.11063"
    layer: str = ""

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        activation, gradient = channels(explicand, self.layer)
        slope, total = gradient.flatten(2).relu(), activation.flatten(2).sum(2, keepdim=True).clamp(min=0)
        weights = (slope / (2 + slope * total)).sum(2)
        return explicand.upsample(weighted_sum(activation, weights).relu())
