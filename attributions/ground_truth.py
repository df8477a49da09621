"""The mask of the object itself: what a map may reach where an explanation is compared with the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand

LAWS = ("output", "own_tensor", "deterministic", "batch_size", "order", "neighbors", "layout", "exception", "absent")
"""Laws that compare maps, held on inputs without a mask."""


@final
@dataclass(frozen=True)
class GroundTruth(Method):
    """The mask of the object, `(N, 1, *F)`: 1 inside, 0 outside: a bound for localization (arXiv:2003.07258).

    What relevance mass and rank accuracy compare a map with (Arras 2022): the mask has the best value that they can
    give. It knows nothing of the model, which may look elsewhere: what a metric of faithfulness gives it is what the
    object alone is worth to the model.

    Units: importance. Cost: nothing. Where a sample has no mask, or one without a feature, its map is NaN, and a run
    notes `no mask` as the reason.

    Differs from the paper: there masks are compared with, never scored as a map.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2003.07258"
    oracle: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("mask",)
    refuses: ClassVar[str] = "no mask"
    exceptions: ClassVar[dict[str, str]] = dict.fromkeys(
        (*LAWS, "hooks", "planted"), "without a mask there is no ground truth"
    )

    def attribute(self, explicand: Explicand) -> Tensor:
        """The mask `(N, 1, *F)`."""
        if explicand.mask is None:
            return torch.full_like(explicand.inputs[:, :1], torch.nan)
        mask = explicand.mask if explicand.present is None else explicand.mask & explicand.present
        empty = ~mask.flatten(1).any(1).view(-1, *[1] * mask.dim())
        return mask[:, None].float().masked_fill(empty, torch.nan)

    def tried(self, explicand: Explicand) -> Tensor:
        """It asks nothing of a model, so that it supports each."""
        return torch.zeros_like(explicand.inputs[:, :1])
