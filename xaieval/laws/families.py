"""Kinds of inputs with the networks that read them: each law holds for one of them as for another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.explicand import Explicand
from xaieval.laws import bottleneck_toys, part_toys, text_toys, toys


@dataclass(frozen=True, eq=False)
class Family:
    """Inputs of one kind, and networks that methods explain on them.

    Attributes:
        general: What most networks have.
        written: One network written in several ways, of which the first is a module.
        smooth: A network that is differentiable everywhere.
        linear: A linear one, of so many classes.
        planted: Class 0 grows with what `clues` show alone.
        clues: Inputs with something planted, where it is, and where a coarse map may see it.
        inputs: So many inputs, with this seed.
        names: Their names.
        masks: Something marked in each of so many.
        parts: What is told of the parts of each of so many with this seed; nothing where there are none.
        some: Which features are there where some are absent, bool `(*F)`.
        bind: A model, or a classifier, and inputs, as `toys.explicand`.
        weights: What each feature counts in a one-class linear model of which maps can be told apart, `(1, C, *F)`.
        point: The place of one feature among all.
        limits: Largest values of fields, by name, with which something planted is found as clearly.
    """

    general: Callable[[], nn.Module]
    written: Mapping[str, Callable[[], nn.Module]]
    smooth: Callable[[], nn.Module]
    linear: Callable[..., toys.Linear]
    planted: Callable[[], nn.Module]
    clues: Callable[[], tuple[Tensor, Tensor, Tensor]]
    inputs: Callable[..., Tensor]
    names: Callable[[int], list[str]]
    masks: Callable[[int], Tensor]
    parts: Callable[[int, int], dict[str, Any]]
    some: Callable[[], Tensor]
    bind: Callable[..., Explicand]
    weights: Callable[[], Tensor]
    point: int
    limits: Mapping[str, int] = field(default_factory=dict)

    def work(self, batch_size: int = 4, count: int = 3, module: nn.Module | None = None) -> Explicand:
        """Inputs with something marked, bound to a general network."""
        module = module or toys.seeded(self.general)
        return self.bind(module, self.inputs(count), batch_size=batch_size, **self.told(count))

    def told(self, count: int = 3, seed: int = 0, rows: Sequence[int] | None = None) -> dict[str, Any]:
        """What is told of the inputs, or of some rows of them, by the names that `Classifier.explicand` gives it."""
        rows = range(count) if rows is None else rows
        places, parts = torch.tensor(rows), self.parts(count, seed)
        chosen: dict[str, Any] = {"mask": self.masks(count)[places]}
        if parts:
            chosen["parts"] = parts["parts"].each(lambda values: values[places])
            chosen["worlds"] = [parts["worlds"][row] for row in rows]
        return chosen

    def maps(self, count: int, units: str, seed: int = 0) -> Tensor:
        """Signed random maps, rounded so that no tie or order is a matter of rounding."""
        _, channels, *features = self.inputs(1).shape
        shape = (count, 1 if units == "importance" else channels, *features)
        maps = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return (maps * 2**14).round() / 2**14


def shown(work: Explicand, maps: Tensor) -> Tensor:
    """Maps `(N, C, *F)` with 0 at absent features."""
    return maps if work.present is None else maps * work.present[:, None]


def rectangles(count: int) -> Tensor:
    """Rectangles of different sizes, bool `(count, SIDE, SIDE)`."""
    masks = torch.zeros(count, toys.SIDE, toys.SIDE, dtype=torch.bool)
    for number in range(count):
        masks[number, 2 : 6 + number, 3 + number : 9] = True
    return masks


def _bright_images() -> tuple[Tensor, Tensor, Tensor]:
    near = 3
    inputs, mask = toys.bright_images(3, 24, 6)
    return inputs, mask, functional.max_pool2d(mask[:, None].float(), 2 * near + 1, 1, near)[:, 0] > 0


def _coarse() -> Tensor:
    """Patches differ."""
    coarse = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return 0.05 * functional.interpolate(coarse, size=(toys.SIDE, toys.SIDE))


def _marked_tokens(count: int) -> Tensor:
    """One or two tokens of each text, bool `(count, T)`."""
    place, number = torch.arange(text_toys.LENGTH), torch.arange(count)[:, None]
    return (place > 1) & (place < 3 + (number % 3 == 0))


def _bright_texts() -> tuple[Tensor, Tensor, Tensor]:
    inputs, mask = text_toys.bright_texts(3)
    return inputs, mask, mask


def _some_tokens() -> Tensor:
    place = torch.arange(text_toys.LENGTH)
    return (place > 0) & (place < 9)


def _token_weights() -> Tensor:
    return 0.3 * text_toys.embeddings(1, seed=1)


CONVOLUTIONAL = Family(
    general=toys.General,
    written={kind: partial(toys.Rectified, kind) for kind in ("module", "in place", "function")},
    smooth=toys.Smooth,
    linear=partial(toys.Linear, 3 * toys.SIDE**2),
    planted=toys.Bright,
    clues=_bright_images,
    inputs=lambda count, seed=0: toys.images(count, seed=seed),
    names=toys.names,
    masks=rectangles,
    parts=part_toys.told,
    some=toys.partly_present,
    bind=toys.explicand,
    weights=_coarse,
    point=5 * toys.SIDE + 5,
)
ATTENDING = replace(
    CONVOLUTIONAL,
    general=toys.Transformer,
    written={kind: partial(toys.Transformer, kind) for kind in ("module", "function", "softmax")},
    planted=toys.Looking,
)
DECIDING = replace(
    CONVOLUTIONAL,
    general=bottleneck_toys.deciding,
    written={kind: partial(bottleneck_toys.written, kind) for kind in ("module", "in place", "function")},
    planted=bottleneck_toys.bright,
)
NAMED = replace(CONVOLUTIONAL, bind=partial(toys.explicand, modality=part_toys.Named()))
READING = Family(
    general=text_toys.Reader,
    written={kind: partial(text_toys.Reader, kind) for kind in ("module", "function", "softmax")},
    smooth=text_toys.SmoothTokens,
    linear=text_toys.LinearTokens,
    planted=text_toys.LookingTokens,
    clues=_bright_texts,
    inputs=text_toys.embeddings,
    names=text_toys.names,
    masks=_marked_tokens,
    parts=lambda count, seed: {},
    some=_some_tokens,
    bind=text_toys.explicand,
    weights=_token_weights,
    point=2,
    limits={"window": 1, "stride": 1},
)
POOLING = replace(READING, general=text_toys.Pooling, written={"module": text_toys.Pooling})
