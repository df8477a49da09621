"""Class sensitivity: whether an explanation of another class is another explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.repeated import Repeated
from xaieval.similarity import ONE_CONSTANT, similarity


@dataclass(frozen=True)
class ClassSensitivity(Repeated):
    """Rank correlation of the maps of the most and the least likely class (Rebuffi 2020, arXiv 2004.02866).

    Spearman's rho of the signed scores, summed over channels, over all present features. The map given, of the class
    explained, is compared with that of the least likely class; where the class explained is the least likely itself,
    with that of the most likely. With predicted classes, the default, that is the paper's pair.

    Lower is better: 1 for a map that does not depend on the class, also a constant one. Bounds: -1 to 1. On `f_c = w_c
    x` a gradient has the correlation of the two rows of weights. Cost: one explanation, and one forward for all
    methods. Needs: method. Undefined for a zero map, where one of the two maps is constant and not the other,
    as a rectified map of an unlikely class may be, where there is one class, and `skipped: cost` over the budget.

    Differs from the paper: an explained class that is neither the most nor the least likely stays the first of the
    pair; scores that differ by less than 1e-6 of the largest are tied. MindSpore XAI reports the negated and rescaled
    correlation under this name.

    Attributes:
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "randomization"
    without_value: ClassVar[str] = ONE_CONSTANT
    reference: ClassVar[str] = "arXiv:2004.02866"

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The correlation `(N,)`."""
        classes = _opposite(explicand)
        opposite = explicand.kept("class sensitivity", lambda: explicand.retargeted(classes))
        return similarity(explicand, "spearman", attribution, method(opposite))

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        return super().undefined(explicand, attribution, units) | self.one_class(explicand)


def _opposite(explicand: Explicand) -> Tensor:
    """The least likely class `(N,)`, or the most likely one where that is the class explained."""
    most, least = explicand.logits.argmax(1), explicand.logits.argmin(1)
    return torch.where(least == explicand.target, most, least)
