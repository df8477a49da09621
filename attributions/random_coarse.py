"""A sentinel: random numbers as coarse as a class activation map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class RandomCoarse(Method):
    """An independent uniform number in [0, 1) for each cell of a coarse grid, `(N, 1, *F)`, constant within the cell.

    A control at the resolution of Grad-CAM, Sobol and RISE, because curves measure an order's coarseness as much as its
    truth: `random` alone is no fair opponent for a coarse map. After the random control of Hooker 2018
    (arXiv:1806.10758).

    Units: importance. Cost: nothing. In a perturbed copy of the input all numbers are new.

    Attributes:
        grid: Cells per side, at most one per pixel.
        seed: Seed of the numbers, which also depend on the sample's id.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1806.10758"
    sentinel: ClassVar[bool] = True
    grid: int = 7
    seed: int = 0

    def attribute(self, explicand: Explicand) -> Tensor:
        """Random cells `(N, 1, *F)`."""
        patches = explicand.patches(self.grid)
        return patches.spread(explicand.uniform("random_coarse", self.seed, (patches.count,)))
