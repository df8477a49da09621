"""Completeness gap: how far contributions are from summing to what they explain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.removal import Removal, removal_of


@dataclass(frozen=True)
class CompletenessGap(Metric):
    """`|sum_i a_i - (f(x) - f(b))| / |f(x) - f(b)|`, the relative error of a sum (Sundararajan 2017, arXiv 1703.01365).

    The axiom is that of section 3, completeness; f is the logit, the sum runs over channels and present features. The
    baseline b is the method's own: its `removal`, that of the method inside it (SmoothGrad of integrated gradients), or
    zero where none is named. 0: complete. 1: as far off as a map that sums to 0.

    Lower is better. Bounds: at least 0. Cost: two forwards, the input and the baseline, shared with curves. Accepts
    contributions alone. Undefined where f(x) and f(b) do not differ beyond rounding, and where the method draws its
    baseline, which is another one at every call.

    Differs from the paper: the axiom asks for equality, which no sum of floats keeps (Quantus tests it, and exact maps
    of a linear model fail). Methods that claim completeness for an average of baselines only, such as expected
    gradients with noise, are held to its middle.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    category: ClassVar[str] = "axioms"
    accepts: ClassVar[tuple[str, ...]] = ("contribution",)
    reference: ClassVar[str] = "arXiv:1703.01365"

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The relative gap `(N,)`, summed in float64."""
        change = self._change(explicand, method).double()
        total = explicand.features(attribution.double(), units).flatten(1).sum(1)
        return ((total - change).abs() / change.abs()).float()

    def undefined_with(self, explicand: Explicand, method: Method | None) -> dict[str, Tensor]:
        """See the base class."""
        if not _baseline(method).fixed:
            return {"drawn baseline": torch.ones_like(explicand.target, dtype=torch.bool)}
        ends = torch.stack((explicand.clean.logit, explicand.removed(_baseline(method)).logit), 1)
        return {"no change to explain": self._change(explicand, method).abs() <= 1e-6 * ends.abs().amax(1)}

    def _change(self, explicand: Explicand, method: Method | None) -> Tensor:
        """f(x) - f(b), `(N,)`; NaN without a call where b is drawn."""
        if not _baseline(method).fixed:
            return torch.full_like(explicand.inputs.flatten(1)[:, 0], torch.nan)
        return explicand.clean.logit - explicand.removed(_baseline(method)).logit


def _baseline(method: Any) -> Removal:
    """What the contributions of a method are against."""
    while method is not None:
        if hasattr(method, "removal"):
            return removal_of(method.removal)
        method = getattr(method, "method", None)
    return removal_of("zero")
