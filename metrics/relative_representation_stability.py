"""Relative representation stability: the relative change of an explanation for each unit of that of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaieval.batch import Batch
from xaieval.explicand import Explicand
from xaieval.robustness import RelativeStability, norm, relative


@dataclass(frozen=True)
class RelativeRepresentationStability(RelativeStability):
    """Relative change of an explanation over that of a layer's output (Agarwal 2022, arXiv 2203.06877, RRS).

        value = max_j ||(a(y_j) - a(x)) / a(x)|| / max(||(h(y_j) - h(x)) / h(x)||, 1e-6)

    with the output h of a layer, by default the last spatial one before pooling. Quotients inside the norms are taken
    entry by entry, norms in L2; `y_j` is uniform in the L-infinity ball of `radius` around x, not clipped to pixels,
    with the prediction of x; the explained class is that of x. On a linear network the gradient has 0.

    Lower is better, and 0 is reached by any explanation that ignores the input. Bounds: at least 0; values spread over
    orders of magnitude, since small scores have large relative changes: compare ranks or logarithms. Cost: `copies`
    times that of the method, once for all robustness metrics with the same copies, and two forwards for each copy, once
    for all methods. Needs: method. Undefined for a zero map, where the prediction changes at every neighbor, and
    `skipped: cost` over the budget.

    Differs from the paper: a feature whose score or activation is 0 is left out, as it has no relative change;
    neighbors are uniform in the ball. Quantus divides by 1e-6 there, so that a few such features decide, and a single
    neighbor with another prediction makes its value NaN.

    Attributes:
        copies: Neighbors of each input.
        radius: Largest change of a value: in pixel units, for a text in the root mean square of its embeddings.
        common_draws: Explain the neighbors with the draws of the original.
        budget: Most forwards that one explanation may cost; above it nothing is spent and the value is undefined.
            0: no limit. The cost of an attribution that nobody noted is not known and not limited.
        seed: Seed of the neighbors.
        layer: Dotted name of the layer; None: the last output with places that the logits depend on.

    Raises:
        ValueError: No copy, or a radius that is not positive, or a layer that the model does not have.
    """

    reference: ClassVar[str] = "arXiv:2203.06877"
    exceptions: ClassVar[dict[str, str]] = {
        "still_is_best": "a linear model has no layer between input and output, which the law's model is"
    }
    layer: str | None = None

    def change(self, explicand: Explicand) -> Tensor:
        """The relative change of the layer's output, `(N, copies)`."""
        layer = explicand.layer("grad_cam") if self.layer is None else self.layer

        def compare(batch: Batch) -> Tensor:
            clean = batch.of_rows(explicand.outputs([layer])[layer])
            hidden = batch.copies(self.neighborhood.inputs(batch)).outputs([layer])[layer]
            return norm(relative(hidden - clean, clean))[:, None]

        key = f"represented:{self.neighborhood!r}:{layer}"
        return explicand.shared(key, lambda: self.neighborhood.table(explicand, compare))[..., 0]
