"""Score-CAM: the channels of a late layer, weighted by the class score of what each of them leaves visible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.cam import extremes, outputs, weighted_sum
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal
from xaieval.scores import NAMES

WEIGHTINGS = ("increase", "softmax")


@final
@dataclass(frozen=True)
class ScoreCAM(Method):
    """`ReLU(sum_k w_k A_k)`, upsampled, with `w_k = f_c(H_k x + (1 - H_k) x0) - f_c(x0)`, `(N, 1, *F)`.

    Source: Wang 2019, arXiv:1910.01279, section 3. A is a layer's output, `(N, K, h, w)`; the mask H_k is its channel k
    upsampled bilinearly to the input and scaled to [0, 1] by its minimum and maximum. Everything that a mask hides is
    replaced by the removal, and x0 is the input with everything replaced. A channel without contrast (to 1e-6 of its
    size) hides everything, so its increase is 0.

    Weighting: `increase` is w_k as above, the definition of the paper; `softmax`, in its algorithm 1, replaces it by
    `exp(w_k) / sum_j exp(w_j)`, which on probabilities gives every channel nearly the same weight. With `softmax` and
    `score="logit"` it is what some implementations compute.

    Units: importance. Upsampling is bilinear, after the rectifier, and keeps values.

    Cost: `K + 1` forwards (1281 at EfficientNet-Lite0's last layer), and one for reading the layer, which is shared.

    Differs from the paper: nothing in the definition. The authors' code leaves f_c(x0) out.

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
        weighting: increase or softmax.
        removal: What replaces hidden features; black in the paper.
        score: The score f_c: probability as in the paper, logit, log_probability or margin.

    Raises:
        ValueError: A weighting or a score that does not exist.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1910.01279"
    layer: str = ""
    weighting: str = "increase"
    removal: str | Removal = "zero"
    score: str = "probability"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"ScoreCAM: weighting must be one of {', '.join(WEIGHTINGS)}, got {self.weighting!r}")
        if self.score not in NAMES:
            raise ValueError(f"ScoreCAM: score must be one of {', '.join(NAMES)}, got {self.score!r}")

    def tried(self, explicand: Explicand) -> Tensor:
        """What the method reads; each of its channels costs a forward."""
        return outputs(explicand, self.layer)

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        activation = outputs(explicand, self.layer)
        # One channel more, which hides everything; contiguous, or each batch would copy all to read its own.
        table = torch.cat((activation, torch.zeros_like(activation[:, :1])), 1).contiguous()
        removal = explicand.removal(self.removal)

        def inputs(batch: Batch) -> Tensor:
            present = None if explicand.present is None else batch.of_rows(explicand.present)
            return removal(batch, 1 - _scaled(explicand.upsample(batch.read(table)[:, None]), present))

        scores = explicand.scores(inputs, table.shape[1], self.score)
        weights = scores[:, :-1] - scores[:, -1:]
        if self.weighting == "softmax":
            weights = weights.softmax(1)
        return explicand.upsample(weighted_sum(activation, weights).relu())


def _scaled(masks: Tensor, present: Tensor | None) -> Tensor:
    """Each mask `(n, 1, *F)` scaled to [0, 1] over the features there; 0 where it has no contrast."""
    low, high = extremes(masks, present)
    contrast = high - low > 1e-6 * torch.maximum(high.abs(), low.abs())  # less is rounding, also of the upsampling
    return torch.where(contrast, (masks - low) / (high - low), 0.0)
