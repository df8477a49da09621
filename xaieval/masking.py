"""Masked fine-tuning: half of what a classifier learns from is masked, so that masked texts are nothing new to it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def masked(ids: Tensor, maskable: Tensor, mask: int, generator: torch.Generator) -> Tensor:
    """Each text masked at a rate of its own: r ~ U[0, 1], then each of its tokens with probability r, `(N, T)`.

    Args:
        ids: Tokens `(N, T)`.
        maskable: Those that may be masked, bool `(N, T)`: neither special nor padding.
        mask: Number of the mask token.
        generator: Of the draws.
    """
    rates = torch.rand(len(ids), 1, generator=generator)
    return torch.where(maskable & (torch.rand(ids.shape, generator=generator) < rates), mask, ids)


def half_det(ids: Tensor, maskable: Tensor, mask: int, generator: torch.Generator) -> Tensor:
    """The second half of the texts masked as by `masked`, the first one (the larger, of an odd number) as it is.

    The strategy `half-det` of Madsen, Reddy and Chandar (2024, arXiv 2310.07819), as its code has it
    (`ecoroar/transform/random_max_masking.py`, 100 % at most).

    Args:
        ids: Tokens `(N, T)`, the texts in random order.
        maskable: Those that may be masked, bool `(N, T)`: neither special nor padding.
        mask: Number of the mask token.
        generator: Of the draws.
    """
    whole = len(ids) - len(ids) // 2
    return torch.cat((ids[:whole], masked(ids[whole:], maskable[whole:], mask, generator)))


Masking = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]
"""Masks tokens, see `half_det`."""

MASKINGS = ("none", "half_det")
"""How texts may be masked in training."""
