"""From a text to the embeddings that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaieval.datasets.base import Reading, Sample, Samples
from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.texts import TextSample, TextSamples
from xaieval.token_cells import spelled
from xaieval.tokens import FastTokenizer, Tokens, tokenize

PIECES = ("token", "word")


@dataclass(frozen=True, eq=False)
class Encoder:
    """How a text becomes an input of a model.

    Args:
        tokenizer: A fast tokenizer of Hugging Face.
        embed: Word embeddings `(N, D, T)` of the tokens `(N, T)`.
        longest: Most tokens that the model takes, with the special ones; longer texts are cut, and said.
        pieces: What is removed at once and scored: each `token`, or the tokens of a `word` together.
        categories: Names of the model's classes in their order; None: not known.

    Raises:
        ValueError: Other pieces.
    """

    tokenizer: FastTokenizer
    embed: Callable[[Tensor], Tensor]
    longest: int
    pieces: str = "token"
    categories: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if self.pieces not in PIECES:
            raise ValueError(f"pieces must be one of {', '.join(PIECES)}, got {self.pieces!r}")

    def samples(self, texts: TextSamples) -> Samples[TextSample]:
        """The texts as samples; labels are those of the model, where both have names for the classes.

        Raises:
            DatasetError: The model has other classes than the texts.
        """
        classes = _matched(texts.categories, self.categories)
        return Samples([_relabeled(text, classes) for text in texts], self.sample)

    def sample(self, text: TextSample) -> Sample:
        """A text as a sample, its tokens on the CPU.

        Raises:
            DatasetError: A text without any token, such as one of control characters.
        """
        given = [text.text] if text.second is None else [(text.text, text.second)]
        try:
            tokens = tokenize(given, self.tokenizer, self.longest)
        except ValueError as error:
            raise DatasetError(f"text {text.id!r}: {error}") from error
        with torch.no_grad():
            embeddings = self.embed(tokens.ids)[0].float().cpu().contiguous()
        mask = None if text.rationale is None else tokens.rationale([text.supporting])[0]
        return Sample(text.id, embeddings, text.target, mask, text.sources, self._reading(text, tokens))

    def _reading(self, text: TextSample, tokens: Tokens) -> Reading:
        said = tokens.said([text.id], None if text.rationale is None else [text.rationale])
        return Reading(
            present=tokens.present[0],
            attended=tokens.attended[0] if text.second is None else tokens.read[0],
            groups=tokens.words()[0] if self.pieces == "word" else None,
            protected=tokens.rationale([text.protected])[0] if text.protected else None,
            spelled=_spelled(text, tokens, self.tokenizer),
            note=said[0] if said else "",
        )


def _spelled(text: TextSample, tokens: Tokens, tokenizer: FastTokenizer) -> tuple[str, ...]:
    """The characters of each token; of special ones what the tokenizer calls them."""
    found = list(tokenizer.convert_ids_to_tokens(tokens.ids[0].tolist()))
    for number, part in enumerate((text.text, text.second or "")):
        places = (tokens.part[0] == number).nonzero()[:, 0].tolist()
        for place, characters in zip(places, spelled(part, tokens.offsets[0, places].tolist()), strict=True):
            found[place] = characters
    return tuple(found)


def _matched(texts: Sequence[str], model: Sequence[str] | None) -> Mapping[int, int]:
    """The model's class for each of the texts', by name; nothing where one of them has no names.

    Raises:
        DatasetError: Other names.
    """
    if not texts or model is None or tuple(texts) == tuple(map(str, range(len(texts)))):
        return {}  # labels without names are the model's numbers
    places = {name.casefold(): place for place, name in enumerate(model)}
    missing = [name for name in texts if name.casefold() not in places]
    if missing:
        raise DatasetError(
            f"the label {missing[0]!r} is no class of the model, which has {', '.join(model)}: name the classes "
            "alike, or give labels=[...] in the model's order"
        )
    return {number: places[name.casefold()] for number, name in enumerate(texts)}


def _relabeled(text: TextSample, classes: Mapping[int, int]) -> TextSample:
    if text.target is None or not classes:
        return text
    return replace(text, target=classes[text.target])
