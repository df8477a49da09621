"""What the metrics of parts share that are really removed from a sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.correlation import constant, pearson, ranks, rounding_of
from xaieval.datasets.base import Dataset
from xaieval.explicand import Explicand
from xaieval.intervention import SYNCS, effects, rounding, worlds_of
from xaieval.part_importance import (
    Called,
    chosen_threshold,
    correct,
    irrelevant,
    part_masks,
    positive,
    seen_parts,
    sufficient_sets,
    sums_in,
)

WITH_VALUES = ("values", "deterministic", "batch_size", "order", "absent", "undefined_maps")
"""Laws that compare the values of random maps on a random model."""

FEW = 3
"""The fewest parts that are put in an order."""


class PartMetric(Metric):
    """A metric of parts that are removed by drawing a sample without them. Subclasses write `where_undefined`."""

    higher_is_better: ClassVar[bool] = True
    category: ClassVar[str] = "concepts"
    needs: ClassVar[tuple[str, ...]] = ("parts", "world")
    syncs: ClassVar[str] = SYNCS
    reference: ClassVar[str] = "arXiv:2308.06248"

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where the metric is undefined, `(N,)` for each reason, of samples that have all that it needs."""
        return {}

    def lacking(self, explicand: Explicand) -> str:
        """Also masks of the parts."""
        unmasked = explicand.parts is not None and explicand.parts.masks is None
        return super().lacking(explicand) or ("no part masks" if unmasked else "")

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        return reasons if self.lacking(explicand) else reasons | self.where_undefined(explicand, attribution, units)


@dataclass(frozen=True)
class ImportantParts(PartMetric):
    """A metric of the parts that a map calls important. Subclasses write `check`.

    Attributes:
        threshold: A part is important when its sum exceeds this share of the map's sum.
        held_out: Samples on which the threshold is chosen instead, anew for each model and method.
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    exceptions: ClassVar[dict[str, str]] = dict.fromkeys(
        (*WITH_VALUES, "once", "true_parts_beat_negated"), "maps whose sum is not positive have no value"
    )

    threshold: float = 0.1
    held_out: Dataset | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(
                f"{type(self).__name__}: threshold is a share of the map's sum, in (0, 1), got {self.threshold}"
            )

    def check(self, called: Called) -> Tensor:
        """The value `(N, 1)` of what a map calls important."""
        raise NotImplementedError

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)`."""
        called = Called.of(explicand, attribution, units, (self._threshold(explicand, method),))
        return self.check(called)[:, 0].float()

    def undefined_with(self, explicand: Explicand, method: Method | None) -> dict[str, Tensor]:
        """Where there is nothing to choose a threshold by."""
        nowhere = math.isnan(self._threshold(explicand, method))
        return {"no threshold on held-out samples": torch.full_like(explicand.target, nowhere, dtype=torch.bool)}

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where no share of the map's sum can be exceeded."""
        return {"sum not positive": ~positive(explicand.features(attribution, units).double())}

    def _threshold(self, explicand: Explicand, method: Method | None) -> float:
        if self.held_out is None:
            return self.threshold
        if method is None:
            raise ValueError(
                f"{type(self).__name__}: held_out chooses the threshold of a method, and the map came without one: "
                "call the metric with method="
            )
        return chosen_threshold(explicand.classifier, method, self.held_out)


class SufficientParts(ImportantParts):
    """One that knows of parts that the model must have seen, as it is right. Subclasses write `check`."""

    exceptions: ClassVar[dict[str, str]] = {
        **ImportantParts.exceptions,
        "neighbors": "a random model is not right, without which there is no value",
    }

    def where_undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Also where no set of parts is known to have been seen by the model."""
        return super().where_undefined(explicand, attribution, units) | {
            "not predicted correctly": ~correct(explicand),
            "class not told by seen parts": ~sufficient_sets(explicand).flatten(1).any(1),
        }


def nothing_irrelevant(explicand: Explicand) -> dict[str, Tensor]:
    """The reason why no share of what is irrelevant can be told."""
    parts, objects = irrelevant(explicand)
    return {"nothing irrelevant": ~(parts.any(1) | objects.any(1))}


def no_order(explicand: Explicand) -> dict[str, Tensor]:
    """The reasons why seen parts have no order by their true effect."""
    seen = seen_parts(explicand)
    return {
        "fewer than 3 parts seen": seen.sum(1) < FEW,
        "constant effects": constant(effects(explicand), rounding(explicand), seen),
    }


def evidence(explicand: Explicand, attribution: Tensor, units: str | None) -> Tensor:
    """What a map says of each part that is seen, `(N, P)`, float64.

    The sum of its scores in the pixels where the part is seen. A gradient `(N, C, H, W)` tells how the logit changes
    with each pixel, so that its sum is about a part that grows brighter: what it says of the part's removal is `sum (x
    - x~) g`, where x~ is the sample drawn without the part.
    """
    units = units or explicand.units_of(attribution)

    def predicted() -> Tensor:
        changes = (explicand.features(gone * attribution, "contribution") for gone in _changes(explicand))
        return torch.stack([features.double().flatten(1).sum(1) for features in changes], 1)

    if units == "gradient":  # scenes are drawn for it, so once for all metrics
        return explicand.known(attribution, "predicted effects of parts", predicted)
    return sums_in(explicand.features(attribution, units).double(), part_masks(explicand))


def _changes(explicand: Explicand) -> Iterator[Tensor]:
    """For each part what its removal takes from the samples, `(N, C, H, W)`; 0 of a sample that does not show it."""
    worlds, seen = worlds_of(explicand), seen_parts(explicand)
    for part, shown in enumerate(seen.T.tolist()):
        gone = torch.zeros_like(explicand.inputs)
        for row in (number for number, there in enumerate(shown) if there):
            gone[row] = explicand.inputs[row] - worlds[row].image(without=(part,)).to(explicand.inputs)
        yield gone


def effect_ranks(explicand: Explicand) -> Tensor:
    """Ranks `(N, P)` of the parts' true effects, from 0 for the smallest; those that are not seen come last."""
    known = effects(explicand).double().masked_fill(~seen_parts(explicand), torch.inf)
    return ranks(known, rounding(explicand).clamp(min=torch.finfo(torch.float32).tiny))


def evidence_ranks(explicand: Explicand, evidence: Tensor) -> Tensor:
    """Ranks `(N, P)` of what a map says of the parts, likewise; sums within 1e-6 of the largest are tied."""
    seen = seen_parts(explicand)
    size = rounding_of(evidence.masked_fill(~seen, 0)).clamp(min=torch.finfo(torch.float32).tiny)
    return ranks(evidence.masked_fill(~seen, torch.inf), size)


def rank_correlation(explicand: Explicand, evidence: Tensor) -> Tensor:
    """Spearman's correlation `(N,)` of what a map says of the seen parts `(N, P)` and their true effects.

    0 where the map says the same of all parts, as it tells nothing of their order.
    """
    seen = seen_parts(explicand)
    found = evidence_ranks(explicand, evidence)
    flat = constant(found, torch.zeros_like(found[:, 0]), seen)
    return pearson(found, effect_ranks(explicand), seen).masked_fill(flat, 0.0)
