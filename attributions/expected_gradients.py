"""Integrated gradients averaged over baselines, also known as GradientSHAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal


@final
@dataclass(frozen=True)
class ExpectedGradients(Method):
    """`E[(x - x0) df_c/dx(x0 + a (x - x0))]` over baselines x0 and a ~ U(0, 1), `(N, C, *F)` (Erion 2019).

    Source: arXiv:1906.10670, section 3, expected gradients; the same as GradientSHAP (Lundberg 2017, arXiv:1705.07874,
    as in the authors' library and in Captum). Every one of the `samples` draws has a baseline and an a of its own.

    The papers draw baselines from training data, which a method here does not have. A baseline is the removal's value
    (drawn anew for each draw where the removal draws, such as `noise`) plus Gaussian noise with the standard deviation
    `noise (max x - min x)`, the range taken over all channels and present features of each sample.

    Units: contribution in logits. The expectation sums to `f_c(x) - E f_c(x0)`; a finite number of draws comes near it,
    so that completeness is not claimed. Without noise and with a fixed removal it is integrated gradients.

    Cost: `samples` forwards and as many backwards.

    Differs from the paper: the baselines, as above; and draw j takes a from the j-th of `samples` equal parts of
    [0, 1], which leaves the expectation as it is and its error smaller. Captum's `stdevs` are something else: noise on
    the input, which is `SmoothGrad` of this method.

    Attributes:
        samples: Number of draws; Captum's 5 are too few for images.
        noise: Standard deviation of the baselines as a part of the range; for a text of the root mean square of its
            embeddings.
        removal: The middle of the baselines: the input with every feature removed.
        seed: Seed of a and of the noise.

    Raises:
        ValueError: No samples, or noise below 0.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1906.10670"
    exceptions: ClassVar[dict[str, str]] = {
        "linear_contribution": "with noise in the baselines w (x - baseline) is the expectation, not every mean"
    }
    samples: int = 50
    noise: float = 0.15
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.samples < 1:
            raise ValueError(f"ExpectedGradients: samples must be at least 1, got {self.samples}")
        if not self.noise >= 0:
            raise ValueError(f"ExpectedGradients: noise must be at least 0, got {self.noise}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The mean `(N, C, *F)` over the draws."""
        removal, sigma = explicand.removal(self.removal), self.noise * explicand.range
        parts = torch.arange(self.samples, device=explicand.device)
        total = torch.zeros_like(explicand.inputs)
        for batch in explicand.batches(self.samples):
            noise = batch.of(sigma) * batch.normal("expected gradients: baseline", self.seed)
            baselines = removal(batch, torch.ones_like(batch.inputs[:, :1])) + noise
            place = batch.uniform("expected gradients: a", self.seed, (1,) * (baselines.dim() - 1))
            points = torch.lerp(baselines, batch.inputs, (batch.at(parts) + place) / self.samples)
            batch.add(total, (batch.inputs - baselines) * batch.gradients(points))
        return total / self.samples
