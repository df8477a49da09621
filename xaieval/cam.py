"""What class activation methods share: reading a layer, and the weighted sum of its channels."""

from __future__ import annotations

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
