"""Meta-saliency: any explanation, of the model after one step of learning the sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.attributions.normgrad import NormGrad
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class MetaSaliency(Method):
    """A method's map at the weights `t' = t - rate dL/dt`, one step of gradient descent (Rebuffi 2020, section 5).

    arXiv:2004.02866. L is the cross-entropy of the sample for the class explained; the step changes every parameter,
    with the model in evaluation mode, for each sample by itself. No gradient passes through the step. Other weights
    are handed to the same call: the model is not edited. With rate 0 the map is the method's own; a negative rate
    climbs the loss instead.

    Units: those of the method, of the model after the step.

    Cost: one forward and one backward, and the cost of the method, which is not shared with anything.

    Differs from the paper: any method is wrapped. The rate of the paper's results is not known; .0025 is that of the
    authors' experiments, whose function has .0001.

    Attributes:
        rate: Length of the step as a factor of the gradient.
        method: What explains the model after the step.
    """

    reference: ClassVar[str] = "arXiv:2004.02866"
    rate: float = 0.0025
    method: Method = NormGrad()

    @property
    def units(self) -> str:  # type: ignore[override]
        """Those of the wrapped method."""
        return self.method.units

    @property
    def signed(self) -> bool:
        """As the wrapped method."""
        return self.method.signed

    def attribute(self, explicand: Explicand) -> Tensor:
        """The method's maps, `(N, C, *F)` or `(N, 1, *F)`."""
        return torch.cat([self.method(self._learned(sample)) for sample in explicand.each()])

    def _learned(self, sample: Explicand) -> Explicand:
        """The sample, and the model after the step."""
        weights = sample.classifier.weights
        gradients = sample.weight_gradients()
        return sample.with_weights({name: weights[name] - self.rate * gradients[name] for name in gradients})
