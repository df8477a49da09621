"""Small models and texts on which the laws are checked: embeddings `(n, D, T)`, with what is attended `(n, T)`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.explicand import Explicand
from xaieval.laws.toys import CLASSES, Attention, Linear, classes
from xaieval.modalities.texts import Texts

WIDTH, LENGTH = 6, 12
SIZES = (12, 9, 10, 11, 8)
"""Tokens of the texts in turn, with a special one at each end; the rest is padding."""

MASK = torch.tensor([0.0, 0.3, -0.2, 0.1, 0.4, -0.1])
PADDING = torch.tensor([0.1, -0.2, 0.0, 0.3, 0.1, 0.2])
BRIGHT = 3.0
HIDDEN = -1e30


class Reader(nn.Module):
    """A transformer with two blocks, read at its first token; positions count what is attended."""

    def __init__(self, kind: str = "function", width: int = 8) -> None:
        super().__init__()
        self.enter = nn.Linear(WIDTH, width)
        self.place = nn.Parameter(torch.randn(LENGTH, width) / 2)
        self.embedded = nn.Dropout(0.1)
        self.blocks = nn.ModuleList((Attention(kind, width, 2), Attention(kind, width, 2).eval()))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        places = self.place[(attended.long().cumsum(1) - 1).clamp(min=0)]
        tokens, mask = self.embedded(self.enter(embeddings.mT) + places), hiding(attended, embeddings)
        for block in self.blocks:
            tokens = block(tokens, mask)
        logits: Tensor = self.head(tokens[:, 0])
        return logits


class Pooling(nn.Module):
    """Each token by itself, in two rectified layers, then the mean of what is attended; in training mode."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.enter = nn.Linear(WIDTH, width)
        self.hidden = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        share = attended / attended.sum(1, keepdim=True).clamp(min=1)
        tokens = self.hidden(self.enter(embeddings.mT)) * share[:, :, None]
        logits: Tensor = self.head(tokens.sum(1))
        return logits


class SmoothTokens(nn.Module):
    """Differentiable everywhere, with small curvature: what tokens say together is bent once more."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(WIDTH, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        said = functional.softplus(self.enter(embeddings.mT)) * attended[:, :, None]
        logits: Tensor = self.head(torch.tanh(said.sum(1) / 4))
        return logits


class ProductOfTokens(nn.Module):
    """Logit `c` is the product of `1 + w_c.x_t / 4` over the tokens: what one says depends on all others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(WIDTH, CLASSES)

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        factor: Tensor = 1 + self.weight(embeddings.mT) * attended[:, :, None] / 4
        return factor.prod(1)


class LinearTokens(Linear):
    """Logits linear in what is attended; each place has its own weights."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__(WIDTH * LENGTH, classes)

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:  # type: ignore[override]
        """Logits `(n, classes)`."""
        logits: Tensor = super().forward(embeddings * attended[:, None])
        return logits


class LookingTokens(nn.Module):
    """Class 0 is what the first token sees in the first channel; it looks where that is high."""

    def __init__(self) -> None:
        super().__init__()
        self.bright = nn.Linear(WIDTH, 1, bias=False)
        self.tokens = nn.Identity()
        self.bright.weight.data = torch.eye(1, WIDTH)

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """Logits `(n, 2)`."""
        tokens = self.tokens(self.bright(embeddings.mT))[:, None]
        query = torch.ones_like(tokens)
        seen = functional.scaled_dot_product_attention(query, tokens, tokens, hiding(attended, embeddings))
        return functional.pad(seen[:, 0, 0], (0, 1))


def hiding(attended: Tensor, values: Tensor) -> Tensor:
    """What is added where tokens attend to others, `(n, 1, T, T)`: nothing may look at what is not attended."""
    hidden = (~attended)[:, None, None].expand(-1, 1, attended.shape[1], -1)
    return torch.zeros_like(hidden, dtype=values.dtype).masked_fill(hidden, HIDDEN)


def embeddings(count: int = 3, seed: int = 0) -> Tensor:
    """Embeddings `(count, D, T)`, of padding too."""
    return torch.randn(count, WIDTH, LENGTH, generator=torch.Generator().manual_seed(seed))


def bright_texts(count: int = 3) -> tuple[Tensor, Tensor]:
    """Dim texts with one bright token each, and which it is, bool `(count, T)`."""
    dim = 0.1 * embeddings(count)
    mask = torch.zeros(count, LENGTH, dtype=torch.bool)
    for number in range(count):
        mask[number, 1 + number % 4] = True
    dim[:, 0] = torch.where(mask, BRIGHT, dim[:, 0])
    return dim, mask


def names(count: int) -> list[str]:
    """Names of texts, from which their lengths follow."""
    return [f"text {number}" for number in range(count)]


def size_of(name: str) -> int:
    """How many tokens the text of this name has."""
    return SIZES[int(name.split()[1]) % len(SIZES)]


def words(count: int, length: int = LENGTH) -> Tensor:
    """Words `(count, length)` of two tokens behind the first special one, the last one of more."""
    return ((torch.arange(length) - 1).clamp(min=0) // 2).clamp(max=2).expand(count, -1)


def explicand(
    module: nn.Module | Classifier,
    inputs: Tensor | None = None,
    *,
    batch_size: int = 4,
    ids: Sequence[str] | None = None,
    target: Sequence[int] | int | None = None,
    mask: Tensor | None = None,
    present: Tensor | None = None,
    device: str | None = None,
    groups: Tensor | None = None,
) -> Explicand:
    """A model and texts of different lengths; all is attended to where it is said what is present."""
    inputs = embeddings() if inputs is None else inputs
    ids = names(len(inputs)) if ids is None else ids
    place, ends = torch.arange(inputs.shape[2]), torch.tensor([[size_of(name)] for name in ids])
    attended = place < ends if present is None else torch.ones(len(inputs), inputs.shape[2], dtype=torch.bool)
    shown = (place > 0) & (place < ends - 1) if present is None else present
    if isinstance(module, nn.Module):
        modality = Texts(mask=MASK, padding=PADDING)
        module = Classifier(module, batch_size=batch_size, device=device, modality=modality)
    shown, attended = shown.to(inputs.device), attended.to(inputs.device)
    target = classes(len(inputs)) if target is None else target
    return module.explicand(inputs, target, ids, mask, shown, attended, groups)
