"""Curves: the class score while patches are removed or restored in the order an attribution gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaieval.scores import Scores

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand
    from xaieval.modalities.images import ImagePatches


@dataclass(frozen=True)
class Curve:
    """Scores along one curve.

    Attributes:
        scores: `(N, steps + 1)`, both end points included.
        fraction: Part of the patches removed (deletion) or restored (insertion) at each point, `(N, steps + 1)`, from 0
            to 1.
    """

    scores: Scores
    fraction: Tensor

    def area(self, score: str = "probability") -> Tensor:
        """Area below the curve by the trapezoid rule on [0, 1], `(N,)`."""
        return torch.trapezoid(self.scores.of(score), self.fraction, dim=1)


@dataclass(frozen=True)
class Order:
    """The order in which patches go.

    Attributes:
        rank: Each patch's place `(N, P)`, 0 for the highest score; absent patches come after all others.
        number: How many patches have gone at each point, `(N, steps + 1)`.
    """

    rank: Tensor
    number: Tensor

    @classmethod
    def of(cls, explicand: Explicand, patches: ImagePatches, attribution: Tensor, steps: int, seed: int) -> Order:
        """The order that an attribution gives: by the sums over patches, ties broken at random for each sample."""
        values = patches.sum(explicand.features(attribution))
        total = values.new_full((len(values), 1), float(patches.count))
        if patches.present is not None:
            values = values.masked_fill(~patches.present, -torch.inf)
            total = patches.present.sum(1, keepdim=True).float()
        shuffle = explicand.uniform("ties", seed, (patches.count,)).argsort(1)
        order = shuffle.gather(1, values.gather(1, shuffle).argsort(dim=1, descending=True, stable=True))
        steps = min(steps, patches.count)
        points = torch.arange(steps + 1, device=values.device) / steps
        return cls(order.argsort(1), (points * total).round())

    @property
    def inner(self) -> int:
        """Number of points between the two ends."""
        return self.number.shape[1] - 2

    @property
    def fraction(self) -> Tensor:
        """Part of the patches gone at each point, `(N, steps + 1)`."""
        return self.number / self.number[:, -1:]

    def gone(self, batch: Batch, direction: str) -> Tensor:
        """Removed patches `(n, P)` at the inner points, whose numbers are the batch's variants."""
        number = batch.read(self.number[:, 1:-1])[:, None]
        rank = batch.of_rows(self.rank)
        return (rank < number if direction == "deletion" else rank >= number).float()
