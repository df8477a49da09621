"""IROF: how fast the score falls while the superpixels with the highest mean scores are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.curve_area import LOW
from xaieval.explicand import Explicand
from xaieval.removal import Removal
from xaieval.segments import SEGMENTS, check_segments


@dataclass(frozen=True)
class IROF(Metric):
    """Area over the score's part that is left while segments are removed (Rieger & Hansen 2020, arXiv 2003.08747).

    `IROF = integral_0^1 (1 - p(x without the top t of the segments) / p(x)) dt`, `(N,)`, by the trapezoid rule with one
    step a segment from the whole input to nothing, p the probability: the paper's area over the curve divided by the
    number of segments, so that an image with more of them scores no higher. Segments are ordered by the means of
    their signed scores, ties at random. Where the probability is additive in the segments, with contributions `c_(r)`
    in the order removed, it is `1/L sum_r c_(r) (L - r + 1/2) / p(x)`.

    Higher is better. Bounds: -9 to 1; below 0 where the score rises. Cost: a forward for each segment that a sample
    may have and for the input. Undefined where the clean probability is below .1. 0 where nothing changes the score.

    Differs from the paper: divided by the number of segments; black instead of the mean color (`removal=mean`); fewer
    and larger superpixels. Quantus leaves the whole input out of the curve and does not divide, and so gives a constant
    model 1.

    Attributes:
        segments: slic (superpixels) or grid.
        grid: SLIC cuts the square of it at most; patches per side.
        removal: What replaces a segment.
        seed: Seed of the ties.

    Raises:
        ValueError: Segments that do not exist.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (1 - 1 / LOW, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:2003.08747"
    exceptions: ClassVar[dict[str, str]] = {
        "exact_beats_permuted": "undefined there: the clean probability is below .1 (tested where it is not)",
        "permuted_beats_negated": "undefined there: the clean probability is below .1 (tested where it is not)",
    }
    segments: str = "slic"
    grid: int = 7
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the kind of segments."""
        check_segments("IROF", self.segments)

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """SLIC needs the host."""
        return SEGMENTS[self.segments]

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The area `(N,)`, from drops, so that a score that never falls gives exactly 0."""
        curve = explicand.curve(
            attribution, self.grid, self.grid**2, self.removal, "deletion", self.seed, self.segments
        )
        clean = explicand.clean.probability
        drops = clean[:, None] - curve.scores.probability
        return torch.trapezoid(drops, curve.fraction, dim=1) / clean

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        return reasons | {"low clean probability": explicand.clean.probability < LOW}
