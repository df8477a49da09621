"""Gradients integrated along the straight line from a baseline to the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal

RULES = ("gauss_legendre", "midpoint", "trapezoid")


@final
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """`(x - x0) * int_0^1 df_c/dx(x0 + a (x - x0)) da`, `(N, C, *F)` (Sundararajan 2017, arXiv:1703.01365, eq. 1).

    The integral is a weighted sum over `steps` points; the weights of every rule sum to 1, so a linear model comes out
    exactly as `w (x - x0)`.

    Units: contribution in logits, against the baseline x0. Complete: the sum is `f_c(x) - f_c(x0)` up to the error of
    the rule, which on real networks with few steps is not small.

    Cost: `steps` forwards and as many backwards.

    Differs from the paper: the paper's sum (eq. 3) takes right end points, which no rule here does.

    Attributes:
        steps: Number of gradients, 20 to 300 in the paper.
        rule: `gauss_legendre` is exact where the gradient is a polynomial of degree 2 `steps` - 1 along the line and
            never looks at the ends; `midpoint` is robust to kinks; `trapezoid` has nodes `s / (steps - 1)` and weights
            `1 / (steps - 1)`, halved at both ends.
        removal: The baseline x0: the input with every feature removed. A drawn removal is drawn once for each sample.

    Raises:
        ValueError: A rule that does not exist, or too few steps for it.

    Example:
        >>> from xaieval import Classifier
        >>> module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())  # the mean of each channel
        >>> explicand = Classifier(module).explicand(torch.full((1, 3, 2, 2), 0.5), target=0)
        >>> IntegratedGradients(steps=8)(explicand)[0, 0]  # they sum to .5, the logit above that of a black image
        tensor([[0.1250, 0.1250],
                [0.1250, 0.1250]])
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1703.01365"
    complete: ClassVar[bool] = True
    steps: int = 50
    rule: str = "gauss_legendre"
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.rule not in RULES:
            raise ValueError(f"IntegratedGradients: rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        least = 2 if self.rule == "trapezoid" else 1
        if self.steps < least:
            raise ValueError(f"IntegratedGradients: {self.rule} needs steps >= {least}, got {self.steps}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The product `(N, C, *F)` of the way from the baseline and the mean gradient on it."""
        baseline = explicand.baseline(self.removal)
        nodes, weights = (
            torch.as_tensor(values, dtype=torch.float32).to(explicand.device) for values in self.quadrature()
        )
        total = torch.zeros_like(explicand.inputs)
        for batch in explicand.batches(self.steps):
            points = torch.lerp(batch.of(baseline), batch.inputs, batch.at(nodes))
            batch.add(total, batch.at(weights) * batch.gradients(points))
        return (explicand.inputs - baseline) * total

    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes in [0, 1] and weights of the rule, `(steps,)` each; the weights sum to 1."""
        if self.rule == "gauss_legendre":
            nodes, weights = np.polynomial.legendre.leggauss(self.steps)
            return (1 + nodes) / 2, weights / 2
        if self.rule == "midpoint":
            return (np.arange(self.steps) + 0.5) / self.steps, np.full(self.steps, 1 / self.steps)
        weights = np.full(self.steps, 1 / (self.steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, self.steps), weights
