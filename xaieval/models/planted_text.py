"""A model of texts with weights set by hand, which reads exactly the words that decide in `dataset=reviews`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.datasets import reviews
from xaieval.datasets.encode import Encoder
from xaieval.datasets.planted_words import NEGATORS, STOPS, words_in
from xaieval.datasets.preprocess import DatasetError
from xaieval.modalities.texts import Texts
from xaieval.models.loading import ModelError, seeded

PAD, UNKNOWN, MASK = "[PAD]", "[UNK]", "[MASK]"
WIDTH = 8
"""Channels of an embedding: what the model reads, and as much again and more that says nothing."""

LONGEST = 512
"""Most words of a text; longer ones are cut."""

READ = ("valence", "negates", "ends")
"""The first channels: the valence, 1 for a negator, 1 where a negation ends (sentiment words, stops)."""


class WordTokenizer:
    """Words and punctuation marks as tokens, those of `planted_words.words_in`.

    It answers as a fast tokenizer of Hugging Face does, see `xaieval.tokens.FastTokenizer`, for single texts. Marks
    that end a clause are special tokens, which are read but are no features: without the comma, the negator of "I have
    not read it, and the plot is dull" would flip "dull", and the reviews say what words do in clauses as they are.

    Args:
        words: The words it knows, in lower case; every other is unknown.
    """

    is_fast = True

    def __init__(self, words: Sequence[str]) -> None:
        self.tokens = (PAD, UNKNOWN, MASK, *words)
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self.pad_token_id, self.unk_token_id, self.mask_token_id = (self._ids[token] for token in (PAD, UNKNOWN, MASK))

    def __call__(
        self, text: Sequence[str], text_pair: Any = None, truncation: bool = False, max_length: int = 0, **options: Any
    ) -> _Encoded:
        """The texts as tokens; a truncated one keeps its first `max_length`.

        Raises:
            ValueError: Pairs of texts.
        """
        if text_pair is not None:
            raise ValueError("planted_text reads single texts, got pairs of them")
        rows = [words_in(one)[: max_length if truncation else None] for one in text]
        return _Encoded(
            input_ids=[[self._ids.get(word.text, self.unk_token_id) for word in row] for row in rows],
            offset_mapping=[[(word.start, word.end) for word in row] for row in rows],
            attention_mask=[[1] * len(row) for row in rows],
            special_tokens_mask=[[int(word.text in STOPS) for word in row] for row in rows],
        )

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """None: its special tokens stand in the text."""
        return 0

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """The words with these numbers."""
        return [self.tokens[number] for number in ids]


class _Encoded(dict[str, list[Any]]):
    """What the tokenizer says of each text."""

    def sequence_ids(self, row: int) -> list[int | None]:
        """Every token belongs to the first text."""
        return [0] * len(self["input_ids"][row])


class PlantedText(nn.Module):
    """Logits (-s / 2, s / 2) of the planted score s of words given as embeddings, see `planted_words.planted_score`.

    Of each attended token it reads, linearly, the valence v, whether it negates n and whether a negation ends with it
    e; all others say nothing. From left to right, s = sum of m_t v_t with m = 1 at first and then
    m_{t+1} = m_t (1 - 2 n_t) (1 - e_t) + e_t. This is the rule for words as they are, and polynomial between them: a
    word that is faded into one without meaning, such as the mask token, loses its meaning by degrees.

    Args:
        tokens: What can be embedded; special ones and words without meaning differ in the last channels alone.
        valences: Of the sentiment words.
        negation: Whether negators are read; else s is the sum of the valences.
    """

    def __init__(self, tokens: Sequence[str], valences: Mapping[str, float], negation: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(len(tokens), WIDTH)
        self.read = nn.Linear(WIDTH, len(READ), bias=False)
        meaning = [
            (valences.get(token, 0.0), float(token in NEGATORS), float(token in valences or token in STOPS))
            for token in tokens
        ]
        with torch.no_grad():
            self.table.weight[:, : len(READ)] = torch.tensor(meaning)
            self.read.weight.copy_(torch.eye(len(READ), WIDTH))
            if not negation:
                self.read.weight[1:] = 0.0

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(N, 2)` of embeddings `(N, D, T)`, of which those attended `(N, T)`, not 0, are read."""
        said = self.read(embeddings.mT).masked_fill(attended[:, :, None] == 0, 0.0)
        score, sign = torch.zeros_like(said[:, 0, 0]), torch.ones_like(said[:, 0, 0])
        for valence, negates, ends in said.permute(1, 2, 0):
            score = score + sign * valence
            sign = sign * (1 - 2 * negates) * (1 - ends) + ends
        return torch.stack((-score / 2, score / 2), 1)

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings `(N, D, T)` of tokens `(N, T)`."""
        words: Tensor = self.table(ids.to(self.table.weight.device))
        return words.mT.contiguous()


def load(
    *,
    negation: bool = True,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """The model that reads exactly the marked words of `dataset=reviews`; nothing is trained or downloaded.

    What a word alone is worth, f(x) - f(x without it), is half of what the dataset says of it (the logits are
    (-s / 2, s / 2), so that their difference is s): exactly those words have an effect that are marked. Marks that end
    a clause stay, see `WordTokenizer`.

    Args:
        negation: Whether negators are read. Without, the model is additive in its words; that is the truth for reviews
            with `negation=false` only.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: The lexicon is not installed.
    """
    try:
        valences = reviews.valences()
    except DatasetError as error:
        raise ModelError(str(error)) from error
    tokenizer = WordTokenizer(vocabulary())
    with seeded():
        module = PlantedText(tokenizer.tokens, valences, negation)
    mask, padding = module.embed(torch.tensor([[tokenizer.mask_token_id, tokenizer.pad_token_id]]))[0].T
    return Classifier(
        module,
        device=device,
        precision=precision,
        batch_size=batch_size,
        modality=Texts(mask=mask, padding=padding),
        layers=layers,
        name="planted_text" if negation else "planted_text_additive",
        preprocess=Encoder(tokenizer, module.embed, LONGEST, categories=reviews.CATEGORIES),
        categories=reviews.CATEGORIES,
    )


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the reviews, with the punctuation marks that end a clause."""
    parts = json.loads(Path(reviews.__file__).with_name("reviews.json").read_text(encoding="utf-8"))
    return tuple(sorted({word.text for text in _strings(parts) for word in words_in(text)} | NEGATORS | STOPS))


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    else:
        for part in node.values() if isinstance(node, dict) else node:
            yield from _strings(part)
