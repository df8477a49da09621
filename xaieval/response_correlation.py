"""What mu-fidelity and the faithfulness correlation share: the response that predictions are correlated with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, rounding_of
from xaieval.explicand import Explicand, Response
from xaieval.perturbation import PatchMask
from xaieval.removal import Removal


@dataclass(frozen=True)
class ResponseCorrelation(Metric):
    """A correlation of predicted and real changes under removed patches. Subclasses write `correlated`.

    Attributes:
        samples: Draws for each input.
        grid: Patches per side.
        fraction: Part of the patches removed in each draw, in (0, 1).
        removal: What replaces removed features.
        seed: Seed of the draws.

    Raises:
        ValueError: Fewer than two samples, or a fraction outside (0, 1).
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    samples: int = 200
    grid: int = 14
    fraction: float = 0.2
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        name = type(self).__name__
        if self.samples < 2:
            raise ValueError(f"{name}: a correlation needs at least 2 samples, got {self.samples}")
        if not 0 < self.fraction < 1:
            raise ValueError(f"{name}: fraction must lie in (0, 1), got {self.fraction}")

    def correlated(self, response: Response, predicted: Tensor) -> Tensor:
        """The correlation `(N,)` of a response and the changes `(N, samples)` that an attribution predicts."""
        raise NotImplementedError

    @property
    def draws(self) -> PatchMask:
        """The perturbation with its parameters, the key of the response."""
        return PatchMask(self.samples, self.seed, self.grid, self.fraction, self.removal)

    @final
    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The correlation `(N,)`."""
        predicted = explicand.predicted(self.draws, attribution, units)
        return self.correlated(explicand.response(self.draws), predicted)

    @final
    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        response, predicted = explicand.response(self.draws), explicand.predicted(self.draws, attribution, units)
        return super().undefined(explicand, attribution, units) | {
            "constant response": constant(response.change, response.rounding),
            "constant prediction": constant(predicted, rounding_of(predicted)),
        }
