"""What the localization metrics share: a region to be found, chance, and what is undefined."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.pieces import piece_count, piece_scores, pieces_present


class Localization(Metric):
    """A value r of how much of an explanation lies inside a region, shown minus chance: `(r - c) / (1 - c)`.

    Chance c is what an explanation gets that knows nothing, so 0 is chance, 1 the best, and below 0 worse than
    chance. Scores are summed over channels, signed. Subclasses write `found`; `region` where it is not the mask
    itself, `expected` where chance is not its share of the features.

    Where the explicand has groups, as a text explained by words, these are what is found: d counts groups. A group's
    score is the sum of its features', of importance their mean, and it lies inside the region if any feature does.

    Undefined: an empty mask, and a region that covers everything, so that nothing can lie outside.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-math.inf, 1.0)
    category: ClassVar[str] = "localization"
    needs: ClassVar[tuple[str, ...]] = ("mask",)

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The value r `(N,)` of scores `(N, d)`, -inf at absent features, for the region `(N, d)`."""
        raise NotImplementedError

    def region(self, explicand: Explicand, mask: Tensor) -> Tensor:
        """Where to look for the explanation, `(N, *F)`, given the mask `(N, *F)`."""
        return mask

    def expected(self, scores: Tensor | None, region: Tensor, count: Tensor) -> Tensor:
        """The value c `(N,)` of an explanation that knows nothing: the region's share of the present features.

        Args:
            scores: `(N, d)`, where chance depends on the explanation and one is given.
            region: `(N, d)`.
            count: Number of present features `(N,)`.
        """
        return region.sum(1) / count

    def above(self, found: Tensor, chance: Tensor) -> Tensor:
        """How r `(N,)` stands to chance c `(N,)`."""
        return (found - chance) / (1 - chance)

    def value(self, explicand: Explicand, scores: Tensor, region: Tensor) -> Tensor:
        """The value r `(N,)`; to be written in place of `found` by a metric that draws."""
        return self.found(scores, region)

    def guessed(self, explicand: Explicand, scores: Tensor | None, region: Tensor) -> Tensor:
        """The value c `(N,)`; to be written in place of `expected` by a metric that draws."""
        return self.expected(scores, region, piece_count(explicand))

    @final
    def chance(self, explicand: Explicand, attribution: Tensor | None = None) -> Tensor:
        """The value c `(N,)` of an explanation that knows nothing.

        Args:
            explicand: What was explained.
            attribution: The explanation, for metrics whose chance depends on it.
        """
        scores = None if attribution is None else self._scores(explicand, attribution)
        return self.guessed(explicand, scores, self._region(explicand))

    @final
    def raw(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        """The value r `(N,)` before chance is taken off, NaN where it is undefined."""
        values = self._found(explicand, attribution)
        for where in self._reasons(explicand, attribution, "importance").values():
            values = values.masked_fill(where, torch.nan)
        return values

    @final
    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value minus chance `(N,)`."""
        return self.above(self._found(explicand, attribution), self.chance(explicand, attribution)).float()

    @final
    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = self._reasons(explicand, attribution, units)
        if explicand.mask is not None:
            reasons["mask covers everything"] = self._region(explicand).sum(1) == piece_count(explicand)
            reasons |= self.excluded(explicand)
        return reasons

    def excluded(self, explicand: Explicand) -> dict[str, Tensor]:
        """Reasons `(N,)` why a sample with a mask is left out whatever the explanation."""
        return {}

    def nothing(self, scores: Tensor) -> dict[str, Tensor]:
        """Reasons `(N,)` why r is undefined for scores `(N, d)`."""
        return {}

    def _reasons(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        reasons = super().undefined(explicand, attribution, units)
        if explicand.mask is not None:
            reasons["empty mask"] = ~self._region(explicand).any(1)
        return reasons | self.nothing(self._scores(explicand, attribution))

    def _found(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        return self.value(explicand, self._scores(explicand, attribution), self._region(explicand))

    def _scores(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        scores, present = piece_scores(explicand, attribution), pieces_present(explicand)
        return scores if present is None else scores.masked_fill(~present, -torch.inf)

    def _region(self, explicand: Explicand) -> Tensor:
        mask, present = explicand.mask, explicand.present
        if mask is None:
            raise ValueError(
                f"{type(self).__name__} compares with a mask and the explicand has none: bind the inputs with mask="
            )
        region = self.region(explicand, mask if present is None else mask & present)
        region = region if present is None else region & present
        return region.flatten(1) if explicand.groups is None else explicand.groups.sum(region.float()) > 0


@dataclass(frozen=True)
class Detection(Localization):
    """Localization by a number that people also read as it is, such as an area below a curve.

    Attributes:
        above_chance: Take chance off; else the value is r, and what stands at chance is seen in the row of `constant`,
            a sentinel that knows nothing.
    """

    above_chance: bool = field(default=True, kw_only=True)

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of r, or at most 1."""
        return (-math.inf if self.above_chance else 0.0, 1.0)

    @final
    def above(self, found: Tensor, chance: Tensor) -> Tensor:
        """The value above chance, or as it is."""
        return super().above(found, chance) if self.above_chance else found


def positive_share(scores: Tensor, region: Tensor) -> Tensor:
    """Share of the positive scores `(N, d)` inside the region, `(N,)`."""
    positive = scores.clamp(min=0)
    return (positive * region).sum(1) / positive.sum(1)


def part_of(scores: Tensor, fraction: float) -> Tensor:
    """A fraction of the number of present features `(N, 1)`, rounded up, of scores `(N, d)`, -inf at absent ones."""
    count = (scores != -torch.inf).sum(1, keepdim=True)
    return (fraction * count.double() - 1e-9).ceil().long()  # .07 x 100 is above 7 in floating point


def size_of(scores: Tensor, region: Tensor, fraction: float | None) -> Tensor:
    """How many features are chosen `(N, 1)`: as many as the region has, or a fraction of them."""
    return region.sum(1, keepdim=True) if fraction is None else part_of(scores, fraction)


def check_fraction(owner: str, fraction: float | None) -> None:
    """Check a part of the features.

    Raises:
        ValueError: It lies outside (0, 1).
    """
    if fraction is not None and not 0 < fraction < 1:
        raise ValueError(f"{owner}: fraction is a part of the features, in (0, 1), got {fraction}")


def top_share(scores: Tensor, region: Tensor, size: Tensor) -> Tensor:
    """Share of the top `size` `(N, 1)` of the scores `(N, d)` inside the region, its mean over all breaks of ties."""
    hits, places, tied, inside = top_hits(scores, region, size)
    return (hits + places * (inside / tied)) / size[:, 0]


def top_hits(scores: Tensor, region: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How the top `size` `(N, 1)` of the scores `(N, d)` lie to the region, four numbers `(N,)`.

    Those above the last place that lie inside; the places left for the scores that tie there; how many tie; and how
    many of these lie inside.
    """
    last = scores.sort(dim=1, descending=True).values.gather(1, (size - 1).clamp(min=0))
    above, tied = scores > last, scores == last
    return (above & region).sum(1), size[:, 0] - above.sum(1), tied.sum(1), (tied & region).sum(1)
