"""Grad-CAM: the channels of a late layer, weighted by the class score's mean gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.cam import channels, weighted_sum
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class GradCAM(Method):
    """`ReLU(sum_k A_k mean_u g_ku)` of a layer, upsampled, `(N, 1, *F)` (Selvaraju 2016, arXiv:1610.02391, eq. 1, 2).

    A is the layer's output and g the logit's gradient there, `(N, K, h, w)` both; the mean runs over positions u.
    Before a global average pooling and a linear layer with weights w it is `ReLU(sum_k w_ck A_k) / (h w)`, class
    activation mapping.

    Units: importance. Upsampling is bilinear, after the rectifier, and keeps values.

    Cost: one forward and one backward.

    Differs from the paper: only the upsampling, which the paper leaves open beyond "bilinear".

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
        relu: Whether negative values become 0.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1610.02391"
    layer: str = ""
    relu: bool = True

    @property
    def signed(self) -> bool:
        """Unless what is negative becomes 0."""
        return not self.relu

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        activation, gradient = channels(explicand, self.layer)
        maps = weighted_sum(activation, explicand.mean(gradient))
        return explicand.upsample(maps.relu() if self.relu else maps)
