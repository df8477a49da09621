"""A sentinel: random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class Random(Method):
    """An independent uniform number in [0, 1) for each feature, `(N, 1, *F)`: a control that knows nothing.

    The random assignment of importance that Hooker 2018 (arXiv:1806.10758) compares estimators with.

    Units: importance. Cost: nothing. In a perturbed copy of the input all numbers are new.

    Attributes:
        seed: Seed of the numbers, which also depend on the sample's id.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1806.10758"
    sentinel: ClassVar[bool] = True
    seed: int = 0

    def attribute(self, explicand: Explicand) -> Tensor:
        """Random numbers `(N, 1, *F)`."""
        return explicand.uniform("random", self.seed)
