"""ROC AUC: how well the scores tell the object from the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.correlation import mean_ranks
from xaieval.localization import Localization


@dataclass(frozen=True)
class RocAuc(Localization):
    """Area below the ROC curve of the scores as a detector of the mask, minus chance (Fawcett 2006).

    Source: DOI 10.1016/j.patrec.2005.10.010, section 7. `r = P(a_i > a_j) + P(a_i = a_j) / 2` for a feature i inside
    and j outside the mask, computed from mean ranks as the Mann-Whitney statistic. Chance is 1/2, whatever the size of
    the mask, so the value is `2 r - 1`: 1 for the mask itself, 0 for a constant map, -1 for the mask's complement.
    `.raw` gives r.

    Higher is better. Bounds: -1 to 1. Cost: no evaluation. Needs: mask. Looks at the order of the scores alone: every
    increasing transform keeps the value.

    Differs from the paper: chance is taken off. Quantus takes absolute scores by default, which counts evidence
    against the class as evidence for it.
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    reference: ClassVar[str] = "10.1016/j.patrec.2005.10.010"

    def expected(self, scores: Tensor | None, region: Tensor, count: Tensor) -> Tensor:
        """One half."""
        return torch.full_like(count, 0.5, dtype=torch.float32)

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The area, in float64 inside: sums of ranks leave float32."""
        absent = (scores == -torch.inf).sum(1, keepdim=True)  # they come first
        rank = mean_ranks(scores) + 1 - absent
        inside = region.sum(1).double()
        outside = scores.shape[1] - absent[:, 0] - inside
        wins = (rank * region).sum(1) - inside * (inside + 1) / 2
        return (wins / (inside * outside)).float()
