"""A layer of which edges are cut: what the logit loses without each unit's edges, see `xaieval.causal`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.explicand import Explicand
from xaieval.layers import editing, find_layer
from xaieval.passages import Link
from xaieval.scores import Scores

ROUNDING = 1e-5
"""Part of the largest score up to which a drop is rounding, and 0: batches sum in different orders."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer of which edges are cut, with what it is given and gives as the model is.

    Attributes:
        explicand: The images, each with its target.
        link: The layer.
        effects: At which of its channels edges end, `(N, K')`.
        given: `(N, K, h, w)`, or features `(N, F)`.
        gave: `(N, K', h', w')`, or features `(N, K')`.
        estimate: First-order estimate of the drop of the logit for each unit, `(N, K)`.
    """

    explicand: Explicand
    link: Link
    effects: Tensor
    given: Tensor
    gave: Tensor
    estimate: Tensor

    @classmethod
    def at(cls, explicand: Explicand, link: Link, effects: Tensor) -> Cut:
        """The layer as it is; one forward and one backward for each image."""
        parts = [_read(batch, link, effects) for batch in explicand.batches(1)]
        given, gave, estimate = (torch.cat(part) for part in zip(*parts, strict=True))
        return cls(explicand, link, effects, given, gave, estimate)

    def drops(self, units: Tensor, mapped: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Drops `(N, k)` of the logit where the edges of the units `(N, k)` are cut, the logits `(N, 1)`, and maps.

        Maps `(N, k, h', w')`, empty unless asked for, sum over the effects the softmax over places of what a unit
        contributes: what the layer gives, less what it gives without the unit. In a convolution that is the
        cross-correlation of the unit's channel with its weights. k + 1 forwards for each image.

        Raises:
            ValueError: A map of a layer that gives no places.
        """
        if mapped and self.gave.dim() != 4:
            raise ValueError(
                f"layer {self.link.name!r} gives {tuple(self.gave.shape)}, expected activations (N, K, h, w): a map "
                "needs places, name a layer before pooling or flattening"
            )
        count, k = units.shape
        variants = torch.cat((units, units.new_full((count, 1), self.link.channels)), 1)  # the last one cuts nothing
        scores = self.given.new_empty(count, k + 1, 3)
        maps = self.gave.new_empty(count, k + 1, *self.gave.shape[2:] if mapped else (0,))
        for batch in self.explicand.batches(k + 1, "scores"):
            self._run(batch, variants, scores, maps)
        logits, size = scores[:, k:, 0], scores[..., :2].abs().amax((1, 2))
        drops = logits - scores[:, :k, 0]
        return torch.where(drops.abs() > ROUNDING * size[:, None], drops, 0.0), logits, maps[:, :k]

    def _run(self, batch: Batch, variants: Tensor, scores: Tensor, maps: Tensor) -> None:
        """One call of the layer and what follows, with the pairs' activations in place of one image's."""
        number = torch.arange(self.link.channels, device=self.given.device)
        gone = number == batch.read(variants)[:, None]
        given, gave, effects = (batch.of_rows(values) for values in (self.given, self.gave, self.effects))

        def leave(output: Tensor) -> Tensor:
            if maps.dim() == 4:
                batch.write(maps, _contribution(gave - output, effects))
            return torch.where(_ranked(effects, gave), output, gave)

        name, attended = self.link.name, batch.attended
        found = self.explicand.edited(
            batch.inputs[:1],
            batch.of_rows(self.explicand.target),
            {name: lambda _: without(given, gone)},
            {name: leave},
            None if attended is None else attended[:1],
        )
        batch.write(scores, found.values)


def without(given: Tensor, gone: Tensor) -> Tensor:
    """Activations `(n, K, h, w)` or features `(n, F)` with the units where `gone` `(n, K)` is True set to 0; a copy."""
    grouped = given.reshape(*gone.shape, -1)
    return grouped.masked_fill(gone[..., None], 0.0).reshape(given.shape)


def mean_of(maps: Tensor, kept: Tensor) -> Tensor:
    """Mean `(N, 1, h, w)` of the maps `(N, k, h, w)` of the kept units `(N, k)`; 0 where there is none."""
    total = torch.where(_ranked(kept, maps), maps, 0.0).sum(1, keepdim=True)
    return total / _ranked(kept.sum(1, keepdim=True).clamp(min=1), maps)


def _contribution(values: Tensor, effects: Tensor) -> Tensor:
    """Values `(n, K', h, w)` as shares of the places, summed over the effects `(n, K')`."""
    shares = values.float().flatten(2).softmax(2).unflatten(2, values.shape[2:])
    return torch.where(_ranked(effects, shares), shares, 0.0).sum(1)


def _ranked(values: Tensor, like: Tensor) -> Tensor:
    """Values `(n, K)` with dimensions added up to the rank of another tensor."""
    return values.view(*values.shape, *[1] * (like.dim() - 2))


def _read(batch: Batch, link: Link, effects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a layer is given, what it gives, and the estimate of the drop for each unit, for a batch of images."""
    explicand, kept = batch.explicand, dict[str, Tensor]()
    explicand.meter.spend(len(batch), len(batch))

    def enter(given: Tensor) -> Tensor:
        kept["given"] = given.detach().clone().requires_grad_()
        return kept["given"].clone()  # what follows may write into it

    def leave(output: Tensor) -> Tensor:
        kept["gave"] = output
        return output.clone()

    layer = {link.name: find_layer(explicand.classifier.module, link.name)}
    entering, leaving = editing(layer, {link.name: enter}, arriving=True), editing(layer, {link.name: leave})
    with torch.enable_grad(), entering, leaving:
        logits = explicand.classifier.differentiable(batch.inputs, batch.attended)
        score = Scores.read(logits, batch.of_rows(explicand.target)).logit.sum()
        given, gave = kept["given"], kept["gave"]
        (gradient,) = torch.autograd.grad(score, gave, retain_graph=True)
        (gradient,) = torch.autograd.grad(gave, given, gradient * _ranked(batch.of_rows(effects), gave))
    given, gave = given.detach().float(), gave.detach().float()
    return given, gave, (given * gradient).reshape(len(batch), link.channels, -1).sum(2)
