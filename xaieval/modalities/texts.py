"""Texts: inputs `(N, D, T)` as embeddings, features `(T,)` as tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.modalities.modality import Modality
from xaieval.segments import Segments
from xaieval.unsupported import UnsupportedError

BLOCK = 2**22
"""Most numbers that norms over the vocabulary make at once."""


@dataclass(frozen=True, eq=False)
class Texts(Modality):
    """How texts are removed from and looked at without a model.

    Pieces are tokens, or the groups of tokens that an explicand is given, such as words; a grid is of no account. Radii
    and noise, also those that are parts of a range, are given in the root mean square of a text's embeddings.

    Attributes:
        mask: Embedding `(D,)` of the mask token, which stands where a token is removed; None: the tokenizer has none.
        padding: Embedding `(D,)` of the pad token; None: likewise.
        vocabulary: Embeddings `(V, D)` of all tokens, for norms over them; None: they are not known. No part of the
            `repr`: they are weights of the model.
    """

    ragged: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    name: str = "text"
    zero_is_zero: bool = False
    mask: Tensor | None = field(default=None, repr=False)
    padding: Tensor | None = field(default=None, repr=False)
    vocabulary: Tensor | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """With a hash of the embeddings, since results depend on them."""
        return f"Texts(mask={_digest(self.mask)}, padding={_digest(self.padding)})"

    def features(self, attribution: Tensor, units: str) -> Tensor:
        """Scores of the tokens, `(N, D, T)` to `(N, T)`: a gradient's norm, since its sum depends on the basis."""
        if units == "gradient" and attribution.shape[1] > 1:
            norm: Tensor = torch.linalg.vector_norm(attribution, dim=1)
            return norm
        return attribution.sum(1)

    def norm(self, gradient: Tensor, order: int, space: str) -> Tensor:
        """A gradient's norm at each token, `(N, D, T)` to `(N, 1, T)`.

        A token's embedding is `W' e` with the vocabulary W `(V, D)` and a one-hot e, so the gradient at e is `W g`.

        Args:
            gradient: At the embeddings.
            order: 1 or 2.
            space: `features`: over the embedding, `|g|`; `vocabulary`: over all tokens, `|W g|`.

        Raises:
            UnsupportedError: The vocabulary is not known.
        """
        if space == "features":
            return super().norm(gradient, order, space)
        if self.vocabulary is None:
            raise UnsupportedError("the model's vocabulary is not known", "choose the space `features`")
        if order == 2:
            # In double precision, in which nothing is lost where W is nearly singular along g.
            inner = torch.einsum("ndt,de,net->nt", gradient.double(), self._gram.to(gradient.device), gradient.double())
            return inner.clamp(min=0).sqrt().to(gradient)[:, None]
        total = torch.zeros_like(gradient[:, :1])
        for rows in self._blocks(len(gradient) * gradient.shape[2]):
            total += (rows.to(gradient) @ gradient).abs().sum(1, keepdim=True)
        return total

    @cached_property
    def _gram(self) -> Tensor:
        """Inner products of the vocabulary's columns `W' W`, `(D, D)` in float64: `|W g|^2 = g' W' W g`."""
        return sum(
            (rows.double().mT @ rows.double() for rows in self._blocks(self._vocabulary.shape[1])),
            self._vocabulary.new_zeros((), dtype=torch.float64),
        )

    @property
    def _vocabulary(self) -> Tensor:
        assert self.vocabulary is not None  # whoever asks has looked
        return self.vocabulary

    def _blocks(self, columns: int) -> Iterator[Tensor]:
        """The vocabulary in rows of which so many columns are no more than a block."""
        yield from self._vocabulary.split(max(1, BLOCK // columns))

    def patches(self, inputs: Tensor, grid: int, present: Tensor | None) -> Segments:
        """Each token alone, numbered among those that are present."""
        count, tokens = inputs.shape[2], self.numbers(inputs, present)
        return Segments(tokens if present is None else tokens.masked_fill(~present, count), count, ragged=True)

    def numbers(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """Each token's number among those that are present, `(N, T)`."""
        there = torch.ones_like(inputs[:, 0], dtype=torch.bool) if present is None else present
        return (there.cumsum(1) - 1).clamp(min=0)

    def range(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """As `scale`: how far single values lie apart says more of the longest text than of its tokens."""
        return self.scale(inputs, present)

    def sides(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """How many tokens are present, `(N, 1)`."""
        return super().sides(inputs, present) if present is None else present.sum(1, keepdim=True)

    def upsample(self, maps: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
        """Scores `(N, 1, t)` of t places along the text at its tokens; of the tokens themselves as they are."""
        nearest = mode == "nearest"
        return functional.interpolate(
            maps, size=size, mode="nearest" if nearest else "linear", align_corners=None if nearest else False
        )

    def dilate(self, masks: Tensor, distance: float) -> Tensor:
        """Marked tokens and all that are nearer than `distance` to one, bool `(N, T)`."""
        place = torch.arange(masks.shape[1], device=masks.device)
        near = (place[:, None] - place).abs() < max(distance, 1e-6)
        return (masks.float() @ near.float()) > 0

    def zero(self, inputs: Tensor) -> Tensor:
        """The mask token."""
        return self._token(self.mask, "mask", inputs)

    def pad(self, inputs: Tensor) -> Tensor:
        """The pad token, which the model attends to here as to any other."""
        return self._token(self.padding, "pad", inputs)

    def _token(self, embedding: Tensor | None, name: str, inputs: Tensor) -> Tensor:
        if embedding is None:
            raise UnsupportedError(f"the tokenizer has no {name} token", "choose another removal, such as deletion")
        return embedding.to(inputs)[:, None].expand_as(inputs)

    def edges(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """How far each token's embedding is from their mean, `(N, 1, T)`."""
        edges: Tensor = torch.linalg.vector_norm(inputs - self.mean(inputs, present), dim=1, keepdim=True)
        return edges if present is None else edges * present[:, None]

    def center_blob(self, inputs: Tensor, width: float, present: Tensor | None = None) -> Tensor:
        """A Gaussian at the middle of the present tokens, with standard deviation `width` times their number."""
        there = torch.ones_like(inputs[:, 0]) if present is None else present.to(inputs)
        place = (there.cumsum(1) - 0.5) / there.sum(1, keepdim=True)
        blob: Tensor = torch.exp(-((place - 0.5) ** 2) / (2 * width**2)) * there
        return blob[:, None]


def _digest(embedding: Tensor | None) -> str:
    if embedding is None or embedding.is_meta:
        return "none" if embedding is None else "meta"
    values = embedding.detach().float().cpu().contiguous().numpy()
    return blake2b(values.tobytes(), digest_size=8).hexdigest()
