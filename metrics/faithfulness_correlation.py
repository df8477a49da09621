"""Faithfulness correlation: whether an explanation predicts the effects of removals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.correlation import pearson
from xaieval.explicand import Response
from xaieval.response_correlation import ResponseCorrelation


@dataclass(frozen=True)
class FaithfulnessCorrelation(ResponseCorrelation):
    """Pearson correlation of predicted and real changes under removed patches (Bhatt 2020, arXiv 2005.00631, mu_F).

    `corr_S(sum_{i in S} a_i, f(x) - f(x without S))`, `(N,)`, over random subsets S of a fixed number of patches. For
    a gradient the prediction is `sum (x - x~) g` with the perturbed input x~. Exactly 1 where f is additive and the
    map holds its contributions against the same removal.

    Higher is better. Bounds: -1 to 1. Chance: 0. Cost: `samples` forwards, one set for all methods and for MuFidelity
    (Spearman) and Infidelity with the same fields. Undefined where all changes or all predictions are equal.

    Differs from the paper: patches of a grid instead of pixels, black instead of a mean; the logit, since a softmax
    bends what is linear (Quantus takes the probability by default, and scales maps before).

    Attributes:
        samples: Draws for each input.
        grid: Patches per side.
        fraction: Part of the patches removed in each draw, in (0, 1); with subsets of varying size any positive map
            would correlate.
        removal: What replaces removed features.
        seed: Seed of the draws.

    Raises:
        ValueError: Fewer than two samples, or a fraction outside (0, 1).
    """

    reference: ClassVar[str] = "arXiv:2005.00631"

    def correlated(self, response: Response, predicted: Tensor) -> Tensor:
        """Pearson's correlation."""
        return pearson(response.change, predicted)
