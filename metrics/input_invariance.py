"""Input invariance: whether an explanation changes when a constant is added that the model takes off again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.repeated import Repeated


@dataclass(frozen=True)
class InputInvariance(Repeated):
    """How far an explanation moves under a shift that no score sees (Kindermans 2017, arXiv 1711.00867).

    `||a(x + k; f(. - k)) - a(x; f)|| / ||a(x; f)||` in L2 over channels and present features: the inputs are shifted by
    a constant k, and the model's first layer absorbs it, so that scores and gradients are the same. 0: invariant, as
    the gradient is, and any method whose baseline moves with the input, such as its mean. What stands on black, which
    is not shifted, moves: on a linear model input times gradient by `|k| ||w|| / ||w x||`.

    A method's own draws are those of the original. Shifted pixels are rounded to float32, so a value of about 1e-6
    means 0.

    Lower is better. Bounds: at least 0. Cost: that of the method, once more. Needs: method. Undefined for a zero map,
    and `skipped: cost` over the budget.

    Differs from the paper, which looks at maps only: a number, and the class of the original explained.

    Attributes:
        shift: The constant k in pixel units, for a text in the root mean square of its embeddings; the paper's moves
            inputs from [0, 1] to [-1, 0].
        budget: Most forwards that one explanation may cost; 0: no limit.

    Raises:
        ValueError: No shift.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    category: ClassVar[str] = "axioms"
    reference: ClassVar[str] = "arXiv:1711.00867"
    shift: float = -1.0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.shift == 0 or not math.isfinite(self.shift):
            raise ValueError(f"InputInvariance: shift must be a number other than 0, got {self.shift}")

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The relative change `(N,)`."""
        moved = torch.cat([method(part) for part in explicand.shifts(self.shift)]) - attribution
        if explicand.present is not None:
            moved, attribution = (maps * explicand.present[:, None] for maps in (moved, attribution))
        change, size = (maps.flatten(1).double().square().sum(1).sqrt() for maps in (moved, attribution))
        return (change / size).float()
