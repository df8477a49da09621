"""The causal units of a class: found by cutting edges from the logits to the input (Ahmad 2024, arXiv:2305.08950).

The model is taken as a chain of layers, see `xaieval.passages`. Walking back from the logits with the effects E = the
class, at each layer the edges from a unit j to E are cut: the layer is given its input with channel j zero, and of what
it then gives the channels in E alone are taken, all others stay as they were. In a convolution this equals setting its
weights `W[E, j]` to 0; on a residual block, whose weights say nothing of single edges, it is the meaning of a cut edge.
Units whose cut makes the logit of the class drop are the causes, and they are the effects of the layer before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from scipy import stats
from torch import Tensor

from xaieval.causal_cut import Cut, mean_of, without
from xaieval.explicand import Explicand
from xaieval.module_call import keepable
from xaieval.passages import Link
from xaieval.scores import Scores
from xaieval.unsupported import UnsupportedError

LEAST = 20
"""Images of the class, classified correctly, that a graph is made from at least."""

SLIGHT = 0.001
"""Relative drop of the logit above which units are causes where no unit passes the rule itself."""

Rule = Callable[[Tensor, Tensor], Tensor]
"""Which units `(N, k)` are causes, by the drops `(N, k)` of the logits `(N, 1)`."""


@dataclass(frozen=True)
class CausalGraph:
    """Causal units of a class: an edge goes from each cause of a layer to each of its effects.

    Attributes:
        target: The class.
        layers: Dotted names from input to logits.
        causes: For each layer the numbers of the causal channels among those that it is given. Their effects, among
            the channels that it gives, are the causes of the next layer; those of the last one are the class.
    """

    target: int
    layers: tuple[str, ...]
    causes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Check the fields."""
        if not self.layers or len(self.layers) != len(self.causes):
            raise ValueError(
                f"CausalGraph: expected causes for each of at least one layer, got {len(self.causes)} for "
                f"{len(self.layers)} layers"
            )

    @property
    def effects(self) -> tuple[tuple[int, ...], ...]:
        """For each layer the numbers of the channels that it gives on which its causes act."""
        return (*self.causes[1:], (self.target,))

    @classmethod
    def of(
        cls, explicand: Explicand, layers: Sequence[str] = (), candidates: int = 64, level: float = 0.05
    ) -> CausalGraph:
        """The graph of the class that all samples are explained for, from those that the model classifies correctly.

        A unit is a cause if its cut makes the logit drop: one-sided paired t test over the images at the level, for
        each unit by itself, so that of the units without an effect this part is kept by chance. If no unit of a layer
        passes, those with a mean drop above 0.001 of the mean |logit| are causes; if there is none, the layer and all
        before it have no causes. Drops below 1e-5 of the largest score are rounding and count as 0.

        Candidates are the units with the largest first-order estimate `mean sum_u a_ju g_ju` of that drop, where a is
        what the layer is given and g the logit's gradient there through the effects alone.

        Cost, for each layer: one forward and one backward for each image, and a forward for each candidate and one
        more. What lies before the layer is computed once for a batch: each is a run of the layer and what follows.

        Differs from the authors' code (OlaAhmad/ienn), which has more detail than the paper's abstract, the rest of
        which is unverified: the test is paired, as the same images are used in both groups; candidates are chosen by
        the estimate in place of the size of weights; the relative drop is a quotient of means and divides by |logit|,
        so that negative logits turn nothing around; the channels of the input are tested as well; no weight is edited.

        Args:
            explicand: Images bound to their class.
            layers: Dotted names, up to the one that gives the logits; empty: all of the model's chain.
            candidates: Units tested at most in each layer.
            level: Of the test, in (0, 0.5).

        Raises:
            ValueError: Samples explained for several classes, fewer than 20 that the model classifies correctly, or
                an option out of range.
        """
        if candidates < 1 or not 0 < level < 0.5:
            raise ValueError(
                f"CausalGraph: expected candidates >= 1 and a level between 0 and 0.5, got {candidates} and {level}"
            )
        with keepable():
            target, correct = _correct(explicand)
            chain = links(explicand, layers)
            masks, _ = walk(correct, chain, candidates, partial(significant, level=level), pooled=True)
        causes = tuple(tuple(mask[0].nonzero()[:, 0].tolist()) for mask in masks)
        return cls(target, tuple(link.name for link in chain), causes)


def links(explicand: Explicand, layers: Sequence[str] = ()) -> tuple[Link, ...]:
    """The chain of these layers; empty: all of the model's chain.

    Raises:
        ValueError: The layers are no chain, or the model has none.
    """
    chain = explicand.classifier.structure.chain(explicand.inputs, explicand.attended)
    return chain.named(layers) if layers else chain.found()


def from_last_spatial(chain: Sequence[Link]) -> tuple[Link, ...]:
    """The chain from its last spatial layer on.

    Raises:
        UnsupportedError: It has none.
    """
    places = [number for number, link in enumerate(chain) if link.spatial]
    if not places:
        raise UnsupportedError(
            f"the chain {', '.join(link.name for link in chain)} has no layer that takes and gives activations "
            "(n, K, h, w), so there is no map to draw"
        )
    return tuple(chain[places[-1] :])


# -- rules -------------------------------------------------------------------------------------------------------------


def significant(drops: Tensor, logits: Tensor, level: float) -> Tensor:
    """Causes by the paired test over the images, or else by the mean relative drop; the same for all `(N, k)`."""
    count = len(drops)
    mean, deviation = drops.double().mean(0), drops.double().std(0)
    passed = mean * count**0.5 > float(stats.t.ppf(1 - level, count - 1)) * deviation
    slight = mean > SLIGHT * logits.double().abs().mean()
    return _or_else(passed[None], slight[None]).expand(count, -1)


def relevant(drops: Tensor, logits: Tensor, threshold: float) -> Tensor:
    """Causes of each image by itself, by the relative drop `(N, k)`."""
    return _or_else(drops > threshold * logits.abs(), drops > SLIGHT * logits.abs())


def _or_else(passed: Tensor, slight: Tensor) -> Tensor:
    """The units that passed, or the others where none did."""
    return torch.where(passed.any(1, keepdim=True), passed, slight)


# -- the walk ----------------------------------------------------------------------------------------------------------


def walk(
    explicand: Explicand,
    chain: Sequence[Link],
    candidates: int,
    rule: Rule,
    pooled: bool = False,
    mapped: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """Causes of each layer as masks `(N, K)`, and the map `(N, 1, h, w)` of the first layer.

    Args:
        explicand: The images, each with its target.
        chain: The layers from input to logits.
        candidates: Units tested at most in each layer.
        rule: Which of them are causes.
        pooled: Whether all images have the same candidates, by their mean estimate.
        mapped: Whether there is a map; else it is empty.
    """
    number = torch.arange(chain[-1].gives, device=explicand.device)
    effects = number == explicand.target[:, None]
    masks: list[Tensor] = []
    maps = explicand.inputs.new_empty(0)
    for link in reversed(chain):
        cut = Cut.at(explicand, link, effects)
        estimate = cut.estimate.double().mean(0, keepdim=True).expand_as(cut.estimate) if pooled else cut.estimate
        units = estimate.argsort(dim=1, descending=True, stable=True)[:, :candidates]
        drops, logits, contributions = cut.drops(units, mapped and link is chain[0])
        kept = rule(drops, logits)
        effects = torch.zeros_like(estimate, dtype=torch.bool).scatter(1, units, kept)
        masks.insert(0, effects)
        if mapped and link is chain[0]:
            maps = mean_of(contributions, kept)
    return masks, maps


# -- a graph at work ---------------------------------------------------------------------------------------------------


def mapped_by(explicand: Explicand, graph: CausalGraph, layer: str) -> Tensor:
    """The map `(N, 1, h, w)` of a layer by its causes and effects in a graph.

    Raises:
        ValueError: The graph is of another model.
    """
    number = graph.layers.index(layer)
    link = links(explicand, graph.layers)[number]
    effects = _mask(explicand, graph.effects[number], link.gives).expand(explicand.count, -1)
    causes = torch.tensor(graph.causes[number], dtype=torch.long, device=explicand.device)
    _, _, maps = Cut.at(explicand, link, effects).drops(causes.expand(explicand.count, -1), mapped=True)
    return mean_of(maps, torch.ones(maps.shape[:2], dtype=torch.bool, device=maps.device))


def sufficiency(explicand: Explicand, graph: CausalGraph) -> Scores:
    """Scores `(N,)` where the layers of a graph are given its causes alone, every other channel 0; one forward each.

    For the class of the graph this is what setting every weight off its edges to 0 gives, biases kept: a channel that
    is no cause has no edge left. Its logit beside `explicand.clean.logit` says how much of the score the graph carries;
    the logits of other classes are those that the causes give them.

    Raises:
        ValueError: The graph is of another model.
    """
    gone = {
        link.name: ~_mask(explicand, causes, link.channels)
        for link, causes in zip(links(explicand, graph.layers), graph.causes, strict=True)
    }
    scores = explicand.inputs.new_empty(explicand.count, 1, 3)
    with keepable():
        for batch in explicand.batches(1, "scores"):
            edits = {name: partial(_all_without, gone=mask) for name, mask in gone.items()}
            target = batch.of_rows(explicand.target)
            batch.write(scores, explicand.edited(batch.inputs, target, edits, attended=batch.attended).values)
    return Scores(scores[:, 0])


def _all_without(given: Tensor, gone: Tensor) -> Tensor:
    return without(given, gone.expand(len(given), -1))


def _mask(explicand: Explicand, numbers: Sequence[int], count: int) -> Tensor:
    """Where the channels with these numbers are, `(1, count)`.

    Raises:
        ValueError: There are fewer channels.
    """
    if max(numbers, default=0) >= count or min(numbers, default=0) < 0:
        raise ValueError(
            f"CausalGraph: a unit has the number {max(numbers)}, but the layer has {count}: another model?"
        )
    mask = torch.zeros(1, count, dtype=torch.bool)
    mask[0, list(numbers)] = True
    return mask.to(explicand.device)


def _correct(explicand: Explicand) -> tuple[int, Explicand]:
    """The class that all samples are explained for, and those that the model classifies correctly."""
    classes = explicand.target.unique().tolist()
    if len(classes) != 1:
        raise ValueError(
            f"CausalGraph: a graph is of one class, got samples explained for the classes {classes}: bind images of "
            "one class with classifier.explicand(images, target)"
        )
    rows = (explicand.clean.margin > 0).nonzero()[:, 0]
    if len(rows) < LEAST:
        raise ValueError(
            f"CausalGraph: the model classifies {len(rows)} of {explicand.count} images as class {classes[0]}, "
            f"expected at least {LEAST}: give more images of the class"
        )
    return classes[0], explicand.part(rows, rows.tolist())
