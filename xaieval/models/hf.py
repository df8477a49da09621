"""Sequence classifiers of Hugging Face transformers as functions of embeddings and of what is attended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaieval.modalities.texts import Texts

if TYPE_CHECKING:
    from xaieval.masf import Reference

MASKED = -1e30  # exp of it is 0, and in bfloat16 it is finite still: a row of nothing else must not become NaN


class Embedded(nn.Module):
    """A model of `AutoModelForSequenceClassification` behind its word embeddings: `(N, D, T)` to `(N, classes)`.

    Attended tokens are moved together, in their order: to the left in encoders, which read the first one, to the right
    in decoders, which read the last. So it does not matter on which side texts are padded, and a token that is no
    longer attended is a token less, not a gap. The model gets the mask as numbers that are added, `(N, 1, T, T)`, and
    the positions: a mask `(N, T)` would make it wait for the device, a Boolean one is added as 0 and 1 under eager
    attention. Seen with transformers 5.

    Args:
        model: The classifier; it is not edited.

    Attributes:
        reference: What its texts usually are inside it, for `xaieval.masf`; None: nobody knows.

    Raises:
        ValueError: A decoder that knows no pad token, which classifies one text at a time only.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.reference: Reference | None = None
        self.decoder = any(getattr(part, "is_causal", False) is True for part in model.modules())
        self.offset = max(map(_first_position, model.modules()))
        config: Any = model.config
        self.limit: int | None = getattr(config, "max_position_embeddings", None)
        if self.decoder and config.get_text_config().pad_token_id is None:
            raise ValueError(
                f"{type(model).__name__} has no pad token, without which it takes one text at a time: set "
                "model.config.pad_token_id, for example to its eos_token_id"
            )

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(N, classes)`.

        Args:
            embeddings: Word embeddings `(N, D, T)`, without those of positions.
            attended: Which tokens are read, bool `(N, T)`.

        Raises:
            ValueError: More tokens than the model has positions.
        """
        arguments, _ = self._arguments(embeddings, attended)
        logits: Tensor = self.model(**arguments).logits
        return logits

    def hidden_states(self, embeddings: Tensor, attended: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the tokens are behind the embedding and each layer, `(N, T, E)` each, and which are read, `(N, T)`.

        The tokens are in the order in which the model gets them.
        """
        arguments, attended = self._arguments(embeddings, attended)
        states: tuple[Tensor, ...] = self.model(**arguments, output_hidden_states=True).hidden_states
        return states, attended

    def _arguments(self, embeddings: Tensor, attended: Tensor) -> tuple[dict[str, Any], Tensor]:
        """What the model is called with, and which of its tokens are attended."""
        self._check_length(embeddings.shape[2])
        order = attended.float().argsort(dim=1, descending=not self.decoder, stable=True)
        attended = attended.gather(1, order)
        words = embeddings.mT.gather(1, order[:, :, None].expand(-1, -1, embeddings.shape[1]))
        positions = (attended.long().cumsum(1) - 1).clamp(min=0) + self.offset
        arguments = {"inputs_embeds": words, "attention_mask": self._mask(attended, words), "position_ids": positions}
        return arguments | ({"use_cache": False} if self.decoder else {}), attended

    def _mask(self, attended: Tensor, words: Tensor) -> Tensor:
        """What is added to each query's scores `(N, 1, T, T)`: 0 at keys that it may attend to."""
        count = attended.shape[1]
        allowed = attended[:, None, None].expand(-1, 1, count, -1)
        if self.decoder:
            allowed = allowed & torch.ones(count, count, dtype=torch.bool, device=attended.device).tril()
        return torch.zeros_like(allowed, dtype=words.dtype).masked_fill(~allowed, MASKED)

    def _check_length(self, count: int) -> None:
        if self.limit is not None and count > self.limit - self.offset:
            raise ValueError(
                f"{type(self.model).__name__} has {self.limit - self.offset} positions, got texts of {count} tokens: "
                "truncate them"
            )

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings `(N, D, T)` of tokens `(N, T)`."""
        table: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        words: Tensor = table(ids)
        return words.mT.contiguous()

    def modality(self, mask: int | None, padding: int | None) -> Texts:
        """How texts of this model are removed from, given the numbers of the mask and the pad token, if it has any."""
        device = next(self.model.parameters()).device

        def token(number: int | None) -> Tensor | None:
            return None if number is None else self.embed(torch.tensor([[number]], device=device))[0, :, 0]

        return Texts(mask=token(mask), padding=token(padding))


def _first_position(part: Any) -> int:
    """In RoBERTa positions are counted from behind the pad token's number."""
    return part.padding_idx + 1 if hasattr(part, "create_position_ids_from_input_ids") else 0
