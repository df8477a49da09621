"""Sensitivity-n: whether an explanation predicts the effects of removals of every size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, pearson, rounding_of
from xaieval.explicand import Explicand
from xaieval.perturbation import PatchMask
from xaieval.removal import Removal


@dataclass(frozen=True)
class SensitivityN(Metric):
    """Pearson correlation of predicted and real changes, mean over subset sizes n (Ancona 2018, arXiv 1711.06104).

    `corr_S(sum_{i in S} a_i, f(x) - f(x without S))` over random subsets S of exactly n patches, for each n alone;
    `.each` gives them all, `(N, sizes)`, which is the paper's plot, and the value their mean `(N,)`. For a gradient
    the prediction is `sum (x - x~) g` with the perturbed input x~. Exactly 1 at every n where f is additive and the map
    holds its contributions against the same removal.

    Higher is better. Bounds: -1 to 1. Chance: 0. Cost: `samples` forwards for each size, one set for all methods; a
    size with the fields of FaithfulnessCorrelation, MuFidelity or Infidelity shares theirs. Undefined where all changes
    or all predictions are equal at some size.

    Differs from the paper: patches of a grid instead of pixels, sizes as parts of them, one number. Quantus removes
    features one after the other in the order of the map, sets all that has gone so far against the last step's scores,
    and correlates across samples, so exact maps of linear models do not get 1.

    Attributes:
        samples: Subsets for each size.
        fractions: Sizes as parts of the patches, each in (0, 1).
        grid: Patches per side.
        removal: What replaces removed features.
        seed: Seed of the draws.

    Raises:
        ValueError: Fewer than two samples, no size, or one outside (0, 1).
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:1711.06104"
    samples: int = 100
    fractions: tuple[float, ...] = (0.05, 0.2, 0.4, 0.6, 0.8)
    grid: int = 14
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options; a list of sizes and a tuple of them are one key."""
        object.__setattr__(self, "fractions", tuple(self.fractions))
        if self.samples < 2:
            raise ValueError(f"SensitivityN: a correlation needs at least 2 samples, got {self.samples}")
        if not self.fractions or not all(0 < fraction < 1 for fraction in self.fractions):
            raise ValueError(f"SensitivityN: fractions must lie in (0, 1), got {self.fractions}")

    @property
    def draws(self) -> tuple[PatchMask, ...]:
        """The perturbation of each size, the keys of the responses."""
        return tuple(PatchMask(self.samples, self.seed, self.grid, part, self.removal) for part in self.fractions)

    def each(self, explicand: Explicand, attribution: Tensor, units: str | None = None) -> Tensor:
        """The correlation at each size, `(N, sizes)`."""
        units = units or explicand.units_of(attribution)
        values = [
            pearson(explicand.response(draws).change, explicand.predicted(draws, attribution, units))
            for draws in self.draws
        ]
        return torch.stack(values, 1)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The mean correlation `(N,)`."""
        return self.each(explicand, attribution, units).mean(1)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        responses = [explicand.response(draws) for draws in self.draws]
        predictions = [explicand.predicted(draws, attribution, units) for draws in self.draws]
        still = [constant(response.change, response.rounding) for response in responses]
        flat = [constant(predicted, rounding_of(predicted)) for predicted in predictions]
        return super().undefined(explicand, attribution, units) | {
            "constant response": torch.stack(still).any(0),
            "constant prediction": torch.stack(flat).any(0),
        }
