"""Insertion: how fast the score rises while the highest scores are put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaieval.curve_area import CurveArea


@dataclass(frozen=True)
class Insertion(CurveArea):
    """Area below the score while the top patches are put back (Petsiuk 2018, arXiv 1806.07421, "insertion").

    `Ins = integral_0^1 f(the top t of the patches) dt` by the trapezoid rule, both end points included. Patches are
    ordered by their sums of signed scores. Where the score is additive in the patches, with contributions `c_(r)`
    in the order restored and N steps of one patch, `Ins = f(b) + (1/N) sum_r c_(r) (N - r + 1/2)`, `Del + Ins =
    f(x) + f(b)`, and a random order has mean `(f(x) + f(b)) / 2`.

    Higher is better. Bounds: those of the output, 0 to 1 for a probability, none where normalized. Cost: `steps` - 1
    forwards and the two end points, shared by all methods.

    Differs from the paper: patches of a grid instead of single pixels, since the order of pixels measures a map's
    spatial frequency as much as its truth; starts from black, not from a blurred input, which shows much of the
    object (`removal=blur` does); ties in random order for each sample instead of raster order.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps from nothing to the whole input.
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What stands where nothing has been put back.
        seed: Seed of the ties.
        normalize: Take the area of `(p - p_removed) / (p_clean - p_removed)`, which is 1 for the input and 0 for
            nothing left, so that samples of different confidence count alike. Undefined where the clean probability
            is less than .1 above that of nothing left.

    Raises:
        ValueError: An output that does not exist, no step, or another output than the probability to normalize.
    """

    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "arXiv:1806.07421"
    direction: ClassVar[str] = "insertion"
