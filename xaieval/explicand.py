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
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from xaieval.classifier import Classifier
from xaieval.cost import Cost, Ledger, Meter
from xaieval.curve import Curve, Order
from xaieval.draws import Draws, Key, seed_of
from xaieval.modalities.images import ImagePatches, Images
from xaieval.note import Note
from xaieval.perturbation import Perturbation
from xaieval.removal import BoundRemoval, Removal, removal_of
from xaieval.scores import Scores

UNITS = ("gradient", "contribution", "importance")
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


class Explicand:
    """N inputs, the model, and the class explained for each. Made by `Classifier.explicand`, or by `Batch.copies`.

    Attributes:
        classifier: The model.
        inputs: `(N, C, *F)` in float32; images as pixels in [0, 1].
        target: The class explained for each, `(N,)`.
        ids: Names of the samples.
        mask: Ground truth `(N, *F)`, or None.
        present: Which features exist `(N, *F)`, or None where all do.
        copy: For each sample, which perturbed copy it is; empty for the original. Draws in a copy are fresh.
        meter: Counts the evaluations spent; copies book to their parent's.
    """

    def __init__(
        self,
        classifier: Classifier,
        inputs: Tensor,
        target: Tensor,
        ids: Sequence[str],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        copy: Sequence[str] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.classifier = classifier
        self.inputs = inputs
        self.target = target
        self.ids = tuple(ids)
        self.mask = mask
        self.present = present
        self.copy = tuple(copy) if copy is not None else ("",) * len(inputs)
        self.meter = meter or Meter(inputs.device)
        self.draws = Draws(inputs.device)
        self._shared: dict[str, tuple[Any, Ledger]] = {}
        self._kept: dict[str, Any] = {}
        self._notes: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __repr__(self) -> str:
        shape = tuple(self.shape)
        return f"Explicand({shape} for {self.classifier.name}, targets known, {self.cost.forwards:g} forwards per sample so far)"

    # -- facts ---------------------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Number of samples N."""
        return len(self.inputs)

    @property
    def shape(self) -> torch.Size:
        """`(N, C, *F)`."""
        return self.inputs.shape

    @property
    def device(self) -> torch.device:
        """Where inputs and results live."""
        return self.inputs.device

    @property
    def modality(self) -> Images:
        """How these inputs are cut, removed and drawn."""
        return self.classifier.modality

    @property
    def cost(self) -> Cost:
        """Forwards and backwards spent so far, per sample."""
        return Cost(self.meter.forwards, self.meter.backwards).per(self.count)

    @cached_property
    def range(self) -> Tensor:
        """Largest minus smallest value over channels and present features of each sample, `(N,)`."""
        low = high = self.inputs
        if self.present is not None:
            absent = ~self.present[:, None]
            low, high = low.masked_fill(absent, torch.inf), high.masked_fill(absent, -torch.inf)
        return high.flatten(1).amax(1) - low.flatten(1).amin(1)

    # -- computed once -------------------------------------------------------------------------------------------------------

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, computed once for everyone who asks with this key; each user is charged its cost as standalone."""
        if key not in self._shared:
            with self.meter.making() as ledger:
                value = make()
            self._shared[key] = (value, ledger)
        value, ledger = self._shared[key]
        self.meter.use(ledger)
        return value

    def kept(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once; for masks and images that cost no evaluation."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value

    def preload(self, key: str, values: Tensor, cost: Cost) -> None:
        """Put scores from an earlier run, `(..., 3)` for all samples, in place of computing them."""
        self._shared[key] = (Scores(values.to(self.device)), Ledger.known(self.meter.clock, cost))

    def shared_scores(self) -> dict[str, tuple[Tensor, Cost]]:
        """Scores that any method's metrics may ask for again (clean, removed, responses), with the cost of making them."""
        return {
            key: (value.values, ledger.own)
            for key, (value, ledger) in self._shared.items()
            if isinstance(value, Scores)
        }

    @property
    def clean(self) -> Scores:
        """Scores of the inputs as they are, `(N,)`."""

        def make() -> Scores:
            self.meter.spend(self.count)
            return self.classifier.scores(self.inputs, self.target)

        return self.shared("clean", make)

    @property
    def gradient(self) -> Tensor:
        """Gradient of the logit at the inputs, `(N, C, *F)`."""

        def make() -> Tensor:
            self.meter.spend(self.count, self.count)
            return self.classifier.gradients(self.inputs, self.target)[1]

        return self.shared("gradient", make)

    def activations(self, layers: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """For each layer its output and the logit's gradient there, `(N, K, h, w)` each; one forward and backward for all.

        Raises:
            ValueError: The model has no such layer, or the call never reaches it.
        """

        def make() -> dict[str, tuple[Tensor, Tensor]]:
            self.meter.spend(self.count, self.count)
            return self.classifier.activations(self.inputs, self.target, layers)

        return self.shared(f"activations:{sorted(layers)}", make)

    def layer(self, method: str) -> str:
        """The layer that a method reads if none is named."""
        return self.classifier.default_layer(method, self.inputs)

    # -- variants ------------------------------------------------------------------------------------------------------------

    def batches(self, count: int, kind: str = "gradients") -> Iterator[Batch]:
        """All (sample, variant) pairs, `count` variants of each sample, in batches that fit the model; sample by sample.

        Args:
            count: Variants of each sample.
            kind: What the batches are for, `gradients` or `scores`; the model may take more inputs at once for scores.
        """
        start, end = 0, self.count * count
        while start < end:
            stop = min(end, start + self.classifier.size(kind))
            yield Batch(self, count, start, stop)
            start = stop

    def all_scores(self, make: Callable[[Batch], Tensor], count: int) -> Scores:
        """Scores `(N, count)` of the inputs `(n, C, *F)` that `make` gives for each batch of variants."""
        table = self.inputs.new_empty(self.count, count, 3)
        for batch in self.batches(count, "scores"):
            batch.write(table, batch.scores(make(batch)).values)
        return Scores(table)

    def scores(self, make: Callable[[Batch], Tensor], count: int, score: str = "logit") -> Tensor:
        """One form of the score, `(N, count)`, of the inputs `(n, C, *F)` that `make` gives for each batch of variants."""
        return self.all_scores(make, count).of(score)

    def uniform(self, purpose: str, seed: int, shape: Sequence[int]) -> Tensor:
        """Uniform values in [0, 1), one draw `(N, *shape)` for each sample."""
        return self.draws.uniform(
            shape, [(seed, *owner, purpose, 0) for owner in zip(self.ids, self.copy, strict=True)]
        )

    def design(self, purpose: str, seed: int, make: Callable[[int], Tensor]) -> Tensor:
        """A design `(K, count, ...)` shared by all samples: K = 1, or one fresh design for each perturbed copy.

        Args:
            purpose: What it is for; part of the seed.
            seed: The method's seed.
            make: The design `(count, ...)` for a 63-bit seed. Results are moved to the device.
        """
        copies = list(dict.fromkeys(self.copy))
        return torch.stack([make(seed_of(seed, purpose, copy)).to(self.device) for copy in copies])

    # -- removal, responses, curves ------------------------------------------------------------------------------------------

    def removal(self, removal: str | Removal) -> BoundRemoval:
        """A way to take features away from these inputs: `removal(batch, gone)` with gone `(n, 1, *F)` in [0, 1]."""
        return BoundRemoval(removal_of(removal), self)

    def patches(self, grid: int) -> ImagePatches:
        """The fixed patches that responses and curves remove."""
        return self.kept(f"patches:{grid}", lambda: self.modality.patches(self.inputs, grid, self.present))

    def upsample(self, maps: Tensor, mode: str = "bilinear") -> Tensor:
        """A coarse map `(N, 1, h, w)` at the resolution of the features, `(N, 1, *F)`."""
        return self.modality.upsample(maps, tuple(self.shape[2:]), mode)

    def features(self, attribution: Tensor) -> Tensor:
        """Signed score of each feature `(N, *F)`: the sum over channels; 0 where a feature does not exist."""
        scores = self.modality.features(attribution)
        return scores if self.present is None else scores.masked_fill(~self.present, 0.0)

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

    def removed(self, removal: str | Removal) -> Scores:
        """Scores `(N,)` with every present feature removed, the end of every curve."""
        bound = self.removal(removal)

        def make() -> Scores:
            scores = self.all_scores(lambda batch: bound(batch, torch.ones_like(batch.inputs[:, :1])), 1)
            return Scores(scores.values[:, 0])

        return self.shared(f"removed:{bound.removal!r}", make)

    def curve(
        self,
        attribution: Tensor,
        grid: int = 14,
        steps: int = 14,
        removal: str | Removal = "zero",
        direction: str = "deletion",
        seed: int = 0,
    ) -> Curve:
        """The class score while patches are removed (or restored) in the order an attribution gives.

        Args:
            attribution: Scores `(N, C, *F)` or `(N, 1, *F)`; patches are ordered by their sums, ties broken at random per sample.
            grid: Patches per side; at most one per pixel.
            steps: Number of steps from the first to the last point, at most one per patch.
            removal: What replaces a removed patch.
            direction: `deletion` starts from the input, `insertion` from the input with everything removed.
            seed: Seed of the ties.
        """
        note = self._noted(attribution)
        key = f"{grid}:{steps}:{removal_of(removal)!r}:{direction}:{seed}:{attribution._version}"
        if key not in note.curves:
            with self.meter.making() as ledger:
                curve = self._curve(attribution, grid, steps, removal, direction, seed)
            note.curves[key] = (curve, ledger)
        found, ledger = note.curves[key]
        self.meter.use(ledger)
        return found

    def _curve(
        self, attribution: Tensor, grid: int, steps: int, removal: str | Removal, direction: str, seed: int
    ) -> Curve:
        patches, bound = self.patches(grid), self.removal(removal)
        order = Order.of(self, patches, attribution, steps, seed)

        def inputs(batch: Batch) -> Tensor:
            return bound(batch, patches.spread(order.gone(batch, direction)))

        ends = (self.clean, self.removed(removal))
        first, last = ends if direction == "deletion" else ends[::-1]
        inner = self.all_scores(inputs, order.inner)
        return Curve(Scores(torch.cat((first.values[:, None], inner.values, last.values[:, None]), 1)), order.fraction)

    @property
    def edges(self) -> Tensor:
        """Edge strength of the inputs, `(N, 1, *F)`."""
        return self.kept("edges", lambda: self.modality.edges(self.inputs))

    # -- notes on attributions -----------------------------------------------------------------------------------------------

    def remember(self, attribution: Tensor, units: str, cost: Ledger | Cost) -> None:
        """Note the units of a tensor and what making it cost, for as long as it lives."""
        note = self._noted(attribution)
        note.units = units
        note.ledger = cost if isinstance(cost, Ledger) else Ledger.known(self.meter.clock, cost)

    def evaluations_of(self, attribution: Tensor) -> float | None:
        """Evaluations per sample that making the attribution would cost alone, or None where nobody noted it."""
        note = self.note(attribution)
        return None if note is None or note.ledger is None else note.ledger.standalone.forwards / self.count

    def note(self, attribution: Tensor) -> Note | None:
        """What is known of a tensor that a method returned."""
        note: Note | None = self._notes.get(attribution)
        return note

    def units_of(self, attribution: Tensor) -> str:
        """Units of an attribution: as its method noted, else by shape (the input's channels: gradient; otherwise importance)."""
        note = self.note(attribution)
        if note is not None and note.units:
            return note.units
        return "gradient" if attribution.shape[1] == self.shape[1] else "importance"

    def _noted(self, attribution: Tensor) -> Note:
        if attribution not in self._notes:
            self._notes[attribution] = Note()
        note: Note = self._notes[attribution]
        return note


class Batch:
    """Some (sample, variant) pairs, n of them, that go through the model together."""

    def __init__(self, explicand: Explicand, count: int, start: int, stop: int) -> None:
        self.explicand = explicand
        self._count, self._start, self._stop = count, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    @cached_property
    def samples(self) -> Tensor:
        """Each pair's sample `(n,)`."""
        return torch.arange(self._start, self._stop, device=self.explicand.device) // self._count

    @cached_property
    def variants(self) -> Tensor:
        """Each pair's variant `(n,)`, from 0 to the number of variants - 1."""
        return torch.arange(self._start, self._stop, device=self.explicand.device) % self._count

    @cached_property
    def _segments(self) -> list[tuple[int, slice]]:
        """Each sample's pairs in this batch; known without asking the device."""
        found = []
        for sample in range(self._start // self._count, (self._stop - 1) // self._count + 1):
            start, stop = max(self._start, sample * self._count), min(self._stop, (sample + 1) * self._count)
            found.append((sample, slice(start - self._start, stop - self._start)))
        return found

    @cached_property
    def inputs(self) -> Tensor:
        """The unchanged input of each pair, `(n, C, *F)`."""
        return self.of_rows(self.explicand.inputs)

    def of_rows(self, values: Tensor) -> Tensor:
        """Values `(N, ...)` of the samples at the pairs, `(n, ...)`; a view where all pairs belong to one sample."""
        if len(self._segments) == 1:
            sample = self._segments[0][0]
            return values[sample : sample + 1].expand(len(self), *values.shape[1:])
        return values.index_select(0, self.samples)

    def of(self, values: Tensor) -> Tensor:
        """Values `(N, ...)` of the samples at the pairs, with dimensions added up to the rank of the input."""
        return self._ranked(self.of_rows(values))

    def at(self, values: Tensor) -> Tensor:
        """Values `(variants, ...)` of the variants at the pairs, with dimensions added up to the rank of the input."""
        return self._ranked(values.index_select(0, self.variants))

    def pick(self, design: Tensor) -> Tensor:
        """Rows `(n, ...)` of a shared design `(K, variants, ...)`."""
        if len(design) == 1:
            return design[0].index_select(0, self.variants)
        first = {copy: row for row, copy in enumerate(dict.fromkeys(self.explicand.copy))}
        rows = [design[first[self.explicand.copy[sample]]] for sample, _ in self._segments]
        parts = [
            row.index_select(0, self.variants[pairs]) for row, (_, pairs) in zip(rows, self._segments, strict=True)
        ]
        return torch.cat(parts)

    def normal(self, purpose: str, seed: int, shape: Sequence[int] | None = None) -> Tensor:
        """Standard normal values `(n, C, *F)`, 0 at absent features, or `(n, *shape)`; one draw for each pair, whatever the batch."""
        return self._drawn(self.explicand.draws.normal, purpose, seed, shape)

    def uniform(self, purpose: str, seed: int, shape: Sequence[int] | None = None) -> Tensor:
        """Uniform values in [0, 1), likewise."""
        return self._drawn(self.explicand.draws.uniform, purpose, seed, shape)

    def scores(self, inputs: Tensor) -> Scores:
        """Scores `(n,)` of inputs `(n, C, *F)`, for the target of each pair's sample."""
        self.explicand.meter.spend(len(self))
        return self.explicand.classifier.scores(inputs, self.of_rows(self.explicand.target))

    def gradients(self, inputs: Tensor, score: str = "logit") -> Tensor:
        """Gradients `(n, C, *F)` of the score at inputs `(n, C, *F)`."""
        self.explicand.meter.spend(len(self), len(self))
        return self.explicand.classifier.gradients(inputs, self.of_rows(self.explicand.target), score)[1]

    def copies(self, inputs: Tensor, common_draws: bool = False) -> Explicand:
        """The pairs as an explicand of n perturbed copies, for methods and metrics that explain again.

        Args:
            inputs: The perturbed inputs `(n, C, *F)`.
            common_draws: Explain the copies with the original's draws and designs; otherwise both are fresh.
        """
        parent = self.explicand
        owners = [(sample, pair) for sample, pairs in self._segments for pair in range(pairs.start, pairs.stop)]
        variants = [(self._start + pair) % self._count for _, pair in owners]
        copy = [
            parent.copy[sample] if common_draws else f"{parent.copy[sample]}.{variant}"
            for (sample, _), variant in zip(owners, variants, strict=True)
        ]
        return Explicand(
            parent.classifier,
            inputs,
            self.of_rows(parent.target),
            [parent.ids[sample] for sample, _ in owners],
            mask=None if parent.mask is None else self.of_rows(parent.mask),
            present=None if parent.present is None else self.of_rows(parent.present),
            copy=copy,
            meter=parent.meter,
        )

    def add(self, total: Tensor, values: Tensor) -> None:
        """`total[i]` += the sum of the values `(n, ...)` over the variants of sample i."""
        for sample, pairs in self._segments:  # not `index_add_`, whose order of summation varies on CUDA
            total[sample] += values[pairs].sum(0)

    def write(self, table: Tensor, values: Tensor) -> None:
        """Put the values `(n, ...)` of the pairs into a table `(N, variants, ...)`."""
        table.flatten(0, 1)[self._start : self._stop] = values

    def read(self, table: Tensor) -> Tensor:
        """The entries `(n, ...)` of the pairs in a table `(N, variants, ...)`."""
        return table.flatten(0, 1)[self._start : self._stop]

    def restore(self, inputs: Tensor) -> Tensor:
        """The inputs `(n, C, *F)` with absent features as they were."""
        present = self.explicand.present
        return inputs if present is None else torch.where(self.of(present[:, None]), inputs, self.inputs)

    def _drawn(
        self,
        draw: Callable[[Sequence[int], Sequence[Key]], Tensor],
        purpose: str,
        seed: int,
        shape: Sequence[int] | None,
    ) -> Tensor:
        owner = self.explicand
        keys = [
            (seed, owner.ids[sample], owner.copy[sample], purpose, (self._start + pair) % self._count)
            for sample, pairs in self._segments
            for pair in range(pairs.start, pairs.stop)
        ]
        values = draw(owner.shape[1:] if shape is None else shape, keys)
        if shape is None and owner.present is not None:
            return values * self.of(owner.present[:, None])
        return values

    def _ranked(self, values: Tensor) -> Tensor:
        missing = self.explicand.inputs.dim() - values.dim()
        return values.reshape(*values.shape, *(1,) * missing) if missing > 0 else values


# -- binding: values are checked here, once ----------------------------------------------------------------------------------


def bind(
    classifier: Classifier,
    inputs: Tensor,
    target: Tensor | Sequence[int] | int | None,
    ids: Sequence[str] | None,
    mask: Tensor | None,
    present: Tensor | None,
) -> Explicand:
    """An explicand of checked inputs; see `Classifier.explicand`."""
    inputs = _checked_inputs(inputs).to(classifier.device, torch.float32).contiguous()
    ids = _checked_ids(ids, inputs)
    mask, present = _checked_mask("mask", mask, inputs), _checked_mask("present", present, inputs)
    meter = Meter(inputs.device)
    if target is None:
        meter.spend(len(inputs))
        logits = classifier.logits(inputs)
        explicand = Explicand(classifier, inputs, logits.argmax(1), ids, mask, present, meter=meter)
        explicand.preload("clean", Scores.read(logits, explicand.target).values, Cost(len(inputs)))
        return explicand
    if classifier.classes is None:
        classifier.logits(inputs[:1])  # how many classes there are; no evaluation of a sample, not counted
    return Explicand(classifier, inputs, _checked_target(target, inputs, classifier), ids, mask, present, meter=meter)


def _checked_inputs(inputs: Tensor) -> Tensor:
    if not isinstance(inputs, Tensor) or inputs.dim() < 3:
        came = f"a tensor {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(f"inputs must be a tensor (N, C, *F), for images (N, 3, H, W), got {came}")
    if len(inputs) == 0:
        raise ValueError("inputs must hold at least one sample, got none")
    if not inputs.is_meta and not bool(inputs.isfinite().all()):
        raise ValueError("inputs must be finite, got NaN or infinite values: mend the data that made them")
    return inputs.detach()


def _checked_ids(ids: Sequence[str] | None, inputs: Tensor) -> Sequence[str]:
    if ids is None:
        return (
            [f"sample {i}" for i in range(len(inputs))] if inputs.is_meta else [_content(row) for row in inputs.cpu()]
        )
    if len(ids) != len(inputs):
        raise ValueError(f"ids must name each of the {len(inputs)} samples, got {len(ids)}")
    return [str(name) for name in ids]


def _content(row: Tensor) -> str:
    return blake2b(row.contiguous().numpy().tobytes(), digest_size=8).hexdigest()


def _checked_mask(name: str, mask: Tensor | None, inputs: Tensor) -> Tensor | None:
    if mask is None:
        return None
    expected = (len(inputs), *inputs.shape[2:])
    if mask.dim() == inputs.dim() and mask.shape[1] == 1:
        mask = mask[:, 0]
    if tuple(mask.shape) != expected:
        raise ValueError(
            f"{name} must be {expected} for inputs {tuple(inputs.shape)}, got {tuple(mask.shape)}: resize it with the image"
        )
    return mask.to(inputs.device).bool()


def _checked_target(target: Tensor | Sequence[int] | int, inputs: Tensor, classifier: Classifier) -> Tensor:
    classes = torch.as_tensor(target, dtype=torch.long)
    if classes.dim() == 0:
        classes = classes.expand(len(inputs))
    if classes.shape != (len(inputs),):
        raise ValueError(
            f"target must be one class for each of the {len(inputs)} samples, got shape {tuple(classes.shape)}"
        )
    if not classes.is_meta and not bool(((classes >= 0) & (classes < (classifier.classes or 0))).all()):
        raise ValueError(
            f"target must lie in 0 to {(classifier.classes or 0) - 1}, the classes of {classifier.name}, got {classes.tolist()}"
        )
    return classes.to(inputs.device)
