"""Relevance mass accuracy: how much of the positive score lies on the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.localization import Localization, positive_share


@dataclass(frozen=True)
class RelevanceMass(Localization):
    """Share of the positive score that lies inside the mask, minus chance (Arras 2022, arXiv 2003.07258).

    `r = sum_S a+ / sum a+` with `a+ = max(a, 0)` and S the mask. `.raw` gives r, `.chance` the value c of a uniform
    map, the mask's share of the features; the value is `(r - c) / (1 - c)`.

    The same number has many names. r is the energy-based pointing game where the mask is a box (Wang 2020, arXiv
    1910.01279); the inside-total relevance ratio (Kohlbrenner 2020, arXiv 1910.09840), whose weighted form is
    `AttributionLocalization`; on mosaics, the mask being a class's cell, the localization of the grid pointing game
    (Böhle 2021, arXiv 2104.00032, GridPG) and, the mask being all tiles of the class, the focus (Arias-Duart 2022,
    arXiv 2109.15035).

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask. Undefined without a positive score.

    Differs from the paper: chance is taken off; channels are summed with their signs, then negative scores are
    dropped (the paper compares several poolings). Quantus keeps negative scores, so that its value leaves [0, 1].
    """

    reference: ClassVar[str] = "arXiv:2003.07258"

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The share of the positive score."""
        return positive_share(scores, region)

    def nothing(self, scores: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        return {"no positive score": ~(scores > 0).any(1)}
