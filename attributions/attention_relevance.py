"""Attention relevance: attention weights times the class score's gradient there, gathered over the layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class AttentionRelevance(Method):
    """What the tokens that the logits read gather from each place, `(N, 1, *F)` (Chefer 2021, arXiv:2103.15679).

    With A the attention weights of a layer and g the logit's gradient there, `(N, heads, T, T)` both, relevance begins
    as `R = I` and takes from the first layer to the last `R <- R + mean_heads((g A)+) R` (section 3.1, equations 5 and
    6 for self-attention; numbers unverified). The map is the mean of R's rows over the tokens that the logits read
    behind the last attention, each of the same weight: the class token, class and distillation token, or all patches
    where they are averaged. These are found once for a model by the gradient there, and so is the grid of places, see
    `xaieval.token_grid`; nothing is known by name or place. On a text each token is a place of its own, and which are
    read is found for each text; padding gives nothing.

    Units: importance. Never negative. The grid of patches is upsampled bilinearly and keeps its values. Only positive
    parts are kept, so what speaks against the class is not seen.

    Cost: one forward and one backward; fused attention is computed in the open. For each model and shape of inputs,
    once and not counted: a few calls with one input, one of which checks that the logits stay within 1e-5 of the
    largest.

    Differs from the paper: which reads the class token alone. Where patches are averaged, I adds the same constant to
    all of them.

    Raises:
        UnsupportedError: The model computes no attention, attends in windows or over changing numbers of tokens, or
            does more with its weights than to weigh values; or its tokens are no grid of places.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2103.15679"
    exceptions: ClassVar[dict[str, str]] = {
        "text_counted": "which tokens the logits read, a gradient behind the last attention alone says"
    }

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        return explicand.upsample(explicand.attentions("relevance", _gathered, gradients=True))


def _gathered(weights: Tensor, gradient: Tensor) -> Tensor:
    """`I + mean_heads((g A)+)` of one layer, `(n, T, T)`."""
    gathered = (gradient * weights).relu().mean(1)
    return gathered + torch.eye(weights.shape[-1], device=weights.device)
