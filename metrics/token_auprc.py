"""Token AUPRC: how well the scores tell the tokens of a rationale from the others, where few belong to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.localization import Detection


@dataclass(frozen=True)
class TokenAuprc(Detection):
    """Average precision of the scores as a detector of the rationale, minus chance (DeYoung 2020, arXiv 1911.03429).

    The area below the steps of precision over recall: with n tokens in descending order of their scores, `(N, C, T)`
    summed over C, and m of them in the rationale, `r = 1/m sum_{i in rationale} P_i`, P_i the share of the rationale
    among the first i. Chance c is its exact mean over all orders,

        c = q + (1 - q) H_n / n,    q = (m - 1) / (n - 1),  H_n = 1 + 1/2 + ... + 1/n,

    above the share m / n, much so for short texts: of one token in ten c = .29. `.raw` gives r, `.chance` c, and the
    value is `(r - c) / (1 - c)`, or r with `above_chance=False` (`metric=token_auprc_raw`), beside which the row of
    the sentinel `constant` shows c. Tied tokens count with the mean over all ways to order them, so that a constant
    map stands at chance exactly.

    On a text explained by words a word is found once: its score is the sum of its tokens', of importance their mean,
    and it belongs to the rationale if any of them does. On images the tokens are pixels and the rationale the mask.

    Higher is better. Bounds: at most 1, for a map that is higher on all of the rationale than elsewhere. Cost: no
    evaluation. Needs: mask. Looks at the order of the scores alone.

    Differs from the paper: its code takes the area by trapezoids, which joins points of precision and recall by lines
    that no threshold reaches and is too high (it also gives average precision, under this name); chance is taken off.
    scikit-learn's `average_precision_score` is the same where no scores tie, and has m / n for a constant map.

    Attributes:
        above_chance: Take chance off.
    """

    reference: ClassVar[str] = "arXiv:1911.03429"

    def expected(self, scores: Tensor | None, region: Tensor, count: Tensor) -> Tensor:
        """The mean over all orders."""
        total = count.double()
        others = (region.sum(1) - 1) / (total - 1).clamp(min=1)
        harmonic = torch.digamma(total + 1) - torch.digamma(torch.ones_like(total))
        return (others + (1 - others) * harmonic / total).float()

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The average precision, its mean over all orders of equal scores.

        At the j-th place of g equal scores, of which p belong to the rationale, one of these stands with probability
        p / g, and then `(j - 1) (p - 1) / (g - 1)` of the others are expected before it.
        """
        ordered, order = scores.sort(dim=1, descending=True)
        before = region.gather(1, order).double().cumsum(1)
        before = torch.nn.functional.pad(before, (1, 0))  # how many of the rationale precede each place
        start, end = (torch.searchsorted(-ordered, -ordered, right=right) for right in (False, True))
        tied, inside = end - start, before.gather(1, end) - before.gather(1, start)
        place = torch.arange(1, scores.shape[1] + 1, device=scores.device)
        others = (place - 1 - start) * (inside - 1) / (tied - 1).clamp(min=1)
        precision = (before.gather(1, start) + 1 + others) / place
        gained = (precision * inside / tied).masked_fill(ordered == -math.inf, 0.0)
        return (gained.sum(1) / region.sum(1)).float()
