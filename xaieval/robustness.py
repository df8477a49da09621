"""What the robustness metrics share: the neighbors of an input, and how far explanations, inputs and outputs move."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.repeated import Repeated

SMALLEST = 1e-6
"""What a distance is at least that an explanation's is divided by, as in the papers' code."""


@dataclass(frozen=True)
class Neighborhood:
    """Inputs uniform in the L-infinity ball around each input, or uniform among its corners; not clipped to pixels.

    Attributes:
        copies: Neighbors of each input.
        radius: Largest change of a value: in pixel units, for a text in the root mean square of its embeddings.
        seed: Seed of the draws.
        corners: Every pixel changes by the radius, up or down.
    """

    copies: int
    radius: float
    seed: int
    corners: bool = False

    def inputs(self, batch: Batch) -> Tensor:
        """Neighbors `(n, C, *F)`; absent features stay as they are."""
        noise = 2 * batch.uniform("max sensitivity", self.seed) - 1
        if self.corners:
            noise = torch.where(noise < 0, -1.0, 1.0)
        return batch.restore(batch.inputs + batch.of(self.radius * batch.explicand.scale) * noise)

    def table(self, explicand: Explicand, make: Callable[[Batch], Tensor]) -> Tensor:
        """What `make` gives for the neighbors, `(N, copies, K)` from `(n, K)` each."""
        rows = [make(batch) for batch in explicand.batches(self.copies)]
        return torch.cat(rows).view(explicand.count, self.copies, -1)


@dataclass(frozen=True)
class Robustness(Repeated):
    """How far an explanation a moves from an input x to its neighbors `y_j`, which all keep the class explained.

    The explanations of the neighbors are made once for all robustness metrics that ask for the same neighbors; what the
    model does there once for all methods as well.

    Attributes:
        copies: Neighbors of each input.
        radius: Largest change of a value: in pixel units, for a text in the root mean square of its embeddings.
        common_draws: Explain the neighbors with the draws of the original.
        seed: Seed of the neighbors.

    Raises:
        ValueError: No copy, or a radius that is not positive.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    category: ClassVar[str] = "robustness"
    copies: int = 10
    radius: float = 0.02
    common_draws: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.copies < 1:
            raise ValueError(f"{type(self).__name__}: copies must be at least 1, got {self.copies}")
        if not self.radius > 0:
            raise ValueError(f"{type(self).__name__}: radius must be above 0, got {self.radius}")

    @property
    def neighborhood(self) -> Neighborhood:
        """The neighbors with their parameters, the key of what is computed there."""
        return Neighborhood(self.copies, self.radius, self.seed)

    def moved(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """`||a(y_j) - a(x)||` and `||(a(y_j) - a(x)) / a(x)||` in L2 over channels and features, `(N, copies, 2)`."""

        def distances(batch: Batch) -> Tensor:
            copies = batch.copies(self.neighborhood.inputs(batch), self.common_draws)
            return _distances(batch, batch.of(attribution), method(copies))

        key = f"moved:{self.neighborhood!r}:{self.common_draws}:{method!r}"
        return explicand.known(attribution, key, lambda: self.neighborhood.table(explicand, distances))

    def stepped(self, explicand: Explicand) -> Tensor:
        """`||y_j - x||` and `||(y_j - x) / x||`, `(N, copies, 2)`."""

        def distances(batch: Batch) -> Tensor:
            return _distances(batch, batch.inputs, self.neighborhood.inputs(batch))

        return explicand.kept(f"stepped:{self.neighborhood!r}", lambda: self.neighborhood.table(explicand, distances))


@dataclass(frozen=True)
class RelativeStability(Robustness):
    """The relative change of an explanation as a multiple of another change, at its largest (Agarwal 2022).

        value = max_j ||(a(y_j) - a(x)) / a(x)|| / max(change_j, 1e-6)    over neighbors with the same prediction

    Quotients are taken feature by feature, in L2 over channels and features. A feature whose score, or pixel, is 0
    has no relative change and is left out. Subclasses write `change`.
    """

    def change(self, explicand: Explicand) -> Tensor:
        """What the change of the explanation is compared with, `(N, copies)`."""
        raise NotImplementedError

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The largest quotient `(N,)`."""
        moved = self.moved(explicand, attribution, method)[..., 1]
        quotient = moved / self.change(explicand).clamp(min=SMALLEST)
        return quotient.masked_fill(self.predicted(explicand)[..., 1] == 0, -torch.inf).amax(1)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if not self.too_costly(explicand, attribution):
            reasons["prediction changes"] = (self.predicted(explicand)[..., 1] == 0).all(1)
        return reasons

    def predicted(self, explicand: Explicand) -> Tensor:
        """Distance of the logits, and 1 where the class predicted is that of the input, `(N, copies, 2)`."""

        def compare(batch: Batch) -> Tensor:
            logits = batch.copies(self.neighborhood.inputs(batch)).logits
            clean = batch.of_rows(explicand.logits)
            same = logits.argmax(1) == clean.argmax(1)
            return torch.stack((torch.linalg.vector_norm(logits - clean, dim=1), same.float()), 1)

        return explicand.shared(f"predicted:{self.neighborhood!r}", lambda: self.neighborhood.table(explicand, compare))


def _distances(batch: Batch, before: Tensor, after: Tensor) -> Tensor:
    """L2 norms of the absolute and of the relative change over channels and present features, `(n, 2)`."""
    present = batch.explicand.present
    change = after - before
    if present is not None:
        inside = batch.of(present[:, None])
        change, before = change.masked_fill(~inside, 0), before.masked_fill(~inside, 0)
    return torch.stack((norm(change), norm(relative(change, before))), 1)


def relative(change: Tensor, before: Tensor) -> Tensor:
    """The change as a part of what was before, entry by entry; 0 where that is 0."""
    nothing = before == 0
    return (change / before.masked_fill(nothing, 1)).masked_fill(nothing, 0)


def norm(values: Tensor) -> Tensor:
    """L2 norm `(n,)` of values `(n, ...)`."""
    length: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return length
