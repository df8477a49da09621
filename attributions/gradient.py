"""The gradient of the class score at the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand

VARIANTS = ("signed", "max")


@final
@dataclass(frozen=True)
class Gradient(Method):
    """`df_c/dx`, signed, with all channels: `(N, C, *F)` (Simonyan 2013, arXiv:1312.6034, section 3).

    With the variant `max` it is the paper's saliency, the largest absolute value over the channels, `(N, 1, *F)`.

    Units: gradient of the logit `f_c` per pixel unit, importance with `max`. On a linear model `w.x + b` it is `w`.

    Cost: one forward and one backward, shared with everything else that needs the gradient at the input.

    Differs from the paper: by default nothing is reduced before a metric or a picture asks for it.

    Attributes:
        variant: signed or max.

    Raises:
        ValueError: A variant that does not exist.
    """

    reference: ClassVar[str] = "arXiv:1312.6034"
    variant: str = "signed"

    def __post_init__(self) -> None:
        """Check the option."""
        if self.variant not in VARIANTS:
            raise ValueError(f"Gradient: variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")

    @property
    def units(self) -> str:  # type: ignore[override]
        """Gradient, or importance for the largest absolute values."""
        return "gradient" if self.variant == "signed" else "importance"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The gradient `(N, C, *F)` of the logit, or its largest absolute values `(N, 1, *F)`."""
        gradient = explicand.gradient.clone()
        return gradient if self.variant == "signed" else gradient.abs().amax(1, keepdim=True)
