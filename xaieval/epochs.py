"""Training by epochs, for any network: the same schedule gives the same weights, also where it was cut off."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaieval.cost import Meter
from xaieval.draws import seed_of
from xaieval.progress import Progress

WARM_UP = 0.06
"""Part of the steps in which the learning rate rises; it falls linearly to 0 in the others."""
KEEP_EVERY = 50
"""Steps after which the state is written, so that a training that was cut off goes on from there."""


class TrainingError(ValueError):
    """What cannot be trained, in a sentence."""


@dataclass(frozen=True)
class Schedule:
    """How often and how fast a network learns.

    Args:
        epochs: How often each sample is seen; the epoch with the best validation is kept.
        lr: The highest learning rate of AdamW.
        batch: Samples in a step.
        seed: Of all draws.
    """

    epochs: int = 3
    lr: float = 1e-4
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_integers("epochs", "batch")
        if type(self.seed) is not int:
            raise TrainingError(f"seed must be an integer, got {self.seed!r}")
        if isinstance(self.lr, bool) or not isinstance(self.lr, int | float) or not 0 < self.lr < 1:
            raise TrainingError(f"lr must be a number between 0 and 1, such as 5e-5, got {self.lr!r}")

    def _check_integers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise TrainingError(f"{name} must be an integer of at least 1, got {value!r}")


@dataclass
class State:
    """How far a training is: with the weights and the optimizer all that it needs to go on.

    Attributes:
        step: Steps that are done.
        loss: Sum of the losses of the epoch that is running, over its samples.
        seconds: What the steps and validations took that are in the state.
        epochs: Of each finished epoch the loss, and what the validation gave.
        best: The epoch that is kept, from 0.
        weights: Its weights.
    """

    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)


class Epochs(ABC):
    """One training of one network by AdamW.

    All draws depend on the seed and the step and never on what was drawn before, so that no random state has to be
    kept.

    Args:
        model: The network; its weights are changed.
        count: Number of samples to learn from.
        schedule: How often and how fast.
        decay: Weight decay.
        progress: Told of every step.
    """

    def __init__(
        self, model: nn.Module, count: int, schedule: Schedule, decay: float, progress: Progress | None = None
    ) -> None:
        self.model, self.count, self.schedule = model, count, schedule
        self.progress = progress or Progress(shown=False)
        self.device = next(model.parameters()).device
        self._meter = Meter(self.device)
        self.steps = -(-count // schedule.batch)
        self.optimizer = torch.optim.AdamW(model.parameters(), schedule.lr, weight_decay=decay, fused=True)
        self.state = State()
        self._since = time.perf_counter()

    @abstractmethod
    def batches(self, epoch: int) -> list[list[int]]:
        """Numbers of the samples of each step of an epoch."""

    @abstractmethod
    def loss(self, rows: Sequence[int], step: int) -> Tensor:
        """Mean loss of the samples of a step, with a graph."""

    @abstractmethod
    def validated(self) -> dict[str, float]:
        """What the validation gives now, noted with the epoch."""

    @abstractmethod
    def _worth(self, found: dict[str, float]) -> tuple[float, float]:
        """By which the epoch is chosen, the larger the better."""

    @abstractmethod
    def _sentence(self, found: dict[str, float]) -> str:
        """What is shown of a finished epoch."""

    def run(self, checkpoint: Path) -> None:
        """Train to the end, from where the checkpoint stands if there is one; then the best weights are in the model.

        Args:
            checkpoint: File of the state, written again and again.
        """
        if checkpoint.is_file():
            self._read(checkpoint)
        last = self.schedule.epochs * self.steps
        self._expect(last)
        self._since = time.perf_counter()
        with self.progress, self._own_draws():
            while self.state.step < last:
                epoch, place = divmod(self.state.step, self.steps)
                for batch in self.batches(epoch)[place:]:
                    self._learn(batch, epoch)
                    if self.state.step % KEEP_EVERY == 0 and self.state.step % self.steps:
                        self._write(checkpoint)
                self._end(epoch)
                self._write(checkpoint)
        self.model.load_state_dict(self.state.weights)
        self.model.eval()

    def rate(self, step: int) -> float:
        """The learning rate: linearly up to `lr`, then linearly down to 0."""
        last = self.schedule.epochs * self.steps
        warm = max(1, round(WARM_UP * last))
        return self.schedule.lr * min((step + 1) / warm, (last - step) / (last - warm + 1))

    # -- steps -------------------------------------------------------------------------------------------------------

    def _expect(self, last: int) -> None:
        self.progress.watch(self._meter)
        done = self.state.step
        for epoch in range(done // self.steps, self.schedule.epochs):
            first = max(done, epoch * self.steps)
            self.progress.expect(_name(epoch), (epoch + 1) * self.steps - first)

    def _learn(self, rows: Sequence[int], epoch: int) -> None:
        step = self.state.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        torch.manual_seed(seed_of("training", self.schedule.seed, "dropout", step))
        self.model.train()
        with self.progress.step(_name(epoch), 1), torch.enable_grad():
            self.optimizer.zero_grad()
            loss = self.loss(rows, step)
            loss.backward()
            self.optimizer.step()
        self._meter.spend(len(rows), len(rows))
        self.state.step += 1
        self.state.loss += float(loss.detach()) * len(rows)

    def _end(self, epoch: int) -> None:
        """Note how good the epoch is, and its weights if they are the best so far."""
        found = {"loss": self.state.loss / self.count, **self.validated()}
        self.state.epochs.append(found)
        self.state.loss = 0.0
        if self.state.best < 0 or self._worth(found) > self._worth(self.state.epochs[self.state.best]):
            self.state.best = epoch
            self.state.weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self.progress.say(f"epoch {epoch + 1} of {self.schedule.epochs}: {self._sentence(found)}")

    # -- draws and state ---------------------------------------------------------------------------------------------

    def _generator(self, what: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of("training", self.schedule.seed, what, number))

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """The global random state, from which dropout draws, is put back after the block."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def _write(self, checkpoint: Path) -> None:
        """Write the state whole or not at all."""
        now = time.perf_counter()
        self.state.seconds += now - self._since
        self._since = now
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = checkpoint.with_name(f".{checkpoint.name}-{uuid.uuid4().hex}")
        torch.save({"state": vars(self.state), **parts}, part)
        part.replace(checkpoint)

    def _read(self, checkpoint: Path) -> None:
        content: dict[str, Any] = torch.load(checkpoint, "cpu", weights_only=True)
        self.state = State(**content["state"])
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.progress.say(f"going on after step {self.state.step} of {self.schedule.epochs * self.steps}")


def _name(epoch: int) -> tuple[str, str]:
    return ("training", f"epoch {epoch + 1}")
