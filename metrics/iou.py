"""Intersection over union: how well the object and the part of the image with high scores match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.localization import Localization, top_hits

THRESHOLDS = ("area", "maximum", "mean")


@dataclass(frozen=True)
class Iou(Localization):
    """`|B and S| / |B or S|` of the mask S and the features B with high scores, minus chance (Zhou 2016).

    B, by `threshold`: `area`, the |S| top scores, so that B and S have equal size; `maximum`, scores of at least
    `factor` times the largest; `mean`, scores of at least `factor` times the mean of `max(a, 0)`. `.raw` gives r,
    `.chance` its mean c over random places of the same scores, exactly (the overlap is hypergeometric); the value is
    `(r - c) / (1 - c)`. The default is a function of RelevanceRank's share q of the top |S| inside, `q / (2 - q)`.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask. Undefined without a positive score where the
    threshold is a part of the maximum or of the mean.

    Differs from the paper (arXiv 1512.04150, section 3): that thresholds at 20 % of the maximum and compares the
    bounding box of the largest connected part with the object's box; here features are compared. Chance is taken off.
    Ties at the |S|-th place count with the mean over all ways to break them, so that a constant map stands at chance.

    Attributes:
        threshold: area, maximum or mean.
        factor: Part of the maximum, in (0, 1], or multiple of the mean.

    Raises:
        ValueError: A threshold that does not exist, or a factor that leaves nothing or everything.
    """

    reference: ClassVar[str] = "arXiv:1512.04150"
    threshold: str = "area"
    factor: float = 0.2

    def __post_init__(self) -> None:
        """Check the options."""
        if self.threshold not in THRESHOLDS:
            raise ValueError(f"Iou: threshold must be one of {', '.join(THRESHOLDS)}, got {self.threshold!r}")
        if self.factor <= 0 or (self.factor > 1 and self.threshold == "maximum"):
            raise ValueError(f"Iou: factor is a part of the maximum, in (0, 1], or positive, got {self.factor}")

    def expected(self, scores: Tensor | None, region: Tensor, count: Tensor) -> Tensor:
        """The mean over random places of as many features as B has.

        Raises:
            ValueError: Chance depends on the explanation and none is given.
        """
        size = region.sum(1)
        if self.threshold != "area" and scores is None:
            raise ValueError(f"Iou: with threshold={self.threshold!r} chance depends on the map: give the attribution")
        chosen = size if self.threshold == "area" or scores is None else self._high(scores).sum(1)
        return _mean_iou(count, size, chosen, torch.zeros_like(size), size + chosen, region.shape[1])

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The value, with ties at the last place its mean over their breaks."""
        size = region.sum(1)
        if self.threshold != "area":
            high = self._high(scores)
            return (high & region).sum(1) / (high | region).sum(1)
        hits, places, tied, inside = top_hits(scores, region, size[:, None])
        return _mean_iou(tied, inside, places, hits, 2 * size, region.shape[1])

    def nothing(self, scores: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        return {} if self.threshold == "area" else {"no positive score": ~(scores > 0).any(1)}

    def _high(self, scores: Tensor) -> Tensor:
        """The features B `(N, d)` for a part of the maximum or of the mean."""
        if self.threshold == "maximum":
            level = scores.amax(1, keepdim=True)
        else:
            level = scores.clamp(min=0).sum(1, keepdim=True) / (scores != -torch.inf).sum(1, keepdim=True)
        return scores >= self.factor * level


def _mean_iou(total: Tensor, inside: Tensor, drawn: Tensor, hits: Tensor, both: Tensor, most: int) -> Tensor:
    """Mean `(N,)` of `(hits + X) / (both - hits - X)`, X of `drawn` from `total` of which `inside` hit; all `(N,)`.

    `both` is |B| + |S|, and `most` an upper bound of `total`.
    """
    overlap = torch.arange(most + 1, device=total.device)
    total, inside, drawn, hits, both = (values[:, None] for values in (total, inside, drawn, hits, both))
    logs = torch.lgamma(overlap.double() + 1)  # of factorials

    def choose(number: Tensor, chosen: Tensor) -> Tensor:
        number, chosen, rest = (values.clamp(0, most) for values in (number, chosen, number - chosen))
        return logs[number] - logs[chosen] - logs[rest]

    possible = (overlap <= inside) & (overlap <= drawn) & (drawn - overlap <= total - inside)
    weight = (choose(inside, overlap) + choose(total - inside, drawn - overlap) - choose(total, drawn)).exp() * possible
    value = (hits + overlap) / (both - hits - overlap).clamp(min=1)
    return ((weight * value).sum(1) / weight.sum(1)).float()
