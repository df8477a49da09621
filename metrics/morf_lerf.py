"""MoRF and LeRF: how much longer the score lasts when the lowest scores are removed first than the highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.curve_area import CurveMetric, drop_bounds
from xaieval.explicand import Explicand


@dataclass(frozen=True)
class MorfLerf(CurveMetric):
    """Area between the LeRF and the MoRF curve (ABPC; Samek 2017, arXiv 1509.06321).

    `integral_0^1 (f(x without the lowest t of the patches) - f(x without the top t)) dt` by the trapezoid rule, `(N,)`;
    LeRF is least relevant first, MoRF most relevant first. What LeRF leaves after t is what an insertion has put back
    after 1 - t, ties included, so the value is the area of Insertion minus that of Deletion under one removal, and
    what both say of the removal alone cancels.

    Where the score is additive in the patches, with contributions `c_(r)` from the highest score to the lowest and N
    steps of one patch, the value is `1/N sum_r c_(r) (N + 1 - 2 r)`. A random order has mean 0 on any model, and the
    negated map the negative of the value.

    Higher is better. Bounds: -1 to 1 for a probability, else none. Cost: twice `steps` - 1 forwards and the two end
    points: the curves of Deletion and Insertion with the same fields.

    Differs from the paper: it plots both curves for regions of 9 x 9 pixels and takes the area over each; here
    patches of a grid, black instead of uniform noise (`removal=noise`), the probability.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps from the whole input to nothing.
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
        """The area between the curves `(N,)`."""
        lerf, morf = (self.curve(explicand, attribution, direction) for direction in ("insertion", "deletion"))
        return lerf.area(self.output) - morf.area(self.output)
