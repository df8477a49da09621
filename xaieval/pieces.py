"""Scores of what is told apart in an explanation: features, or the groups of them that belong together, as words do."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xaieval.explicand import Explicand


def piece_scores(explicand: Explicand, attribution: Tensor) -> Tensor:
    """Signed scores `(N, d)`, 0 where there is no piece; of a group the sum, of importance the mean."""
    if explicand.groups is None:
        return explicand.features(attribution).flatten(1)
    return explicand.piece_scores(explicand.groups, attribution)


def pieces_present(explicand: Explicand) -> Tensor | None:
    """Which pieces there are, `(N, d)`; None: all."""
    if explicand.groups is not None:
        return explicand.groups.present
    return None if explicand.present is None else explicand.present.flatten(1)


def piece_count(explicand: Explicand) -> Tensor:
    """How many pieces there are, `(N,)`."""
    present = pieces_present(explicand)
    if present is None:
        return torch.full_like(explicand.target, math.prod(explicand.shape[2:]))
    return present.sum(1)
