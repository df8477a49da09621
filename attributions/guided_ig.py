"""Gradients integrated along a path that leaves features with large gradients for last."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import BoundRemoval, Removal


@final
@dataclass(frozen=True)
class GuidedIG(Method):
    """`sum_t (x_(t+1) - x_t) df_c/dx(x_t)`, `(N, C, *F)`, on a path guided by the gradient (Kapishnikov 2021).

    Source: arXiv:2106.09788, section 3, with the details of the authors' code. The path goes from the baseline x_0 to
    the input in `steps` steps. After step t the L1 distance to the input is the part `1 - t / steps` of the whole, and
    every entry has gone a part of its own way within `max_dist` of `t / steps`. In a step, entries behind that band are
    first brought to its lower end. Then, of those below its upper end, the `fraction` (of all entries) with the
    smallest |gradient| moves towards it, then the next, until the distance is met; entries of equal |gradient| move
    together.

    Units: contribution in logits, against the baseline. The sum is `f_c(x) - f_c(x_0)` only up to the error of the left
    Riemann rule, of order `1 / steps`, so that completeness is not claimed.

    Cost: `steps` forwards and as many backwards, one after the other: only samples share a batch.

    Differs from the paper: the paper ties the path to anchor points on the straight line, the authors' code, followed
    here, to a band around it. In place of the code's comparisons with a tolerance distances are summed in double
    precision, and nothing is divided by `x - x_0`.

    Attributes:
        steps: Number of gradients.
        fraction: Part of all entries that moves at once, in (0, 1].
        max_dist: How far an entry may leave the straight line, as a part of its way; 0: integrated gradients with the
            left Riemann rule; 1: no bound.
        removal: The baseline: the input with every feature removed. A drawn removal is drawn once for each sample.

    Raises:
        ValueError: No steps, or a fraction or distance out of range.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:2106.09788"
    steps: int = 200
    fraction: float = 0.25
    max_dist: float = 0.02
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.steps < 1:
            raise ValueError(f"GuidedIG: steps must be at least 1, got {self.steps}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"GuidedIG: fraction must be above 0 and at most 1, got {self.fraction}")
        if not 0 <= self.max_dist <= 1:
            raise ValueError(f"GuidedIG: max_dist must lie between 0 and 1, got {self.max_dist}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The sum `(N, C, *F)` over the path."""
        removal = explicand.removal(self.removal)
        total = torch.zeros_like(explicand.inputs)
        for batch in explicand.batches(1):
            batch.add(total, self._integral(batch, removal))
        return total

    def _integral(self, batch: Batch, removal: BoundRemoval) -> Tensor:
        """The sums `(n, C, *F)` of a batch of whole samples."""
        baseline = removal(batch, torch.ones_like(batch.inputs[:, :1]))
        way = (batch.inputs - baseline).flatten(1)
        entries = baseline.shape[1] * batch.of_rows(batch.explicand.sides).prod(1, keepdim=True)
        gone, total = torch.zeros_like(way), torch.zeros_like(way)  # gone: how far each entry is, a part of its way
        for step in range(1, self.steps + 1):
            point = torch.lerp(baseline, batch.inputs, gone.view_as(baseline))
            gradient = batch.gradients(point).flatten(1)
            before, gone = gone, self._moved(gone, way.abs(), gradient.abs(), entries, step / self.steps)
            total += (gone - before) * gradient
        return (way * total).view_as(baseline)

    def _moved(self, gone: Tensor, way: Tensor, size: Tensor, entries: Tensor, part: float) -> Tensor:
        """Parts gone `(n, M)` after a step that ends when, weighted with the lengths `way`, their mean is `part`.

        Entries, of which each sample has `entries` `(n, 1)`, are sorted once. Groups are cut off their order until none
        is left, without asking the device how many are needed: a group that is not needed moves by the share 0.
        """
        high = gone.new_full((), min(part + self.max_dist, 1.0))
        gone = gone.clamp(min=part - self.max_dist)
        missing = ((part - gone) * way).sum(1, keepdim=True, dtype=torch.float64)
        left = (high - gone) * way
        size = size.masked_fill(left == 0, torch.inf)  # what cannot move comes last
        ordered, order = size.sort(1)
        reach = left.gather(1, order).cumsum(1, dtype=torch.float64)
        count = (self.fraction * (entries - 1).double()).floor().long() + 1
        end, before = torch.zeros_like(missing, dtype=torch.int64), torch.zeros_like(missing)
        limits, shares = [], []
        for _ in range(math.ceil(1 / self.fraction)):
            limits.append(ordered.gather(1, torch.minimum(end + count, entries) - 1))
            end = torch.searchsorted(ordered, limits[-1], right=True)  # equal ones with them
            after = reach.gather(1, end - 1)
            shares.append(torch.where(after > before, (missing - before) / (after - before), 0).clamp(0, 1).float())
            before = after
        group = torch.searchsorted(torch.cat(limits, 1), size).clamp(max=len(limits) - 1)  # absent ones have no way
        return torch.lerp(gone, high, torch.cat(shares, 1).gather(1, group))
