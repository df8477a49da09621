"""Curves: the class score while patches are removed or restored in the order an attribution gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaieval.scores import Scores

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand


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

    @property
    def apart(self) -> Tensor:
        """Points at which more patches have gone than at the one before, and the first, `(N, steps + 1)`."""
        return torch.nn.functional.pad(self.fraction.diff(dim=1) > 0, (1, 0), value=True)

    def area(self, score: str = "probability") -> Tensor:
        """Area below the curve by the trapezoid rule on [0, 1], `(N,)`."""
        return torch.trapezoid(self.scores.of(score), self.fraction, dim=1)


def curve_name(
    grid: int, steps: int | tuple[float, ...], removal: object, direction: str, seed: int, segments: str = "patches"
) -> str:
    """What tells the curves of one attribution apart; the arguments are those of `Explicand.curve`."""
    return f"{grid}:{steps}:{removal!r}:{direction}:{seed}:{segments}"


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
    def of(
        cls, explicand: Explicand, values: Tensor, present: Tensor | None, steps: int | tuple[float, ...], seed: int
    ) -> Order:
        """From the highest of the patches' values `(N, P)` to the lowest, ties broken at random for each sample."""
        count = values.shape[1]
        total = values.new_full((len(values), 1), float(count))
        if present is not None:
            values = values.masked_fill(~present, -torch.inf)
            total = present.sum(1, keepdim=True).float()
        shuffle = explicand.uniform("ties", seed, (count,)).argsort(1)
        order = shuffle.gather(1, values.gather(1, shuffle).argsort(dim=1, descending=True, stable=True))
        # Points are numbered, and what is drawn there with them: on texts as many whatever the longest one is.
        most = steps if isinstance(steps, tuple) or explicand.modality.ragged else min(steps, count)
        return cls(order.argsort(1), _numbers(total, most))

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


def _numbers(total: Tensor, steps: int | tuple[float, ...]) -> Tensor:
    """How many of `total` `(N, 1)` patches have gone at each point: after equal steps, or at these parts of them."""
    if isinstance(steps, tuple):
        inner = [(part * total).round().clamp(min=1) for part in steps]
        return torch.cat((torch.zeros_like(total), *inner, total), 1)
    return (torch.arange(steps + 1, device=total.device) / steps * total).round()
