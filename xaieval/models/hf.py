"""Sequence classifiers of Hugging Face transformers as functions of embeddings and of what is attended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.datasets.encode import Encoder
from xaieval.modalities.texts import Texts
from xaieval.models.loading import ModelError, require, seeded

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
        self.types = any(_tells_segments(part) for part in model.modules())
        if self.decoder and config.get_text_config().pad_token_id is None:
            raise ValueError(
                f"{type(model).__name__} has no pad token, without which it takes one text at a time: set "
                "model.config.pad_token_id, for example to its eos_token_id"
            )

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(N, classes)`.

        Args:
            embeddings: Word embeddings `(N, D, T)`, without those of positions.
            attended: Which tokens are read, bool `(N, T)`, or 1 and 2 for those of the first and the second text.

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
        order = self.order(attended)
        types = (attended.long() - 1).clamp(min=0).gather(1, order)
        attended = attended.gather(1, order) > 0
        words = embeddings.mT.gather(1, order[:, :, None].expand(-1, -1, embeddings.shape[1]))
        positions = (attended.long().cumsum(1) - 1).clamp(min=0) + self.offset
        arguments = {"inputs_embeds": words, "attention_mask": self._mask(attended, words), "position_ids": positions}
        options: dict[str, Any] = {"token_type_ids": types} if self.types else {}
        return arguments | options | ({"use_cache": False} if self.decoder else {}), attended

    def order(self, attended: Tensor) -> Tensor:
        """Which token of the input stands where, `(N, T)`: attended ones side by side."""
        return (attended > 0).float().argsort(dim=1, descending=not self.decoder, stable=True)

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

        table: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        return Texts(mask=token(mask), padding=token(padding), vocabulary=table.weight.detach())


def _first_position(part: Any) -> int:
    """In RoBERTa positions are counted from behind the pad token's number."""
    return part.padding_idx + 1 if hasattr(part, "create_position_ids_from_input_ids") else 0


def _tells_segments(part: Any) -> bool:
    """Whether a layer has an embedding for the second text of a pair, as BERT has."""
    table = getattr(part, "token_type_embeddings", None)
    return isinstance(table, nn.Embedding) and table.num_embeddings > 1


LONGEST = 512
"""Most tokens of a text, also where a model would take more: what explaining takes grows with their square."""


def load(
    name: str,
    *,
    pieces: str = "token",
    longest: int | None = None,
    pickled: bool = False,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
    label: str | None = None,
) -> Classifier:
    """A text classifier of Hugging Face (`AutoModelForSequenceClassification`) with its tokenizer.

    Args:
        name: On the hub, such as `textattack/roberta-base-SST-2`, or a folder that `save_pretrained` wrote, model and
            tokenizer, such as one of `xaieval train text`.
        pieces: What is removed at once and scored: each `token`, or the tokens of a `word` together.
        longest: Most tokens of a text, longer ones are cut; None: what the model takes, at most `LONGEST`.
        pickled: Read weights also where there are none in safetensors; such files can run code when they are read.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.
        label: What to call the model in tables; None: the last part of its name.

    Raises:
        ModelError: No such model or tokenizer, weights that cannot be had, a model without a trained head, or a
            tokenizer that gives no offsets.
    """
    require(name, {"transformers": "'xaieval[text]'", "regex": "'xaieval[text]'"})
    model, tokenizer = _pretrained(name, pickled), tokenizer_of(name)
    _check_vocabulary(name, tokenizer, model)
    see_to_padding(model, tokenizer)
    module = Embedded(model)
    _read_reference(module, name)
    categories = _categories(model.config)
    most = min(LONGEST, module.limit - module.offset if module.limit else LONGEST, tokenizer.model_max_length)
    if longest is not None and longest > most:
        raise ModelError(f"{name} takes texts of at most {most} tokens, got longest={longest}")
    return Classifier(
        module,
        device=device,
        precision=precision,
        batch_size=batch_size,
        modality=module.modality(tokenizer.mask_token_id, tokenizer.pad_token_id),
        layers=layers,
        name=label or Path(name).name,
        preprocess=Encoder(tokenizer, module.embed, longest or most, pieces, categories),
        categories=categories,
    )


def _pretrained(name: str, pickled: bool) -> Any:
    from transformers import AutoModelForSequenceClassification

    try:
        with seeded(), quiet():
            model, found = AutoModelForSequenceClassification.from_pretrained(
                name, use_safetensors=None if pickled else True, output_loading_info=True
            )
    except Exception as error:  # transformers, huggingface_hub and the HTTP client raise errors of their own
        raise ModelError(
            f"the text classifier {name!r} could not be had ({first_line(error)}); give a folder that save_pretrained "
            "wrote, or a name on the Hugging Face hub, for which there has to be a network; files without safetensors "
            "are read with pickled=true only"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{name} is no trained classifier, it has no weights for {', '.join(missing[:3])}: train one with "
            f"`xaieval train text encoder={name}`"
        )
    return model.float()


def tokenizer_of(name: str) -> Any:
    """The tokenizer of a name or folder.

    Raises:
        ModelError: There is none, or it gives no offsets.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        raise ModelError(f"the tokenizer of {name!r} could not be had ({first_line(error)})") from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {name} gives no offsets, without which tokens cannot be found in a text; expected a "
            "fast one: save it with a tokenizer.json"
        )
    return tokenizer


def _check_vocabulary(name: str, tokenizer: Any, model: Any) -> None:
    """Where a folder holds no tokenizer, transformers makes one that knows special tokens alone."""
    known, rows = len(tokenizer), model.get_input_embeddings().num_embeddings
    if not rows / 2 < known <= rows:
        raise ModelError(
            f"the tokenizer of {name} knows {known} tokens, the model {rows}, so it is not its own: save it beside the "
            "model with tokenizer.save_pretrained"
        )


def see_to_padding(model: Any, tokenizer: Any) -> None:
    """Decoders seldom have a pad token; any will do, as padding is not attended to."""
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        end = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        config.pad_token_id = model.config.pad_token_id = 0 if end is None else end


def _read_reference(module: Embedded, name: str) -> None:
    path = Path(name).expanduser() / "reference.safetensors"
    if path.is_file():
        from xaieval.masf import Reference

        module.reference = Reference.load(path)


def _categories(config: Any) -> tuple[str, ...] | None:
    """Names of the classes; None where nobody gave any, as transformers then makes up LABEL_0."""
    names = tuple(str(config.id2label[place]) for place in range(config.num_labels))
    return None if all(name == f"LABEL_{place}" for place, name in enumerate(names)) else names


def first_line(error: Exception) -> str:
    """What an error says first, or its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no reports of transformers in the block: what matters is said in our words."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
