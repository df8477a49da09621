"""Small convolutional networks, with the parts that class activation methods look at."""

from itertools import pairwise

import torch
from known_answers import random
from torch import nn

from xaieval.classifier import Classifier

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
TARGET = (1, 0, 4)


def network(seed=0, channels=(3, 6, 8), classes=5, bias=True, inplace=False):
    """Convolutions that halve the sides, global average pooling, a linear layer; layers are named by their numbers."""
    parts: list[nn.Module] = []
    for before, after in pairwise(channels):
        parts += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=bias), nn.ReLU(inplace=inplace)]
    module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes, bias=bias))
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.3, generator=generator)
    return module


class Normalized(nn.Module):
    """What `Classifier(module, mean=MEAN, std=STD)` computes, for other people's code."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])


def explained(module, inputs=None, target=TARGET, batch_size=8, **options):
    """An explicand of the normalized network."""
    inputs = random(3, 3, 16, 20) if inputs is None else inputs
    return Classifier(module, mean=MEAN, std=STD, batch_size=batch_size).explicand(inputs, target, **options)


def assert_close(ours, theirs, tolerance=1e-4):
    """Equal to a part of the map's scale, which rounding in other orders of summation never reaches."""
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=tolerance * float(theirs.abs().max()))
