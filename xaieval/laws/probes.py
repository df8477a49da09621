"""What the laws of metrics measure with: small methods, maps and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.laws.toys import SIDE, General, explicand, images, seeded


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
        """The inputs' channel mean `(N, 1, *F)`."""
        return explicand.inputs.mean(1, keepdim=True)


class Noisy(Still):
    """Anything else at the smallest change."""

    def attribute(self, explicand: Explicand) -> Tensor:
        """Its sine, of a thousand times it, `(N, 1, *F)`."""
        return (1000 * explicand.inputs).sin().mean(1, keepdim=True)


def random_maps(count: int, units: str, seed: int = 0) -> Tensor:
    """Signed random maps, rounded so that no tie or order is a matter of rounding."""
    shape = (count, 1 if units == "importance" else 3, SIDE, SIDE)
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (maps * 2**14).round() / 2**14


def rectangles(count: int) -> Tensor:
    """Rectangles of different sizes, bool `(count, SIDE, SIDE)`."""
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for number in range(count):
        masks[number, 2 : 6 + number, 3 + number : 9] = True
    return masks


def work_on(batch_size: int = 4, count: int = 3, **options: object) -> Explicand:
    """Images with rectangles as masks, bound to a general network."""
    return explicand(seeded(General), images(count), batch_size=batch_size, mask=rectangles(count), **options)  # type: ignore[arg-type]


def values_of(metric: Metric, work: Explicand, maps: Tensor, units: str) -> Tensor:
    """Values `(N,)` of a metric, for maps that a gradient is said to have made."""
    return metric(work, maps, method=Gradient(), units=units)
