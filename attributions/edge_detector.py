"""A sentinel: edges of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class EdgeDetector(Method):
    """Edge strength of the input, `(N, 1, *F)`: on images the magnitude of the Sobel filter of the channel mean.

    Adebayo 2018 (arXiv:1810.03292, section 5) shows that an edge detector, which never saw a model, looks like many an
    explanation.

    Units: importance, at least 0. Cost: nothing.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1810.03292"
    sentinel: ClassVar[bool] = True

    def attribute(self, explicand: Explicand) -> Tensor:
        """Edge strength `(N, 1, *F)`."""
        return explicand.edges.clone()
