"""Relevance rank accuracy: how many of the highest scores lie on the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.localization import Localization, top_share


@dataclass(frozen=True)
class RelevanceRank(Localization):
    """Share of the K top scores that lie inside a mask of K features, minus chance (Arras 2022, arXiv 2003.07258).

    `r = |top-K(a) inside S| / K` with `K = |S|` of each sample. `.raw` gives r, `.chance` its mean c over random
    orders, K as a share of the features; the value is `(r - c) / (1 - c)`.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask.

    Differs from the paper: chance is taken off; ties at the K-th place count with the mean over all ways to break
    them, so that a constant map stands at chance exactly.
    """

    reference: ClassVar[str] = "arXiv:2003.07258"

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The expected share of the top K inside, over random breaks of ties."""
        return top_share(scores, region, region.sum(1, keepdim=True))
