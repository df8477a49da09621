"""Target sensitivity: whether the parts of a class count more in its explanation than in another's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.class_pairs import class_pairs
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.part_importance import part_sums
from xaieval.part_metric import WITH_VALUES, PartMetric
from xaieval.repeated import Repeated


@final
@dataclass(frozen=True)
class TargetSensitivity(PartMetric, Repeated):
    """Whether parts shared with a class are more important in the explanation of that class (arXiv:2308.06248).

    The sample is explained for two other classes, each of which shares two of the sample's seen parts, and not the same
    ones. Value: the mean of two tests, 1 if the map of the first class has a larger sum in the parts shared with the
    first class than the map of the second class has there, else 0; and likewise for the second (Hesse 2023). Masks are
    dilated by 5 x 5 pixels. It is the score of contrastivity of FunnyBirds.

    The logits have to confirm the difference: without the parts shared with a class its own logit must drop more than
    the other class's, for both classes. Of the pairs so confirmed it is the one of which the smaller difference is
    largest.

    Higher is better. Bounds: 0 to 1. Chance: .5 for maps drawn anew for each class; a map that does not depend on the
    class, as that of a sentinel, gets 0. Cost: two explanations, and for all methods one forward for the image and one
    for each class that shares two parts. Needs: parts, world and method. Undefined where no pair is confirmed, for a
    zero map, and `skipped: cost` over the budget.

    Differs from the paper: the pair is the one confirmed most clearly, there one at random; parts that are hidden are
    not shared.

    Attributes:
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
    """

    needs: ClassVar[tuple[str, ...]] = ("parts", "world", "method")
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    exceptions: ClassVar[dict[str, str]] = dict.fromkeys(
        (*WITH_VALUES, "neighbors", "true_parts_beat_negated"), "a random model confirms no pair of classes"
    )

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The value `(N,)`."""
        pairs = class_pairs(explicand)
        sums = []
        for place in range(2):
            retargeted = partial(explicand.retargeted, pairs.classes[:, place])
            other = explicand.kept(f"class pair {place}", retargeted)
            features = other.features(other.attribution(method), method.units).double()
            sums.append(part_sums(explicand, features))
        of_map = torch.stack(sums, 1)  # (N, map, P)
        inside = of_map @ pairs.parts.mT.double()  # (N, map, parts)
        own, cross = inside.diagonal(dim1=1, dim2=2), inside.flip(1).diagonal(dim1=1, dim2=2)
        size = 1e-6 * inside.abs().amax((1, 2))[:, None]  # less is rounding
        return (own > cross + size).float().mean(1)

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where no pair of classes is to be told apart."""
        return {"no pair of classes": ~class_pairs(explicand).found}
