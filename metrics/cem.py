"""CEM: how many of the concepts with the highest scores hold in the sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.localization import Detection, top_share


@dataclass(frozen=True)
class CEM(Detection):
    """Concept existence metric: the share of the first l features that are marked (Aysel 2025, arXiv:2501.19271).

    `r = |top-l(a) inside S| / l`. On the head of a concept bottleneck (`model=scenes_bottleneck_head`) a feature is a
    concept, its score under `input_x_gradient` the concept's local importance `theta_jk u_ij`, and S the concepts that
    hold in the sample: r is the paper's CEM_l for the class explained. Of a method that says what speaks for a class, r
    asks whether it says so of what is there. Chance c, the mean of r over random orders, is the share of the concepts
    that hold, `|S| / L`; the value is `(r - c) / (1 - c)`, or r. Where fewer than l concepts hold, r cannot exceed
    `|S| / l`.

    Higher is better. Bounds: at most 1; r is 0 to 1. Chance: 0 exactly; |S| / L of r. Cost: no evaluation. Needs: mask.

    Differs from the paper: chance is taken off, except in the presets `cem_1`, `cem_3` and `cem_5`, whose chance
    stands in the row of `constant`; ties at the l-th place count with the mean over all ways to break them; samples in
    which no concept or every concept holds are undefined, since nothing can be told apart there.

    Attributes:
        top: Number l of features that are looked at, at least 1; all of them where a sample has fewer.
        above_chance: See `Detection`.

    Raises:
        ValueError: Less than one feature.
        UnsupportedError: The features are no concepts.
    """

    category: ClassVar[str] = "concepts"
    exceptions: ClassVar[dict[str, str]] = {"memory": "the features of the law's images are no concepts"}
    reference: ClassVar[str] = "arXiv:2501.19271"
    top: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        if self.top < 1:
            raise ValueError(f"CEM: top is the number of features that are looked at, at least 1, got {self.top}")

    def region(self, explicand: Explicand, mask: Tensor) -> Tensor:
        """The concepts that hold; other features are refused."""
        explicand.modality.concepts()
        return mask

    def found(self, scores: Tensor, region: Tensor) -> Tensor:
        """The expected share of the first l inside, over random breaks of ties."""
        return top_share(scores, region, (scores != float("-inf")).sum(1, keepdim=True).clamp(max=self.top))
