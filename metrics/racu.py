"""RACU: the relative area between the faithfulness curves of a method and of random masking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.faithfulness_curve import Areas, FaithfulnessCurve


@dataclass(frozen=True)
class RACU(FaithfulnessCurve):
    """Relative area between curves, for importance without a sign (Madsen 2024, arXiv 2310.07819, section 5).

        RACU = integral (p_R(k) - p_E(k)) dk / integral (p_R(k) - p_R(1)) dk

    over the part k of the pieces that is masked, by the trapezoid rule; p is the performance of the model on all
    samples, where `p_E` masks what the method finds most important and `p_R` any pieces. The denominator is the area
    for a method after whose first pieces nothing is left of the performance. See `FaithfulnessCurve` for how the method
    is asked again at each ratio. A sample's values are its right answers `(N, 2 (ratios + 1))`; `aggregate` makes one
    number of many.

    Higher is better: 0 is random masking, below it worse. Bounds: none. The best on the grid is `reachable`, below 1:
    where random masking lowers the performance linearly, .9 with ten steps. It is no bound, as performance may fall
    below that of an empty input. An affine change of the performance changes nothing. Undefined where random masking
    does not lower the performance by more than its own noise over samples (1.96 standard errors), and for a method with
    signs, whose lowest scores speak for other classes: see ACU. Sentinels have both.

    Cost: `ratios` - 2 explanations and `ratios` - 1 forwards beside the ends; and `seeds` (`ratios` - 1) forwards that
    all methods share. Needs: method.

    Differs from the paper: both texts of a pair are masked where both are present; ties go at random; random masking is
    drawn several times for each sample, not once for each training run; the interval is over samples, not over training
    runs; performance is accuracy.

    Attributes:
        ratios: Steps from the input to nothing left.
        grid: Patches per side of an image.
        removal: What replaces removed features; `zero` is the mask token on texts.
        seed: Seed of ties and random orders.
        seeds: Random orders of each sample.
        budget: Most forwards that one explanation may cost; 0 or None: no limit.

    Raises:
        ValueError: Fewer than two steps, or no random order.
    """

    accepts: ClassVar[tuple[str, ...]] = ("importance",)
    signed: ClassVar[bool] = False
    exceptions: ClassVar[dict[str, str]] = {
        "values": "on three images of a random model random masking is flat",
        "aggregate": "on three images of a random model random masking is flat",
        "seed": "answers are right or wrong, and those of three images hardly depend on ties",
        "exact_beats_permuted": "a map counts for the first ratio only, then the method is asked again",
        "permuted_beats_negated": "a map counts for the first ratio only, then the method is asked again",
    }

    def aggregate(self, values: Tensor) -> float:
        """The relative area of the samples' right answers `(M, 2 (ratios + 1))`; NaN where random masking is flat."""
        areas = Areas.of(values)
        return math.nan if areas.flat else areas.between / areas.span

    def reachable(self, values: Tensor) -> float:
        """The best relative area on this grid: that of a curve at the floor from the first step on."""
        return Areas.of(values).reachable
