"""Whether a text looks to its model as those it was trained on do: Max-Simes-Fisher (Haroush 2022, arXiv 2102.12967).

The definition is that of the ICLR 2022 version as Madsen 2024 (arXiv 2310.07819) uses it to tell whether masked texts
are in distribution. A text is its hidden states, at each layer the maximum over its tokens; what is usual is known from
the empirical distributions of reference texts, at three levels, all fitted on the same texts.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

if TYPE_CHECKING:
    from xaieval.models.hf import Embedded

TINY = 1e-8
"""What is added to a p-value before its logarithm."""


class Pooled(nn.Module):
    """What a transformer makes of a text: `(N, D, T)` to `(N, L*E)`, the maxima over its tokens of all hidden states.

    All hidden states are the output of the embedding and of each layer, L in all with E numbers each; special tokens
    count, what is not attended does not. For `classifier.around(Pooled(module), name).logits(inputs, attended)`.

    Args:
        embedded: The model; it is not edited.
    """

    def __init__(self, embedded: Embedded) -> None:
        super().__init__()
        self.embedded = embedded

    def forward(self, embeddings: Tensor, attended: Tensor) -> Tensor:
        """The features `(N, L*E)`; those of one layer stand together.

        Args:
            embeddings: Word embeddings `(N, D, T)`.
            attended: Which tokens are read, bool `(N, T)`.
        """
        states, read = self.embedded.hidden_states(embeddings, attended)
        return torch.cat([state.masked_fill(~read[:, :, None], -torch.inf).amax(1) for state in states], 1)


class Reference(nn.Module):
    """What is usual: the empirical distributions of n texts' features, of their layers and of the texts.

    An empirical distribution is the share of reference texts that are strictly below a value. Of a text's value in each
    dimension of each layer it gives `p = min(F, 1 - F)`, which is no p-value: it is at most 1/2. Simes makes one number
    of a layer's dimensions, `min_i (D / i) p_(i)`, which is judged likewise by those of the reference texts; Fisher one
    number of the layers, `-2 sum_l log(p_l + 1e-8)`, and the text's p-value is the share of reference texts that are
    not below it. Nothing is doubled and p can be 0.

    Of n texts with D dimensions, several are the outermost in some dimension of each layer, as a text from anywhere
    else is: then this text's p is their share, see `smallest`. So n should be many times D.

    Args:
        features: Sorted features of the reference texts, `(L, D, n)`.
        simes: Their sorted Simes numbers `(L, n)`.
        fisher: Their sorted Fisher numbers `(n,)`.
    """

    features: Tensor
    simes: Tensor
    fisher: Tensor

    def __init__(self, features: Tensor, simes: Tensor, fisher: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features.contiguous())
        self.register_buffer("simes", simes.contiguous())
        self.register_buffer("fisher", fisher.contiguous())

    @classmethod
    def fit(cls, features: Tensor) -> Reference:
        """The reference that texts with these features `(n, L, D)` are.

        For a masked model these are texts that were not trained on, masked as in training.

        Raises:
            ValueError: Another shape, fewer than two texts, or features that are not finite.
        """
        if features.dim() != 3 or len(features) < 2:
            raise ValueError(
                f"Reference.fit expected features (n, L, D) of at least two texts, got {tuple(features.shape)}"
            )
        if not bool(features.isfinite().all()):
            raise ValueError("Reference.fit expected finite features, got NaN or infinite ones")
        features = features.detach().float()
        known = features.permute(1, 2, 0).sort(-1).values.contiguous()
        simes = _of_layers(known, features.permute(1, 2, 0))
        ordered = simes.sort(-1).values.contiguous()
        return cls(known, ordered, _of_texts(ordered, simes).sort().values)

    @property
    def texts(self) -> int:
        """Number n of reference texts."""
        return len(self.fisher)

    @property
    def shape(self) -> tuple[int, int]:
        """Layers L and dimensions D of the features."""
        return self.features.shape[0], self.features.shape[1]

    @property
    def smallest(self) -> Tensor:
        """The p-value of a text that is outermost at every layer, the smallest there is; a scalar."""
        return _right_sided(self.fisher, _of_texts(self.simes, torch.zeros_like(self.simes[:, :1])))[0]

    def p_values(self, features: Tensor) -> Tensor:
        """How usual each text is, `(N,)` in [0, 1], about uniform for texts like those of reference.

        Memory is that of a few copies of the features; nothing waits for the device.

        Args:
            features: `(N, L, D)`, or `(N, L*D)` as `Pooled` gives them.

        Raises:
            ValueError: Another number of layers or dimensions.
        """
        layers, width = self.shape
        if tuple(features.shape[1:]) not in ((layers, width), (layers * width,)):
            raise ValueError(
                f"Reference.p_values expected features (N, {layers}, {width}), got {tuple(features.shape)}: the "
                "reference is that of another model"
            )
        known, simes, fisher = (part.to(features.device) for part in (self.features, self.simes, self.fisher))
        texts = features.detach().float().view(-1, layers, width).permute(1, 2, 0)
        return _right_sided(fisher, _of_texts(simes, _of_layers(known, texts)))

    def save(self, path: Path) -> None:
        """Write the reference as safetensors."""
        save_file({name: part.cpu().contiguous() for name, part in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read a reference that `save` wrote."""
        return cls(**load_file(path))


def dataset_p(p: Tensor) -> Tensor:
    """The p-value of many texts together (Simes), `min_i (n / i) p_(i)`, a scalar: below .05 they are not as usual.

    Args:
        p: The p-value of each, `(n,)`.
    """
    return _simes(p)


def _simes(p: Tensor) -> Tensor:
    """Of p `(..., D)` the numbers `min_i (D / i) p_(i)`, `(...)`.

    Divided before it is multiplied: so of whole numbers p those that are equal are equal to the last digit.
    """
    count = p.shape[-1]
    return count * (p.sort(-1).values / torch.arange(1, count + 1, device=p.device)).amin(-1)


def _of_layers(known: Tensor, texts: Tensor) -> Tensor:
    """The Simes numbers `(L, N)` of texts `(L, D, N)`."""
    return _simes(_below(known, texts, sides=2).mT) / known.shape[-1]


def _of_texts(known: Tensor, simes: Tensor) -> Tensor:
    """The Fisher numbers `(N,)` of texts with the Simes numbers `(L, N)`; they do not depend on the layers' order."""
    p = (_below(known, simes, sides=2) / known.shape[-1]).sort(0).values
    return reduce(torch.add, (-2 * (p + TINY).log()).unbind(0))


def _right_sided(known: Tensor, values: Tensor) -> Tensor:
    """The share of the sorted `known` `(n,)` that is not below each of the values `(N,)`."""
    return ((known.shape[-1] - _below(known, values)) / known.shape[-1]).float()


def _below(known: Tensor, values: Tensor, sides: int = 1) -> Tensor:
    """How many of the sorted `known` `(..., n)` are strictly below each of the values `(..., N)`, or are not, if fewer.

    Args:
        known: In rising order along the last dimension.
        values: The others.
        sides: 1: how many are below; 2: the smaller one of both numbers.
    """
    below = torch.searchsorted(known, values.contiguous())
    return (below if sides == 1 else torch.minimum(below, known.shape[-1] - below)).double()
