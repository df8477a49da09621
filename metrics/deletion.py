"""Deletion: how fast the score falls while the highest scores are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaieval.curve_area import CurveArea


@dataclass(frozen=True)
class Deletion(CurveArea):
    """Area below the score while the top patches are removed (Petsiuk 2018, arXiv 1806.07421, "deletion").

    `Del = integral_0^1 f(x without the top t of the patches) dt` by the trapezoid rule, both end points included.
    Patches are ordered by their sums of signed scores. Where the score is additive in the patches, with
    contributions `c_(r)` in the order removed and N steps of one patch, `Del = f(b) + (1/N) sum_r c_(r) (r - 1/2)`,
    `Del + Ins = f(x) + f(b)`, and a random order has mean `(f(x) + f(b)) / 2`.

    Lower is better. Bounds: those of the output, 0 to 1 for a probability, none where normalized. Cost: `steps` - 1
    forwards and the two end points, shared by all methods.

    Differs from the paper: patches of a grid instead of single pixels, since the order of pixels measures a map's
    spatial frequency as much as its truth; black instead of the mean color; ties in random order for each sample
    instead of raster order.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps from the whole input to nothing.
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What replaces removed features.
        seed: Seed of the ties.
        normalize: Take the area of `(p - p_removed) / (p_clean - p_removed)`, which is 1 for the input and 0 for
            nothing left, so that samples of different confidence count alike. Undefined where the clean probability
            is less than .1 above that of nothing left.

    Raises:
        ValueError: An output that does not exist, no step, or another output than the probability to normalize.
    """

    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "arXiv:1806.07421"
    direction: ClassVar[str] = "deletion"
