"""What each position of a layer contributes to the gradient of a convolution's weight, reduced to one number.

The gradient of a weight that all positions share is a sum over positions u (Rebuffi 2020, arXiv:2004.02866, section 3):

    dF/dW = sum_u o_u,    o_u = g_u x_u^T

g_u is the gradient at the convolution's output, x_u what its kernel sees there: all channels of its group, at all
places of the kernel. A bias sees ones, a scaling of channels is a convolution with one channel a group, and so on: one
formula does for all. No o_u is ever made: each aggregation is a product of what is known of g_u and of x_u alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as functional
from torch import Tensor

AGGREGATIONS = ("sum", "norm", "filter_norm", "max", "max_abs")


@dataclass(frozen=True)
class Kernel:
    """The geometry of a convolution.

    Attributes:
        size: Rows and columns.
        stride: Of the positions.
        dilation: Of the places of the kernel.
        padding: Zeros put around the input: left, right, top, bottom.
        groups: Channels are split into so many groups.
    """

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    @classmethod
    def centered(cls, size: int, groups: int = 1) -> Kernel:
        """A square kernel of odd size that keeps the shape of its input."""
        return cls((size, size), padding=(size // 2,) * 4, groups=groups)

    def row(self) -> Kernel:
        """A row of it."""
        return replace(self, size=(1, self.size[1]), padding=(*self.padding[:2], 0, 0))

    def sums(self, values: Tensor) -> Tensor:
        """Sums over what the kernel sees, `(N, groups, h, w)`, of values `(N, K, H, W)` at the input."""
        grouped = functional.pad(self.grouped(values).sum(2), self.padding)
        ones = values.new_ones(self.groups, 1, *self.size)
        sums: Tensor = functional.conv2d(grouped, ones, stride=self.stride, dilation=self.dilation, groups=self.groups)
        return sums

    def largest(self, values: Tensor) -> Tensor:
        """The largest value that the kernel sees, zeros of the padding included."""
        padded = functional.pad(self.grouped(values).amax(2), self.padding)
        largest: Tensor = functional.max_pool2d(padded, self.size, self.stride, dilation=self.dilation)
        return largest

    def grouped(self, values: Tensor) -> Tensor:
        """Channels by group, `(N, groups, K / groups, ...)`."""
        grouped: Tensor = values.unflatten(1, (self.groups, -1))
        return grouped


def aggregated(arriving: Tensor, gradient: Tensor, kernel: Kernel, aggregation: str) -> Tensor:
    """One number for the contribution o_u of each position, `(N, 1, h, w)`.

    Args:
        arriving: Input of the convolution, `(N, K, H, W)`.
        gradient: Gradient of the score at its output, `(N, L, h, w)`. Where both are `(N, K, T)`, places and
            kernel are one row.
        kernel: Its geometry.
        aggregation: `sum` of the entries of o_u, their Euclidean `norm`, `filter_norm` (the norm of the positive ones),
            the largest (`max`), or the largest absolute value (`max_abs`).
    """
    if gradient.dim() == 3:
        return aggregated(arriving[:, :, None], gradient[:, :, None], kernel.row(), aggregation)[:, :, 0]
    return _AGGREGATE[aggregation](arriving, gradient, kernel)


def _sum(x: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    return (kernel.sums(x) * kernel.grouped(g).sum(2)).sum(1, keepdim=True)


def _norm(x: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    return _root(kernel.sums(x**2) * kernel.grouped(g**2).sum(2))


def _filter_norm(x: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    """An entry is positive where both of its factors have one sign."""
    positive = kernel.sums(x.clamp(min=0) ** 2) * kernel.grouped(g.clamp(min=0) ** 2).sum(2)
    negative = kernel.sums(x.clamp(max=0) ** 2) * kernel.grouped(g.clamp(max=0) ** 2).sum(2)
    return _root(positive + negative)


def _max(x: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    """The largest product lies at extremes of both factors."""
    high, low = kernel.largest(x), -kernel.largest(-x)
    top, bottom = kernel.grouped(g).amax(2), kernel.grouped(g).amin(2)
    products = torch.stack([first * second for first in (high, low) for second in (top, bottom)])
    return products.amax(0).amax(1, keepdim=True)


def _max_abs(x: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    return (kernel.largest(x.abs()) * kernel.grouped(g.abs()).amax(2)).amax(1, keepdim=True)


def _root(squares: Tensor) -> Tensor:
    return squares.sum(1, keepdim=True).sqrt()


_AGGREGATE: dict[str, Callable[[Tensor, Tensor, Kernel], Tensor]] = dict(
    zip(AGGREGATIONS, (_sum, _norm, _filter_norm, _max, _max_abs), strict=True)
)
