"""Texts as batches of tokens: ids, where each token stands in its text, and what was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from xaieval.offsets import tokens_of, words_of

Pair = tuple[str, str]


class FastTokenizer(Protocol):
    """What is asked of a Hugging Face tokenizer; only the fast ones know offsets."""

    is_fast: bool

    @property
    def pad_token_id(self) -> int | None:
        """Number of the pad token, if there is one."""

    def __call__(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The encoded texts."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """What the tokens are called."""

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens are added to a text or pair."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of texts, padded to the longest of them. Tensors lie on the CPU.

    Attributes:
        texts: The texts, or their pairs.
        ids: `(N, T)`, int64; padding has the id of the pad token, or 0 where there is none.
        offsets: Characters [start, end) of each token in its own text, `(N, T, 2)`, int64; (0, 0) for special tokens
            and padding.
        attended: `(N, T)`, boolean: what the model attends to, real and special tokens but no padding.
        special: `(N, T)`, boolean: tokens that the tokenizer added; padding is not among them.
        part: `(N, T)`, int64: 0 for tokens of the text, 1 for those of the second one of a pair, -1 for the others.
        types: `(N, T)`, int64: segments as the model was trained on (`token_type_ids`), or zeros.
        lost: For each text how many of its tokens were cut, 0 where all of it is there.
    """

    texts: tuple[str | Pair, ...]
    ids: Tensor
    offsets: Tensor
    attended: Tensor
    special: Tensor
    part: Tensor
    types: Tensor
    lost: tuple[int, ...]

    @property
    def present(self) -> Tensor:
        """`(N, T)`, boolean: the features, tokens that are neither special nor padding."""
        return self.attended & ~self.special

    @property
    def read(self) -> Tensor:
        """`(N, T)`, int64: the segment + 1, 0 for padding: for models that tell the texts of a pair apart."""
        return (1 + self.types) * self.attended

    def rationale(self, spans: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
        """Which tokens belong to the spans of each text, `(N, T)`, boolean; none of a pair's second text does."""
        rows = zip(spans, self.offsets, strict=True)
        return torch.stack([tokens_of(own, offsets) for own, offsets in rows]) & (self.part == 0)

    def words(self) -> Tensor:
        """Number of the word of each token, `(N, T)`, int64; -1 where there is none. See `words_of`.

        Words of a pair's second text are counted on from those of the first.
        """
        words = torch.full_like(self.ids, -1)
        for row, text in enumerate(self.texts):
            for part, one in enumerate((text,) if isinstance(text, str) else text):
                own = self.part[row] == part
                found = words_of(one, self.offsets[row, own])
                words[row, own] = torch.where(found < 0, found, found + words[row].max() + 1)
        return words

    def beyond(self, row: int, spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        """Those spans of a text of which a part was cut off."""
        if not self.lost[row]:
            return ()
        start, end = self._kept(row)
        return tuple(span for span in spans if span[0] < start or span[1] > end)

    def said(self, names: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]] | None = None) -> tuple[str, ...]:
        """A sentence for each text that was cut: how much of it is gone, and how much of its rationale.

        Args:
            names: Of the texts.
            spans: The rationale of each; None: there is none.
        """
        sentences = []
        for row, lost in enumerate(self.lost):
            if lost:
                left, (start, end) = int(self.present[row].sum()), self._kept(row)
                own = () if spans is None else spans[row]
                far = len(self.beyond(row, own))
                gone = f"; {far} of {len(own)} spans of its rationale reach beyond" if own else ""
                sentences.append(
                    f"{names[row]}: {lost} of {left + lost} tokens were cut, characters {start} to {end} are left{gone}"
                )
        return tuple(sentences)

    def _kept(self, row: int) -> tuple[int, int]:
        """The characters of the first text that are still there."""
        offsets = self.offsets[row, self.part[row] == 0]
        return (int(offsets[:, 0].min()), int(offsets[:, 1].max())) if len(offsets) else (0, 0)


def tokenize(
    texts: Sequence[str] | Sequence[Pair], tokenizer: FastTokenizer, longest: int, padding_side: str = "right"
) -> Tokens:
    """A batch of texts as tokens, each at most `longest` with the special ones.

    What is longer is cut as the tokenizer cuts: at its `truncation_side`, of a pair the longer text first. The same ids
    come out whatever padding and truncation the tokenizer's own file asks for.

    Args:
        texts: The texts, or the pairs of texts.
        tokenizer: A fast tokenizer of Hugging Face.
        longest: Most tokens that the model takes.
        padding_side: `right`, as encoders are padded, or `left`, as decoders that classify from the last token.

    Raises:
        ValueError: No text, a slow tokenizer, another side, too few tokens, or a text without any.
    """
    given: tuple[str | Pair, ...] = tuple(texts)
    _check(given, tokenizer, longest, padding_side)
    rows = _encoded(given, tokenizer)
    lost = [max(0, len(row["input_ids"]) - longest) for row in rows]
    cut = [row for row, tokens in enumerate(lost) if tokens]
    shorter = _encoded([given[row] for row in cut], tokenizer, truncation=True, max_length=longest) if cut else []
    for place, short in zip(cut, shorter, strict=True):
        rows[place] = short
    for text, row in zip(given, rows, strict=True):
        if all(row["special_tokens_mask"]):
            raise ValueError(f"the text {text!r:.60} has no token; expected at least one word")
    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int | tuple[int, int]) -> Tensor:
        fills = [[value] * (width - len(row[name])) for row in rows]
        pairs = zip(rows, fills, strict=True)
        return torch.tensor([fill + row[name] if padding_side == "left" else row[name] + fill for row, fill in pairs])

    return Tokens(
        given,
        padded("input_ids", tokenizer.pad_token_id or 0),
        padded("offset_mapping", (0, 0)),
        padded("attention_mask", 0).bool(),
        padded("special_tokens_mask", 0).bool(),
        padded("part", -1),
        padded("token_type_ids", 0),
        tuple(lost),
    )


def batches_by_length(lengths: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    """The places of all texts in batches of near length: sorted by it, equal ones in their order.

    Args:
        lengths: Number of tokens of each text.
        size: Texts in a batch; the last may have fewer.

    Raises:
        ValueError: Batches of nothing.
    """
    if size < 1:
        raise ValueError(f"batches_by_length expected a size of at least 1, got {size}")
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return tuple(tuple(order[start : start + size]) for start in range(0, len(order), size))


def _check(texts: Sequence[Any], tokenizer: FastTokenizer, longest: int, padding_side: str) -> None:
    if not texts:
        raise ValueError("tokenize expected at least one text, got none")
    if len({isinstance(text, str) for text in texts}) > 1:
        raise ValueError("tokenize expected single texts or pairs, got both in one batch")
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} gives no offsets, without which tokens cannot be found in a text; expected "
            "a fast tokenizer, use_fast=True"
        )
    if padding_side not in ("left", "right"):
        raise ValueError(f"tokenize expected padding_side left or right, got {padding_side!r}")
    pair = not isinstance(texts[0], str)
    added = tokenizer.num_special_tokens_to_add(pair=pair)
    if longest < added + 1 + pair:
        raise ValueError(
            f"tokenize expected longest to be at least {added + 1 + pair}, {added} special tokens and one of each text"
            f", got {longest}"
        )


def _encoded(texts: Sequence[str | Pair], tokenizer: FastTokenizer, **cut: Any) -> list[dict[str, list[Any]]]:
    """What the tokenizer says of each text, not padded, with the part of each token."""
    firsts = [text if isinstance(text, str) else text[0] for text in texts]
    seconds = None if isinstance(texts[0], str) else [text[1] for text in texts]
    said = tokenizer(
        firsts,
        seconds,
        padding=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=True,
        verbose=False,  # that a text is longer than the model takes is seen to here
        **({"truncation": False} | cut),
    )
    return [_row(said, row) for row in range(len(texts))]


def _row(said: Any, row: int) -> dict[str, list[Any]]:
    values = cast(Mapping[str, list[Any]], said)
    names = ("input_ids", "offset_mapping", "attention_mask", "special_tokens_mask")
    found = {name: list(values[name][row]) for name in names}
    special = found["special_tokens_mask"]
    # a special token written in the text is a token of the text, and then has its offsets
    parts = [-1 if part is None else part for part in said.sequence_ids(row)]
    types = values["token_type_ids"][row] if "token_type_ids" in values else [0] * len(special)
    return found | {"part": parts, "token_type_ids": list(types)}
