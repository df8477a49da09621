"""The true effect of each part: what a map of parts may reach at best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.intervention import SYNCS, effects

LAWS = ("output", "own_tensor", "deterministic", "batch_size", "order", "neighbors", "layout", "exception", "absent")
"""Laws that compare maps, held on inputs without parts."""


@final
@dataclass(frozen=True)
class PartEffects(Method):
    """Each part's true effect, spread evenly over the pixels where it is seen, `(N, 1, H, W)` (arXiv:2308.06248).

    The effect is `f(x) - f(x without the part)`, from drawing the scene without the part, which metrics of parts
    compare with (Hesse 2023): the sum in each part's mask is its effect, so that part agreement is 1. Where nothing is
    drawn in a part's place but what lies behind it, the parts of a model that adds up what it sees of each sum to the
    score.

    Units: contribution, of the logit. Cost: one forward for the image and one without each part. Where samples have no
    parts with masks, or cannot be drawn anew, maps are NaN, and a run notes `no parts to remove` as the reason.

    Differs from the paper: there effects are compared with, never a map.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:2308.06248"
    oracle: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("parts", "world")
    refuses: ClassVar[str] = "no parts to remove"
    syncs: ClassVar[str] = SYNCS
    exceptions: ClassVar[dict[str, str]] = dict.fromkeys(
        (*LAWS, "hooks", "linear_contribution"), "without parts to remove there is no map"
    )

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, H, W)`."""
        parts = explicand.parts
        if parts is None or parts.masks is None or explicand.worlds is None:
            return torch.full_like(explicand.inputs[:, :1], torch.nan)
        found = torch.zeros_like(explicand.inputs[:, :1])
        for number, effect in enumerate(effects(explicand).T):
            mask = parts.masks[:, number : number + 1]
            area = mask.flatten(1).sum(1).clamp(min=1)
            found += mask * (effect / area).view(-1, 1, 1, 1)
        return found

    def tried(self, explicand: Explicand) -> Tensor:
        """It asks only scores of a model, so that it supports each."""
        return torch.zeros_like(explicand.inputs[:, :1])
