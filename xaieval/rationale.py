"""What sufficiency and comprehensiveness share: the score without, or with nothing but, the top patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.curve_area import check_output, drop_bounds
from xaieval.explicand import Explicand
from xaieval.removal import Removal


@dataclass(frozen=True)
class Rationale(Metric):
    """Mean drop of the score over top fractions of the patches: `1/K sum_k (f(x) - f(x_k))`.

    Patches are ordered by their sums of signed scores, ties at random; `x_k` is x without the top fraction k
    (deletion) or that fraction alone (insertion), at least one patch.

    Attributes:
        grid: Patches per side, at most one per pixel.
        fractions: Top fractions of the patches, each in (0, 1).
        output: Form of the score: probability, logit, log_probability or margin.
        removal: What replaces removed features.
        seed: Seed of the ties.

    Raises:
        ValueError: An output that does not exist, no fraction, or one outside (0, 1).
    """

    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:1911.03429"
    direction: ClassVar[str]
    grid: int = 14
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.5)
    output: str = "probability"
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options; a list of fractions and a tuple of them are one key."""
        object.__setattr__(self, "fractions", tuple(self.fractions))
        check_output(type(self).__name__, self.output)
        if not self.fractions or not all(0 < fraction < 1 for fraction in self.fractions):
            raise ValueError(f"{type(self).__name__}: fractions must lie in (0, 1), got {self.fractions}")

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of a difference of two scores."""
        return drop_bounds(self.output)

    @final
    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The mean drop `(N,)`; the ends of the curve are no rationale."""
        curve = explicand.curve(attribution, self.grid, self.fractions, self.removal, self.direction, self.seed)
        scores = curve.scores.of(self.output)[:, 1:-1]
        return (explicand.clean.of(self.output)[:, None] - scores).mean(1)
