"""LIME: the coefficients of a local linear model of the score in which segments are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.regression import NormalEquations
from xaieval.removal import Removal
from xaieval.segments import SEGMENTS, check_segments, segments_of


@final
@dataclass(frozen=True)
class LIME(Method):
    """Ridge regression of the logit on shown segments, near the input, `(N, 1, *F)` (Ribeiro 2016, arXiv:1602.04938).

    `z` in {0, 1}^M says which of the M segments are shown, each with probability 1/2. Equation 1 with squared loss:

        a, b = argmin sum_j pi_j (f_c(x_j) - b - a.z_j)^2 + ridge |a|^2,    pi = exp(-D^2 / (2 width^2))

    where `D = 1 - sqrt(|z| / M)` is the cosine distance of z and all segments shown; the intercept b is free. The
    input itself is one row more, with weight 1. A segment's coefficient is spread evenly over its pixels.

    Units: contribution against the removal, `w.(x - x0)` of the segment on a linear model with a small ridge. They do
    not sum to anything.

    Cost: `samples` forwards, and one for the input, shared.

    Differs from the paper: as in its authors' package for images, segments are shown independently of each other (the
    paper draws their number first), distances are cosines (the paper takes L2 for images), the kernel has a factor 2
    and the surrogate a ridge (the paper selects K segments by Lasso). Unlike there, the logit is explained, superpixels
    are SLIC's and hidden ones are replaced by the removal, not by their mean color.

    Attributes:
        samples: Number of draws; 1000 in the package.
        width: Width of the kernel; 0.25 in the package. With 0.25 an image half shown weighs 0.5.
        ridge: Penalty of the squared coefficients, beside a sum of weights of about `samples` / 2; 1 in the package.
        segments: slic (superpixels) or grid.
        grid: Patches per side; SLIC cuts the square of it at most.
        removal: What replaces segments that are not shown.
        seed: Seed of the draws.

    Raises:
        ValueError: Segments that do not exist, no sample, or a width or ridge that is not positive.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1602.04938"
    exceptions: ClassVar[dict[str, str]] = {"linear_contribution": "a segment's value is spread evenly over its pixels"}
    samples: int = 1000
    width: float = 0.25
    ridge: float = 1.0
    segments: str = "slic"
    grid: int = 7
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_segments("LIME", self.segments)
        if self.samples < 1:
            raise ValueError(f"LIME: samples must be at least 1, got {self.samples}")
        for name, value in (("width", self.width), ("ridge", self.ridge)):
            if not value > 0:
                raise ValueError(f"LIME: {name} must be positive, got {value}")

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """SLIC needs the host."""
        return SEGMENTS[self.segments]

    def attribute(self, explicand: Explicand) -> Tensor:
        """The coefficients in logits, spread over the segments, `(N, 1, *F)`."""
        segments, removal = segments_of(explicand, self.segments, self.grid), explicand.removal(self.removal)
        equations, present = NormalEquations(explicand, segments.count + 1), segments.present
        for batch in explicand.batches(self.samples, "scores"):
            there = batch.of_rows(present)
            shown = (batch.uniform("lime", self.seed, (segments.count,)) < 0.5) & there
            scores = batch.scores(removal(batch, segments.of(batch).spread(1 - shown.float()))).logit
            equations.add(batch, _with_intercept(shown), scores, self._weights(shown, there))
        for batch in explicand.batches(1, "scores"):  # the input itself
            equations.add(batch, _with_intercept(batch.of_rows(present)), batch.of_rows(explicand.clean.logit))
        penalty = functional.pad(torch.full_like(equations.right[:, 1:], self.ridge), (0, 1))
        return segments.share(equations.solve(penalty)[:, :-1].float())

    def _weights(self, shown: Tensor, present: Tensor) -> Tensor:
        """The kernel `(n,)` of shown segments `(n, P)`."""
        distance = 1 - (shown.sum(1).double() / present.sum(1)).sqrt()
        return torch.exp(-(distance**2) / (2 * self.width**2))


def _with_intercept(shown: Tensor) -> Tensor:
    """Rows of the regression `(n, P + 1)`."""
    return functional.pad(shown.double(), (0, 1), value=1.0)
