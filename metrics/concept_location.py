"""Concept location: whether the maps of the concepts that a model uses lie where these concepts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.concept_location import PLACES, importance, region_of, seen
from xaieval.concept_model import at
from xaieval.explicand import Explicand
from xaieval.localization import Localization
from xaieval.metrics.top_recall import TopRecall
from xaieval.parts import Parts
from xaieval.repeated import Repeated


@dataclass(frozen=True)
class ConceptLocation(Repeated):
    """How well a method's maps of the most important concepts lie on them, on average (Aysel 2025, arXiv 2501.19271).

    For a concept bottleneck with head weights `theta` and concept scores `u` (geometric margins), the concepts of
    sample i are put in descending order of their importance for the class k explained, `theta_jk u_ij`. The method
    explains the score `u_ij` of each of the `first`, as it explains the logit of a class, and the value is

        mean_j metric(map of concept j, place of concept j)

    over those that hold in the sample and are seen there. The place is the center of the concept's part, a single
    pixel, or with `place="mask"` all pixels where the part is seen. CLM_l of the paper, its location metric for its
    concept activation maps, is `metric=clm_alpha1`, `clm_alpha3` and `clm_alpha6` with `first` l: whether the center is
    among the alpha / 12 most active pixels of the map of CoAM; chance is alpha / 12, which the row of the sentinel
    `constant` shows. A point says nothing of extent: `concept_mass`, `concept_rank`, `concept_iou` and
    `concept_pointing` compare with the mask. With `first=0` all concepts of a sample that hold and are seen count,
    whatever the model makes of them: whether maps find the concepts, and not whether the model uses what is there.

    Concepts that do not hold, have no place, are hidden, or whose map has no value under the metric are skipped.
    `.counted` says how many of those looked at hold and are seen, `.concepts` which are looked at, and `.each` gives
    the value of each.

    Higher is better. Bounds: those of the metric. Cost: the forward that gives the concept scores, and `first`
    explanations (with `first=0` as many as concepts are seen in a sample), once for all metrics of the same maps.
    Needs: parts, method. Undefined where no concept counts, without masks where they are asked for, for a zero map of
    the class, and `skipped: cost` over the budget. Models without concepts are refused
    where parts are told.

    Differs from the paper: any method, any metric of localization, any class. Importance is a product with the margin;
    the paper's concept score has neither bias nor norm. What the paper divides by where a center is unknown is not
    verified; here skipped concepts leave the denominator.

    Attributes:
        metric: Compares a map with a mask, which is the place of a concept.
        first: How many of the most important concepts are looked at; 0: all that hold and are seen.
        place: center or mask.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.

    Raises:
        ValueError: A place that does not exist, a negative number, or samples that tell nothing of a concept of the
            model.
    """

    higher_is_better: ClassVar[bool] = True
    category: ClassVar[str] = "concepts"
    needs: ClassVar[tuple[str, ...]] = ("parts", "method")
    without_value: ClassVar[str] = "no map of a concept has a value"
    reference: ClassVar[str] = "arXiv:2501.19271"
    exceptions: ClassVar[dict[str, str]] = {
        "counted": "gradients of concepts begin inside the model, where the law does not look for them",
    }
    metric: Localization = TopRecall()
    first: int = 1
    place: str = "center"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.place not in PLACES:
            raise ValueError(f"ConceptLocation: place must be one of {', '.join(PLACES)}, got {self.place!r}")
        if self.first < 0:
            raise ValueError(f"ConceptLocation: first is a number of concepts, or 0 for all, got {self.first}")

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of the metric."""
        return self.metric.bounds

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """How many concepts are seen has to be known if all are looked at."""
        return "as many maps are made as the sample with the most concepts has" if self.first == 0 else ""

    def lacking(self, explicand: Explicand) -> str:
        """See the base class; masks where they are asked for."""
        parts = explicand.parts
        unknown = self.place == "mask" and parts is not None and parts.masks is None
        return super().lacking(explicand) or ("no masks of parts" if unknown else "")

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if not self.lacking(explicand) and not self.too_costly(explicand, attribution):
            among = f" among the first {self.first}" if self.first else ""
            reasons[f"no concept seen{among}"] = self.counted(explicand) == 0
        return reasons

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The mean over concepts `(N,)`."""
        return self._values(explicand, attribution, method).nanmean(1)

    def each(self, explicand: Explicand, method: Method) -> Tensor:
        """The value of each concept in the order in which they are looked at, `(N, l)`; NaN where it is skipped."""
        return self._values(explicand, explicand.attribution(method), method)

    def counted(self, explicand: Explicand) -> Tensor:
        """How many of the concepts that are looked at hold and are seen, `(N,)`."""
        return self._looked_at(explicand)[1].sum(1)

    def concepts(self, explicand: Explicand) -> Tensor:
        """The numbers of the model's concepts that are looked at, in order, `(N, l)`."""
        return self._looked_at(explicand)[0]

    def _looked_at(self, explicand: Explicand) -> tuple[Tensor, Tensor]:
        """The concepts that are looked at, `(N, l)`, and which of them count."""
        there = seen(explicand, _parts(explicand), self.place)
        if self.first:
            order = importance(explicand).argsort(dim=1, descending=True, stable=True)[:, : self.first]
        else:
            order = there.byte().argsort(dim=1, descending=True, stable=True)[:, : max(int(there.sum(1).max()), 1)]
        return order, there.gather(1, order)

    def _values(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        order, counts = self._looked_at(explicand)
        values = [
            self._value(explicand, self._map(explicand, attribution, method, concepts, rank), concepts)
            for rank, concepts in enumerate(order.unbind(1))
        ]
        return torch.stack(values, 1).masked_fill(~counts, torch.nan)

    def _value(self, explicand: Explicand, maps: Tensor, concepts: Tensor) -> Tensor:
        """The metric `(N,)` of the map of one concept of each sample."""
        region = region_of(explicand, _parts(explicand), concepts, self.place)
        return self.metric(explicand.like(mask=region), maps, units="importance")

    def _map(self, explicand: Explicand, attribution: Tensor, method: Method, concepts: Tensor, rank: int) -> Tensor:
        """The method's scores `(N, 1, H, W)` for one concept of each sample; once for all that look at the same.

        A method that reads the ground truth is given that of the concept: where it is seen, or its center.
        """
        parts = _parts(explicand)

        def make() -> Tensor:
            mask = region_of(explicand, parts, concepts, "center" if parts.masks is None else "mask")
            asked = at(explicand, concepts).like(mask=mask)
            return asked.features(method(asked), method.units or None)[:, None]

        order = "importance" if self.first else f"seen:{self.place}"
        return explicand.known(attribution, f"concept map:{order}:{rank}:{method!r}", make)


def _parts(explicand: Explicand) -> Parts:
    """Those of the samples, which are there where a value is asked for."""
    if explicand.parts is None:
        raise ValueError("ConceptLocation: these samples tell no parts: bind the inputs with parts=")
    return explicand.parts
