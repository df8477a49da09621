"""What the laws of metrics measure with: small methods, maps and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method, Metric
from xaieval.explicand import Explicand


@dataclass(frozen=True)
class Still(Method):
    """Says the same of every input."""

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = ""

    def attribute(self, explicand: Explicand) -> Tensor:
        """Ones `(N, 1, *F)`."""
        return torch.ones_like(explicand.inputs[:, :1])


class Moving(Still):
    """Moves as the input does."""

    def attribute(self, explicand: Explicand) -> Tensor:
        """An exponential of the inputs' channel mean, which is nowhere 0, `(N, 1, *F)`."""
        return explicand.inputs.mean(1, keepdim=True).exp()


class Noisy(Still):
    """Anything else at the smallest change."""

    def attribute(self, explicand: Explicand) -> Tensor:
        """Its sine, of a thousand times it, `(N, 1, *F)`."""
        return (1000 * explicand.inputs).sin().mean(1, keepdim=True)


def values_of(metric: Metric, work: Explicand, maps: Tensor, units: str) -> Tensor:
    """Values `(N,)` of a metric, of a pooled one `(N, K)`, for maps that a gradient is said to have made."""
    return metric(work, maps, method=Gradient(), units=units)


def judged(metric: Metric, values: Tensor) -> Tensor:
    """What says how good maps are: the values `(N,)`, or the one number `(1,)` that a pooled metric makes of them."""
    return torch.tensor([metric.aggregate(values.double())]) if metric.pooled else values


def undefined(values: Tensor) -> Tensor:
    """Which samples `(N,)` have no value."""
    return values.isnan().flatten(1).any(1) if values.dim() > 1 else values.isnan()
