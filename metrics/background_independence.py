"""Background independence: whether the model looks past the objects of the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.intervention import drops, without_objects
from xaieval.part_importance import lowering
from xaieval.part_metric import PartMetric


@final
@dataclass(frozen=True)
class BackgroundIndependence(PartMetric):
    """One minus the share of background objects without which the logit drops by 5 % or more (arXiv:2308.06248).

    A property of the model, not of an explanation: every method gets the same value (Hesse 2023). It tells whether what
    maps show of the background is true. The drop of the logit of the class explained is taken as a part of its size.

    Higher is better. Bounds: 0 to 1. Cost: one forward for the image and one without each object, for all methods.
    Needs: parts and world. Undefined where no object is seen.

    Differs from the paper: the drop is measured by the absolute value of the logit, so that it means the same where
    that is negative; objects that are hidden do not count.
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    exceptions: ClassVar[dict[str, str]] = {
        "true_parts_beat_negated": "it is a property of the model, the same for every map"
    }

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)`."""
        found = without_objects(explicand)
        used = lowering(explicand, drops(explicand, found.logits)) & found.seen
        return 1 - used.sum(1) / found.seen.sum(1)

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where there is no object."""
        return {"no object seen": ~without_objects(explicand).seen.any(1)}
