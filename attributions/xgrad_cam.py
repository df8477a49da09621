"""XGrad-CAM: the channels of a late layer, weighted by the class score's gradient where they are active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.cam import channels, weighted_sum
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class XGradCAM(Method):
    """`ReLU(sum_k w_k A_k)` with `w_k = sum_u g_ku A_ku / sum_u A_ku`, upsampled, `(N, 1, *F)`.

    Source: Fu 2020, arXiv:2008.02312, section 3. A is a layer's output and g the logit's gradient there, `(N, K, h,
    w)` both; sums run over positions u. It is Grad-CAM with a mean of g weighted by A in place of the plain one, chosen
    so that two axioms hold as well as weights for whole channels allow: conservation, the map before the rectifier sums
    to the score, and sensitivity, channel k's part sums to the drop of the score when the channel is set to 0. Where
    what follows the layer is linear both are exact (up to its bias); where it is piecewise linear without biases
    conservation is.

    Units: importance. Upsampling is bilinear, after the rectifier, and keeps values. Before a global average pooling
    and a linear layer it is Grad-CAM.

    Cost: one forward and one backward, shared by all methods that read the layer.

    Differs from the paper: a channel whose sum is 0, to 1e-6 of the sum of its absolute values, gets the weight 0,
    where the authors' code adds 1e-6 to every sum; after a rectifier such channels are 0 everywhere and both agree.

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
        relu: Whether negative values become 0.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2008.02312"
    layer: str = ""
    relu: bool = True

    @property
    def signed(self) -> bool:
        """Unless what is negative becomes 0."""
        return not self.relu

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        activation, gradient = channels(explicand, self.layer)
        total, size = activation.flatten(2).sum(2), activation.flatten(2).abs().sum(2)
        weights = (gradient * activation).flatten(2).sum(2) / total
        maps = weighted_sum(activation, torch.where(total.abs() > 1e-6 * size, weights, 0.0))
        return explicand.upsample(maps.relu() if self.relu else maps)
