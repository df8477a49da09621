"""Comprehensiveness: how much of the score goes with the top features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaieval.rationale import Rationale


@dataclass(frozen=True)
class Comprehensiveness(Rationale):
    """Mean drop of the score without the top patches (ERASER; DeYoung 2020, arXiv 1911.03429).

    `1/K sum_k (f(x) - f(x without the top fraction k))`, `(N,)`, over K fractions, each as the nearest number of
    patches (a half to the even one) and at least one: of a text of 9 tokens or words 1, 5, 10, 20 and 50 % are 1, 1, 1,
    2 and 4. Patches are ordered by their sums of signed scores, ties at random. Where the score is additive in the
    patches it is the mean of the contributions' sums over the top fractions, and comprehensiveness and sufficiency add
    up to `f(x) - f(b)`.

    Higher is better. Bounds: -1 to 1 for a probability, else none. Cost: a forward for each fraction and the two end
    points of a curve, shared by all methods. 0 where nothing changes the score.

    Differs from the paper: patches are replaced, by black or the mask token, where tokens are deleted
    (`removal=deletion`); the mean is over the fractions, as in the authors' code (the formula divides by one more, with
    a term of 0 for the whole input), which leaves to the user how many tokens a fraction is.

    Attributes:
        grid: Patches per side, at most one per pixel.
        fractions: Top fractions of the patches, each in (0, 1).
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What replaces removed features.
        seed: Seed of the ties.

    Raises:
        ValueError: An output that does not exist, no fraction, or one outside (0, 1).
    """

    higher_is_better: ClassVar[bool] = True
    direction: ClassVar[str] = "deletion"
