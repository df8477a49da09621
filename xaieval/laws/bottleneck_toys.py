"""Small concept bottlenecks on which the laws are checked, with the concepts of the laws' images."""

from __future__ import annotations

import torch
from torch import nn

from xaieval.concept_model import Bottleneck
from xaieval.laws import toys
from xaieval.laws.part_toys import SCHEME


def bottleneck(base: nn.Module, layer: str, width: int, classes: int = toys.CLASSES) -> Bottleneck:
    """Random concepts at a layer of so many channels, and a random head."""
    margins, head = nn.Linear(width, len(SCHEME.concepts)), nn.Linear(len(SCHEME.concepts), classes)
    margins.weight.data /= margins.weight.data.norm(dim=1, keepdim=True)
    return Bottleneck(base, layer, margins, head, SCHEME)


def deciding() -> Bottleneck:
    """Concepts of what most networks have; parts of it in training mode.

    For the class of each of the laws' images the most important concepts hold there, that at the first part before all.
    """
    made = bottleneck(toys.General(), "6", 8)
    classes, concepts = (torch.arange(size) for size in made.head.weight.shape)
    with torch.no_grad():
        made.margins.bias.add_(10)  # so that all scores are positive
        made.head.weight.add_(5.0 * ((classes[:, None] + concepts) % 2 == 0) - concepts)
    return made


def written(kind: str) -> Bottleneck:
    """Concepts of a network whose rectifier is written in one of three ways."""
    return bottleneck(toys.Rectified(kind), "last", 6)


def bright() -> Bottleneck:
    """Concept 0 is brightness, all others are nothing; class 0 counts it."""
    made = bottleneck(toys.Bright(), "1", 2, 2)
    with torch.no_grad():
        for layer in (made.margins, made.head):
            layer.weight.zero_()
            layer.bias.zero_()
        made.margins.weight[0] = 2**-0.5
        made.head.weight[0, 0] = 20 * 2**0.5
    return made
