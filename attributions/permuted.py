"""A sentinel: a method's own map, shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.wrapper import Wrapper


@final
@dataclass(frozen=True)
class Permuted(Wrapper):
    """A method's map with its features in random order, all channels of a feature together, `(N, C, *F)`.

    A control with exactly the values of the method and nothing of their places (after the random control of Hooker
    2018, arXiv:1806.10758): what a metric gives it, it gives to the distribution of values alone. Absent features
    stay where they are.

    Units: those of the method. Cost: that of the method, and nothing is spent where its map of these samples is there
    already. In a perturbed copy of the input the order is new.

    Attributes:
        method: Whose map is shuffled.
        seed: Seed of the order, which also depends on the sample's id.
    """

    reference: ClassVar[str] = "arXiv:1806.10758"
    sentinel: ClassVar[bool] = True
    method: Method = Gradient()
    seed: int = 0

    @property
    def units(self) -> str:  # type: ignore[override]
        """Those of the method."""
        return self.method.units

    @property
    def signed(self) -> bool:
        """As the method."""
        return self.method.signed

    def attribute(self, explicand: Explicand) -> Tensor:
        """The shuffled map, of the shape of the method's."""
        maps = explicand.attribution(self.method)
        flat = maps.flatten(2)
        source, place = _order(explicand, explicand.uniform("permuted", self.seed).flatten(1))
        moved = flat.gather(2, source[:, None].expand_as(flat))
        return torch.empty_like(flat).scatter_(2, place[:, None].expand_as(flat), moved).view_as(maps)


def _order(explicand: Explicand, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Which feature goes where, `(N, features)` each: present ones at random, absent ones to themselves."""
    absent = torch.zeros_like(numbers) if explicand.present is None else (~explicand.present.flatten(1)).float()
    # Numbers are below 1: absent features come last, and stable sorting keeps them in their own order in both.
    return torch.where(absent > 0, 2.0, numbers).argsort(dim=1, stable=True), absent.argsort(dim=1, stable=True)
