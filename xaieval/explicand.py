"""A batch of inputs bound to a model and to the class explained for each: everything that methods and metrics ask for.

Work on many variants of many samples goes through batches of (sample, variant) pairs:

    total = torch.zeros_like(explicand.inputs)
    for batch in explicand.batches(50):
        noise = 0.1 * batch.normal("my method", seed)
        batch.add(total, batch.gradients(batch.inputs + noise))

A batch never holds more pairs than the model takes at once, so memory does not grow with the number of variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from xaieval import notebook
from xaieval.batch import Batch
from xaieval.curve import Curve, Order
from xaieval.draws import BLOCK, seed_of
from xaieval.modalities.modality import Patches
from xaieval.noted import UNITS, version_of
from xaieval.perturbation import Perturbation
from xaieval.related import Related
from xaieval.removal import BoundRemoval, Removal, removal_of
from xaieval.scores import Scores
from xaieval.segments import check_segments, segments_of
from xaieval.unsupported import UnsupportedError

if TYPE_CHECKING:
    from xaieval.component import Method

__all__ = ["UNITS", "Batch", "Explicand", "Response"]

T = TypeVar("T")


class Response:
    """The class score under the draws of one perturbation.

    Attributes:
        scores: Scores `(N, samples)` of the perturbed inputs.
        change: Change of the logit f(x) - f(x~), `(N, samples)`.
    """

    def __init__(self, clean: Scores, scores: Scores) -> None:
        self.scores = scores
        self.change = clean.logit[:, None] - scores.logit

    @property
    def rounding(self) -> Tensor:
        """The size `(N,)` up to which a change is rounding alone: 1e-6 of the largest score.

        Scores of one input differ by as much between batches, so smaller changes carry no information and are ties.
        """
        return 1e-6 * self.scores.values[..., :2].abs().amax((1, 2))  # without the rival, -inf where there is one class


class Explicand(Related):
    """N inputs, the model, and the class explained for each. Made by `Classifier.explicand`, or by `Batch.copies`.

    What is computed of them once stands in `Bound`, what passes between layers in `Inner`, what is known of their
    attributions in `Noted`, and others that are made of them in `Related`.

    Attributes:
        classifier: The model.
        inputs: `(N, C, *F)` in float32; images as pixels in [0, 1].
        target: The class explained for each, `(N,)`.
        ids: Names of the samples.
        mask: Ground truth `(N, *F)`, or None.
        present: Which features exist `(N, *F)`, or None where all do.
        attended: What the module reads `(N, *F)`, its second argument, or None where it has but one.
        groups: The pieces that are removed at once, or None where they are the modality's own.
        protected: Features `(N, *F)` that a fair decision must not depend on, or None where none are marked.
        sizes: How many pieces each sample has, known without asking the device, where they have not all as many; None:
            nobody knows.
        parts: Parts and concepts of the samples, or None where they are not known.
        worlds: What draws each sample anew with parts changed, or None where they were not drawn.
        copy: For each sample, which perturbed copy it is; empty for the original. Draws in a copy are fresh.
        meter: Counts the evaluations spent; copies book to their parent's.
        lookup: Finds the attribution that an earlier run kept of these samples, with a note; None: nothing is kept.
    """

    lookup: Callable[[Method], Tensor | None] | None = None

    def _repr_html_(self) -> str:
        """As a notebook shows it: a summary with pictures."""
        return notebook.explicand(self)

    # -- variants --

    def batches(self, count: int, kind: str = "gradients", pieces: int = 1) -> Iterator[Batch]:
        """All (sample, variant) pairs, sample by sample, in batches that fit the model.

        Args:
            count: Variants of each sample.
            kind: What the batches are for, `gradients` or `scores`; the model may take more inputs at once for scores.
            pieces: How many variants in a row there are because inputs have so many pieces. Where these depend on the
                longest input such variants share their draws, which else would depend on it too.
        """
        self._check_weights()
        alike = pieces if self.modality.ragged else 1
        start, end = 0, self.count * count
        while start < end:
            stop = min(end, start + self.classifier.size(kind))
            yield Batch(self, count, start, stop, alike)
            start = stop

    def all_scores(self, make: Callable[[Batch], Tensor], count: int, pieces: int = 1) -> Scores:
        """Scores `(N, count)` of the inputs `(n, C, *F)` that `make` gives for each batch of variants."""
        table = self.inputs.new_empty(self.count, count, 3)
        for batch in self.batches(count, "scores", pieces):
            batch.write(table, batch.scores(make(batch)).values)
        return Scores(table)

    def scores(self, make: Callable[[Batch], Tensor], count: int, score: str = "logit", pieces: int = 1) -> Tensor:
        """One form of the scores `(N, count)` of the inputs `(n, C, *F)` that `make` gives for each batch."""
        return self.all_scores(make, count, pieces).of(score)

    def uniform(self, purpose: str, seed: int, shape: Sequence[int] | None = None) -> Tensor:
        """Uniform values in [0, 1), one draw `(N, *shape)` for each sample; without a shape one for each feature.

        Then it is `(N, 1, *F)`; absent features have any values.
        """
        keys = [(seed, *owner, purpose, 0) for owner in zip(self.ids, self.copy, strict=True)]
        if shape is not None:
            return self.draws.uniform(shape, keys)
        values = self.draws.uniform((1, *self.shape[2:]), keys)
        return values if self.numbers is None else values.gather(-1, self.numbers[:, None])

    def design(self, purpose: str, seed: int, make: Callable[[int], Tensor]) -> Tensor:
        """A design `(K, count, ...)` shared by all samples: K = 1, or one fresh design for each perturbed copy.

        Args:
            purpose: What it is for; part of the seed.
            seed: The method's seed.
            make: The design `(count, ...)` for a 63-bit seed. Results are moved to the device.
        """
        copies = list(dict.fromkeys(self.copy))
        return torch.stack([make(seed_of(seed, purpose, copy)).to(self.device) for copy in copies])

    def piece_design(
        self, purpose: str, seed: int, make: Callable[[int, int], Tensor], pieces: int, parts: int = 1
    ) -> Tensor:
        """A design `(K, count, parts pieces)` as in `design`, with a column for each piece in each of some parts.

        Where the number of pieces is that of the longest input, columns are made block by block, so that the first ones
        do not depend on it. A block has its own seed, and the last columns of a design with all blocks before it: in a
        sequence of low discrepancy no two blocks have the same dimensions.

        Args:
            purpose: What it is for; part of the seed.
            seed: The method's seed.
            make: The design `(count, columns)` for a 63-bit seed and a number of columns.
            pieces: Number of pieces.
            parts: How often pieces come, side by side.
        """

        def blocks(key: int) -> Tensor:
            width = parts * BLOCK
            found = [
                make(seed_of(key, block), width * (block + 1))[:, -width:].unflatten(1, (BLOCK, parts))
                for block in range(-(-pieces // BLOCK))
            ]
            return torch.cat(found, 1)[:, :pieces].mT.flatten(1)

        return self.design(purpose, seed, blocks if self.modality.ragged else lambda key: make(key, parts * pieces))

    # -- removal, responses, curves --

    def removal(self, removal: str | Removal, purpose: str = "method") -> BoundRemoval:
        """A way to take features away from these inputs: `removal(batch, gone)` with gone `(n, 1, *F)` in [0, 1].

        Args:
            removal: A name or a removal.
            purpose: What it is for; part of the seed where replacements are drawn.
        """
        return BoundRemoval(removal_of(removal), self, purpose)

    def patches(self, grid: int) -> Patches:
        """The fixed patches that responses and curves remove; on a text its words or tokens, whatever the grid."""
        if self.groups is not None:
            return self.groups
        return self.kept(f"patches:{grid}", lambda: self.modality.patches(self.inputs, grid, self.present))

    def upsample(self, maps: Tensor, mode: str = "bilinear") -> Tensor:
        """A coarse map `(N, 1, h, w)` at the resolution of the features, `(N, 1, *F)`."""
        return self.modality.upsample(maps, tuple(self.shape[2:]), mode)

    def features(self, attribution: Tensor, units: str | None = None) -> Tensor:
        """Score of each feature `(N, *F)`, 0 where a feature does not exist.

        On images the signed sum over channels. On embeddings likewise, but the norm of a gradient, of which the sum
        depends on the basis.

        Args:
            attribution: `(N, C, *F)` or `(N, 1, *F)`.
            units: Its units; None: as noted, or by shape.
        """
        scores = self.modality.features(attribution, units or self.units_of(attribution))
        return scores if self.present is None else scores.masked_fill(~self.present, 0.0)

    def piece_scores(self, pieces: Patches, attribution: Tensor, units: str | None = None) -> Tensor:
        """Score of each piece `(N, P)`: the sum over its features.

        Of importance the mean over a group's, since each of them has all of it: a word of many tokens must gain nothing
        from their number.

        Args:
            pieces: Some pieces of these inputs.
            attribution: `(N, C, *F)` or `(N, 1, *F)`.
            units: Its units; None: as noted, or by shape.
        """
        units = units or self.units_of(attribution)
        sums = pieces.sum(self.features(attribution, units))
        return sums / pieces.area.clamp(min=1) if pieces is self.groups and units == "importance" else sums

    def response(self, perturbation: Perturbation) -> Response:
        """Changes of the score under a perturbation; computed once for all methods and metrics."""
        clean = self.clean
        scores = self.shared(
            f"response:{perturbation!r}",
            lambda: self.all_scores(lambda batch: perturbation.inputs(self, batch), perturbation.samples),
        )
        return Response(clean, scores)

    def predicted(self, perturbation: Perturbation, attribution: Tensor, units: str) -> Tensor:
        """The changes `(N, samples)` that an attribution predicts; NaN where its units predict nothing here."""
        if not perturbation.accepts(units):
            return attribution.new_full((self.count, perturbation.samples), torch.nan)
        return perturbation.predicted(self, attribution, units)

    def baseline(self, removal: str | Removal) -> Tensor:
        """The inputs `(N, C, *F)` with every present feature removed; a drawn removal is drawn once for each sample.

        Raises:
            UnsupportedError: The removal puts nothing in place of a feature.
        """
        bound, baseline = self.removal(removal), torch.empty_like(self.inputs)
        if not bound.removal.accepts("gradient"):
            raise UnsupportedError(
                f"there is no baseline where {removal} puts nothing in place", "choose another removal"
            )
        for batch in self.batches(1, "scores"):
            batch.write(baseline[:, None], bound(batch, torch.ones_like(batch.inputs[:, :1])))
        return baseline

    def removed(self, removal: str | Removal) -> Scores:
        """Scores `(N,)` with every present feature removed, the end of every curve."""
        bound = self.removal(removal, "curve")

        def make() -> Scores:
            scores = self.all_scores(lambda batch: bound(batch, torch.ones_like(batch.inputs[:, :1])), 1)
            return Scores(scores.values[:, 0])

        return self.shared(f"removed:{bound.removal!r}", make)

    def curve(
        self,
        attribution: Tensor,
        grid: int = 14,
        steps: int | tuple[float, ...] = 14,
        removal: str | Removal = "zero",
        direction: str = "deletion",
        seed: int = 0,
        segments: str = "patches",
    ) -> Curve:
        """The class score while patches are removed (or restored) in the order an attribution gives.

        An insertion read backwards is the removal of the lowest patches first: what is left at each point is the same.

        Args:
            attribution: Scores `(N, C, *F)` or `(N, 1, *F)`; patches are ordered by their sums, ties at random.
            grid: Patches per side; at most one per pixel.
            steps: Number of steps from the first to the last point, at most one per patch (a text of fewer pieces has
                steps at which none goes); or the parts of the patches at the points between the two ends, each at least
                one patch.
            removal: What replaces a removed patch.
            direction: `deletion` starts from the input, `insertion` from the input with everything removed.
            seed: Seed of the ties.
            segments: `patches`, or a kind of segments in place of them, which are ordered by their means.

        Raises:
            ValueError: There is no such kind of segments.
        """
        if segments != "patches":
            check_segments("curve", segments)
        note = self.noted(attribution)
        key = f"{grid}:{steps}:{removal_of(removal)!r}:{direction}:{seed}:{segments}"
        key += f":{self.units_of(attribution)}:{version_of(attribution)}"
        if key not in note.curves:
            with self.meter.making() as ledger:
                curve = self._curve(attribution, grid, steps, removal, direction, seed, segments)
            note.curves[key] = (curve, ledger)
        found, ledger = note.curves[key]
        self.meter.use(ledger)
        return found

    def _curve(
        self,
        attribution: Tensor,
        grid: int,
        steps: int | tuple[float, ...],
        removal: str | Removal,
        direction: str,
        seed: int,
        segments: str,
    ) -> Curve:
        cut = None if segments == "patches" else segments_of(self, segments, grid)
        pieces: Patches = cut or self.patches(grid)
        bound = self.removal(removal, "curve")
        values = self.piece_scores(pieces, attribution)
        if cut is not None:
            values = values / cut.area.clamp(min=1)
        order = Order.of(self, values, pieces.present, steps, seed)

        def inputs(batch: Batch) -> Tensor:
            return bound(batch, pieces.of(batch).spread(order.gone(batch, direction)))

        ends = (self.clean, self.removed(removal))
        first, last = ends if direction == "deletion" else ends[::-1]
        inner = self.all_scores(inputs, order.inner)
        return Curve(Scores(torch.cat((first.values[:, None], inner.values, last.values[:, None]), 1)), order.fraction)

    @property
    def edges(self) -> Tensor:
        """Edge strength of the inputs, `(N, 1, *F)`."""
        return self.kept("edges", lambda: self.modality.edges(self.inputs, self.present))

    def attribution(self, method: Method) -> Tensor:
        """A method's attribution of these samples, not made again while it lives unchanged or where it was kept.

        Each user's standalone cost includes it; only the first pays. A perturbed copy has attributions of its own.
        """
        found = self.made_by(method)
        if found is None and self.lookup is not None:
            found = self.lookup(method)
        if found is None:
            with self.meter.making() as ledger:
                found = method(self)
            self.remember(found, method.units, ledger, method)  # whoever asks again uses what was booked here
        booked = self.noted(found).ledger
        if booked is not None:
            self.meter.use(booked)
        attribution: Tensor = found
        return attribution
