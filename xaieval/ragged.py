"""Batches of (sample, variant) pairs where each sample has its own number of variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaieval.batch import Batch

if TYPE_CHECKING:
    from xaieval.explicand import Explicand
    from xaieval.segments import Segments


class Ragged(Batch):
    """Some (sample, variant) pairs that go through the model together; a sample may have none.

    For scores: what a base class's batch does with all variants of a sample is not defined here.
    """

    def __init__(self, explicand: Explicand, ends: Sequence[int], start: int, stop: int) -> None:
        super().__init__(explicand, ends[-1], start, stop)
        self._ends = ends

    @cached_property
    def _owned(self) -> list[tuple[int, int, int]]:
        """Each sample with pairs in this batch, its first variant here, and the one behind its last."""
        begins = (0, *self._ends[:-1])
        parts = [(max(self._start, a) - a, min(self._stop, b) - a) for a, b in zip(begins, self._ends, strict=True)]
        return [(sample, first, last) for sample, (first, last) in enumerate(parts) if first < last]

    @cached_property
    def _segments(self) -> list[tuple[int, slice]]:
        sizes = [last - first for _, first, last in self._owned]
        stops = list(accumulate(sizes))
        return [
            (sample, slice(stop - size, stop))
            for (sample, _, _), size, stop in zip(self._owned, sizes, stops, strict=True)
        ]

    @cached_property
    def samples(self) -> Tensor:
        """Each pair's sample `(n,)`; made on the device, without a copy from the host that would wait."""
        device = self.explicand.device
        return torch.cat([torch.full((last - first,), sample, device=device) for sample, first, last in self._owned])

    @cached_property
    def variants(self) -> Tensor:
        """Each pair's variant `(n,)`, from 0 to the number of its sample's variants - 1."""
        device = self.explicand.device
        return torch.cat([torch.arange(first, last, device=device) for _, first, last in self._owned])

    def rows(self, values: Tensor) -> Tensor:
        """The entries `(n, ...)` of the pairs in values `(pairs, ...)` of all batches, sample by sample."""
        return values[self._start : self._stop]

    def _own_variants(self) -> Iterator[tuple[int, int]]:
        """Likewise; those of a sample begin at 0."""
        for sample, first, last in self._owned:
            for variant in range(first, last):
                yield sample, variant


def ragged_scores(explicand: Explicand, make: Callable[[Ragged], Tensor], counts: Sequence[int]) -> Tensor:
    """Logits `(pairs,)` of the inputs `(n, C, *F)` that `make` gives, sample by sample, `counts` variants of each."""
    ends = list(accumulate(counts))
    logits = [batch.scores(make(batch)).logit for batch in _batches(explicand, ends)]
    return torch.cat(logits) if logits else explicand.inputs.new_empty(0)


def scores_by_piece(explicand: Explicand, pieces: Segments, make: Callable[[Batch, Tensor], Tensor]) -> Tensor:
    """Logits `(N, P)` of an input for each piece; where a text has no such piece, of the text as it is, at no cost.

    How many pieces the texts have was found out when they were bound. Where nobody did, as on images, an input is made
    for each of all P pieces.

    Args:
        explicand: What is explained.
        pieces: Its pieces.
        make: Gives the inputs `(n, C, *F)` of a batch for the pieces `(n,)`.
    """
    if explicand.sizes is None or not pieces.ragged:
        return explicand.scores(lambda batch: make(batch, batch.variants), pieces.count)
    table = explicand.clean.logit[:, None].repeat(1, pieces.count)
    there = (~pieces.present).float().argsort(dim=1, stable=True)  # the numbers of the pieces there come first
    for batch in _batches(explicand, list(accumulate(explicand.sizes))):
        piece = there[batch.samples, batch.variants]
        table[batch.samples, piece] = batch.scores(make(batch, piece)).logit
    return table


def _batches(explicand: Explicand, ends: Sequence[int]) -> Iterator[Ragged]:
    explicand._check_weights()
    start, end = 0, ends[-1]
    while start < end:
        stop = min(end, start + explicand.classifier.size("scores"))
        yield Ragged(explicand, ends, start, stop)
        start = stop
