"""SmoothGrad: any explanation averaged over noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method
from xaieval.explicand import Explicand

VARIANTS = ("mean", "squared", "variance")


@dataclass(frozen=True)
class SmoothGrad(Method):
    """The mean, mean square or variance of a method's maps `a_j` at `x + eps_j` (Smilkov 2017, arXiv 1706.03825, section 3).

    `eps_j ~ N(0, sigma^2)` with `sigma = noise (max x - min x)`, the range taken over all channels and features of each sample. The target
    stays that of the clean input, and noisy copies are not clipped to pixels.

    * `mean`: `mean_j a_j`, signed, in the units of the method.
    * `squared`: `mean_j a_j^2`, and `variance`: `mean_j (a_j - mean a)^2` (VarGrad; Adebayo 2018, arXiv 1810.03292), summed over
      channels: importance `(N, 1, *F)`. Elementwise `squared = mean^2 + variance` on the same draws.

    Cost: `samples` times the cost of the method.

    Attributes:
        samples: Number of noisy copies.
        noise: Standard deviation of the noise as a part of the range, .1 to .2 in the paper.
        variant: mean, squared or variance.
        method: What is explained at each copy.
        seed: Seed of the noise, which is the same for the three variants.

    Raises:
        ValueError: A variant that does not exist, or fewer than two samples for a variance.
    """

    units_of_variant: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1706.03825"
    samples: int = 50
    noise: float = 0.15
    variant: str = "mean"
    method: Method = Gradient()
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.variant not in VARIANTS:
            raise ValueError(f"SmoothGrad: variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        if self.samples < (2 if self.variant == "variance" else 1):
            raise ValueError(f"SmoothGrad: a {self.variant} needs more samples than {self.samples}")

    @property
    def units(self) -> str:  # type: ignore[override]
        """Those of the wrapped method, or importance for the squared variants."""
        return self.method.units if self.variant == "mean" else "importance"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The mean `(N, C, *F)` of the maps, or `(N, 1, *F)` of their squares or deviations."""
        if self.variant == "mean":
            return self._mean(explicand, lambda batch, maps: maps)
        if self.variant == "squared":
            return self._mean(explicand, lambda batch, maps: maps**2).sum(1, keepdim=True)
        raise NotImplementedError

    def _mean(self, explicand, change):
        sigma = self.noise * explicand.range
        total = None
        for batch in explicand.batches(self.samples):
            noise = batch.of(sigma) * batch.normal("smoothgrad", self.seed)
            maps = change(batch, self.method(batch.copies(batch.inputs + noise)))
            if total is None:
                total = maps.new_zeros(explicand.count, *maps.shape[1:])
            batch.add(total, maps)
        return total / self.samples
