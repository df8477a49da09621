"""What metrics share that explain again: the budget of one explanation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import SKIPPED, Method, Metric
from xaieval.explicand import Explicand


@dataclass(frozen=True)
class Repeated(Metric):
    """A value that needs other explanations by the same method. Subclasses write `compared`.

    Attributes:
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
    """

    needs: ClassVar[tuple[str, ...]] = ("method",)
    budget: int | None = field(default=100, kw_only=True)

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The value `(N,)` of an attribution that costs no more than it may."""
        raise NotImplementedError

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)`, NaN over the budget."""
        if method is None or self.too_costly(explicand, attribution):
            return attribution.new_full((explicand.count,), torch.nan)
        return self.compared(explicand, attribution, method)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if self.too_costly(explicand, attribution):
            reasons[SKIPPED] = torch.ones_like(explicand.target, dtype=torch.bool)
        return reasons

    def one_class(self, explicand: Explicand) -> dict[str, Tensor]:
        """The reason why a comparison of classes is undefined for a model that has one."""
        if explicand.classifier.classes != 1:
            return {}
        return {"one class": torch.ones_like(explicand.target, dtype=torch.bool)}

    def too_costly(self, explicand: Explicand, attribution: Tensor) -> bool:
        """Whether an explanation costs more than the budget."""
        evaluations = explicand.evaluations_of(attribution)
        return bool(self.budget) and evaluations is not None and evaluations > (self.budget or 0)
