"""Where the concepts of a bottleneck lie in its samples, and in which order they speak for the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaieval.concept_model import at, bottleneck_of
from xaieval.explicand import Explicand
from xaieval.parts import Parts

PLACES = ("center", "mask")


def numbers_of(concepts: Sequence[str], parts: Parts) -> list[int]:
    """The number, among those that samples tell, of each concept of a model.

    Raises:
        ValueError: The samples tell nothing of one.
    """
    known = {name: number for number, name in enumerate(parts.scheme.concepts)}
    unknown = [name for name in concepts if name not in known]
    if unknown:
        raise ValueError(
            f"the samples tell nothing of the concept {unknown[0]!r}, one of {len(unknown)} of the model's "
            f"{len(concepts)}; they tell of {', '.join(known) or 'none'}: choose the dataset that the bottleneck was "
            "made with"
        )
    return [known[name] for name in concepts]


def place_of(explicand: Explicand, parts: Parts) -> Tensor:
    """The part at which each concept of the explicand's model is, `(L,)`; -1 where it has no place."""

    def make() -> Tensor:
        numbers = _numbers(explicand, parts)
        return torch.tensor([parts.scheme.part_of[number] for number in numbers], device=explicand.device)

    return explicand.kept("parts of the concepts", make)


def seen(explicand: Explicand, parts: Parts, place: str) -> Tensor:
    """Which concepts of the explicand's model hold in each sample and are seen there, `(N, L)`.

    Args:
        explicand: Samples bound to a bottleneck.
        parts: Of the samples.
        place: `center`: the center of the concept's part has to be known; `mask`: some pixel of it.
    """
    numbers = explicand.kept(
        "numbers of the concepts", lambda: torch.tensor(_numbers(explicand, parts), device=explicand.device)
    )
    located = parts.visible > 0
    if place == "center":
        located = located & parts.centers.isfinite().all(2)
    elif parts.masks is not None:
        located = located & parts.masks.flatten(2).any(2)
    part = place_of(explicand, parts)
    return parts.concepts[:, numbers] & located[:, part.clamp(min=0)] & (part >= 0)


def region_of(explicand: Explicand, parts: Parts, concepts: Tensor, place: str) -> Tensor:
    """Where one concept of each sample is, bool `(N, H, W)`; nowhere without a place.

    Args:
        explicand: Samples bound to a bottleneck.
        parts: Of the samples.
        concepts: Its number among the model's, `(N,)`.
        place: `center`: the pixel of the center, at the edge of the image if it lies outside; `mask`: all pixels where
            the part is seen.
    """
    part, row = place_of(explicand, parts)[concepts], torch.arange(len(concepts), device=concepts.device)
    if place == "mask" and parts.masks is not None:
        return parts.masks[row, part.clamp(min=0)] & (part >= 0)[:, None, None]
    height, width = explicand.shape[2:]
    center = parts.centers[row, part.clamp(min=0)].masked_fill((part < 0)[:, None], torch.nan).round()
    rows, columns = (torch.arange(side, device=center.device) for side in (height, width))
    down, right = center[:, 0].clamp(0, height - 1), center[:, 1].clamp(0, width - 1)  # NaN equals nothing
    return (rows == down[:, None])[:, :, None] & (columns == right[:, None])[:, None, :]


def importance(explicand: Explicand) -> Tensor:
    """What each concept gives the class explained, head weight times margin, `(N, L)`; one forward, shared."""
    head = bottleneck_of(explicand.classifier).head
    margins = explicand.shared("concept scores", lambda: at(explicand, torch.zeros_like(explicand.target)).logits)
    return head[explicand.target] * margins


def _numbers(explicand: Explicand, parts: Parts) -> list[int]:
    return numbers_of(bottleneck_of(explicand.classifier).bottleneck.scheme.concepts, parts)
