"""Entropy: how evenly the scores are spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.pieces import piece_scores


@dataclass(frozen=True)
class Entropy(Metric):
    """Entropy of the absolute scores as a distribution, in nats (Bhatt 2020, arXiv 2005.00631, complexity).

    `H = -sum_i p_i ln p_i` with `p_i = |a_i| / sum |a|` over the d present features. Exactly 0 where a single feature
    has a score, `ln d` for a constant map, near `ln d - .193` for iid uniform scores; does not change with the scale of
    a map or the places of its scores. `exp(H)` is the number of features among which the scores could be evenly split.
    On a text explained by words these are the features, each with the sum of its tokens' scores, of importance the
    mean.

    Lower is simpler. Bounds: 0 to ln d. Cost: no evaluation. Simple is not true: never rank on this alone.

    Differs from the paper: a feature's score is the signed sum over channels before the absolute value. PnPXAI's number
    of this name is the entropy of the histogram of gray values, which does not see the mass at all.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    category: ClassVar[str] = "complexity"
    reference: ClassVar[str] = "arXiv:2005.00631"

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The entropy `(N,)`, in float64 so that the exact values are exact; absent features add 0."""
        size = piece_scores(explicand, attribution).abs().double()
        entropy: Tensor = torch.special.entr(size / size.sum(1, keepdim=True)).sum(1)
        return entropy.float()
