"""Infidelity: how badly an explanation predicts what perturbations do to the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import UNITS, Explicand
from xaieval.perturbation import Gaussian, NoisyBaseline, PatchMask, Perturbation, ShapleyMask, Square
from xaieval.removal import Removal

PERTURBATIONS = ("patches", "square", "gaussian", "noisy_baseline", "shapley")
SCALINGS = ("positive", "signed")


@dataclass(frozen=True)
class Infidelity(Metric):
    """The part of a score's change that a scaled explanation does not predict (Yeh 2019, arXiv 1901.09392, INFD).

    With D = f(x) - f(x~) and P what the attribution predicts for it (`sum (x - x~) g` for a gradient, the sum of
    the removed scores otherwise), over the draws of a perturbation:

        value = E[(D - beta P)^2] / E[D^2],    beta = max(0, E[P D] / E[P^2])

    0: the changes are predicted up to one factor. 1: no better than predicting no change, or predicting it with the
    wrong sign. With the scaling `signed`, as in the authors' code, beta may be negative, which makes a map as good as
    its negative. `.raw` gives the paper's `E[(P - D)^2]`, without scaling.

    Lower is better. Bounds: 0 to 1. Cost: `samples` forwards, one set for all methods and for MuFidelity with the
    same fields. Undefined where the score does not change at all beyond rounding, and for units that predict
    nothing: only gradients predict the effect of noise.

    Differs from the paper: the default removes a fixed number of equal patches (areas that vary reward any positive
    map; at 224 pixels Gaussian noise tells no map from random); the value is a part of E[D^2], since the mean
    follows a few photos; beta is not negative by default. Captum's is the mean, and scaled with a sign on request.

    Attributes:
        samples: Draws for each input.
        perturbation: `patches`: a fixed number of patches of a grid is removed; `square`: a square of random side
            and place; `gaussian`: noise is subtracted; `noisy_baseline`: black with noise replaces the input;
            `shapley`: patches of a grid are removed, subsets as probable as their weight under the Shapley kernel. The
            last four are the paper's.
        grid: Patches per side, for `patches` and `shapley`.
        fraction: Part of the patches removed in each draw, in (0, 1], for `patches`.
        largest: Largest side as a part of the image's shorter side, in (0, 1], for `square`.
        noise: Standard deviation in pixel units, for `gaussian` and `noisy_baseline`; for a text in the root mean
            square of its embeddings.
        removal: What replaces removed features, for `patches`, `square` and `shapley`.
        seed: Seed of the draws.
        scaling: positive: beta is at least 0; signed: beta may be negative.

    Raises:
        ValueError: A perturbation or scaling that does not exist, or no sample.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:1901.09392"
    samples: int = 200
    perturbation: str = "patches"
    grid: int = 14
    fraction: float = 0.2
    largest: float = 0.35
    noise: float = 0.2
    removal: str | Removal = "zero"
    seed: int = 0
    scaling: str = "positive"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.perturbation not in PERTURBATIONS:
            raise ValueError(
                f"Infidelity: perturbation must be one of {', '.join(PERTURBATIONS)}, got {self.perturbation!r}"
            )
        if self.scaling not in SCALINGS:
            raise ValueError(f"Infidelity: scaling must be one of {', '.join(SCALINGS)}, got {self.scaling!r}")
        if self.samples < 1:
            raise ValueError(f"Infidelity: samples must be at least 1, got {self.samples}")

    @property
    def draws(self) -> Perturbation:
        """The perturbation with its parameters, the key of the response."""
        if self.perturbation == "patches":
            return PatchMask(self.samples, self.seed, self.grid, self.fraction, self.removal)
        if self.perturbation == "square":
            return Square(self.samples, self.seed, self.largest, self.removal)
        if self.perturbation == "shapley":
            return ShapleyMask(self.samples, self.seed, "grid", self.grid, self.removal)
        noise = Gaussian if self.perturbation == "gaussian" else NoisyBaseline
        return noise(self.samples, self.seed, self.noise)

    @property
    def accepts(self) -> tuple[str, ...]:  # type: ignore[override]
        """All units where features are removed, gradients alone where noise is added."""
        return tuple(units for units in UNITS if self.draws.accepts(units))

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The ratio `(N,)`, from residuals: moments would cancel where the prediction is good."""
        change, predicted = self._pair(explicand, attribution, units)
        power = predicted.square().sum(1)
        scale = ((predicted * change).sum(1) / power).masked_fill(power == 0, 0)
        if self.scaling == "positive":
            scale = scale.clamp(min=0)
        unexplained = (change - scale[:, None] * predicted).square().sum(1)
        return (unexplained / change.square().sum(1)).float()

    def raw(self, explicand: Explicand, attribution: Tensor, units: str | None = None) -> Tensor:
        """The paper's infidelity `E[(P - D)^2]`, `(N,)`, in squared logits; NaN where the units predict nothing."""
        change, predicted = self._pair(explicand, attribution, units or explicand.units_of(attribution))
        return (predicted - change).square().mean(1).float()

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if units in self.accepts:
            response = explicand.response(self.draws)
            reasons["constant response"] = response.change.abs().amax(1) <= response.rounding
        return reasons

    def _pair(self, explicand: Explicand, attribution: Tensor, units: str) -> tuple[Tensor, Tensor]:
        """Changes and predictions, `(N, samples)` each."""
        predicted = explicand.predicted(self.draws, attribution, units)
        return explicand.response(self.draws).change.double(), predicted.double()
