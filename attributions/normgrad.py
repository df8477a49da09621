"""NormGrad: what each position of a layer contributes to the gradient of a weight that all positions share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.cam import extremes
from xaieval.component import Method
from xaieval.contributions import AGGREGATIONS, Kernel, aggregated
from xaieval.explicand import Explicand

EXTRACTIONS = ("bias", "scaling", "conv1x1", "conv3x3", "depthwise3x3", "real")
COMBINATIONS = ("geometric", "product")
WEIGHTS = ("uniform", "linear")


@final
@dataclass(frozen=True)
class NormGrad(Method):
    """`|x_u| |g_u|` at each position u of a layer, upsampled, `(N, 1, *F)` (Rebuffi 2020, arXiv:2004.02866, section 3).

    With a 1 x 1 convolution of identity weights W inserted after the layer, the gradient of the logit at W is a sum
    over positions, `dF/dW = sum_u g_u x_u^T`, of the layer's output x and the logit's gradient g there, `(N, K, h,
    w)` both. The map is the Frobenius norm of each summand, which is the product of two vector norms: the K x K
    matrix is never made. Blind to sign.

    The paper's framework: the summands of another layer (`extraction`), reduced in another way (`aggregation`):

    | method                | extraction | aggregation | map                                             |
    |-----------------------|------------|-------------|-------------------------------------------------|
    | NormGrad              | conv1x1    | norm        | `|x_u| |g_u|`                                   |
    | selective NormGrad    | scaling    | filter_norm | `sqrt(sum_k max(0, x_ku g_ku)^2)`               |
    | linear approximation  | scaling    | sum         | `sum_k x_ku g_ku`, signed                       |
    | gradient              | bias       | max_abs     | `max_k |g_ku|`                                  |
    | without virtual layer | real       | norm        | of the layer's own weight: it is a convolution  |

    Grad-CAM is the linear approximation with g replaced by its mean over positions, rectified (`GradCAM`). Where a
    global pooling follows the layer, g is the same everywhere: NormGrad does not depend on the class there, the bias
    map is constant.

    Several layers: the maps, upsampled and each scaled to [0, 1] by its minimum and maximum, are combined by
    `prod_l S_l^(w_l)` with weights that sum to 1 (`geometric`), or multiplied as they are (`product`, as in the
    authors' scripts). A layer whose map is constant says nothing and counts as 1, or as 0 where it is 0.

    Units: importance. Upsampling is bilinear and keeps values.

    Cost: one forward and one backward for all layers together.

    Differs from the paper: g is the gradient of the logit, as in the authors' code; their earlier text
    (arXiv:1910.08823) takes that of the cross-entropy. The default is not the last layer before a global pooling.

    Attributes:
        layers: Dotted names of the layers; none: the model's default, the last block whose input is spatially larger,
            for `real` the last convolution in it.
        extraction: The inserted layer: bias, scaling, conv1x1, conv3x3, depthwise3x3; or real, the layer itself, which
            has to be a convolution.
        aggregation: sum, norm, filter_norm (of the positive entries), max, or max_abs.
        combination: geometric or product, for several layers.
        weights: uniform, linear (a layer weighs its number, so deeper ones more), or one number for each layer, for
            the geometric mean.

    Raises:
        ValueError: An option that does not exist, or weights that do not fit the layers.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2004.02866"
    layers: tuple[str, ...] = ()
    extraction: str = "conv1x1"
    aggregation: str = "norm"
    combination: str = "geometric"
    weights: str | tuple[float, ...] = "uniform"

    def __post_init__(self) -> None:
        """Check the options."""
        for field, known in (
            ("extraction", EXTRACTIONS),
            ("aggregation", AGGREGATIONS),
            ("combination", COMBINATIONS),
        ):
            if getattr(self, field) not in known:
                raise ValueError(f"NormGrad: {field} must be one of {', '.join(known)}, got {getattr(self, field)!r}")
        if isinstance(self.weights, str):
            if self.weights not in WEIGHTS:
                raise ValueError(f"NormGrad: weights must be {' or '.join(WEIGHTS)} or numbers, got {self.weights!r}")
        elif len(self.weights) != max(1, len(self.layers)) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(
                f"NormGrad: weights must be {max(1, len(self.layers))} numbers of at least 0 that do not sum to 0, one "
                f"for each layer, got {self.weights}"
            )

    @property
    def signed(self) -> bool:
        """A sum or a largest entry may be negative, a norm never; of several layers maps from 0 to 1 are combined."""
        return self.aggregation in ("sum", "max") and len(self.layers) < 2

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        real = self.extraction == "real"
        layers = self.layers or (explicand.convolution("normgrad") if real else explicand.layer("normgrad"),)
        found = explicand.activations(layers, arrived=real)
        maps = [explicand.upsample(self._map(explicand, layer, *found[layer])) for layer in layers]
        return self._combined(maps, explicand.present) if len(maps) > 1 else maps[0]

    def _map(self, explicand: Explicand, layer: str, activation: Tensor, gradient: Tensor) -> Tensor:
        """The aggregated contributions at the layer's own resolution, `(N, 1, h, w)`."""
        channels = activation.shape[1]
        kernel = {
            "bias": Kernel(groups=channels),
            "scaling": Kernel(groups=channels),
            "conv1x1": Kernel(),
            "conv3x3": Kernel.centered(3),
            "depthwise3x3": Kernel.centered(3, groups=channels),
        }.get(self.extraction) or explicand.kernel(layer, activation)
        seen = torch.ones_like(activation) if self.extraction == "bias" else activation
        return aggregated(seen, gradient, kernel, self.aggregation)

    def _combined(self, maps: list[Tensor], present: Tensor | None) -> Tensor:
        """One map `(N, 1, *F)` of those of several layers."""
        scaled = [_scaled(values, present) for values in maps]
        if self.combination == "geometric":
            scaled = [values**weight for values, weight in zip(scaled, self._shares(len(maps)), strict=True)]
        product: Tensor = torch.stack(scaled).prod(0)
        return product

    def _shares(self, count: int) -> list[float]:
        """The layers' weights, which sum to 1."""
        named = {"uniform": [1.0] * count, "linear": [float(place) for place in range(1, count + 1)]}
        weights = named[self.weights] if isinstance(self.weights, str) else list(self.weights)
        return [weight / sum(weights) for weight in weights]


def _scaled(values: Tensor, present: Tensor | None) -> Tensor:
    """Each map scaled to [0, 1] over the features there, `(N, 1, *F)`; 0 at the others."""
    low, high = extremes(values, present)
    size = torch.maximum(low.abs(), high.abs())
    contrast = high - low > 1e-6 * size  # smaller is rounding, also of the upsampling
    scaled = torch.where(contrast, (values - low) / (high - low), (high > 0).float())
    return scaled if present is None else scaled.masked_fill(~present[:, None], 0.0)
