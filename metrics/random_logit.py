"""Random logit: how alike the explanations of the class and of any other class are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.repeated import Repeated
from xaieval.similarity import ONE_CONSTANT, check_similarity, similarity


@dataclass(frozen=True)
class RandomLogit(Repeated):
    """Similarity of the explanations of the class and of a random other class (Sixt 2020, arXiv 1912.09818).

    The other class is drawn uniformly from all but the class explained, for each sample. Scores are summed over
    channels and stay signed.

    * `ssim`: mean structural similarity (Wang 2004) in windows of 7 x 7, each map divided by its largest absolute value
      and shifted from [-1, 1] to [0, 1].
    * `spearman`: rank correlation over present features.

    Lower is better: 1 for a map that does not depend on the class, also a constant one. Bounds: -1 to 1. On `f_c = w_c
    x` the Spearman value of a gradient is the rank correlation of the two rows of weights. Cost: one explanation.
    Needs: method. Undefined for a zero map, where one of the two maps is constant and not the other, as a
    rectified map of an unlikely class may be, where there is one class, and `skipped: cost` over the budget.

    Differs from the paper: maps are signed. Quantus draws the class from a number of classes that must be given to it,
    1000 by default, whatever the model has.

    Attributes:
        similarity: ssim or spearman.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the other class.

    Raises:
        ValueError: A similarity that does not exist.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "randomization"
    without_value: ClassVar[str] = ONE_CONSTANT
    reference: ClassVar[str] = "arXiv:1912.09818"
    similarity: str = "ssim"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_similarity("RandomLogit", self.similarity)

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The similarity `(N,)`."""
        other = explicand.kept(f"random logit:{self.seed}", lambda: explicand.retargeted(self._other(explicand)))
        return similarity(explicand, self.similarity, attribution, method(other))

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        return super().undefined(explicand, attribution, units) | self.one_class(explicand)

    def _other(self, explicand: Explicand) -> Tensor:
        """A class `(N,)` other than the one explained."""
        others = (explicand.classifier.classes or 1) - 1
        draw = explicand.uniform("random logit", self.seed, ())
        step = (draw * others).long().clamp(max=max(others - 1, 0))
        return (explicand.target + 1 + step) % (others + 1)
