"""Mu-fidelity: whether an explanation ranks the effects of removals rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.perturbation import PatchMask
from xaieval.removal import Removal


@dataclass(frozen=True)
class MuFidelity(Metric):
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
        ValueError: Fewer than two samples.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:2005.00631"
    samples: int = 200
    grid: int = 14
    fraction: float = 0.2
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.samples < 2:
            raise ValueError(f"MuFidelity: a correlation needs at least 2 samples, got {self.samples}")

    @property
    def draws(self) -> PatchMask:
        """The perturbation with its parameters, the key of the response."""
        return PatchMask(self.samples, self.seed, self.grid, self.fraction, self.removal)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The correlation `(N,)`."""
        response, predicted = explicand.response(self.draws), explicand.predicted(self.draws, attribution, units)
        first, second = ranks(response.change, response.rounding), ranks(predicted, _rounding(predicted))
        return torch.nn.functional.cosine_similarity(first, second, eps=0).float()

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        response, predicted = explicand.response(self.draws), explicand.predicted(self.draws, attribution, units)
        return super().undefined(explicand, attribution, units) | {
            "constant response": _spread(response.change) <= response.rounding,
            "constant prediction": _spread(predicted) <= _rounding(predicted),
        }


def ranks(values: Tensor, rounding: Tensor) -> Tensor:
    """Ranks `(N, S)` minus their mean in float64; values within an interval `rounding` `(N,)` share their mean rank."""
    values = (values / rounding[:, None]).round()
    ordered = values.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto - values.shape[1]).double() / 2


def _rounding(values: Tensor) -> Tensor:
    return 1e-6 * values.abs().amax(1)


def _spread(values: Tensor) -> Tensor:
    return values.amax(1) - values.amin(1)
