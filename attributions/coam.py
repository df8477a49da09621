"""CoAM: where a layer's activations speak for a concept, or for a class through its concepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.cam import weighted_sum
from xaieval.component import Method
from xaieval.concept_model import bottleneck_of
from xaieval.explicand import Explicand
from xaieval.unsupported import UnsupportedError


@final
@dataclass(frozen=True)
class CoAM(Method):
    """`(1/d) sum_k C_jk E_k` of a concept j, upsampled, `(N, 1, *F)` (Aysel 2025, arXiv:2501.19271).

    E is the output `(N, d, h, w)` of the layer that a concept bottleneck reads, C the concept vectors `(L, d)`. For a
    class c of the bottleneck it is `sum_j theta_jc` times the map of j, with the weights theta of the concepts for the
    classes; for the bottleneck's scorer, whose classes are the concepts, the map of the concept. Since a bottleneck
    reads the mean of E over places, d times the mean of a concept's map, before upsampling, is its margin without the
    intercept. So it is for a class: its logit without the head's bias, the margins' intercepts and a residual head.

    Units: importance, signed. Upsampling is bilinear and keeps values.

    Cost: one forward, for all concepts of a batch together.

    Differs from the paper: nothing known for concepts; the formula was read in a secondary source, unverified. Maps of
    a class are its sum over concepts, which the paper does not draw.

    Raises:
        UnsupportedError: The model is no concept bottleneck, or its layer has no places.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2501.19271"

    @property
    def signed(self) -> bool:
        """What is negative speaks against the concept, or the class."""
        return True

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        return explicand.upsample(concept_maps(explicand))


def concept_maps(explicand: Explicand) -> Tensor:
    """The map of each sample's concept, or class, in the resolution of the layer, `(N, 1, h, w)`.

    Raises:
        UnsupportedError: The model is no concept bottleneck, or its layer has no places.
    """
    found = bottleneck_of(explicand.classifier)
    directions = found.directions if found.scores else found.head @ found.directions
    try:
        activation = explicand.outputs((found.layer,))[found.layer]
    except UnsupportedError:
        raise
    except ValueError as error:
        raise UnsupportedError(f"the concepts have no places: {error}", "fit them at a layer before pooling") from error
    return weighted_sum(activation, directions.index_select(0, explicand.target)) / directions.shape[1]
