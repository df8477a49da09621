"""Mu-fidelity: whether an explanation ranks the effects of removals rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.correlation import pearson, ranks, rounding_of
from xaieval.explicand import Response
from xaieval.response_correlation import ResponseCorrelation


@dataclass(frozen=True)
class MuFidelity(ResponseCorrelation):
    """Rank correlation of predicted and real changes under removed patches (Bhatt 2020, arXiv 2005.00631, mu_F).

    Spearman's rho. With D = f(x) - f(x~) and P what the attribution predicts for it (`sum (x - x~) g` for a
    gradient, the sum of the removed scores otherwise), over draws that remove a fixed number of patches: the
    Pearson correlation of their ranks, tied values sharing their mean rank. Values closer than rounding (1e-6 of
    the largest) are tied.

    Higher is better. Bounds: -1 to 1. Cost: `samples` forwards, one set for all methods and for Infidelity with the
    same fields. Undefined where all changes or all predictions are equal.

    Differs from the paper: ranks instead of values, and patches of a grid, as in Xplique (there 9 x 9), with 14 x
    14 patches, so that Infidelity shares the draws.

    Attributes:
        samples: Draws for each input.
        grid: Patches per side.
        fraction: Part of the patches removed in each draw, in (0, 1).
        removal: What replaces removed features.
        seed: Seed of the draws.

    Raises:
        ValueError: Fewer than two samples, or a fraction outside (0, 1).
    """

    reference: ClassVar[str] = "arXiv:2005.00631"

    def correlated(self, response: Response, predicted: Tensor) -> Tensor:
        """Pearson's correlation of the ranks."""
        return pearson(ranks(response.change, response.rounding), ranks(predicted, rounding_of(predicted)))
