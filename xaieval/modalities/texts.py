"""Texts: inputs `(N, D, T)` as embeddings, features `(T,)` as tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.modalities.modality import Modality
from xaieval.segments import Segments
from xaieval.unsupported import UnsupportedError


@dataclass(frozen=True, eq=False)
class Texts(Modality):
    """How texts are removed from and looked at without a model.

    Pieces are tokens, or the groups of tokens that an explicand is given, such as words; a grid is of no account.

    Attributes:
        mask: Embedding `(D,)` of the mask token, which stands where a token is removed; None: the tokenizer has none.
        padding: Embedding `(D,)` of the pad token; None: likewise.
    """

    name: str = "text"
    zero_is_zero: bool = False
    mask: Tensor | None = field(default=None, repr=False)
    padding: Tensor | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """With a hash of the embeddings, since results depend on them."""
        return f"Texts(mask={_digest(self.mask)}, padding={_digest(self.padding)})"

    def features(self, attribution: Tensor, units: str) -> Tensor:
        """Scores of the tokens, `(N, D, T)` to `(N, T)`: a gradient's norm, since its sum depends on the basis."""
        if units == "gradient" and attribution.shape[1] > 1:
            norm: Tensor = torch.linalg.vector_norm(attribution, dim=1)
            return norm
        return attribution.sum(1)

    def patches(self, inputs: Tensor, grid: int, present: Tensor | None) -> Segments:
        """Each token alone."""
        count = inputs.shape[2]
        tokens = torch.arange(count, device=inputs.device).expand(len(inputs), -1)
        return Segments(tokens if present is None else tokens.masked_fill(~present, count), count)

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

    def coarse(self, inputs: Tensor, cells: int) -> tuple[int, ...]:
        """One cell for each token."""
        return (inputs.shape[2],)


def _digest(embedding: Tensor | None) -> str:
    if embedding is None or embedding.is_meta:
        return "none" if embedding is None else "meta"
    values = embedding.detach().float().cpu().contiguous().numpy()
    return blake2b(values.tobytes(), digest_size=8).hexdigest()
