"""Vectors: inputs `(N, 1, L)`, features `(L,)` that have no places, such as the scores of concepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.modalities.modality import Modality
from xaieval.segments import Segments


@dataclass(frozen=True)
class Vectors(Modality):
    """How vectors are removed from and looked at without a model.

    Pieces are single features, whatever the grid: no feature lies beside another one, so that a window, a blur, an
    edge, a distance or a coarse map mean nothing. Removal by zero puts 0 in the place of a feature; a concept's margin
    is 0 on the plane that parts the images where it holds from the others, where nothing is known of it. Radii and
    noise are given in the root mean square of a vector, since margins have the unit of the features that they were
    found in.

    Attributes:
        names: What the features are called, in their order; empty where they have no names. By these tables and
            pictures call them.
    """

    scaled: ClassVar[bool] = True
    name: str = "vector"
    names: tuple[str, ...] = ()

    def patches(self, inputs: Tensor, grid: int, present: Tensor | None) -> Segments:
        """Each feature alone."""
        count = inputs.shape[2]
        labels = torch.arange(count, device=inputs.device).expand(len(inputs), -1)
        return Segments(labels if present is None else labels.masked_fill(~present, count), count)

    def concepts(self) -> tuple[str, ...]:
        """The names."""
        return self.names

    def places(self, inputs: Tensor, axis: int) -> Tensor:
        """None."""
        self._refuse("a window of neighbors")

    def zero(self, inputs: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(inputs)
