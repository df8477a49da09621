"""Sparseness: the Gini index of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.pieces import piece_count, piece_scores


@dataclass(frozen=True)
class Sparseness(Metric):
    """Gini index of the absolute scores (Chalasani 2020, arXiv 1810.06583).

    `G = sum_i (2 i - d - 1) |a|_(i) / (d sum_i |a|_(i))` with the d present features in ascending order, i from 1.
    Exactly 0 for a constant map and `(d - 1) / d` where a single feature has a score; does not change with the
    scale of a map or the places of its scores. On a text explained by words these are the features, each with the sum
    of its tokens' scores, or the mean of importance.

    Higher is sparser. Bounds: 0 to 1. Cost: no evaluation. Sparse is not true: never rank on this alone.

    Differs from the paper: a feature's score is the signed sum over channels before the absolute value. Nothing is
    added to the denominator (Quantus adds 1e-7, which shrinks maps of small scores).

    Example:
        >>> from xaieval import Classifier
        >>> module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> explicand = Classifier(module).explicand(torch.rand(1, 3, 2, 2))
        >>> Sparseness()(explicand, torch.ones(1, 1, 2, 2)), Sparseness()(explicand, torch.eye(4)[:1].view(1, 1, 2, 2))
        (tensor([0.]), tensor([0.7500]))
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    category: ClassVar[str] = "complexity"
    reference: ClassVar[str] = "arXiv:1810.06583"

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The Gini index `(N,)`, summed in float64 so that the exact values are exact."""
        size = piece_scores(explicand, attribution).abs().sort(dim=1).values.double()
        width, count = size.shape[1], piece_count(explicand)[:, None]
        # Absent features score 0 and so come first: a present feature's place i is counted after them.
        place = torch.arange(1, width + 1, device=size.device) - (width - count)
        gini = ((2 * place - count - 1) * size).sum(1) / (count[:, 0] * size.sum(1))
        return gini.float()
