"""Token F1: how well the top tokens match a rationale, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.localization import Detection, check_fraction, size_of, top_share


@dataclass(frozen=True)
class TokenF1(Detection):
    """F1 of the k top tokens against the rationale, minus chance (DeYoung 2020, arXiv 1911.03429, section 4.1).

    With B the k tokens of highest score, `(N, C, T)` summed over C, and S the m tokens of the rationale,

        r = 2 |B and S| / (k + m),    c = 2 k m / (n (k + m)),

    c its mean over random orders of the n tokens. `.raw` gives r, `.chance` c, and the value is `(r - c) / (1 - c)`, or
    r with `above_chance=False`. The paper scores rationales that are chosen outright, and of a method that gives scores
    takes as many tokens as people chose on average in the dataset: that is `fraction`, their mean share of a text.
    By default k = m, the size of each sample's own rationale, so that the best value is 1 in every dataset; precision,
    recall and F1 are then one number, that of RelevanceRank.

    On a text explained by words a word is found once: its score is the sum of its tokens', of importance their mean,
    and it belongs to the rationale if any of them does. On images the tokens are pixels and the rationale the mask.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask.

    Differs from the paper: chance is taken off; the mean is over samples (its macro average); ties at the k-th place
    count with the mean over all ways to break them, so that a constant map stands at chance exactly.

    Attributes:
        fraction: Part of the present tokens that are chosen, rounded up, in (0, 1); None: as many as the rationale has.
        above_chance: Take chance off.

    Raises:
        ValueError: A fraction outside (0, 1).
    """

    reference: ClassVar[str] = "arXiv:1911.03429"
    fraction: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        check_fraction("TokenF1", self.fraction)

    def expected(self, scores: Tensor | None, region: Tensor, count: Tensor) -> Tensor:
        """The mean over all orders."""
        inside = region.sum(1)
        if self.fraction is None:
            return inside / count
        size = (self.fraction * count.double() - 1e-9).ceil()
        return (2 * size * inside / (count * (size + inside))).float()

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The expected F1 over random breaks of ties."""
        size = size_of(scores, region, self.fraction)
        return 2 * size[:, 0] * top_share(scores, region, size) / (size[:, 0] + region.sum(1))
