"""Layer-wise relevance propagation: the logit, shared out from layer to layer down to the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.layerwise_relevance import COMPOSITES, LayerwiseRelevance
from xaieval.relevance import EPSILON
from xaieval.unsupported import UnsupportedError

BAND = (0.5, 2.0)
"""What pixels and biases may have received together, as a multiple of the logit."""


@final
@dataclass(frozen=True)
class LRP(Method):
    """Relevance `(N, C, *F)` of the input: `R_j = sum_k c_jk R_k / sum_j c_jk` from layer to layer, from the logit on.

    Bach 2015 (doi:10.1371/journal.pone.0130140, eq. 56 to 60, unverified); which rule a layer follows, its
    contributions `c_jk`, is a composite's choice (Montavon 2019, doi:10.1007/978-3-030-28954-6_10; Kohlbrenner 2020,
    arXiv:1910.09840). With the epsilon rule `x w` for dense layers, epsilon 1e-6, it is for convolutions

    * `epsilon_plus_flat`: `(x w)+`; for those that read the input 1.
    * `alpha2_beta1`: `(x w)+` twice, minus `(x w)-`.
    * `epsilon_gamma_box`: `x w + .25 (x w)+` (with - where the output is negative); for those that read the input
      `x w - low w+ - high w-`, low and high being what pixels of 0 and 1 become there.

    Biases have their part `b`, `b+` or `b-` of each sum and keep it; flat and box know none. A batch normalization
    right after a layer is a part of its weights, any other a sum of `scale x` and its shift. Sums (skip connections)
    and averages share out by the epsilon rule, in proportion to what each summand contributed; max pooling gives to its
    winners, functions of one number and products with constants pass relevance on. What normalizes the input does so
    too, one to one: the map is that of the normalized input. Everything is known by the function that is called, so
    in-place, re-used and functional forms of one network have one map, and no list of modules decides.

    Units: contribution in logits, with an implied baseline of 0 behind the normalization. Not complete: on a trained
    EfficientNet-Lite0 biases keep more than 98 % of the logit, on one without any pixels receive it all.

    Cost: one forward and one backward, which take two to four times as long as a gradient's: rules run convolutions
    again, on positive and negative parts.

    Differs from the paper: a sample is refused (NaN) where pixels and biases together received less than half the logit
    or more than twice. Measured: 1.00 for all composites on ResNet-18 and VGG-11, and on EfficientNet-Lite0 but for
    `alpha2_beta1`, which made 1.5 to 1.7 of it (more than 2 with random weights): an output to which nothing
    contributes negatively hands on twice its relevance. Outputs to which nothing contributes at all lose theirs.

    Attributes:
        composite: epsilon_plus_flat, alpha2_beta1 or epsilon_gamma_box.

    Raises:
        ValueError: There is no such composite.
        UnsupportedError: The model calls a function that has no rule, as normalization over features, softmax and
            products of activations, or none that shares relevance out.
    """

    units: ClassVar[str] = "contribution"
    exceptions: ClassVar[dict[str, str]] = {
        "text_linear_contribution": "its implied baseline is the embedding 0, not the mask token"
    }
    reference: ClassVar[str] = "doi:10.1371/journal.pone.0130140"
    refuses: ClassVar[str] = "unsupported layers: relevance adds up to less than half or more than twice the logit"
    composite: str = "epsilon_plus_flat"

    def __post_init__(self) -> None:
        """Check the option."""
        if self.composite not in COMPOSITES:
            raise ValueError(f"LRP: composite must be one of {', '.join(COMPOSITES)}, got {self.composite!r}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The relevance `(N, C, *F)`, NaN in samples where it does not add up."""
        balances: list[Tensor] = []
        scores, relevance = explicand.propagated(lambda: LayerwiseRelevance(self.composite, balances.append))
        if not balances:
            raise UnsupportedError(f"{explicand.classifier.name} has no layer that shares relevance out")
        logit, balance = scores.logit[0], torch.cat(balances)
        fair = (balance >= BAND[0]) & (balance <= BAND[1])
        fair |= logit.abs() <= 10 * EPSILON  # next to nothing to share out, of which epsilon takes its part
        shape = (-1, *(1,) * (relevance.dim() - 1))
        return torch.where(fair.view(shape), logit.view(shape) * relevance, torch.nan)
