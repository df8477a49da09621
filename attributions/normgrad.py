"""NormGrad: where a virtual identity convolution would get the largest gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class NormGrad(Method):
    """`|x_u| |g_u|` at each position u of a layer, upsampled, `(N, 1, *F)` (Rebuffi 2020, arXiv:2004.02866, section 3).

    With a 1 x 1 convolution of identity weights W inserted after the layer, the gradient of the logit at W is a sum
    over positions, `dF/dW = sum_u g_u x_u^T`, of the layer's output x and the logit's gradient g there, `(N, K, h,
    w)` both. The map is the Frobenius norm of each summand, which is the product of two vector norms: the K x K
    matrix is never made. Blind to sign.

    Several layers: the maps, upsampled and each scaled to [0, 1] by its minimum and maximum, are multiplied and the
    L-th root is taken (the geometric mean with uniform weights). A layer whose map is constant says nothing and counts
    as 1, or as 0 where it is 0.

    Units: importance. Upsampling is bilinear and keeps values.

    Cost: one forward and one backward for all layers together.

    Differs from the paper: g is the gradient of the logit, as in the authors' code; their earlier text
    (arXiv:1910.08823) takes that of the cross-entropy. The default is not the last layer before a global pooling, where
    g is the same everywhere and the map would not depend on the class.

    Attributes:
        layers: Dotted names of the layers; none: the model's default, the last block whose input is spatially larger.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2004.02866"
    layers: tuple[str, ...] = ()

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        layers = self.layers or (explicand.layer("normgrad"),)
        found = explicand.activations(layers)
        maps = [explicand.upsample(_norms(*found[layer])) for layer in layers]
        if len(maps) == 1:
            return maps[0]
        product: Tensor = torch.stack([_scaled(values) for values in maps]).prod(0).pow(1 / len(maps))
        return product


def _norms(activation: Tensor, gradient: Tensor) -> Tensor:
    """Norms of the outer products over channels, `(N, 1, h, w)`."""
    norms: Tensor = activation.norm(dim=1, keepdim=True) * gradient.norm(dim=1, keepdim=True)
    return norms


def _scaled(values: Tensor) -> Tensor:
    """Each map scaled to [0, 1], `(N, 1, *F)`."""
    axes = tuple(range(1, values.dim()))
    low, high = values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)
    contrast = high - low > 1e-6 * high  # smaller differences are rounding, also of the upsampling
    return torch.where(contrast, (values - low) / (high - low), (high > 0).float())
