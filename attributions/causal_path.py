"""Causal paths: what the causal units of a late layer contribute, by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

from torch import Tensor

from xaieval.causal import CausalGraph, from_last_spatial, links, mapped_by, relevant, walk
from xaieval.component import Method
from xaieval.explicand import Explicand


@final
@dataclass(frozen=True)
class CausalPath(Method):
    """`sum_e mean_j softmax_u(v_eju)` over causes j and effects e of a layer, `(N, 1, *F)` (Ahmad 2024).

    Source: arXiv:2305.08950 and the authors' code. A layer of the model's chain is given channels `(N, K, h, w)` and
    gives `(N, K', h', w')`. Effects are the channels that it gives which cause the class, causes those that it is given
    which cause the effects; `v_ej` is what the layer gives in e, less what it gives there without j. In a convolution
    that is the cross-correlation of channel j, after the rectifier, with the weights `W[e, j]`. The softmax runs over
    places, so each summand is positive and sums to 1.

    With a graph, causes and effects are those of the class, see `CausalGraph.of(explicand)`. Without one they are found
    for each image by itself, back from the logits: the edges from a unit j to the effects are cut, and j is a cause if
    the logit drops by more than `threshold` of its size; if no unit of a layer does, by more than 0.001; if none does
    so either, the map is 0. Candidates are the units with the largest first-order estimate of the drop.

    Units: importance. Upsampling is bilinear and keeps values.

    Cost: without a graph, for each layer from the map's to the logits, a forward for each candidate and two more, and a
    backward; what lies before a layer is run for one image of a batch alone, though all are counted. With a graph, a
    forward for each cause and two more, and a backward.

    Differs from the paper: its code flips kernels (convolution with full padding), takes channels before the rectifier
    and draws absolute values; it keeps a unit whose relative effect on a single image is below +0.05, which we read as
    a drop of 0.05; relative drops divide by |logit|. Blocks of residual networks are layers here. The paper's text
    beyond its abstract is unverified.

    Attributes:
        layers: Dotted names, the first of which has the map, up to the one that gives the logits; empty: the model's
            chain from its last spatial layer on. With a graph the first alone counts.
        candidates: Units tested at most in each layer.
        threshold: Relative drop of the logit above which a unit is a cause of a single image.
        graph: Causal units of a class; None: those of each image.

    Raises:
        ValueError: An option out of range, layers that are no chain, or a graph of another class or of other layers.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2305.08950"
    exceptions: ClassVar[dict[str, str]] = {
        "counted": "activations known from before stand for all inputs but one of a batch: the model is called with one"
    }
    layers: tuple[str, ...] = ()
    candidates: int = 64
    threshold: float = 0.05
    graph: CausalGraph | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if self.candidates < 1:
            raise ValueError(f"CausalPath: candidates must be at least 1, got {self.candidates}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"CausalPath: threshold must lie between 0 and 1, got {self.threshold}")

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """With a graph, the classes explained are compared with the graph's."""
        return "" if self.graph is None else "the classes explained are compared with the graph's"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        if self.graph is None:
            chain = links(explicand, self.layers) if self.layers else from_last_spatial(links(explicand))
            rule = partial(relevant, threshold=self.threshold)
            return explicand.upsample(walk(explicand, chain, self.candidates, rule, mapped=True)[1])
        self._check_classes(explicand, self.graph)
        return explicand.upsample(mapped_by(explicand, self.graph, self._layer(explicand, self.graph.layers)))

    def _layer(self, explicand: Explicand, known: Sequence[str]) -> str:
        """The layer of the graph that has the map."""
        layer = self.layers[0] if self.layers else from_last_spatial(links(explicand, known))[0].name
        if layer not in known:
            raise ValueError(f"CausalPath: the graph has the layers {', '.join(known)}, expected {layer} among them")
        return layer

    def _check_classes(self, explicand: Explicand, graph: CausalGraph) -> None:
        classes = explicand.target.unique().tolist()
        if classes != [graph.target]:
            raise ValueError(
                f"CausalPath: the graph is of class {graph.target}, got samples explained for the classes {classes}: "
                "bind images with this target, or take the graph away"
            )
