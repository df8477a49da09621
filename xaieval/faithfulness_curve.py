"""Faithfulness curves: how often a model is right while what a method finds important is masked, ratio by ratio.

A model for which masking is in distribution measures the faithfulness of its own explanations without being trained
again (Madsen 2024, arXiv 2310.07819). What is removed are the pieces of an input: tokens or words, patches of an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.curve import Order
from xaieval.explicand import Explicand
from xaieval.modalities.modality import Patches
from xaieval.module_call import without_deleted
from xaieval.removal import Removal, removal_of
from xaieval.repeated import Repeated
from xaieval.scores import Scores
from xaieval.segments import Segments

FLAT = 1e-9
"""Below it a mean of correct answers is 0."""


@dataclass(frozen=True)
class Masked(Repeated):
    """What becomes of an input while its most important pieces are removed at the ratios 0, 1 / R, ..., 1.

    At ratio k the `floor(k n)` most important of n pieces are gone, ties at random. The method is asked again at each
    ratio, of what is then left: the removed pieces are no features of that input, but the model still reads what stands
    in their place, and they stay removed. So a method sees what it took away, as where a word is said twice. Of a pair
    of texts the pieces are those that are present, of both unless the dataset shows only one of them.

    Cost: R - 2 explanations beside the given one, none of a method that finds the whole order at once; below them more
    for what subclasses ask of the masked inputs.

    Attributes:
        ratios: Steps R from the input to nothing left.
        grid: Patches per side of an image, at most one per pixel.
        removal: What replaces removed features; `zero` is the mask token on texts.
        seed: Seed of the ties.

    Raises:
        ValueError: Fewer than two steps.
    """

    category: ClassVar[str] = "faithfulness"
    pooled: ClassVar[bool] = True
    ratios: int = 10
    grid: int = 14
    removal: str | Removal = "zero"
    seed: int = 0
    budget: int | None = field(default=1000, kw_only=True)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.ratios < 2:
            raise ValueError(f"{type(self).__name__}: ratios must be at least 2, got {self.ratios}")

    def too_costly(self, explicand: Explicand, attribution: Tensor) -> bool:
        """Never where the method is not asked again."""
        note = explicand.note(attribution)
        whole = note is not None and getattr(note.method, "whole_order", False)
        return not whole and super().too_costly(explicand, attribution)

    def unasked(self, explicand: Explicand, attribution: Tensor) -> bool:
        """Whether nothing is spent on an attribution."""
        return self.too_costly(explicand, attribution)

    def undefined_with(self, explicand: Explicand, method: Method | None) -> dict[str, Tensor]:
        """See the base class."""
        reasons = super().undefined_with(explicand, method)
        attribution = None if method is None else explicand.made_by(method)
        if method is None or attribution is None or self.unasked(explicand, attribution):
            return reasons
        steps = self.steps(explicand, attribution, method)
        return reasons | {"map of a masked input not finite": (steps < 0).any(1)}

    def steps(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """At which step each piece goes `(N, P)`, 1 to R; 0 where there is none, -1 where a map is not finite.

        Made once for all metrics that mask alike.
        """
        return explicand.known(attribution, f"masked:{self.alike}", lambda: self._steps(explicand, attribution, method))

    @property
    def alike(self) -> str:
        """The options that decide what is masked."""
        return f"{self.ratios}:{self.grid}:{removal_of(self.removal)!r}:{self.seed}"

    def _steps(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        pieces, units = explicand.patches(self.grid), explicand.units_of(attribution)
        values = explicand.piece_scores(pieces, attribution, units)
        left = _present(pieces, values)
        steps, broken = torch.zeros_like(left, dtype=torch.long), ~values.isfinite().all(1)
        number = self.numbers(left.sum(1, keepdim=True))
        rest = explicand
        for step in range(1, self.ratios):
            if step > 1 and not getattr(method, "whole_order", False):
                rest = self._rest(explicand, pieces, left, step)
                values = explicand.piece_scores(pieces, rest.attribution(method), units)
                broken = broken | ~values.isfinite().all(1)
            rank = Order.of(rest, values, left, 1, self.seed).rank
            goes = left & (rank < number[:, step, None] - number[:, step - 1, None])
            steps, left = steps.masked_fill(goes, step), left & ~goes
        return steps.masked_fill(left, self.ratios).masked_fill(broken[:, None], -1)

    def numbers(self, total: Tensor) -> Tensor:
        """How many of `total` `(N, 1)` pieces are gone at each ratio, `(N, R + 1)`."""
        return torch.arange(self.ratios + 1, device=total.device) * total // self.ratios

    def _rest(self, explicand: Explicand, pieces: Patches, left: Tensor, step: int) -> Explicand:
        """The inputs without the pieces that are not left, as inputs of their own with fewer features."""
        gone = pieces.spread((~left & _present(pieces, left)).float())
        inputs = torch.empty_like(explicand.inputs)
        bound = explicand.removal(self.removal, "curve")
        for batch in explicand.batches(1, "scores"):
            batch.write(inputs[:, None], bound(batch, batch.of_rows(gone)))
        there = gone[:, 0] < 0.5
        present = there if explicand.present is None else explicand.present & there
        inputs, attended = without_deleted(inputs, explicand.attended)
        groups = explicand.groups
        if groups is not None:
            groups = Segments(groups.labels.masked_fill(~present, groups.count), groups.count, groups.ragged)
        return explicand.like(
            inputs=inputs,
            present=present,
            attended=attended,
            groups=groups,
            copy=[f"{own}.masked {step}" for own in explicand.copy],
            sizes=None if explicand.sizes is None else [n - n * (step - 1) // self.ratios for n in explicand.sizes],
        )

    def inputs(self, batch: Batch, gone: Tensor) -> Tensor:
        """The inputs `(n, C, *F)` of a batch of which the variants lack the pieces `gone` `(N, variants, P)`."""
        pieces = batch.explicand.patches(self.grid).of(batch)
        return batch.explicand.removal(self.removal, "curve")(batch, pieces.spread(batch.read(gone).float()))


@dataclass(frozen=True)
class FaithfulnessCurve(Masked):
    """Performance while the most important pieces are masked, beside that where any are: `p_E(k)` and `p_R(k)`.

    A sample's numbers are `(N, 2 (R + 1))`: whether the class explained scores higher than every other at each ratio k
    under the method's masking, 1 or 0, and the mean of that over `seeds` random orders of masking. Where the labels are
    explained their means over samples are accuracies, where predictions are, the share that is kept.

    Cost: R - 1 forwards beside the end points, and `seeds` (R - 1) for the random orders, which are shared by all
    methods; see `Masked` for the explanations.

    Attributes:
        ratios: Steps R from the input to nothing left.
        grid: Patches per side of an image.
        removal: What replaces removed features.
        seed: Seed of ties, and the first of those of random orders.
        seeds: Random orders of each sample.

    Raises:
        ValueError: Fewer than two steps, or no random order.
    """

    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "arXiv:2310.07819"
    without_value: ClassVar[str] = "flat random curve"
    signed: ClassVar[bool]
    seeds: int = 5

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.seeds < 1:
            raise ValueError(f"{type(self).__name__}: seeds must be at least 1, got {self.seeds}")

    def refuses(self, explicand: Explicand, attribution: Tensor, units: str) -> str:
        """Why the metric is undefined for a map: it has a sign where none is asked for, or the other way round.

        Sentinels, a random order above all, are measured by both, and so is importance of which nobody noted what made
        it and whether it has a sign.
        """
        note = explicand.note(attribution)
        method = None if note is None or note.method is None or note.method.units != units else note.method
        if (method is None and units == "importance") or (method is not None and method.sentinel):
            return ""
        signed = units != "importance" if method is None else bool(getattr(method, "signed", units != "importance"))
        return "" if signed == self.signed else "signed" if signed else "unsigned"

    def unasked(self, explicand: Explicand, attribution: Tensor) -> bool:
        """See the base class."""
        refused = self.refuses(explicand, attribution, explicand.units_of(attribution))
        return bool(refused) or super().unasked(explicand, attribution)

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """See the base class."""
        reasons, refused = super().undefined(explicand, attribution, units), self.refuses(explicand, attribution, units)
        return {refused: torch.ones_like(explicand.target, dtype=torch.bool), **reasons} if refused else reasons

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """Correct answers `(N, 2 (R + 1))`, the method's and a random order's; nothing is spent where undefined."""
        if method is None or self.unasked(explicand, attribution):
            return attribution.new_full((explicand.count, 2 * (self.ratios + 1)), torch.nan)
        return torch.cat((self.correct(explicand, attribution, method), self.by_chance(explicand)), 1)

    def correct(self, explicand: Explicand, attribution: Tensor, method: Method) -> Tensor:
        """Whether the answer is right at each ratio under the method's masking, 1 or 0, `(N, R + 1)`."""

        def make() -> Tensor:
            steps = self.steps(explicand, attribution, method)[:, None]
            step = torch.arange(1, self.ratios, device=explicand.device)[:, None]
            gone = (steps > 0) & (steps <= step)
            right = _right(explicand.all_scores(lambda batch: self.inputs(batch, gone), self.ratios - 1))
            found = self._with_ends(explicand, right[:, None])[:, 0]
            return found.masked_fill((steps[:, 0] < 0).any(1, keepdim=True), torch.nan)

        return explicand.known(attribution, f"correct:{self.alike}", make)

    def by_chance(self, explicand: Explicand) -> Tensor:
        """The share of right answers at each ratio under random orders, `(N, R + 1)`; once for all methods."""
        pieces = explicand.patches(self.grid)

        def make() -> Scores:
            drawn = [
                explicand.uniform("faithfulness curve", seed, (pieces.count,))
                for seed in range(self.seed, self.seed + self.seeds)
            ]
            present = _present(pieces, drawn[0])
            number = self.numbers(present.sum(1, keepdim=True))
            ranks = [Order.of(explicand, values, present, 1, self.seed).rank for values in drawn]
            gone = torch.stack(ranks, 1)[:, :, None] < number[:, None, 1:-1, None]
            gone = (gone & present[:, None, None]).flatten(1, 2)
            return explicand.all_scores(lambda batch: self.inputs(batch, gone), gone.shape[1])

        scores = explicand.shared(f"random masking:{self.alike}:{self.seeds}", make)
        right = _right(scores).unflatten(1, (self.seeds, self.ratios - 1))
        return self._with_ends(explicand, right).mean(1)

    def _with_ends(self, explicand: Explicand, right: Tensor) -> Tensor:
        """Right answers `(N, orders, R - 1)` with those where nothing and where everything is removed."""
        first, last = (
            _right(scores)[:, None, None].expand(-1, right.shape[1], 1)
            for scores in (explicand.clean, explicand.removed(self.removal))
        )
        return torch.cat((first, right, last), 2)


@dataclass(frozen=True)
class Areas:
    """Areas between the faithfulness curve of a method and that of random masking, by the trapezoid rule on [0, 1].

    Attributes:
        curve: The method's performance at each ratio, `(R + 1,)`.
        chance: That of random masking, `(R + 1,)`.
        spread: Standard error of `span` over samples; 0 of a single one, of which nobody knows.
    """

    curve: Tensor
    chance: Tensor
    spread: float

    @classmethod
    def of(cls, values: Tensor) -> Areas:
        """Of the numbers `(M, 2 (R + 1))` of M samples; those that are NaN are left out."""
        valid = values.double()[values.isfinite().all(1)]
        curve, chance = valid.chunk(2, 1)
        spans = _area(chance - chance[:, -1:])
        spread = float(spans.std()) / len(spans) ** 0.5 if len(spans) > 1 else 0.0
        return cls(curve.mean(0), chance.mean(0), spread)

    @property
    def between(self) -> float:
        """ACU: `integral (p_R - p_E) dk`."""
        return float(_area(self.chance - self.curve))

    @property
    def span(self) -> float:
        """`integral (p_R(k) - p_R(1)) dk`, the area for a method after whose first pieces nothing is left."""
        return float(_area(self.chance - self.chance[-1]))

    @property
    def flat(self) -> bool:
        """Whether random masking does no more to the performance than chance does, so that nothing may be divided."""
        return not self.span > max(FLAT, 1.96 * self.spread)

    @property
    def reachable(self) -> float:
        """The relative area of a curve that is at the floor from the first step on: below 1, since steps are wide."""
        first = float(self.chance[0] - self.chance[-1]) / (2 * (len(self.chance) - 1))
        return math.nan if self.flat else 1 - first / self.span


def _area(curves: Tensor) -> Tensor:
    return torch.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), dim=-1)


def _right(scores: Scores) -> Tensor:
    """1 where the class explained scores higher than every other, else 0."""
    return (scores.margin > 0).float()


def _present(pieces: Patches, example: Tensor) -> Tensor:
    """Which pieces `(N, P)` there are."""
    return torch.ones_like(example, dtype=torch.bool) if pieces.present is None else pieces.present
