"""Mu-fidelity: whether an explanation ranks the effects of removals rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, pearson, ranks, rounding_of
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
        return pearson(ranks(response.change, response.rounding), ranks(predicted, rounding_of(predicted)))

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        response, predicted = explicand.response(self.draws), explicand.predicted(self.draws, attribution, units)
        return super().undefined(explicand, attribution, units) | {
            "constant response": constant(response.change, response.rounding),
            "constant prediction": constant(predicted, rounding_of(predicted)),
        }
