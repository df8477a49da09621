"""Training of text classifiers, plain or masked: the same recipe gives the same weights, also where it was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.epochs import Epochs, Schedule, TrainingError
from xaieval.masking import MASKINGS, Masking, half_det, masked
from xaieval.models.hf import Embedded
from xaieval.progress import Progress
from xaieval.tokens import Tokens, batches_by_length

DECAY = 0.01
SEEN_AT_ONCE = 64
"""Texts in a batch of the validation."""


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
class Plan(Schedule):
    """How a classifier is trained.

    Args:
        epochs: How often each text is seen; that with the best validation is kept.
        lr: The highest learning rate of AdamW.
        batch: Texts in a step.
        seed: Of the order, the masks and the dropout.
        masking: `none`, or `half_det`: see `xaieval.masking`.
        longest: Most tokens of a text; longer ones are cut.
    """

    masking: str = "none"
    longest: int = 128

    def __post_init__(self) -> None:
        if self.masking not in MASKINGS:
            raise TrainingError(f"masking must be one of {', '.join(MASKINGS)}, got {self.masking!r}")
        self._check_integers("longest")
        super().__post_init__()


class Training(Epochs):
    """One training of one classifier of texts, which are read as when they are explained, see `Embedded`.

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
        super().__init__(model, len(texts), plan, DECAY, progress)
        self.mask, self.texts, self.validation, self.plan = mask, texts, validation, plan
        self.embedded = Embedded(model)

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch: texts of near length, the batches and the texts in each in random order."""
        generator = self._generator("order", epoch)

        def shuffled(places: Sequence[int]) -> list[int]:
            return [places[place] for place in torch.randperm(len(places), generator=generator).tolist()]

        lengths, order = self.texts.lengths, shuffled(range(len(self.texts)))
        batches = batches_by_length([lengths[place] for place in order], self.plan.batch)
        return [[order[place] for place in shuffled(batches[number])] for number in shuffled(range(len(batches)))]

    def loss(self, rows: Sequence[int], step: int) -> Tensor:
        """Mean cross-entropy of texts, half of them masked where the plan says so."""
        batch = self.texts.batch(rows)
        if self.plan.masking == "half_det":
            assert self.mask is not None
            batch = batch.masked(half_det, self.mask, self._generator("masks", step))
        return functional.cross_entropy(self._logits(batch), batch.targets.to(self.device))

    def validated(self) -> dict[str, float]:
        """Loss and accuracy of the validation, and where there is a mask token those of its masked copies."""
        loss, accuracy = self.seen(self.validation)
        found = {"validation_loss": loss, "accuracy": accuracy}
        if self.mask is not None:
            found["validation_loss_masked"], found["accuracy_masked"] = self.seen(self.copies(0))
        return found

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

    def _logits(self, batch: Labeled) -> Tensor:
        """Of texts as they are read when they are explained."""
        table: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        words: Tensor = table(batch.tokens.ids.to(self.device))
        logits: Tensor = self.embedded(words.mT, batch.tokens.read.to(self.device))
        return logits.float()

    def _worth(self, found: dict[str, float]) -> tuple[float, float]:
        if self.plan.masking == "none":
            return found["accuracy"], -found["validation_loss"]
        both = found["accuracy"] + found["accuracy_masked"]
        return both, -found["validation_loss"] - found["validation_loss_masked"]

    def _sentence(self, found: dict[str, float]) -> str:
        masks = f", masked {found['accuracy_masked']:.1%}" if "accuracy_masked" in found else ""
        return f"loss {found['loss']:.4f}, validation accuracy {found['accuracy']:.1%}{masks}"
