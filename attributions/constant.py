"""A sentinel: the same number everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class Constant(Method):
    """1 at every feature, `(N, 1, *F)`: a control that prefers nothing (after Hooker 2018, arXiv:1806.10758).

    A curve removes its patches in the random order that breaks ties; responses see the removed area alone.

    Units: importance. Cost: nothing.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1806.10758"
    sentinel: ClassVar[bool] = True

    def attribute(self, explicand: Explicand) -> Tensor:
        """Ones `(N, 1, *F)`."""
        return torch.ones_like(explicand.inputs[:, :1])
