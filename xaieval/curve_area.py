"""What metrics of curves share: the options, and the area below a curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.curve import Curve
from xaieval.explicand import Explicand
from xaieval.removal import Removal
from xaieval.scores import NAMES

LOW = 0.1
"""Smallest probability by which a curve may be divided: below it, rounding and chance decide the quotient."""


def check_output(owner: str, output: str) -> None:
    """Check the form of the score.

    Raises:
        ValueError: There is no such form.
    """
    if output not in NAMES:
        raise ValueError(f"{owner}: output must be one of {', '.join(NAMES)}, got {output!r}")


def drop_bounds(output: str) -> tuple[float, float]:
    """Smallest and largest difference of two scores."""
    return (-1.0, 1.0) if output == "probability" else (-math.inf, math.inf)


@dataclass(frozen=True)
class CurveMetric(Metric):
    """A value read from the curve of the score while patches are removed, or put back, in the order of an explanation.

    Patches are ordered by their sums of signed scores, ties at random.

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
    grid: int = 14
    steps: int = 14
    output: str = "probability"
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_output(type(self).__name__, self.output)
        if self.steps < 1:
            raise ValueError(f"{type(self).__name__}: steps must be at least 1, got {self.steps}")

    @final
    def curve(self, explicand: Explicand, attribution: Tensor, direction: str) -> Curve:
        """The curve of a direction, `deletion` or `insertion`; one for all metrics with the same fields."""
        return explicand.curve(attribution, self.grid, self.steps, self.removal, direction, self.seed)


@dataclass(frozen=True)
class CurveArea(CurveMetric):
    """Area below the score while patches are removed or put back in the order of an explanation.

    `integral_0^1 f dt` by the trapezoid rule, both end points included, t the part of the patches.

    Attributes:
        normalize: Take the area of `(p - p_removed) / (p_clean - p_removed)`, 1 for the input and 0 for nothing left.
    """

    direction: ClassVar[str]
    normalize: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.normalize and self.output != "probability":
            raise ValueError(f"{type(self).__name__}: normalize needs the output probability, got {self.output!r}")

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of the output; a normalized probability may leave 0 to 1."""
        return (0.0, 1.0) if self.output == "probability" and not self.normalize else (-math.inf, math.inf)

    @final
    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The area `(N,)`."""
        area = self.curve(explicand, attribution, self.direction).area(self.output)
        if not self.normalize:
            return area
        floor = explicand.removed(self.removal).probability
        return (area - floor) / (explicand.clean.probability - floor)

    @final
    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if self.normalize:
            drop = explicand.clean.probability - explicand.removed(self.removal).probability
            reasons["low clean probability"] = drop < LOW
        return reasons
