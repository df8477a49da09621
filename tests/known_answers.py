"""Models with known answers: each gives logits (f, 0), so the class explained is 0 and its probability sigmoid(f)."""

import torch
from torch import nn

from xaieval.classifier import Classifier


class Model(nn.Module):
    """Any function of `(N, C, H, W)` giving `(N,)` as a classifier of two classes."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        score = self.function(x)
        return torch.stack((score, torch.zeros_like(score)), 1)


def linear(weights, constant=0.0):
    return Model(lambda x: (x * weights).flatten(1).sum(1) + constant)


def quadratic(matrix):
    """f = x'Ax."""
    return Model(lambda x: torch.einsum("ni,ij,nj->n", x.flatten(1), matrix.to(x), x.flatten(1)))


def constant(value=0.7):
    return Model(lambda x: torch.full_like(x[:, 0, 0, 0], value))


class Smooth(nn.Module):
    """A small smooth convolutional network with three classes."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def weights(*shape):
            return nn.Parameter(torch.randn(shape, generator=generator) / 3)

        self.first, self.second, self.last = weights(4, 3, 3, 3), weights(4, 4, 3, 3), weights(3, 4)

    def forward(self, x):
        x = torch.tanh(nn.functional.conv2d(x, self.first, padding=1))
        x = torch.tanh(nn.functional.conv2d(x, self.second, padding=1))
        return 3 * x.mean((2, 3)) @ self.last.T


def random(*shape, seed=0):
    """Uniform values in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bind(model, inputs, target=0, batch_size=8, **options):
    return Classifier(model, batch_size=batch_size).explicand(inputs, target, **options)


def ids(count):
    return [f"image {i}" for i in range(count)]


def spread(patches, size):
    """Values `(N, g, g)` of patches at their pixels, `(N, 1, size, size)`."""
    times = size // patches.shape[-1]
    return patches.repeat_interleave(times, 1).repeat_interleave(times, 2)[:, None]
