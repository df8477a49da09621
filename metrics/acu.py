"""ACU: the area between the faithfulness curves of a method and of random masking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.faithfulness_curve import Areas, FaithfulnessCurve


@dataclass(frozen=True)
class ACU(FaithfulnessCurve):
    """Area between curves, for importance with a sign (Madsen 2024, arXiv 2310.07819, section 5).

        ACU = integral (p_R(k) - p_E(k)) dk

    over the part k of the pieces that is masked, by the trapezoid rule; p is the performance of the model on all
    samples, where `p_E` masks first what speaks most for the class and `p_R` any pieces. It is not divided: what speaks
    against the class is left to the end, so that performance may be lower than that of an empty input, and there is no
    best curve to divide by. See `FaithfulnessCurve` for how the method is asked again at each ratio. A sample's
    values are its right answers `(N, 2 (ratios + 1))`; `aggregate` makes one number of many.

    Higher is better: 0 is random masking, below it worse. Bounds: -1 to 1. Undefined for a method without signs: see
    RACU. Sentinels have both.

    Cost: `ratios` - 2 explanations and `ratios` - 1 forwards beside the ends; and `seeds` (`ratios` - 1) forwards that
    all methods share. Needs: method.

    Differs from the paper: as RACU does.

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

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signed: ClassVar[bool] = True
    exceptions: ClassVar[dict[str, str]] = {
        "seed": "answers are right or wrong, and those of three images hardly depend on ties",
        "exact_beats_permuted": "a map counts for the first ratio only, then the method is asked again",
    }

    def aggregate(self, values: Tensor) -> float:
        """The area of the samples' right answers `(M, 2 (ratios + 1))`."""
        return Areas.of(values).between
