"""LayerCAM: each position of a layer weighted by its own positive gradient, for late and early layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class LayerCAM(Method):
    """`M_u = ReLU(sum_k ReLU(g_ku) A_ku)` of a layer, upsampled, `(N, 1, *F)`.

    Source: Jiang 2021, doi:10.1109/TIP.2021.3089943, section III. A is the layer's output and g the logit's gradient
    there, `(N, K, h, w)` both. Weights of its own for each position make early layers useful, whose maps are fine.

    Several layers: each map becomes `tanh(2 M / max_u M)`, which lifts the small values, is upsampled, and the largest
    of them is taken at each feature. A map of zeros stays one.

    Units: importance, never negative; of several layers in [0, tanh 2]. Upsampling is bilinear and keeps values.

    Cost: one forward and one backward for all layers together.

    Differs from the paper: all of several layers are scaled, as in common implementations; the paper scales only the
    early ones, by a choice that depends on the network.

    Attributes:
        layers: Dotted names of the layers; none: the model's default for Grad-CAM, the last output with places
            that the logits depend on.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "doi:10.1109/TIP.2021.3089943"
    layers: tuple[str, ...] = ()

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        layers = self.layers or (explicand.layer("grad_cam"),)
        found = explicand.activations(layers)
        maps = [_positive(*found[layer]) for layer in layers]
        if len(maps) == 1:
            return explicand.upsample(maps[0])
        return torch.stack([explicand.upsample(_scaled(values)) for values in maps]).amax(0)


def _positive(activation: Tensor, gradient: Tensor) -> Tensor:
    """The layer's map `(N, 1, h, w)`."""
    return (gradient.relu() * activation).sum(1, keepdim=True).relu()


def _scaled(values: Tensor) -> Tensor:
    """Each map divided by its maximum and lifted, in [0, tanh 2]."""
    largest = values.amax(tuple(range(1, values.dim())), keepdim=True)
    return (2 * values / largest.clamp(min=torch.finfo(values.dtype).tiny)).tanh()
