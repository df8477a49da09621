"""Training of networks on scenes, which are drawn once and then lie on disk."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

from xaieval.creature import PARTS
from xaieval.datasets.base import Samples
from xaieval.datasets.scenes import Shot
from xaieval.epochs import Epochs, Schedule
from xaieval.progress import Progress
from xaieval.scene_networks import MEAN, STD

AT_ONCE = 100
"""Scenes that are drawn, or looked at in the validation, at once."""

SHIFT = 16
"""In training, a scene is shifted by up to one in so many of its side."""

DRAWING = ("drawing", "scenes")


@dataclass(frozen=True, eq=False)
class Drawn:
    """Scenes as pixels, with their classes.

    Args:
        images: `(n, 3, S, S)`, uint8.
        targets: `(n,)`, int64.
    """

    images: Tensor
    targets: Tensor

    @classmethod
    def of(cls, samples: Samples[Shot], progress: Progress | None = None, file: Path | None = None) -> Drawn:
        """Draw samples, or read them where they were drawn before.

        Args:
            samples: Of one size.
            progress: Told of every hundred.
            file: Where the pixels are, so that only those in use take memory; None: in memory.
        """
        targets = torch.tensor([shot.target for shot in samples.entries])
        if file is not None and file.is_file():
            return cls(torch.from_numpy(np.load(file, mmap_mode="c")), targets)
        shape, progress = (len(samples), *samples[0].input.shape), progress or Progress(shown=False)
        if file is None:
            pixels: NDArray[np.uint8] = np.empty(shape, np.uint8)
            _draw(samples, pixels, progress)
            return cls(torch.from_numpy(pixels), targets)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
        try:
            pixels = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            _draw(samples, pixels, progress)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return cls(torch.from_numpy(pixels), targets)


def _draw(samples: Samples[Shot], pixels: NDArray[np.uint8], progress: Progress) -> None:
    """Draw samples, 8 bits a channel, into `(n, 3, S, S)`."""
    for first in range(0, len(samples), AT_ONCE):
        some = samples[first : first + AT_ONCE]
        with progress.step(DRAWING, len(some)):
            for place, sample in enumerate(some, first):
                pixels[place] = quantized(sample.input).numpy()


def quantized(images: Tensor) -> Tensor:
    """Pixels in [0, 1] as 8 bits."""
    return (images * 255).round().to(torch.uint8)


def normalized(images: Tensor) -> Tensor:
    """Pixels in [0, 1] as the networks take them."""
    return ((images - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images `(n, 3, S, S)` of any type, each shifted by up to S / 16 pixels either way, and half of them mirrored.

    What is shifted in is the edge repeated; a mirrored scene is as probable as the scene itself.
    """
    count, side = len(images), images.shape[-1]
    most = side // SHIFT
    starts = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator)
    rows, columns = (starts - most + torch.arange(side)).clamp(0, side - 1)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    places = torch.arange(count)[:, None, None]
    return images.permute(0, 2, 3, 1)[places, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


class SceneTraining(Epochs):
    """One training of one network on scenes.

    Args:
        model: The network; its weights are changed.
        samples: To learn from.
        validation: To choose the epoch by: the accuracy, then the loss.
        schedule: How often and how fast.
        decay: Weight decay.
        file: Where what is learned from is drawn.
        progress: Told of every step.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples[Shot],
        validation: Samples[Shot],
        schedule: Schedule,
        decay: float,
        file: Path,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(model, len(samples), schedule, decay, progress)
        self.samples, self.seen, self.file = samples, validation, file

    @cached_property
    def scenes(self) -> Drawn:
        """What is learned from; drawn when the first step wants it."""
        return Drawn.of(self.samples, self.progress, self.file)

    @cached_property
    def validation(self) -> Drawn:
        """What the epoch is chosen by; drawn at the end of the first."""
        return Drawn.of(self.seen, self.progress)

    def batches(self, epoch: int) -> list[list[int]]:
        """The scenes in random order."""
        order = torch.randperm(self.count, generator=self._generator("order", epoch))
        return [rows.tolist() for rows in order.split(self.schedule.batch)]

    def loss(self, rows: Sequence[int], step: int) -> Tensor:
        """Mean cross-entropy of scenes that were moved."""
        places = torch.tensor(rows)
        images = moved(self.scenes.images[places], self._generator("moves", step))
        return functional.cross_entropy(self.logits(images), self.scenes.targets[places].to(self.device))

    def logits(self, images: Tensor) -> Tensor:
        """Of 8-bit pixels `(n, 3, S, S)`, `(n, classes)`."""
        logits: Tensor = self.model(normalized(images.to(self.device) / 255))
        return logits

    @torch.no_grad()
    def validated(self) -> dict[str, float]:
        """Mean loss and accuracy of the validation."""
        self.model.eval()
        seen = self.validation
        logits = torch.cat([self.logits(part).cpu() for part in seen.images.split(AT_ONCE)])
        self._meter.spend(len(logits))
        accuracy = (logits.argmax(1) == seen.targets).float().mean()
        return {"validation_loss": float(functional.cross_entropy(logits, seen.targets)), "accuracy": float(accuracy)}

    def _expect(self, last: int) -> None:
        super()._expect(last)
        if self.state.step < last:
            self.progress.expect(DRAWING, len(self.seen) + len(self.samples) * (not self.file.is_file()))

    def _worth(self, found: dict[str, float]) -> tuple[float, float]:
        return found["accuracy"], -found["validation_loss"]

    def _sentence(self, found: dict[str, float]) -> str:
        return f"loss {found['loss']:.4f}, validation accuracy {found['accuracy']:.1%}"


@torch.no_grad()
def accuracies(training: SceneTraining, samples: Samples[Shot]) -> dict[str, float]:
    """Accuracy on whole scenes (`whole`), and without each part, among those that have it, by its name."""
    training.model.eval()
    right: dict[str, list[bool]] = defaultdict(list)
    for first in range(0, len(samples), AT_ONCE):
        images, names, targets = [], [], []
        for sample in samples[first : first + AT_ONCE]:
            world = sample.world
            assert world is not None
            images += [sample.input, *(world.image(without=(part,)) for part in world.parts)]
            names += ["whole", *(PARTS[part] for part in world.parts)]
            targets += [sample.target] * (1 + len(world.parts))
        found = torch.cat([training.logits(part) for part in quantized(torch.stack(images)).split(AT_ONCE)]).argmax(1)
        for name, target, seen in zip(names, targets, found.tolist(), strict=True):
            right[name].append(target == seen)
    return {name: sum(right[name]) / len(right[name]) for name in ("whole", *PARTS) if name in right}
