"""Correlations of predicted and real changes, row by row, which is sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor


def pearson(first: Tensor, second: Tensor, where: Tensor | None = None) -> Tensor:
    """Pearson's correlation `(N,)` of the rows of two tensors `(N, S)`; NaN where a row is constant.

    In double precision, and centered before anything is squared.

    Args:
        first: `(N, S)`.
        second: `(N, S)`.
        where: Which entries count `(N, S)`, or None where all do.
    """
    first, second = (_centered(values.double(), where) for values in (first, second))
    return torch.nn.functional.cosine_similarity(first, second, eps=0).float()


def ranks(values: Tensor, rounding: Tensor) -> Tensor:
    """Ranks `(N, S)` from 0; values within an interval `rounding` `(N,)` share their mean rank."""
    return mean_ranks((values / rounding[:, None]).round())


def mean_ranks(values: Tensor) -> Tensor:
    """Ranks `(N, S)` from 0; equal values share their mean rank."""
    ordered, values = values.sort(dim=1).values, values.contiguous()
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto - 1).double() / 2


def rounding_of(values: Tensor) -> Tensor:
    """The size `(N,)` up to which differences of values `(N, S)` are rounding alone: 1e-6 of the largest."""
    return 1e-6 * values.abs().amax(1)


def constant(values: Tensor, rounding: Tensor, where: Tensor | None = None) -> Tensor:
    """Where all values of a row `(N, S)` are equal up to rounding, `(N,)`."""
    low = high = values
    if where is not None:
        low, high = values.masked_fill(~where, torch.inf), values.masked_fill(~where, -torch.inf)
    return high.amax(1) - low.amin(1) <= rounding


def _centered(values: Tensor, where: Tensor | None) -> Tensor:
    if where is None:
        return values - values.mean(1, keepdim=True)
    values = values.masked_fill(~where, 0)
    return (values - values.sum(1, keepdim=True) / where.sum(1, keepdim=True)).masked_fill(~where, 0)
