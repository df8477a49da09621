"""Some (sample, variant) pairs that go through the model together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaieval.draws import Key
from xaieval.scores import Scores

if TYPE_CHECKING:
    from xaieval.explicand import Explicand


class Batch:
    """Some (sample, variant) pairs, n of them, that go through the model together."""

    def __init__(self, explicand: Explicand, count: int, start: int, stop: int, alike: int = 1) -> None:
        self.explicand = explicand
        self._count, self._start, self._stop, self._alike = count, start, stop, alike

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

    @property
    def attended(self) -> Tensor | None:
        """What the module reads of each pair `(n, *F)`, 0 where nothing; None where it has no such argument."""
        attended = self.explicand.attended
        return None if attended is None else self.of_rows(attended)

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

    def pick(self, design: Tensor, rows: Tensor | None = None) -> Tensor:
        """Rows `(n, ...)` of a shared design `(K, R, ...)`: those numbered `rows` `(n,)`, else by variant."""
        rows = self.variants if rows is None else rows
        if len(design) == 1:
            return design[0].index_select(0, rows)
        first = {copy: number for number, copy in enumerate(dict.fromkeys(self.explicand.copy))}
        parts = [
            design[first[self.explicand.copy[sample]]].index_select(0, rows[pairs]) for sample, pairs in self._segments
        ]
        return torch.cat(parts)

    def normal(self, purpose: str, seed: int, shape: Sequence[int] | None = None) -> Tensor:
        """Standard normal values `(n, C, *F)`, 0 at absent features, or `(n, *shape)`; one draw for each pair."""
        return self._drawn(self.explicand.draws.normal, purpose, seed, shape)

    def uniform(self, purpose: str, seed: int, shape: Sequence[int] | None = None) -> Tensor:
        """Uniform values in [0, 1), likewise."""
        return self._drawn(self.explicand.draws.uniform, purpose, seed, shape)

    def scores(self, inputs: Tensor) -> Scores:
        """Scores `(n,)` of inputs `(n, C, *F)`, for the target of each pair's sample."""
        self.explicand.meter.spend(len(self))
        return self.explicand.classifier.scores(inputs, self.of_rows(self.explicand.target), self.attended)

    def gradients(self, inputs: Tensor, score: str = "logit") -> Tensor:
        """Gradients `(n, C, *F)` of the score at inputs `(n, C, *F)`."""
        self.explicand.meter.spend(len(self), len(self))
        target = self.of_rows(self.explicand.target)
        return self.explicand.classifier.gradients(inputs, target, score, attended=self.attended)[1]

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
        return parent.like(
            inputs=inputs,
            target=self.of_rows(parent.target),
            ids=[parent.ids[sample] for sample, _ in owners],
            mask=None if parent.mask is None else self.of_rows(parent.mask),
            present=None if parent.present is None else self.of_rows(parent.present),
            attended=self.attended,
            groups=None if parent.groups is None else parent.groups.of(self),
            protected=None if parent.protected is None else self.of_rows(parent.protected),
            copy=copy,
            parts=None if parent.parts is None else parent.parts.each(self.of_rows),
            worlds=None if parent.worlds is None else [parent.worlds[sample] for sample, _ in owners],
            sizes=None if parent.sizes is None else [parent.sizes[sample] for sample, _ in owners],
        )

    def add(self, total: Tensor, values: Tensor) -> None:
        """`total[i]` += the sum of the values `(n, ...)` over the variants of sample i."""
        for sample, pairs in self._segments:  # not `index_add_`, whose order of summation varies on CUDA
            total[sample] += values[pairs].sum(0)

    def merge(self, mean: Tensor, squares: Tensor, values: Tensor) -> None:
        """Take the values `(n, ...)` into the running `mean[i]` and squared deviations `squares[i]` of sample i.

        All is centered before it is squared (Chan 1979): a small variance beside a large mean keeps its digits.
        """
        for sample, pairs in self._segments:
            before = self._start + pairs.start - sample * self._count  # variants of this sample merged already
            new = pairs.stop - pairs.start
            center = values[pairs].mean(0)
            gap = center - mean[sample]
            squares[sample] += ((values[pairs] - center) ** 2).sum(0) + gap**2 * (before * new / (before + new))
            mean[sample] += gap * (new / (before + new))

    def write(self, table: Tensor, values: Tensor) -> None:
        """Put the values `(n, ...)` of the pairs into a table `(N, variants, ...)`."""
        table.view(-1, *table.shape[2:])[self._start : self._stop] = values  # `flatten` might copy, and lose them

    def read(self, table: Tensor) -> Tensor:
        """The entries `(n, ...)` of the pairs in a table `(N, variants, ...)`."""
        return table.flatten(0, 1)[self._start : self._stop]

    def restore(self, inputs: Tensor) -> Tensor:
        """The inputs `(n, C, *F)` with absent features as they were."""
        present = self.explicand.present
        return inputs if present is None else torch.where(self.of(present[:, None]), inputs, self.inputs)

    def _own_variants(self) -> Iterator[tuple[int, int]]:
        """Sample and variant of each pair, on the host; variants that share their draws have one number."""
        for sample, pairs in self._segments:
            for pair in range(pairs.start, pairs.stop):
                yield sample, (self._start + pair) % self._count // self._alike

    def _drawn(
        self,
        draw: Callable[[Sequence[int], Sequence[Key]], Tensor],
        purpose: str,
        seed: int,
        shape: Sequence[int] | None,
    ) -> Tensor:
        owner = self.explicand
        keys = [
            (seed, owner.ids[sample], owner.copy[sample], purpose, variant) for sample, variant in self._own_variants()
        ]
        values = draw(owner.shape[1:] if shape is None else shape, keys)
        if shape is not None:
            return values
        if owner.numbers is not None:
            values = values.gather(-1, self.of(owner.numbers[:, None]).expand_as(values))
        return values if owner.present is None else values * self.of(owner.present[:, None])

    def _ranked(self, values: Tensor) -> Tensor:
        missing = self.explicand.inputs.dim() - values.dim()
        return values.reshape(*values.shape, *(1,) * missing) if missing > 0 else values
