"""A model whose logit is additive in patches, with contributions that are known."""

import torch
from known_answers import bind, ids, linear, normal, spread

GRID, COUNT = 4, 16


def additive(count=1, bias=0.3, contributions=None, **options):
    """An additive model on white images of 8 x 8, and the contributions `(count, 16)` of its 4 x 4 patches."""
    if contributions is None:
        contributions = normal(1, COUNT, seed=6)
    weights = spread(contributions.view(1, GRID, GRID), 8)[0] / 12
    where = bind(linear(weights, bias), torch.ones(count, 3, 8, 8), ids=ids(count), **options)
    return where, contributions.view(1, COUNT).expand(count, COUNT)


def maps(patches):
    """Maps `(N, 1, 8, 8)` with these values `(N, 16)` at the patches."""
    return spread(patches.reshape(-1, GRID, GRID), 8).contiguous()


def permuted(patches, times=100):
    """Permutations `(times, 16)` of the values `(16,)`."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([patches[torch.randperm(COUNT, generator=generator)] for _ in range(times)])
