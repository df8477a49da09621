"""Accumulated prediction sensitivity: how much a prediction depends on the features that it should not depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import SKIPPED, Method, Metric
from xaieval.explicand import Explicand


@dataclass(frozen=True)
class AccumulatedPredictionSensitivity(Metric):
    """Change of all class probabilities with the protected features (Krishna 2022, arXiv 2203.08670, P = w'Jv).

    With the size `J_ij = ||dp_i/dx_j||` of the gradient of the probability of class i at feature j, in L2 over its
    channels (the values of a token's embedding, the colors of a pixel; one channel: the absolute value), summed over
    the K classes (w = 1) and averaged over the protected features S that exist (v = 1/|S|), those which the dataset
    marks as `protected`, as the words of a text that tell a gender, or where it marks none those inside the mask:

        P = sum_i mean_{j in S} J_ij,    (N,), of J (K, *F)

    On `softmax(W x)` with probabilities p it is `sum_i p_i mean_S ||W_i - sum_k p_k W_k||`.

    Lower is better: fairer. Bounds: at least 0, reached by a model that ignores the protected features. Cost: a forward
    and a backward for each class, once for all methods. Needs: protected features, or a mask. Undefined where it marks
    nothing, and `skipped: cost` over the budget.

    It judges the model and not the map, so that every method has the same value; the map is asked for as for any
    metric. Gradients are per unit of the input: a pixel's range, or the root mean square of a text's embeddings.

    Differs from the paper: the weights, which the paper leaves to the user, are fixed; the mean over S makes texts of
    different lengths comparable. Which norm the paper takes over a token's embedding is unverified.

    Attributes:
        budget: Most classes that a model may have; above it nothing is spent and the value is undefined. 0: no limit.

    Raises:
        ValueError: A negative budget.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    category: ClassVar[str] = "fairness"
    needs: ClassVar[tuple[str, ...]] = ("mask",)
    reference: ClassVar[str] = "arXiv:2203.08670"
    budget: int = 100

    def __post_init__(self) -> None:
        """Check the options."""
        if self.budget < 0:
            raise ValueError(
                f"AccumulatedPredictionSensitivity: budget is a number of classes, 0 for no limit, got {self.budget}"
            )

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The sensitivity `(N,)`, NaN over the budget."""
        if self._too_costly(explicand):
            return explicand.inputs.new_full((explicand.count,), torch.nan)
        protected = _protected(explicand)
        sizes = explicand.shared("accumulated prediction sensitivity", lambda: _sensitivity(explicand))
        return explicand.scale * (sizes * protected).flatten(1).sum(1) / protected.flatten(1).sum(1)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined(explicand, attribution, units)
        if not self.lacking(explicand):
            nothing = "empty mask" if explicand.protected is None else "no protected features"
            reasons[nothing] = ~_protected(explicand).flatten(1).any(1)
            if self._too_costly(explicand):
                reasons[SKIPPED] = torch.ones_like(explicand.target, dtype=torch.bool)
        return reasons

    def lacking(self, explicand: Explicand) -> str:
        """Protected features do as well."""
        return super().lacking(explicand) if explicand.protected is None else ""

    def _too_costly(self, explicand: Explicand) -> bool:
        return bool(self.budget) and (explicand.classifier.classes or 0) > self.budget


def _protected(explicand: Explicand) -> Tensor:
    """The present features that are protected, or else inside the mask, bool `(N, *F)`."""
    marked, present = explicand.mask if explicand.protected is None else explicand.protected, explicand.present
    assert marked is not None  # nothing is scored without one
    return marked if present is None else marked & present


def _sensitivity(explicand: Explicand) -> Tensor:
    """Sum over all classes of the size of the probability's gradient at each feature, `(N, *F)`."""
    total = torch.zeros_like(explicand.inputs[:, 0])
    for batch in explicand.batches(explicand.classifier.classes or 1):
        each_class = batch.copies(batch.inputs).retargeted(batch.variants)
        gradients = [part.gradients(part.inputs, "probability") for part in each_class.batches(1)]
        batch.add(total, torch.linalg.vector_norm(torch.cat(gradients), dim=1))
    return total
