"""Faithfulness correlation: whether an explanation predicts the effects of removals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, pearson, rounding_of
from xaieval.explicand import Explicand
from xaieval.perturbation import PatchMask
from xaieval.removal import Removal


@dataclass(frozen=True)
class FaithfulnessCorrelation(Metric):
    """Pearson correlation of predicted and real changes under removed patches (Bhatt 2020, arXiv 2005.00631, mu_F).

    `corr_S(sum_{i in S} a_i, f(x) - f(x without S))`, `(N,)`, over random subsets S of a fixed number of patches. For
    a gradient the prediction is `sum (x - x~) g` with the perturbed input x~. Exactly 1 where f is additive and the
    map holds its contributions against the same removal.

    Higher is better. Bounds: -1 to 1. Chance: 0. Cost: `samples` forwards, one set for all methods and for MuFidelity
    (Spearman) and Infidelity with the same fields. Undefined where all changes or all predictions are equal.

    Differs from the paper: patches of a grid instead of pixels, black instead of a mean; the logit, since a softmax
    bends what is linear (Quantus takes the probability by default, and scales maps before).

    Attributes:
        samples: Draws for each input.
        grid: Patches per side.
        fraction: Part of the patches removed in each draw, in (0, 1); with subsets of varying size any positive map
            would correlate.
        removal: What replaces removed features.
        seed: Seed of the draws.

    Raises:
        ValueError: Fewer than two samples, or a fraction outside (0, 1).
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:2005.00631"
    samples: int = 200
    grid: int = 14
    fraction: float = 0.2
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.samples < 2:
            raise ValueError(f"FaithfulnessCorrelation: a correlation needs at least 2 samples, got {self.samples}")
        if not 0 < self.fraction < 1:
            raise ValueError(f"FaithfulnessCorrelation: fraction must lie in (0, 1), got {self.fraction}")

    @property
    def draws(self) -> PatchMask:
        """The perturbation with its parameters, the key of the response."""
        return PatchMask(self.samples, self.seed, self.grid, self.fraction, self.removal)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The correlation `(N,)`."""
        return pearson(explicand.response(self.draws).change, explicand.predicted(self.draws, attribution, units))

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        response, predicted = explicand.response(self.draws), explicand.predicted(self.draws, attribution, units)
        return super().undefined(explicand, attribution, units) | {
            "constant response": constant(response.change, response.rounding),
            "constant prediction": constant(predicted, rounding_of(predicted)),
        }
