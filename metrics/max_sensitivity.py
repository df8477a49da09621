"""Max-sensitivity: how far an explanation moves when the input hardly does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand

REDUCTIONS = ("max", "mean")


@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """Largest change of an explanation in a small ball around the input (Yeh 2019, arXiv 1901.09392, SENS_MAX).

    `max_j ||a(y_j) - a(x)|| / ||a(x)||` in L2 over channels and present features, `y_j` uniform in the L-infinity
    ball of `radius` around x, not clipped to pixels, and the explained class that of x. The maximum over draws is a
    lower bound of the true one and grows with `copies`: compare at equal numbers only. `reduction="mean"` gives the
    average sensitivity.

    A method's own random draws and designs are fresh in every copy, so what it changes by chance counts;
    `common_draws` holds them.

    Lower is better, and 0 is reached by any explanation that ignores the input. Bounds: at least 0. Cost: `copies`
    times that of the method. Needs: method. Undefined for a zero map, and `skipped: cost` over the budget.

    Differs from the paper: divided by the norm of the explanation, as in the authors' code; radius .02 and 10
    copies are Captum's, the paper has .2 and 50.

    Attributes:
        copies: Perturbed copies of each input.
        radius: Largest change of a pixel, in pixel units.
        reduction: max or mean over the copies.
        relative: Divide by the norm of the explanation.
        common_draws: Explain the copies with the draws of the original.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the copies.

    Raises:
        ValueError: A reduction that does not exist, or no copy.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    category: ClassVar[str] = "robustness"
    needs: ClassVar[tuple[str, ...]] = ("method",)
    reference: ClassVar[str] = "arXiv:1901.09392"
    copies: int = 10
    radius: float = 0.02
    reduction: str = "max"
    relative: bool = True
    common_draws: bool = False
    budget: int | None = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.reduction not in REDUCTIONS:
            raise ValueError(
                f"MaxSensitivity: reduction must be one of {', '.join(REDUCTIONS)}, got {self.reduction!r}"
            )
        if self.copies < 1:
            raise ValueError(f"MaxSensitivity: copies must be at least 1, got {self.copies}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The largest or mean change `(N,)`."""
        if method is None or self._too_costly(explicand, attribution):
            return attribution.new_full((explicand.count,), torch.nan)
        present = None if explicand.present is None else explicand.present[:, None]
        moved = attribution.new_empty(explicand.count, self.copies)
        for batch in explicand.batches(self.copies):
            noise = self.radius * (2 * batch.uniform("max sensitivity", self.seed) - 1)
            again = method(batch.copies(batch.restore(batch.inputs + noise), self.common_draws))
            batch.write(moved, _norm(again - batch.of(attribution), None if present is None else batch.of(present)))
        change = moved.amax(1) if self.reduction == "max" else moved.mean(1)
        return change / _norm(attribution, present) if self.relative else change

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if self._too_costly(explicand, attribution):
            reasons["skipped: cost"] = torch.ones_like(explicand.target, dtype=torch.bool)
        return reasons

    def _too_costly(self, explicand: Explicand, attribution: Tensor) -> bool:
        evaluations = explicand.evaluations_of(attribution)
        return bool(self.budget) and evaluations is not None and evaluations > (self.budget or 0)


def _norm(maps: Tensor, present: Tensor | None) -> Tensor:
    """L2 norm `(n,)` over channels and present features."""
    length: Tensor = torch.linalg.vector_norm((maps if present is None else maps * present).flatten(1), dim=1)
    return length
