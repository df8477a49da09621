"""Segments: the pieces of an input whose joint removal black-box methods explain, different for each sample."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand

SEGMENTS = {"slic": "SLIC runs on the host", "grid": ""}
"""The kinds of segments, each with the reason why it needs the host."""


class Segments:
    """Segments of each sample, numbered from 0 to P - 1; like patches, but with labels of each sample.

    All samples have the same P. Where a sample has fewer, the others are empty: their area is 0 and they are not
    present. Absent features belong to no segment.

    Attributes:
        labels: The number of each feature's segment `(N, *F)`, P at absent features.
        count: Number of segments P.
        shape: `(P,)`.
        ragged: Whether P is that of the longest sample, so that nothing may depend on it.
    """

    def __init__(self, labels: Tensor, count: int, ragged: bool = False) -> None:
        self.labels = labels
        self.count = count
        self.ragged = ragged
        self.shape: tuple[int, ...] = (count,)

    @cached_property
    def area(self) -> Tensor:
        """Present features of each segment, `(N, P)`."""
        return self.sum(torch.ones_like(self.labels, dtype=torch.float32))

    @cached_property
    def present(self) -> Tensor:
        """Which segments are not empty, `(N, P)`."""
        return self.area > 0

    @cached_property
    def size(self) -> Tensor:
        """How many segments a sample may have whatever its neighbors are, `(N,)`: its own where they are ragged."""
        return self.present.sum(1) if self.ragged else torch.full_like(self.labels.flatten(1)[:, 0], self.count)

    @cached_property
    def numbers(self) -> Tensor:
        """Each segment's number among these, `(N, P)`."""
        if self.ragged:
            return self.present.cumsum(1) - 1
        return torch.arange(self.count, device=self.labels.device).expand(len(self.labels), -1)

    def of(self, batch: Batch) -> Segments:
        """The segments of each pair's sample."""
        return Segments(batch.of_rows(self.labels), self.count, self.ragged)

    def part(self, index: slice | Tensor) -> Segments:
        """The segments of some of the samples."""
        return Segments(self.labels[index], self.count, self.ragged)

    def sum(self, features: Tensor) -> Tensor:
        """Sums over each segment, `(N, *F)` to `(N, P)`.

        In double precision inside, so that the order of summation, which varies on CUDA, is below rounding.
        """
        total = torch.zeros(len(features), self.count + 1, dtype=torch.float64, device=features.device)
        total = total.scatter_add(1, self.labels.flatten(1), features.double().flatten(1))
        return total[:, :-1].float()

    def spread(self, values: Tensor) -> Tensor:
        """Each segment's value at all its features, 0 at absent ones, `(N, P)` to `(N, 1, *F)`."""
        features = functional.pad(values, (0, 1)).gather(1, self.labels.flatten(1))
        return features.view(len(values), 1, *self.labels.shape[1:])

    def share(self, values: Tensor) -> Tensor:
        """Each segment's value divided among its features, so that sums keep, `(N, P)` to `(N, 1, *F)`."""
        return self.spread(values / self.area.clamp(min=1))

    def upsample(self, values: Tensor) -> Tensor:
        """Each segment's value at all its features: nothing lies between segments."""
        return self.spread(values)

    def smooth(self, values: Tensor, shifts: Tensor) -> Tensor:
        """Likewise: segments are no grid that could be moved."""
        return self.spread(values)


def segments_of(explicand: Explicand, kind: str, grid: int) -> Segments:
    """The segments of an explicand, made once.

    Args:
        explicand: The inputs.
        kind: `grid`: the patches of a fixed grid; `slic`: as many superpixels at most. What has pieces of its own, as
            the words of a text, has these, whatever is asked for.
        grid: Patches per side, at most one per feature.
    """

    def make() -> Segments:
        patches, present = explicand.patches(grid), explicand.present
        if isinstance(patches, Segments):
            return patches
        if kind == "slic":
            labels = explicand.modality.superpixels(explicand.inputs, patches.count, present)
        else:
            numbers = torch.arange(patches.count, device=explicand.device)
            labels = patches.spread(numbers[None])[:, 0].expand(explicand.count, *explicand.shape[2:])
        return Segments(labels if present is None else labels.masked_fill(~present, patches.count), patches.count)

    return explicand.kept(f"segments:{kind}:{grid}", make)


def check_segments(owner: str, kind: str) -> None:
    """Check the kind of segments.

    Args:
        owner: The class that asks, for the error.
        kind: The name of a kind.

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in SEGMENTS:
        raise ValueError(f"{owner}: segments must be one of {', '.join(SEGMENTS)}, got {kind!r}")
