"""What class activation methods share: reading a layer, the weighted sum of its channels, and the range of a map."""

from __future__ import annotations

from math import inf

from torch import Tensor

from xaieval.explicand import Explicand


def channels(explicand: Explicand, layer: str) -> tuple[Tensor, Tensor]:
    """Output of a layer and the logit's gradient there, `(N, K, h, w)` both; one forward and one backward, shared.

    Args:
        explicand: What is explained.
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.

    Raises:
        ValueError: The model has no such layer, the call never reaches it, or its output has no places.
    """
    name = layer or explicand.layer("grad_cam")
    return explicand.activations((name,))[name]


def outputs(explicand: Explicand, layer: str) -> Tensor:
    """Output of a layer alone, `(N, K, h, w)`; one forward, shared. As for `channels`."""
    name = layer or explicand.layer("grad_cam")
    return explicand.outputs((name,))[name]


def weighted_sum(activation: Tensor, weights: Tensor) -> Tensor:
    """Channels `(N, K, h, w)` times their weights `(N, K)`, summed, `(N, 1, h, w)`."""
    ranked = weights.view(*weights.shape, *[1] * (activation.dim() - 2))
    return (ranked * activation).sum(1, keepdim=True)


def extremes(maps: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value `(n, 1, 1, 1)` of each map `(n, 1, *F)`, over the features `(n, *F)` there."""
    axes = tuple(range(1, maps.dim()))
    low, high = (maps, maps) if present is None else (maps.masked_fill(~present[:, None], end) for end in (inf, -inf))
    return low.amin(axes, keepdim=True), high.amax(axes, keepdim=True)
