"""KernelSHAP: Shapley values of segments by weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.regression import NormalEquations, shapley_kernel, shapley_subsets
from xaieval.removal import Removal
from xaieval.segments import SEGMENTS, Segments, check_segments, segments_of

RIDGE = 1e-8  # of the mean diagonal: where fewer subsets than segments were drawn, the shortest solution


@final
@dataclass(frozen=True)
class KernelSHAP(Method):
    """Shapley values of segments as a regression, `(N, 1, *F)` (Lundberg 2017, arXiv:1705.07874, theorem 2).

    With `v(S)` the logit of the input of which only the segments S, of M, are shown:

        phi = argmin sum_S k(S) (v(S) - v({}) - sum_{i in S} phi_i)^2,    k(S) = (M - 1) / (C(M, s) s (M - s)), s = |S|

    under the constraint `sum_i phi_i = v(all) - v({})`, the kernel's infinite weight of the full and of the empty set,
    which is kept exactly by a Lagrange multiplier. If `samples` suffices for all 2^P - 2 subsets of the P segments
    each is evaluated once with its weight, which gives the Shapley values themselves. Otherwise subsets are drawn with
    a probability proportional to k and count equally, each together with its complement (Covert 2021,
    arXiv:2012.01536). A segment's value is spread evenly over its pixels.

    Units: contribution against the removal.

    Cost: `samples` forwards, or 2^P - 2 where that is less, and two for both ends, shared. Where texts are explained
    together P is that of the longest; each still has all of its own subsets if they are few, and no others.

    Differs from the paper: subsets are drawn or enumerated, not enumerated from the outer sizes inwards; no Lasso
    selects segments. Where a removal draws, the empty set is one draw.

    Attributes:
        samples: Number of subsets, even, as they come in pairs.
        segments: slic (superpixels) or grid.
        grid: Patches per side; SLIC cuts the square of it at most.
        removal: What replaces segments that are not shown.
        seed: Seed of the subsets.

    Raises:
        ValueError: Segments that do not exist, or a number of samples that is no positive even one.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1705.07874"
    complete: ClassVar[bool] = True
    exceptions: ClassVar[dict[str, str]] = {"linear_contribution": "a segment's value is spread evenly over its pixels"}
    samples: int = 1000
    segments: str = "slic"
    grid: int = 7
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_segments("KernelSHAP", self.segments)
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"KernelSHAP: subsets come in pairs, samples must be even and >= 2, got {self.samples}")

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """SLIC needs the host."""
        return SEGMENTS[self.segments]

    def attribute(self, explicand: Explicand) -> Tensor:
        """The Shapley values in logits, spread over the segments, `(N, 1, *F)`."""
        segments = segments_of(explicand, self.segments, self.grid)
        removal, empty = explicand.removal(self.removal), explicand.removed(self.removal).logit
        equations, present = NormalEquations(explicand, segments.count), segments.present
        pairs = min(2 ** (segments.count - 1) - 1, self.samples // 2)
        few = torch.exp2(segments.size.double()) - 2 <= self.samples
        for batch in explicand.batches(pairs, "scores"):
            there, here = batch.of_rows(present), segments.of(batch)
            first, weights = self._subsets(batch, here, batch.of_rows(few))
            for shown in (first, there & ~first):
                scores = batch.scores(removal(batch, here.spread(1 - shown.float()))).logit
                equations.add(batch, shown, scores - batch.of_rows(empty), weights)
        values = _efficient(equations, explicand.clean.logit - empty, present.double())
        return segments.share(values.float())

    def _subsets(self, batch: Batch, segments: Segments, few: Tensor) -> tuple[Tensor, Tensor]:
        """A subset for each pair `(n, P)` and its weight `(n,)`: the next of all where segments are few, else drawn."""
        drawn = shapley_subsets(batch.uniform("kernel shap", self.seed, (segments.count + 1,)), segments.present)
        numbered, weights = _numbered(batch, segments)
        return torch.where(few[:, None], numbered, drawn), torch.where(few, weights, 1.0)


def _numbered(batch: Batch, segments: Segments) -> tuple[Tensor, Tensor]:
    """All subsets without the last segment, numbered by their bits `(n, P)`, and their weights `(n,)`.

    Where segments are absent each subset of the present ones comes equally often. What is numbered after the last
    subset weighs nothing.
    """
    number, present = batch.variants + 1, segments.present
    subsets = ((number[:, None] >> segments.numbers.clamp(0, 62)) & 1).bool() & present
    weights = shapley_kernel(subsets.sum(1), present.sum(1))
    return subsets, weights * (number < torch.exp2(segments.size.double() - 1))


def _efficient(equations: NormalEquations, change: Tensor, present: Tensor) -> Tensor:
    """The solution `(N, P)` that sums to the change `(N,)`: the free one moved along `A^-1 1`."""
    penalty = RIDGE * equations.scale
    free, way = equations.solve(penalty), equations.solve(penalty, present)
    missing = change[:, None] - free.sum(1, keepdim=True)
    return free + way * (missing / way.sum(1, keepdim=True))
