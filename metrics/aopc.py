"""AOPC: how far the score falls on average while the highest scores are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.curve_area import CurveMetric, drop_bounds
from xaieval.explicand import Explicand


@dataclass(frozen=True)
class AOPC(CurveMetric):
    """Area over the perturbation curve, the top patches removed first (Samek 2017, arXiv 1509.06321).

    `AOPC = 1/(L+1) sum_{k=0..L} (f(x) - f(x^(k)))` with `x^(k)` the input after k of L steps, the last of which leaves
    nothing; the value is `(N,)`. `f(x) - AOPC` is the mean of the points of the deletion curve. Where the score is
    additive in the patches, with contributions `c_(r)` in the order removed and steps of one patch, `AOPC =
    1/(L+1) sum_r c_(r) (L - r + 1)`; a random order has mean `(f(x) - f(b)) / 2`. A step at which no patch goes, as a
    short text has, counts for nothing.

    Higher is better. Bounds: -1 to 1 for a probability, else none. Cost: `steps` - 1 forwards and the two end points,
    the curve of Deletion with the same fields. 0 where nothing changes the score.

    Differs from the paper: patches of a grid until nothing is left instead of 100 regions of 9 x 9 pixels; they are
    replaced by black, not by uniform noise (`removal=noise`); the probability. Quantus' region perturbation gives the
    curve of drops and calls lower better.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps L from the whole input to nothing.
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What replaces removed features.
        seed: Seed of the ties.

    Raises:
        ValueError: An output that does not exist, or no step.
    """

    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "arXiv:1509.06321"

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of a difference of two scores."""
        return drop_bounds(self.output)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The mean drop `(N,)`, from drops: a difference of means would cancel."""
        curve = self.curve(explicand, attribution, "deletion")
        scores = curve.scores.of(self.output)
        return ((scores[:, :1] - scores) * curve.apart).sum(1) / curve.apart.sum(1)
