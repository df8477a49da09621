"""Decision flip: how little has to be removed until another class is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.removal import Removal


@dataclass(frozen=True)
class DecisionFlip(Metric):
    """Smallest part of the patches whose removal changes the predicted class (Serrano & Smith 2019, arXiv 1906.03731).

    Patches go from the highest sum of scores to the lowest, ties at random; the value `(N,)` is the part gone at the
    first point of the curve where some other class has a larger logit than the explained one, and 1 where that never
    happens. On a linear model of two classes with steps of one patch that is the shortest prefix of the order whose
    contributions exceed the margin.

    Lower is better. Bounds: 0 (never reached) to 1. Cost: `steps` - 1 forwards and the two end points, the curve of
    Deletion with the same fields. Undefined where another class than the explained one is predicted to begin with.

    Differs from the paper: patches of a grid instead of single items (there attention weights), and the curve's
    points only, so the value is known up to one step.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps from the whole input to nothing.
        removal: What replaces removed features.
        seed: Seed of the ties.

    Raises:
        ValueError: No step.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:1906.03731"
    exceptions: ClassVar[dict[str, str]] = dict.fromkeys(
        (
            *("values", "deterministic", "batch_size", "order", "neighbors", "absent", "undefined_maps", "once"),
            *("exact_beats_permuted", "permuted_beats_negated"),
        ),
        "undefined there: the models do not predict the classes explained (tested where they do)",
    )
    grid: int = 14
    steps: int = 14
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.steps < 1:
            raise ValueError(f"DecisionFlip: steps must be at least 1, got {self.steps}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The part `(N,)`."""
        curve = explicand.curve(attribution, self.grid, self.steps, self.removal, "deletion", self.seed)
        return torch.where(curve.scores.margin < 0, curve.fraction, 1.0).amin(1)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        return reasons | {"another class predicted": explicand.clean.margin < 0}
