"""Gradients integrated along blurred images, from the most blurred one to the input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal

REACH = 4  # standard deviations after which a kernel ends, as SciPy's and the authors'


@dataclass(frozen=True)
class MostBlurred(Removal):
    """The image blurred with a standard deviation of `sigma` pixels, where the path of BlurIG starts."""

    sigma: float

    def values(self, explicand: Explicand) -> Tensor:
        """See the base class."""
        sigma = torch.full((explicand.count,), self.sigma, device=explicand.device)
        reach = math.ceil(REACH * self.sigma)
        return explicand.modality.diffuse(explicand.inputs, sigma, reach, explicand.present)


@final
@dataclass(frozen=True)
class BlurIG(Method):
    """`-int_0^m df_c/dx(L_s) dL_s/ds ds`, `(N, C, *F)`, L_s the input under a Gaussian blur of s pixels (Xu 2020).

    Source: arXiv:2004.03383, section 3, BlurIG. The path has no baseline to choose: it starts at the most blurred image
    L_m, and features appear in it from coarse to fine. With `s_j = j m / n` and `L_j` the input under a blur of s_j it
    is `sum_j (L_j - L_(j+1)) df_c/dx((L_j + L_(j+1)) / 2)`, j from 0 to n - 1: the path is followed in n straight
    lines, with the middle rule on each. On a linear model that is `w (x - L_m)` for any n.

    Units: contribution in logits, against L_m. Complete: the sum is `f_c(x) - f_c(L_m)` exactly on a quadratic model,
    otherwise up to the error of the middle rule.

    Cost: `steps` forwards and as many backwards, and two blurs for each.

    Differs from the paper: the authors' code takes dL/ds as a finite difference of .01 in s and the gradient at the
    more blurred end of each step, whose sum is not complete until steps are many; and it pads images with zeros, which
    puts an edge around the image that is not in it. Here borders are reflected, so that the path starts near the mean
    color, whichever color is called 0.

    Attributes:
        steps: Number n of straight lines, equally long in s.
        max_sigma: Standard deviation m in pixels at the blurred end; 50 is meant for sides of about 224.

    Raises:
        ValueError: No steps, or a standard deviation that is not positive.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:2004.03383"
    complete: ClassVar[bool] = True
    steps: int = 100
    max_sigma: float = 50.0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.steps < 1:
            raise ValueError(f"BlurIG: steps must be at least 1, got {self.steps}")
        if not 0 < self.max_sigma < math.inf:
            raise ValueError(f"BlurIG: max_sigma must be a positive number of pixels, got {self.max_sigma}")

    @property
    def removal(self) -> Removal:
        """What a contribution is against: the most blurred image."""
        return MostBlurred(self.max_sigma)

    def attribute(self, explicand: Explicand) -> Tensor:
        """The sum `(N, C, *F)` over the path."""
        total = torch.zeros_like(explicand.inputs)
        for batch in explicand.batches(self.steps):
            sharp, blurred = (self._blurred(batch, step) for step in (0, 1))
            batch.add(total, (sharp - blurred) * batch.gradients((sharp + blurred) / 2))
        return total

    def _blurred(self, batch: Batch, step: int) -> Tensor:
        """The images L_(j + step) `(n, C, *F)`, j the variant of each pair."""
        explicand = batch.explicand
        sigma = (batch.variants + step) * (self.max_sigma / self.steps)
        present = None if explicand.present is None else batch.of_rows(explicand.present)
        blurred = explicand.modality.diffuse(batch.inputs, sigma, math.ceil(REACH * self.max_sigma), present)
        return batch.restore(blurred)
