"""Texts of one number a token, and models and methods whose faithfulness curves can be enumerated by hand."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from known_answers import ids
from torch import nn

from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.modalities.texts import Texts


class Sum(nn.Module):
    """Logits (bias + sum of attended tokens, 0)."""

    def __init__(self, bias=0.5):
        super().__init__()
        self.bias = bias

    def forward(self, embeddings, attended):
        score = (embeddings[:, 0] * attended).sum(1) + self.bias
        return torch.stack((score, torch.zeros_like(score)), 1)


@dataclass(frozen=True)
class Own(Method):
    """What each token is worth in `Sum`, with a sign or without; three forwards."""

    reference: ClassVar[str] = "none"
    unsigned: bool = False
    sign: float = 1.0

    @property
    def units(self):  # type: ignore[override]
        return "importance" if self.unsigned else "contribution"

    @property
    def signed(self):
        return not self.unsigned

    def attribute(self, explicand):
        explicand.meter.spend(3 * explicand.count)
        SEEN.append(explicand)
        values = explicand.inputs.abs() if self.unsigned else explicand.inputs
        return self.sign * values


SEEN: list[Explicand] = []
"""What `Own` was asked of."""


def texts(*rows, bias=0.5, batch_size=4, module=None, removed=0.0, names=None, **options):
    """Rows of tokens' worth, each between two special tokens worth nothing, padded to the longest."""
    longest = max(map(len, rows)) + 2
    inputs, attended = torch.full((len(rows), 1, longest), 9.0), torch.zeros(len(rows), longest, dtype=torch.bool)
    present = attended.clone()
    for row, worth in enumerate(rows):
        inputs[row, 0, : len(worth) + 2] = torch.tensor([0.0, *worth, 0.0])
        attended[row, : len(worth) + 2] = present[row, 1 : len(worth) + 1] = True
    classifier = Classifier(
        module or Sum(bias), batch_size=batch_size, modality=Texts(mask=torch.tensor([removed]), padding=None)
    )
    return classifier.explicand(inputs, 0, names or ids(len(rows)), present=present, attended=attended, **options)
