"""SmoothGrad and its squared forms: any explanation averaged over noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand

VARIANTS = ("mean", "squared", "variance")
KERNELS = ("gaussian", "box")


@final
@dataclass(frozen=True)
class SmoothGrad(Method):
    """Mean, mean square or variance of a method's maps `a_j` at `x + e_j` (Smilkov 2017, arXiv:1706.03825, section 3).

    With `r = noise (max x - min x)`, the range taken over all channels and present features of each sample, every entry
    of `e_j` is drawn from the kernel: `gaussian` is `N(0, r^2)`, `box` is uniform in [-r, r], the L-infinity ball over
    which Yeh 2019 smooths explanations (arXiv:1901.09392, section 4, and its code). A box has a gaussian's variance at
    sqrt(3) times its noise. The target stays that of the clean input, and noisy copies are not clipped to pixels.

    * `mean`: `mean_j a_j`, signed, `(N, C, *F)`, in the units of the method.
    * `squared`: `mean_j a_j^2` (SmoothGrad-Squared; Hooker 2018, arXiv:1806.10758), summed over channels `(N, 1, *F)`.
    * `variance`: `mean_j (a_j - mean a)^2` (VarGrad; Adebayo 2018, arXiv:1810.03307), likewise. There is no `n - 1`: on
      the same draws `squared = mean^2 + variance` for each channel.

    Units: those of the method for `mean`, else importance.

    Cost: `samples` times the cost of the method, once for all three variants on the same draws.

    Differs from the paper: any method can be wrapped, also one that draws, whose draws are then fresh at each copy;
    and Yeh's radius, .2 in pixels, is a part of the range here, which is the same where an image has both 0 and 1.

    Attributes:
        samples: Number of noisy copies; the paper sees little gain above 50.
        noise: As a part of the range, the standard deviation of a gaussian (.1 to .2 in the paper) or half the width of
            a box; for a text as a part of the root mean square of its embeddings.
        variant: mean, squared or variance.
        method: What is explained at each copy.
        seed: Seed of the noise, which is the same for the three variants.
        kernel: gaussian or box.

    Raises:
        ValueError: A variant or kernel that does not exist, noise below 0, or fewer than two samples for a variance.
    """

    reference: ClassVar[str] = "arXiv:1706.03825"
    samples: int = 50
    noise: float = 0.15
    variant: str = "mean"
    method: Method = Gradient()
    seed: int = 0
    kernel: str = "gaussian"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.variant not in VARIANTS:
            raise ValueError(f"SmoothGrad: variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        if self.kernel not in KERNELS:
            raise ValueError(f"SmoothGrad: kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        if not self.noise >= 0:
            raise ValueError(f"SmoothGrad: noise must be at least 0, got {self.noise}")
        least = 2 if self.variant == "variance" else 1
        if self.samples < least:
            raise ValueError(f"SmoothGrad: {self.variant} needs samples >= {least}, got {self.samples}")

    @property
    def units(self) -> str:  # type: ignore[override]
        """Those of the wrapped method, or importance for the squared variants."""
        return self.method.units if self.variant == "mean" else "importance"

    @property
    def signed(self) -> bool:
        """As the wrapped method, and never for the squared variants."""
        return self.variant == "mean" and self.method.signed

    def attribute(self, explicand: Explicand) -> Tensor:
        """The mean `(N, C, *F)` of the maps, or `(N, 1, *F)` of their squares or squared deviations."""
        shared = f"smoothgrad:{replace(self, variant='mean')!r}"
        mean, variance = explicand.shared(shared, lambda: self._moments(explicand))
        if self.variant == "mean":
            return mean.clone()
        squares = variance + mean**2 if self.variant == "squared" else variance
        return squares.sum(1, keepdim=True)

    def _moments(self, explicand: Explicand) -> tuple[Tensor, Tensor]:
        """Mean and variance of the maps over the copies, `(N, C, *F)` each: one pass serves the three variants."""
        radius = self.noise * explicand.range
        mean: Tensor | None = None
        squares: Tensor | None = None
        for batch in explicand.batches(self.samples):
            noise = batch.of(radius) * self._kernel(batch)
            maps = self.method(batch.copies(batch.restore(batch.inputs + noise)))
            if mean is None or squares is None:
                mean, squares = (maps.new_zeros(explicand.count, *maps.shape[1:]) for _ in range(2))
            batch.merge(mean, squares, maps)
        assert mean is not None  # there is at least one batch
        assert squares is not None
        return mean, squares / self.samples

    def _kernel(self, batch: Batch) -> Tensor:
        """Noise `(n, C, *F)` of radius 1; at absent features it has no meaning."""
        if self.kernel == "box":
            return 2 * batch.uniform("smoothgrad", self.seed) - 1
        return batch.normal("smoothgrad", self.seed)
