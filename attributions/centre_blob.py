"""A sentinel: the middle of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class CentreBlob(Method):
    """A Gaussian in the middle, `exp(-d^2 / (2 width^2))` with d in sides of the input, `(N, 1, *F)`.

    Photographers put what they mean in the middle: the center baseline of the pointing game (Zhang 2016,
    arXiv:1608.00507, section 4.1) is hard to beat.

    Units: importance, in (0, 1]. Cost: nothing.

    Attributes:
        width: Standard deviation as a part of each side.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1608.00507"
    sentinel: ClassVar[bool] = True
    width: float = 0.25

    def attribute(self, explicand: Explicand) -> Tensor:
        """The Gaussian `(N, 1, *F)`."""
        return explicand.modality.center_blob(explicand.inputs, self.width, explicand.present)
