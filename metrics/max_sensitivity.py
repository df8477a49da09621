"""Max-sensitivity: how far an explanation moves when the input hardly does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.robustness import Neighborhood, Robustness, norm

REDUCTIONS = ("max", "mean")


@dataclass(frozen=True)
class MaxSensitivity(Robustness):
    """Largest change of an explanation in a small ball around the input (Yeh 2019, arXiv 1901.09392, SENS_MAX).

    `max_j ||a(y_j) - a(x)|| / ||a(x)||` in L2 over channels and present features, `y_j` uniform in the L-infinity
    ball of `radius` around x, not clipped to pixels, and the explained class that of x. The maximum over draws is a
    lower bound of the true one and grows with `copies`: compare at equal numbers only. `reduction="mean"` gives the
    average sensitivity.

    With `corners` the `y_j` are corners of the ball, where every pixel moves by the whole radius. What changes linearly
    with the input changes most at one of them, and `a = w x` by exactly `radius ||w||` at each, which draws inside the
    ball stay far below.

    A method's own random draws and designs are fresh in every copy, so what it changes by chance counts;
    `common_draws` holds them.

    Lower is better, and 0 is reached by any explanation that ignores the input. Bounds: at least 0. Cost: `copies`
    times that of the method, once for all robustness metrics with the same copies. Needs: method. Undefined for a zero
    map, and `skipped: cost` over the budget.

    Differs from the paper: divided by the norm of the explanation, as in the authors' code; radius .02 and 10
    copies are Captum's, the paper has .2 and 50. Captum divides a zero map by 1, which makes it perfect.

    Attributes:
        copies: Perturbed copies of each input.
        radius: Largest change of a value: in pixel units, for a text in the root mean square of its embeddings.
        reduction: max or mean over the copies.
        relative: Divide by the norm of the explanation.
        corners: Draw corners of the ball in place of points inside.
        common_draws: Explain the copies with the draws of the original.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the copies.

    Raises:
        ValueError: A reduction that does not exist, no copy, or a radius that is not positive.
    """

    reference: ClassVar[str] = "arXiv:1901.09392"
    reduction: str = "max"
    relative: bool = True
    corners: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.reduction not in REDUCTIONS:
            raise ValueError(
                f"MaxSensitivity: reduction must be one of {', '.join(REDUCTIONS)}, got {self.reduction!r}"
            )

    @property
    def neighborhood(self) -> Neighborhood:
        """See the base class."""
        return Neighborhood(self.copies, self.radius, self.seed, self.corners)

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The largest or mean change `(N,)`."""
        moved = self.moved(explicand, attribution, method)[..., 0]
        change = moved.amax(1) if self.reduction == "max" else moved.mean(1)
        if not self.relative:
            return change
        present = explicand.present
        return change / norm(attribution if present is None else attribution * present[:, None])
