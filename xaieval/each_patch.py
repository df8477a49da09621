"""The perturbation that removes one patch at a time, each in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaieval.perturbation import Perturbation
from xaieval.removal import Removal, removal_of

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand


@dataclass(frozen=True)
class EachPatch(Perturbation):
    """Every patch of a fixed grid is removed alone, `repeats` times in a row.

    Attributes:
        grid: Patches per side.
        repeats: Times that each is removed, for removals that are drawn anew each time.
        removal: What replaces a patch.
    """

    grid: int = 14
    repeats: int = 1
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """A name and the removal it stands for are one key."""
        object.__setattr__(self, "removal", removal_of(self.removal))

    @classmethod
    def of(cls, explicand: Explicand, grid: int, removal: str | Removal, repeats: int = 1) -> EachPatch:
        """As many draws as these inputs have patches, which may be fewer than `grid` squared."""
        return cls(explicand.patches(grid).count * repeats, 0, grid, repeats, removal)

    def accepts(self, units: str) -> bool:
        """See the base class."""
        return removal_of(self.removal).accepts(units)

    def mask(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        patches = explicand.patches(self.grid)
        number = torch.arange(patches.count, device=explicand.device)
        return patches.of(batch).spread((batch.variants[:, None] // self.repeats == number).float())

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        return explicand.removal(self.removal, "response")(batch, self.mask(explicand, batch))

    def predicted(self, explicand: Explicand, attribution: Tensor, units: str) -> Tensor:
        """The sums over patches; nothing is drawn again for a map where the replacement is fixed."""
        removal = explicand.removal(self.removal, "response")
        if units == "gradient" and not removal.fixed:
            return super().predicted(explicand, attribution, units)
        if units == "gradient":
            attribution, units = (explicand.inputs - removal.values) * attribution, "contribution"
        sums = explicand.piece_scores(explicand.patches(self.grid), attribution, units)
        return sums[:, :, None].expand(-1, -1, self.repeats).flatten(1)
