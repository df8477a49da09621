"""Monotonicity correlation: whether larger scores stand where the model feels noise more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, pearson, ranks, rounding_of
from xaieval.each_patch import EachPatch
from xaieval.explicand import Explicand
from xaieval.removal import Noise


@dataclass(frozen=True)
class MonotonicityCorrelation(Metric):
    """Spearman correlation of score sizes and squared changes under noise (Nguyen 2020, arXiv 2007.07584).

    Over the patches i of a grid: `rho_i(|a_i|, E_u[(f(x) - f(x with u in patch i))^2])`, `(N,)`, u uniform in [0, 1),
    `a_i` the sum of the patch's scores; for a gradient the root of `E_u[(sum (x - x~) g)^2]` with the perturbed input
    x~. Tied values share their mean rank; values closer than rounding (1e-6 of the largest) are tied. The paper divides
    the changes by f(x)^2, which no rank sees. Exactly 1 for the gradient of a linear model.

    Higher is better. Bounds: -1 to 1. Chance: 0. Blind to sign: a map is as good as its negative. Cost: `samples`
    forwards for each patch, one set for all methods. Undefined where all changes or all predictions are equal.

    Differs from the paper: patches of a grid instead of pixels; a gradient predicts the change itself instead of
    standing for it, since a patch of large gradient and small contrast to the noise changes little.

    Attributes:
        samples: Draws of the noise for each patch.
        grid: Patches per side, at most one per pixel.
        seed: Seed of the noise.

    Raises:
        ValueError: No sample, or a grid with fewer than two patches.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:2007.07584"
    exceptions: ClassVar[dict[str, str]] = {"permuted_beats_negated": "the paper's definition is blind to sign"}
    samples: int = 10
    grid: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.samples < 1:
            raise ValueError(f"MonotonicityCorrelation: samples must be at least 1, got {self.samples}")
        if self.grid < 2:
            raise ValueError(f"MonotonicityCorrelation: a correlation needs a grid of at least 2, got {self.grid}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The correlation `(N,)` over the patches that exist."""
        change, predicted, rounding, present = self._pair(explicand, attribution, units)
        steps = rounding_of(predicted)
        if present is not None:  # the absent come first, which moves the ranks of all others by one number
            change, predicted = (values.masked_fill(~present, -torch.inf) for values in (change, predicted))
        return pearson(ranks(change, rounding), ranks(predicted, steps), present)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        change, predicted, rounding, present = self._pair(explicand, attribution, units)
        return super().undefined(explicand, attribution, units) | {
            "constant response": constant(change, rounding, present),
            "constant prediction": constant(predicted, rounding_of(predicted), present),
        }

    def _pair(
        self, explicand: Explicand, attribution: Tensor, units: str
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Root mean squares of changes and predictions, `(N, P)` each; rounding `(N,)`; which patches exist."""
        draws = EachPatch.of(explicand, self.grid, Noise(self.seed), self.samples)
        response, predicted = explicand.response(draws), explicand.predicted(draws, attribution, units)
        change, predicted = (
            values.double().unflatten(1, (-1, self.samples)).square().mean(2).sqrt()
            for values in (response.change, predicted)
        )
        return change, predicted, response.rounding, explicand.patches(self.grid).present
