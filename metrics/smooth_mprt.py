"""Smooth MPRT: the randomization test on explanations averaged over noise, which no longer are noise themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.randomization import Randomization


@dataclass(frozen=True)
class SmoothMPRT(Randomization):
    """The randomization test on explanations averaged over noisy inputs (Hedstrom 2023, arXiv 2401.06465, sMPRT).

        value = mean_k s(b, b_k),    b = mean_j a(x + e_j),    e_j ~ N(0, (noise (max x - min x))^2)

    with the mean explanation b of the model and `b_k` of the k-th randomized model, for the same class and the same
    noise; a is the method's explanation, with the method's own draws fresh for each j and the same for all models. A
    gradient's noise, which makes any two maps dissimilar, is averaged away before they are compared. All else is as in
    MPRT, but that layers are randomized from the input up: from the output down, the layers that still are trained
    keep much of a map.

    Lower is better: 1 for a map that does not depend on the model. Bounds: -1 to 1. Cost: `samples` (`steps` + 1)
    explanations. Needs: method. Undefined for a zero map, a model without parameters, where for each model one of the
    two maps is constant and not the other, and `skipped: cost` over the budget.

    Differs from the paper: groups of layers, so that the cost does not grow with the model; 10 noisy inputs, the paper
    has 50.

    Attributes:
        order: top_down, bottom_up or independent.
        steps: Randomized models, at most one for each layer.
        similarity: spearman or ssim.
        absolute: Compare absolute values of the features of the mean explanations.
        samples: Noisy copies of each input.
        noise: Standard deviation as a part of the range of the input; for a text of the root mean square of its
            embeddings.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the weights and of the noise.

    Raises:
        ValueError: An order or similarity that does not exist, no step or sample, or noise below 0.
    """

    reference: ClassVar[str] = "arXiv:2401.06465"
    order: str = "bottom_up"
    samples: int = 10
    noise: float = 0.1
    budget: int | None = field(default=50, kw_only=True)

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.samples < 1:
            raise ValueError(f"SmoothMPRT: samples must be at least 1, got {self.samples}")
        if self.noise < 0:
            raise ValueError(f"SmoothMPRT: noise must be at least 0, got {self.noise}")

    def compared(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """The mean similarity `(N,)`."""
        return super().compared(explicand, self.again(explicand, method), method)

    def again(self, explicand: Explicand, method: Method) -> Tensor:
        """The mean explanation `(N, 1, *F)`, summed over channels."""
        total = explicand.inputs.new_zeros(explicand.count, 1, *explicand.shape[2:])
        for batch in explicand.batches(self.samples):
            noise = batch.of(self.noise * explicand.range) * batch.normal("smooth mprt", self.seed)
            copies = batch.copies(batch.inputs + noise)
            batch.add(total, copies.features(method(copies))[:, None])
        return total / self.samples
