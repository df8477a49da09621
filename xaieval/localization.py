"""What the localization metrics share: a region to be found, chance, and what is undefined."""

from __future__ import annotations

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand


class Localization(Metric):
    """A value r in [0, 1] of how much of an explanation lies inside a region, shown minus chance: `(r - c) / (1 - c)`.

    Chance c is what an explanation gets that knows nothing, so 0 is chance, 1 the best, and below 0 worse than
    chance. Scores are summed over channels, signed. Subclasses write `found`, and `region` where it is not the mask
    itself.

    Undefined: an empty mask, and a region that covers everything (c = 1).
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

    @final
    def chance(self, explicand: Explicand) -> Tensor:
        """The value c `(N,)` of an explanation that knows nothing: the region's share of the present features."""
        region = self._region(explicand)
        return (
            region.float().mean(1) if explicand.present is None else region.sum(1) / explicand.present.flatten(1).sum(1)
        )

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
        chance = self.chance(explicand)
        return (self._found(explicand, attribution) - chance) / (1 - chance)

    @final
    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = self._reasons(explicand, attribution, units)
        if explicand.mask is not None:
            reasons["mask covers everything"] = self.chance(explicand) == 1
        return reasons

    def nothing(self, scores: Tensor) -> dict[str, Tensor]:
        """Reasons `(N,)` why r is undefined for scores `(N, d)`."""
        return {}

    def _reasons(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        reasons = super().undefined(explicand, attribution, units)
        if explicand.mask is not None:
            reasons["empty mask"] = ~self._region(explicand).any(1)
        return reasons | self.nothing(self._scores(explicand, attribution))

    def _found(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        return self.found(self._scores(explicand, attribution), self._region(explicand))

    def _scores(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        scores, present = explicand.features(attribution), explicand.present
        return (scores if present is None else scores.masked_fill(~present, -torch.inf)).flatten(1)

    def _region(self, explicand: Explicand) -> Tensor:
        mask, present = explicand.mask, explicand.present
        if mask is None:
            raise ValueError(
                f"{type(self).__name__} compares with a mask and the explicand has none: bind the inputs with mask="
            )
        region = self.region(explicand, mask if present is None else mask & present)
        return (region if present is None else region & present).flatten(1)
