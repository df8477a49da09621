"""Training of text classifiers, plain or masked: the same recipe gives the same weights, also where it was cut off."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.cost import Meter
from xaieval.draws import seed_of
from xaieval.masking import MASKINGS, Masking, half_det, masked
from xaieval.models.hf import Embedded
from xaieval.progress import Progress
from xaieval.tokens import Tokens, batches_by_length

DECAY = 0.01
WARM_UP = 0.06
"""Part of the steps in which the learning rate rises; it falls linearly to 0 in the others."""
KEEP_EVERY = 50
"""Steps after which the state is written, so that a training that was cut off goes on from there."""
SEEN_AT_ONCE = 64
"""Texts in a batch of the validation."""


class TrainingError(ValueError):
    """What cannot be trained, in a sentence."""


@dataclass(frozen=True, eq=False)
class Labeled:
    """Texts as tokens, with their classes.

    Args:
        tokens: The texts, padded on the right.
        targets: Index of the class of each, `(N,)`, int64.
    """

    tokens: Tokens
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text, with special ones."""
        return [int(length) for length in self.tokens.attended.sum(1)]

    def batch(self, rows: Sequence[int]) -> Labeled:
        """Some of the texts, padded to the longest of them."""
        places = torch.tensor(rows)
        width = int(self.tokens.attended[places].sum(1).max())
        parts = {
            name: getattr(self.tokens, name)[places, :width]
            for name in ("ids", "offsets", "attended", "special", "part", "types")
        }
        texts, lost = self.tokens.texts, self.tokens.lost
        tokens = Tokens(texts=tuple(texts[row] for row in rows), lost=tuple(lost[row] for row in rows), **parts)
        return Labeled(tokens, self.targets[places])

    def masked(self, masking: Masking, mask: int, generator: torch.Generator) -> Labeled:
        """A copy of the texts with tokens masked by `half_det` or `masked`."""
        ids = masking(self.tokens.ids, self.tokens.present, mask, generator)
        return Labeled(replace(self.tokens, ids=ids), self.targets)


@dataclass(frozen=True)
class Plan:
    """How a classifier is trained.

    Args:
        masking: `none`, or `half_det`: see `xaieval.masking`.
        epochs: How often each text is seen; that with the best validation is kept.
        lr: The highest learning rate of AdamW.
        batch: Texts in a step.
        seed: Of the order, the masks and the dropout.
        longest: Most tokens of a text; longer ones are cut.
    """

    masking: str = "none"
    epochs: int = 2
    lr: float = 5e-5
    batch: int = 32
    seed: int = 0
    longest: int = 128

    def __post_init__(self) -> None:
        if self.masking not in MASKINGS:
            raise TrainingError(f"masking must be one of {', '.join(MASKINGS)}, got {self.masking!r}")
        for name in ("epochs", "batch", "longest"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise TrainingError(f"{name} must be an integer of at least 1, got {value!r}")
        if type(self.seed) is not int:
            raise TrainingError(f"seed must be an integer, got {self.seed!r}")
        if isinstance(self.lr, bool) or not isinstance(self.lr, int | float) or not 0 < self.lr < 1:
            raise TrainingError(f"lr must be a number between 0 and 1, such as 5e-5, got {self.lr!r}")


@dataclass
class State:
    """How far a training is: with the weights and the optimizer all that it needs to go on.

    Attributes:
        step: Steps that are done.
        loss: Sum of the losses of the epoch that is running, over its texts.
        epochs: Of each finished epoch the loss, the accuracy of the validation, and that of its masked copies.
        best: The epoch that is kept, from 0.
        weights: Its weights.
    """

    step: int = 0
    loss: float = 0.0
    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)


class Training:
    """One training of one classifier.

    All draws depend on the seed and the step and never on what was drawn before, so that no random state has to be
    kept. Texts are read as when they are explained, see `Embedded`.

    Args:
        model: A sequence classifier of Hugging Face; its weights are changed.
        mask: Number of the mask token; None where there is none.
        texts: To learn from.
        validation: To choose the epoch by: the accuracy on these texts and on a masked copy of each, then the loss.
        plan: How.
        progress: Told of every step.

    Raises:
        TrainingError: Masks are wanted and there is no mask token.
    """

    def __init__(
        self,
        model: nn.Module,
        mask: int | None,
        texts: Labeled,
        validation: Labeled,
        plan: Plan,
        progress: Progress | None = None,
    ) -> None:
        if mask is None and plan.masking != "none":
            raise TrainingError(
                f"masking={plan.masking} needs a tokenizer with a mask token, which this one has not: take an encoder "
                "such as BERT or RoBERTa, or masking=none"
            )
        self.model, self.mask, self.texts, self.validation, self.plan = model, mask, texts, validation, plan
        self.progress = progress or Progress(shown=False)
        self.device = next(model.parameters()).device
        self.embedded = Embedded(model)
        self._meter = Meter(self.device)
        self.steps = -(-len(texts) // plan.batch)
        self.optimizer = torch.optim.AdamW(model.parameters(), plan.lr, weight_decay=DECAY, fused=True)
        self.state = State()

    def run(self, checkpoint: Path) -> None:
        """Train to the end, from where the checkpoint stands if there is one; then the best weights are in the model.

        Args:
            checkpoint: File of the state, written again and again.
        """
        if checkpoint.is_file():
            self._read(checkpoint)
        last = self.plan.epochs * self.steps
        self._expect(last)
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

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch: texts of near length, the batches and the texts in each in random order."""
        generator = self._generator("order", epoch)

        def shuffled(places: Sequence[int]) -> list[int]:
            return [places[place] for place in torch.randperm(len(places), generator=generator).tolist()]

        lengths, order = self.texts.lengths, shuffled(range(len(self.texts)))
        batches = batches_by_length([lengths[place] for place in order], self.plan.batch)
        return [[order[place] for place in shuffled(batches[number])] for number in shuffled(range(len(batches)))]

    def rate(self, step: int) -> float:
        """The learning rate: linearly up to `lr`, then linearly down to 0."""
        last = self.plan.epochs * self.steps
        warm = max(1, round(WARM_UP * last))
        return self.plan.lr * min((step + 1) / warm, (last - step) / (last - warm + 1))

    @torch.no_grad()
    def seen(self, texts: Labeled) -> tuple[float, float]:
        """Mean loss and accuracy on texts."""
        self.model.eval()
        loss = right = 0.0
        for rows in batches_by_length(texts.lengths, SEEN_AT_ONCE):
            part = texts.batch(rows)
            logits, targets = self._logits(part), part.targets.to(self.device)
            loss += float(functional.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(1) == targets).sum())
            self._meter.spend(len(rows))
        return loss / len(texts), right / len(texts)

    def copies(self, number: int) -> Labeled:
        """The validation with each text masked at a rate of its own; the same for the same number."""
        assert self.mask is not None
        return self.validation.masked(masked, self.mask, self._generator("validation", number))

    # -- steps -------------------------------------------------------------------------------------------------------

    def _expect(self, last: int) -> None:
        self.progress.watch(self._meter)
        done = self.state.step
        for epoch in range(done // self.steps, self.plan.epochs):
            first = max(done, epoch * self.steps)
            self.progress.expect(_name(epoch), (epoch + 1) * self.steps - first)

    def _learn(self, rows: Sequence[int], epoch: int) -> None:
        batch, step = self.texts.batch(rows), self.state.step
        if self.plan.masking == "half_det":
            assert self.mask is not None
            batch = batch.masked(half_det, self.mask, self._generator("masks", step))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        torch.manual_seed(seed_of("training", self.plan.seed, "dropout", step))
        self.model.train()
        with self.progress.step(_name(epoch), 1), torch.enable_grad():
            self.optimizer.zero_grad()
            loss = functional.cross_entropy(self._logits(batch), batch.targets.to(self.device))
            loss.backward()
            self.optimizer.step()
        self._meter.spend(len(rows), len(rows))
        self.state.step += 1
        self.state.loss += float(loss.detach()) * len(rows)

    def _logits(self, batch: Labeled) -> Tensor:
        """Of texts as they are read when they are explained."""
        table: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        words: Tensor = table(batch.tokens.ids.to(self.device))
        logits: Tensor = self.embedded(words.mT, batch.tokens.read.to(self.device))
        return logits.float()

    def _end(self, epoch: int) -> None:
        """Note how good the epoch is, and its weights if they are the best so far."""
        loss, accuracy = self.seen(self.validation)
        found = {"loss": self.state.loss / len(self.texts), "validation_loss": loss, "accuracy": accuracy}
        if self.mask is not None:
            found["validation_loss_masked"], found["accuracy_masked"] = self.seen(self.copies(0))
        self.state.epochs.append(found)
        self.state.loss = 0.0
        if self.state.best < 0 or self._worth(found) > self._worth(self.state.epochs[self.state.best]):
            self.state.best = epoch
            self.state.weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self.progress.say(f"epoch {epoch + 1} of {self.plan.epochs}: {_sentence(found)}")

    def _worth(self, found: dict[str, float]) -> tuple[float, float]:
        if self.plan.masking == "none":
            return found["accuracy"], -found["validation_loss"]
        both = found["accuracy"] + found["accuracy_masked"]
        return both, -found["validation_loss"] - found["validation_loss_masked"]

    # -- draws and state ---------------------------------------------------------------------------------------------

    def _generator(self, what: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of("training", self.plan.seed, what, number))

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """The global random state, from which dropout draws, is put back after the block."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def _write(self, checkpoint: Path) -> None:
        """Write the state whole or not at all."""
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
        self.progress.say(f"going on after step {self.state.step} of {self.plan.epochs * self.steps}")


def _name(epoch: int) -> tuple[str, str]:
    return ("training", f"epoch {epoch + 1}")


def _sentence(found: dict[str, float]) -> str:
    masks = f", masked {found['accuracy_masked']:.1%}" if "accuracy_masked" in found else ""
    return f"loss {found['loss']:.4f}, validation accuracy {found['accuracy']:.1%}{masks}"
