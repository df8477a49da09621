"""What deletion and insertion share: the area below a curve, its options and its bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.removal import Removal
from xaieval.scores import NAMES


@dataclass(frozen=True)
class CurveArea(Metric):
    """Area below the score while patches are removed or put back in the order of an explanation.

    `integral_0^1 f dt` by the trapezoid rule, both end points included, t the part of the patches. Patches are ordered
    by their sums of signed scores, ties at random.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps from the first end of the curve to the other.
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What stands where a patch is removed, or has not been put back.
        seed: Seed of the ties.

    Raises:
        ValueError: An output that does not exist, or no step.
    """

    category: ClassVar[str] = "faithfulness"
    direction: ClassVar[str]
    grid: int = 14
    steps: int = 14
    output: str = "probability"
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        name = type(self).__name__
        if self.output not in NAMES:
            raise ValueError(f"{name}: output must be one of {', '.join(NAMES)}, got {self.output!r}")
        if self.steps < 1:
            raise ValueError(f"{name}: steps must be at least 1, got {self.steps}")

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of the output."""
        return (0.0, 1.0) if self.output == "probability" else (-math.inf, math.inf)

    @final
    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The area `(N,)`."""
        curve = explicand.curve(attribution, self.grid, self.steps, self.removal, self.direction, self.seed)
        return curve.area(self.output)
