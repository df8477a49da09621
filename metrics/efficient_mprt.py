"""Efficient MPRT: whether an explanation is simpler than that of a model that has learned nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.randomization import randomized, without_parameters
from xaieval.repeated import Repeated


@dataclass(frozen=True)
class EfficientMPRT(Repeated):
    """Relative rise of an explanation's complexity when all weights are drawn (Hedstrom 2023, arXiv 2401.06465, eMPRT).

        value = (H(a_r) - H(a)) / H(a)

    with the explanation `a_r` of the model whose layers are all randomized, for the same class, and the entropy H of
    the histogram of a map's signed scores, summed over channels: `bins` equal bins between the map's smallest and
    largest, over present features. Weights are drawn as for MPRT, once for all methods.

    Higher is better: 0 for a map that does not depend on the model. Bounds: -1, where nothing is left but a constant
    map, to infinity. Cost: one explanation. Needs: method. Undefined for a constant map, whose entropy is 0, a model
    without parameters, and `skipped: cost` over the budget. The histogram knows nothing of places: a map and the same
    map shuffled are equally complex.

    Differs from the paper: 100 bins for all, where the paper's code lets a rule choose them from the maps of the whole
    data set.

    Attributes:
        bins: Bins of the histogram.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the weights.

    Raises:
        ValueError: Fewer than two bins.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, math.inf)
    category: ClassVar[str] = "randomization"
    reference: ClassVar[str] = "arXiv:2401.06465"
    exceptions: ClassVar[dict[str, str]] = {
        "ignorant_is_worst": "its value is 0, no rise; a map that gets simpler with drawn weights lies below"
    }
    bins: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.bins < 2:
            raise ValueError(f"EfficientMPRT: bins must be at least 2, got {self.bins}")

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The relative rise `(N,)`."""
        before = self._entropy(explicand, attribution)
        model = next(randomized(explicand, "top_down", 1, self.seed), None)
        if model is None:
            return torch.full_like(before, torch.nan)
        return (self._entropy(model, method(model)) - before) / before

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units) | without_parameters(explicand)
        return reasons | {"constant attribution": self._entropy(explicand, attribution) == 0}

    def _entropy(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        """Entropy `(N,)` in nats of the histogram of a map's features."""
        values, present = explicand.features(attribution).flatten(1), explicand.present
        inside = torch.ones_like(values, dtype=torch.bool) if present is None else present.flatten(1)
        low = values.masked_fill(~inside, torch.inf).amin(1, keepdim=True)
        width = values.masked_fill(~inside, -torch.inf).amax(1, keepdim=True) - low
        place = (values - low) / width.masked_fill(width == 0, 1) * self.bins
        counts = values.new_zeros(len(values), self.bins)
        counts.scatter_add_(1, place.nan_to_num().long().clamp(0, self.bins - 1), inside.to(counts))
        entropy: Tensor = torch.special.entr(counts / inside.sum(1, keepdim=True)).sum(1)
        return entropy
