"""Small models and images on which the laws are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.explicand import Explicand
from xaieval.modalities.modality import Modality

SIDE = 16
CLASSES = 4
Module = TypeVar("Module", bound=nn.Module)


def seeded(make: Callable[[], Module], seed: int = 0) -> Module:
    """A module with weights from this seed; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class General(nn.Sequential):
    """What most networks have: batch norm, an in-place rectifier, pooling, dropout; parts of it in training mode."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(32, CLASSES),
        )
        for norm in ("1", "5"):
            self.get_buffer(f"{norm}.running_mean").normal_(std=0.1)
            self.get_buffer(f"{norm}.running_var").uniform_(0.5, 1.5)
        self[5].eval()


class Smooth(nn.Sequential):
    """Differentiable everywhere, with small curvature; half the resolution inside."""

    def __init__(self, side: int = SIDE) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 2, stride=2),
            nn.Softplus(),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(6 * (side // 2) ** 2, CLASSES),
        )


class Linear(nn.Sequential):
    """Logits `W x + b`; row `c` of W is the gradient of class c."""

    def __init__(self, features: int, classes: int = CLASSES) -> None:
        super().__init__(nn.Flatten(), nn.Linear(features, classes))

    def gradient(self, target: Tensor, shape: Sequence[int]) -> Tensor:
        """The weights of each sample's class, in the shape of the input."""
        return self.get_parameter("1.weight").detach()[target].view(-1, *shape)


class Two(nn.Module):
    """Logits `(f(x), 0)`: two classes, so that every form of the score grows with f."""

    def __init__(self, score: nn.Module) -> None:
        super().__init__()
        self.score = score

    def forward(self, inputs: Tensor, *attended: Tensor) -> Tensor:
        """Logits `(n, 2)`."""
        return functional.pad(self.score(inputs, *attended)[:, :1], (0, 1))


class Bright(nn.Sequential):
    """Class 0 counts bright pixels, and nothing else: convolution, rectifier, global average pooling, linear layer."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
        colors = torch.tensor([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]])[:, :, None, None] / 3
        weights = {"0.weight": colors, "0.bias": torch.tensor([-0.6, -0.6])}
        head = {"4.weight": torch.tensor([[20.0, 20.0], [0.0, 0.0]]), "4.bias": torch.zeros(2)}
        self.load_state_dict(weights | head)


class Rectified(nn.Module):
    """One network written in three ways: its rectifier a module, an in-place module, or a function."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.last = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, CLASSES)
        self.rectifier = nn.ReLU(inplace=kind == "in place") if kind != "function" else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        hidden = self.first(inputs)
        hidden = functional.relu(hidden) if self.rectifier is None else self.rectifier(hidden)
        logits: Tensor = self.head(self.last(hidden).mean((2, 3)))
        return logits


class Attention(nn.Module):
    """`x + attention(x)`, then a rectified layer likewise; attention as a module, a fused function or a softmax."""

    def __init__(self, kind: str, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Dropout())
        self.kind = kind
        self.heads = heads

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens `(n, T, D)`; the mask `(n, 1, T, T)` is added to what they attend to."""
        tokens = tokens + self._attended(self.norm(tokens), mask)
        result: Tensor = tokens + self.layers(tokens)
        return result

    def _attended(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        part = self.attention
        if self.kind == "module":
            each = None if mask is None else mask.expand(-1, self.heads, -1, -1).flatten(0, 1)
            attended: Tensor = part(tokens, tokens, tokens, need_weights=False, attn_mask=each)[0]
            return attended
        parts = functional.linear(tokens, part.in_proj_weight, part.in_proj_bias).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if self.kind == "function":
            heads = functional.scaled_dot_product_attention(query, key, value, mask)
        else:
            scores = query @ key.mT * query.shape[-1] ** -0.5
            heads = (scores if mask is None else scores + mask).softmax(-1) @ value
        return functional.linear(heads.transpose(1, 2).flatten(2), part.out_proj.weight, part.out_proj.bias)


class Transformer(nn.Module):
    """A vision transformer: patches of 4 x 4 pixels behind a class token, two blocks; parts of it in training mode."""

    def __init__(self, kind: str = "module", width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.embedded = nn.Dropout(0.1)
        self.blocks = nn.Sequential(Attention(kind, width, 2), Attention(kind, width, 2).eval())
        self.head = nn.Linear(width, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        patches = self.patches(inputs).flatten(2).mT
        tokens = self.blocks(self.embedded(torch.cat((self.token.expand(len(patches), -1, -1), patches), 1)))
        logits: Tensor = self.head(tokens[:, 0])
        return logits


class Looking(nn.Module):
    """Class 0 is what the class token sees of the brightness of patches; it looks where they are bright."""

    def __init__(self, patch: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 1, patch, stride=patch, bias=False)
        self.tokens = nn.Identity()
        nn.init.constant_(self.patches.weight, 1 / (3 * patch**2))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(n, 2)`."""
        patches = self.patches(inputs).flatten(2).mT
        tokens = self.tokens(functional.pad(patches, (0, 0, 1, 0)))[:, None]  # the class token is black
        seen = functional.scaled_dot_product_attention(torch.full_like(tokens, 10), tokens, tokens)
        return functional.pad(20 * seen[:, 0, 0], (0, 1))


class Ignoring(nn.Module):
    """A model that never sees what is absent."""

    def __init__(self, module: nn.Module, present: Tensor) -> None:
        super().__init__()
        self.module = module
        self.present: Tensor
        self.register_buffer("present", present.float())

    def forward(self, inputs: Tensor, *attended: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        logits: Tensor = self.module(inputs * self.present, *attended)
        return logits


class Counting(nn.Module):
    """Counts the inputs that pass forward and backward, and can fail."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls = self.forwards = self.backwards = self.largest = 0
        self.fail_at: int | None = None

    def forward(self, inputs: Tensor, *attended: Tensor) -> Tensor:
        """Logits `(n, classes)`.

        Raises:
            RuntimeError: In the call with the number `fail_at`.
        """
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("the model fails here, as a test")
        self.forwards += len(inputs)
        self.largest = max(self.largest, len(inputs))
        logits: Tensor = self.module(inputs, *attended)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def images(count: int = 3, side: int = SIDE, seed: int = 0) -> Tensor:
    """Images in [0, 1] with both coarse and fine structure, `(count, 3, side, side)`."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=random)
    fine = torch.rand(count, 3, side, side, generator=random)
    return (functional.interpolate(coarse, size=(side, side), mode="bilinear") + fine) / 2


def names(count: int) -> list[str]:
    """Names of samples."""
    return [f"image {number}" for number in range(count)]


def classes(count: int) -> list[int]:
    """One class for each sample, not all the same."""
    return [number % CLASSES for number in range(count)]


def bright_images(count: int, side: int, patch: int) -> tuple[Tensor, Tensor]:
    """Dim noise `(count, 3, side, side)` with one bright square each, and where it is, bool `(count, side, side)`."""
    dim = 0.5 * images(count, side)
    mask = torch.zeros(count, side, side, dtype=torch.bool)
    cells = side // patch
    for number in range(count):
        row, column = (patch * (1 + (step * number) % (cells - 1)) for step in (1, 2))
        mask[number, row : row + patch, column : column + patch] = True
    return torch.where(mask[:, None], 1 - 0.2 * dim, dim), mask


def partly_present(side: int = SIDE) -> Tensor:
    """An image with padding on two sides, bool `(side, side)`."""
    present = torch.ones(side, side, dtype=torch.bool)
    present[:, side - 5 :] = False
    present[side - 2 :] = False
    return present


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
    modality: Modality | None = None,
    **told: Any,
) -> Explicand:
    """A model and inputs, with names and classes where none are given; `told` are parts and worlds."""
    inputs = images() if inputs is None else inputs
    if isinstance(module, nn.Module):
        module = Classifier(module, batch_size=batch_size, device=device, modality=modality)
    return module.explicand(
        inputs,
        classes(len(inputs)) if target is None else target,
        names(len(inputs)) if ids is None else ids,
        mask=mask,
        present=present,
        **told,
    )
