"""HiResCAM: the output of a late layer times the class score's gradient there, summed over channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.cam import channels
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class HiResCAM(Method):
    """`sum_k g_ku A_ku` at each position u of a layer, upsampled, `(N, 1, *F)` (Draelos 2020, arXiv:2011.08891).

    A is the layer's output and g the logit's gradient there, `(N, K, h, w)` both. Where Grad-CAM first averages g over
    positions, each position keeps its own: the map is 0 where the score does not depend on the layer. Where all that
    follows the layer is linear with a bias b, the map sums over positions to the logit minus b, and to the
    logit where what follows is piecewise linear without biases. Before a global average pooling and a linear layer it
    is Grad-CAM without its rectifier.

    Units: importance, signed. Upsampling is bilinear and keeps values, not the sum.

    Cost: one forward and one backward, shared by all methods that read the layer.

    Differs from the paper: nothing known. That the formula has no rectifier is how it was understood; implementations
    that cut negative values off do so for display.

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
        relu: Whether negative values become 0.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2011.08891"
    layer: str = ""
    relu: bool = False

    @property
    def signed(self) -> bool:
        """Unless what is negative becomes 0."""
        return not self.relu

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        activation, gradient = channels(explicand, self.layer)
        maps = (gradient * activation).sum(1, keepdim=True)
        return explicand.upsample(maps.relu() if self.relu else maps)
