"""Effective complexity: how much of the image has to be kept so that the score hardly changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.curve_area import check_output
from xaieval.explicand import Explicand
from xaieval.removal import Removal


@dataclass(frozen=True)
class EffectiveComplexity(Metric):
    """Smallest part of the patches that keeps the score, most important first (Nguyen 2020, arXiv 2007.07584).

    `min { t : |f(x) - f(x_s)| <= tolerance |f(x) - f(x_0)| for all s >= t }`, x_t the input of which only the part t of
    the patches with the largest sums of `|a|` is kept, x_0 that with nothing kept; a pixel's a is the sum over its
    channels. Small where an explanation finds the few patches on which the score rests; a random order needs nearly
    all. At the resolution of 1 / `steps`.

    Lower is simpler. Bounds: 0 to 1. Cost: `steps` - 1 forwards, and the two end points, shared with curves. Blind to
    sign: a map is as simple as its negative. Undefined where f(x) and f(x_0) do not differ beyond rounding.

    Differs from the paper: patches in place of single features, and their part, not their number; the loss is the
    change of the score, its bound a part of what removing everything changes, so that it means the same for every
    input; what is not kept is removed, not drawn from the data; the bound holds from t on, so that a curve that
    crosses f(x) by chance does not count. Quantus counts scores above 1e-5, whatever the model makes of them.

    Attributes:
        tolerance: Largest loss, as a part of |f(x) - f(x_0)|, in (0, 1).
        grid: Patches per side, at most one per pixel.
        steps: Steps from nothing to the whole input, at most one per patch.
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What stands where a patch is not kept.
        seed: Seed of the ties.

    Raises:
        ValueError: A tolerance outside (0, 1), an output that does not exist, or no step.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    category: ClassVar[str] = "complexity"
    reference: ClassVar[str] = "arXiv:2007.07584"
    exceptions: ClassVar[dict[str, str]] = {"one_hot_beats_constant": "it depends on what the model makes of the map"}
    tolerance: float = 0.1
    grid: int = 14
    steps: int = 28
    output: str = "probability"
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_output("EffectiveComplexity", self.output)
        if not 0 < self.tolerance < 1:
            raise ValueError(f"EffectiveComplexity: tolerance is a part, in (0, 1), got {self.tolerance}")
        if self.steps < 1:
            raise ValueError(f"EffectiveComplexity: steps must be at least 1, got {self.steps}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The part of the patches `(N,)`."""
        fraction, scores = self._curve(explicand, attribution).unbind(-1)
        loss = (scores - scores[:, -1:]).abs()
        kept = (loss <= self.tolerance * loss[:, :1]).flip(1).cumprod(1).sum(1, keepdim=True)  # from the end, 1 or more
        return fraction.flip(1).gather(1, kept - 1)[:, 0]

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        ends = torch.stack((explicand.clean.of(self.output), explicand.removed(self.removal).of(self.output)), 1)
        reasons = super().undefined(explicand, attribution, units)
        reasons["no change to explain"] = (ends[:, 0] - ends[:, 1]).abs() <= 1e-6 * ends.abs().amax(1)
        return reasons

    def _curve(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        """Fractions kept and scores, `(N, steps + 1, 2)`; run once for each map."""

        def make() -> Tensor:
            size = explicand.features(attribution).abs()[:, None]
            with explicand.taken_as(size, explicand.units_of(attribution)):
                curve = explicand.curve(size, self.grid, self.steps, self.removal, "insertion", self.seed)
            return torch.stack((curve.fraction, curve.scores.of(self.output)), -1)

        return explicand.known(attribution, f"effective complexity:{self!r}", make)
