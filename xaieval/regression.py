"""Least squares for each sample, streamed over draws, and the Shapley kernel that weighs subsets of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand


class NormalEquations:
    """`(Z' W Z + penalty) a = Z' W y` of each sample, summed batch by batch in float64; no row Z of a draw is kept.

    Attributes:
        matrix: `Z' W Z`, `(N, K, K)`.
        right: `Z' W y`, `(N, K)`.
    """

    def __init__(self, explicand: Explicand, unknowns: int) -> None:
        options: dict[str, Any] = {"dtype": torch.float64, "device": explicand.device}
        self.matrix = torch.zeros(explicand.count, unknowns, unknowns, **options)
        self.right = torch.zeros(explicand.count, unknowns, **options)

    @property
    def scale(self) -> Tensor:
        """The mean of the diagonal where it is not zero `(N, 1)`, the measure of a penalty; never 0."""
        diagonal: Tensor = self.matrix.diagonal(dim1=1, dim2=2)
        used = (diagonal > 0).sum(1, keepdim=True).clamp(min=1)
        return (diagonal.sum(1, keepdim=True) / used).clamp(min=1e-30)

    def add(self, batch: Batch, rows: Tensor, values: Tensor, weights: Tensor | None = None) -> None:
        """Take in what the pairs of a batch say.

        Args:
            batch: The pairs, n of them.
            rows: What multiplies the unknowns, `(n, K)`.
            values: What they should give, `(n,)`.
            weights: How much each counts, `(n,)`; None: equally.
        """
        rows = rows.double()
        weighted = rows if weights is None else rows * weights.double()[:, None]
        batch.add(self.matrix, weighted[:, :, None] * rows[:, None])
        batch.add(self.right, weighted * values.double()[:, None])

    def solve(self, penalty: Tensor, right: Tensor | None = None) -> Tensor:
        """The unknowns `(N, K)` by Cholesky.

        An unknown that no row speaks of is 0. With small penalties equations that several solutions fulfil have the
        shortest of them.

        Args:
            penalty: What is added to the diagonal, broadcast to `(N, K)`; it has to be positive where a row is missing.
            right: Another right side `(N, K)`.
        """
        diagonal = penalty.to(self.right).expand_as(self.right).diag_embed()
        factor = torch.linalg.cholesky_ex(self.matrix + diagonal).L  # checks nothing, so nobody waits
        right = self.right if right is None else right.to(self.right)
        return torch.cholesky_solve(right[..., None], factor)[..., 0]


def shapley_kernel(size: Tensor, total: Tensor) -> Tensor:
    """The weight `(M - 1) / (C(M, k) k (M - k))` of a subset of k of M segments, in float64; 0 for none and all."""
    k, m = size.double(), total.double()
    subsets = torch.exp(torch.lgamma(m + 1) - torch.lgamma(k + 1) - torch.lgamma(m - k + 1))
    return torch.where((k > 0) & (k < m), (m - 1) / (subsets * k * (m - k)), 0.0)


def shapley_subsets(draws: Tensor, present: Tensor) -> Tensor:
    """Subsets `(n, P)` of the present segments, each as probable as its weight under the Shapley kernel.

    The size k has probability proportional to `1 / (k (M - k))`, and all subsets of a size are equally probable. Where
    only one segment is present the subset is that one.

    Args:
        draws: Uniform numbers in [0, 1), `(n, P + 1)`.
        present: Which segments are present, `(n, P)`.
    """
    total = present.sum(1, keepdim=True)
    size = torch.arange(1, present.shape[1], device=draws.device)
    chances = torch.where(size < total, 1 / (size * (total - size)).double(), 0.0).cumsum(1)
    aim = draws[:, :1].double() * chances[:, -1:].sum(1, keepdim=True)  # the sum of nothing is 0: a single segment
    chosen = 1 + (chances <= aim).sum(1, keepdim=True)
    order = draws[:, 1:].masked_fill(~present, torch.inf)
    return (order.argsort(dim=1, stable=True).argsort(1) < chosen) & present
