"""Samples as one batch: images of one size stacked, texts padded to the longest of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.datasets.base import Reading, Sample
from xaieval.parts import Parts

CHUNK = 64
"""Samples that are held at a time where all of many are looked at."""


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """What `Classifier.explicand` is given of the samples, by the names of its arguments.

    Args:
        samples: Images of one shape, or texts of any lengths; all have a mask, or none has. Parts and worlds are given
            where all have them.
    """
    longest = max(sample.input.shape[-1] for sample in samples)
    readings = [sample.reading for sample in samples if sample.reading is not None]
    inputs = torch.stack([padded(sample.input, longest) for sample in samples])
    masks = [sample.mask for sample in samples]
    given: dict[str, Any] = {"inputs": inputs, "mask": _stacked(masks, longest)}
    parts = [sample.parts for sample in samples if sample.parts is not None]
    worlds = tuple(sample.world for sample in samples if sample.world is not None)
    if len(parts) == len(samples):
        given["parts"] = Parts.stack(parts)
    if len(worlds) == len(samples):
        given["worlds"] = worlds
    if not readings:
        return given
    return given | {
        "present": _stacked([reading.present for reading in readings], longest),
        "attended": _stacked([reading.attended for reading in readings], longest),
        "groups": _stacked([reading.groups for reading in readings], longest, -1),
        "protected": _stacked(_marked(readings), longest),
    }


def chunks(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Samples a few at a time, each read when its turn comes."""
    for start in range(0, len(samples), CHUNK):
        yield [samples[number] for number in range(start, min(start + CHUNK, len(samples)))]


def padded(values: Tensor, length: int, fill: float = 0) -> Tensor:
    """Values `(..., T)` with the last dimension brought to a length: filled up, or cut."""
    return functional.pad(values, (0, length - values.shape[-1]), value=fill)


def _stacked(rows: Sequence[Tensor | None], length: int, fill: float = 0) -> Tensor | None:
    found = [padded(row, length, fill) for row in rows if row is not None]
    return torch.stack(found) if found else None


def _marked(readings: Sequence[Reading]) -> list[Tensor | None]:
    """Protected tokens of each text; none where only others have any."""
    if all(reading.protected is None for reading in readings):
        return [None]
    return [
        torch.zeros_like(reading.present) if reading.protected is None else reading.protected for reading in readings
    ]
