"""Ablation-CAM: the channels of a late layer, weighted by how much the class score drops without each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.cam import outputs, weighted_sum
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class AblationCAM(Method):
    """`ReLU(sum_k w_k A_k)` with `w_k = f_c(x) - f_c(x with A_k = 0)`, upsampled, `(N, 1, *F)`.

    Source: Desai 2020, doi:10.1109/WACV45572.2020.9093360, section 3. A is a layer's output, `(N, K, h, w)`; each
    channel in turn is set to 0 everywhere, and what follows the layer is computed anew. f_c is the logit. Before a
    global average pooling and a linear layer with weights v it is `ReLU(sum_k v_ck mean_u(A_ku) A_k)`: unlike
    Grad-CAM's, the weights count how active a channel is.

    Units: importance. Upsampling is bilinear, after the rectifier, and keeps values.

    Cost: K forwards (1280 at EfficientNet-Lite0's last layer) of what follows the layer, of which little may be left,
    one for the input, and one for reading the layer; the last two are shared.

    Differs from the paper: drops are in logits, not divided by f_c(x), one number for all channels of a sample. The
    order stays where the logit is positive; where it is negative the quotient would turn the map around, and near 0 it
    is not defined.

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
        relu: Whether negative values become 0.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "doi:10.1109/WACV45572.2020.9093360"
    exceptions: ClassVar[dict[str, str]] = {
        "counted": "a forward is counted for each channel, though what comes before the layer runs for one input alone"
    }
    layer: str = ""
    relu: bool = True

    def tried(self, explicand: Explicand) -> Tensor:
        """What the method reads; each of its channels costs a forward."""
        return outputs(explicand, self.layer)

    @property
    def signed(self) -> bool:
        """Unless what is negative becomes 0."""
        return not self.relu

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        layer = self.layer or explicand.layer("grad_cam")
        activation = outputs(explicand, layer)
        pairs = zip(explicand.each(), activation.split(1), strict=True)
        scores = torch.cat([_without(sample, layer, values) for sample, values in pairs])
        maps = weighted_sum(activation, explicand.clean.logit[:, None] - scores)
        return explicand.upsample(maps.relu() if self.relu else maps)


def _without(sample: Explicand, layer: str, activation: Tensor) -> Tensor:
    """The logit `(1, K)` of one sample without each channel of a layer's output `(1, K, h, w)`.

    Only what follows the layer is computed for every channel: what comes before it is the same for all of them.
    """
    number = torch.arange(activation.shape[1], device=sample.device)
    scores = activation.new_empty(activation.shape[:2])
    for batch in sample.batches(len(number), "scores"):
        kept = (number != batch.variants[:, None]).view(len(batch), -1, *[1] * (activation.dim() - 2))
        ablated = {layer: lambda _, kept=kept: activation * kept}
        batch.write(scores, sample.edited(sample.inputs, batch.of_rows(sample.target), outputs=ablated).logit)
    return scores
