"""Non-sensitivity: whether the features without a score are those that the model ignores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.each_patch import EachPatch
from xaieval.explicand import Explicand
from xaieval.removal import Noise

ZERO = 1e-6
"""Part of the largest patch's mass up to which a patch has no score: what rounding leaves of a 0."""


@dataclass(frozen=True)
class NonSensitivity(Metric):
    """Part of the patches where no score and no effect do not coincide (Nguyen 2020, arXiv 2007.07584).

    `|A_0 xor X_0| / P` with A_0 the patches without a score and X_0 those on which the model does not depend, of the P
    patches of a grid. A patch has no score if the sum of `|a|` over its pixels and channels is at most 1e-6 of the
    largest such sum; the model does not depend on it if the logit stays, up to rounding, when uniform noise takes its
    place, in all of `samples` draws.

    Lower is better. Bounds: 0 to 1. Cost: `samples` forwards for each patch and one for the input, one set for all
    methods and for MonotonicityCorrelation with the same fields. Real networks depend on every patch, so the value is
    the part of the image that an explanation leaves out.

    Differs from the paper: patches in place of single features (50176 pixels); a part, not a number; the paper's
    effect is the expected loss over the feature's distribution, which is 0 just where no draw has an effect.

    Attributes:
        grid: Patches per side, at most one per pixel.
        samples: Draws for each patch.
        seed: Seed of the noise.

    Raises:
        ValueError: No sample.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    category: ClassVar[str] = "axioms"
    reference: ClassVar[str] = "arXiv:2007.07584"
    exceptions: ClassVar[dict[str, str]] = {"seed": "what has an effect has one under nearly every draw"}
    grid: int = 7
    samples: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.samples < 1:
            raise ValueError(f"NonSensitivity: samples must be at least 1, got {self.samples}")

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The part of the patches `(N,)`."""
        patches = explicand.patches(self.grid)
        mass = patches.sum(explicand.features(attribution.double().abs(), units))
        silent = mass <= ZERO * mass.amax(1, keepdim=True)
        wrong = (silent == self._matters(explicand)).float()
        if patches.present is None:
            return wrong.mean(1)
        return (wrong * patches.present).sum(1) / patches.present.sum(1)

    def _matters(self, explicand: Explicand) -> Tensor:
        """The patches `(N, P)` that have an effect."""
        response = explicand.response(EachPatch.of(explicand, self.grid, Noise(self.seed), self.samples))
        moved: Tensor = response.change.abs() > response.rounding[:, None]
        return moved.view(len(moved), -1, self.samples).any(2)
