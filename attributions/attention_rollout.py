"""Attention rollout: attention weights and residual connections, multiplied over the layers of a transformer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand

HEADS: dict[str, Callable[..., Tensor]] = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}


@final
@dataclass(frozen=True)
class AttentionRollout(Method):
    """The part of each place in the tokens that the logits read, `(N, 1, *F)` (Abnar 2020, arXiv:2005.00928).

    Layer l with the attention weights A, `(N, heads, T, T)`, passes tokens on by `M_l = (A_l + I) / 2`, A_l the mean
    over heads and I the residual connection, rows divided by their sums; the rollout is `R = M_L ... M_1` (section 3,
    equation 1; both unverified). The map is the mean of R's rows over the tokens that the logits read behind the last
    attention, each of the same weight: the class token, class and distillation token, or all patches where they are
    averaged. These are found once for a model by the gradient there, and so is the grid of places, see
    `xaieval.token_grid`; nothing is known by name or place. On a text each token is a place of its own, and which are
    read is found for each text; padding gives nothing. Rows of R sum to 1: the map and what other tokens keep do so
    too, before upsampling. The rollout does not depend on the class.

    Units: importance. Never negative. The grid of patches is upsampled bilinearly and keeps its values.

    Cost: one forward, in which fused attention is computed in the open. For each model and shape of inputs, once and
    not counted: a few calls with one input, one of which checks that the logits stay within 1e-5 of the largest.

    Differs from the paper: only for `max` and `min` heads, which it does not have. Where patches are averaged it takes
    the mean of their rows; there each patch also has the part that it keeps of itself.

    Attributes:
        heads: How the weights of heads become one: mean (the paper's), max or min.

    Raises:
        ValueError: Heads that do not exist.
        UnsupportedError: The model computes no attention, attends in windows or over changing numbers of tokens, or
            does more with its weights than to weigh values; or its tokens are no grid of places.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2005.00928"
    exceptions: ClassVar[dict[str, str]] = {
        "text_counted": "which tokens the logits read, a gradient behind the last attention alone says"
    }
    heads: str = "mean"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.heads not in HEADS:
            raise ValueError(f"AttentionRollout: heads must be one of {', '.join(HEADS)}, got {self.heads!r}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        return explicand.upsample(explicand.attentions(f"rollout:{self.heads}", self._passed))

    def _passed(self, weights: Tensor) -> Tensor:
        """What each token takes over from each in one layer, `(n, T, T)`, by the weights `(n, heads, T, T)`."""
        fused = HEADS[self.heads](weights, 1)
        passed = fused + torch.eye(fused.shape[-1], device=fused.device)
        return passed / passed.sum(-1, keepdim=True)  # halves, where the rows of A sum to 1
