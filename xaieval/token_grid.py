"""The grid of places in a sequence of tokens: which token stands for which place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge as Edge

MIXED = 0.05  # what is left of a place's gradient without its token, as a part of it; one token beside it leaves more


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens `(N, T, D)` of which some stand for the places of a grid.

    Attributes:
        grid: Rows and columns `(h, w)`.
        index: Numbers `(h w,)` of the tokens that stand for the places, row by row, on the device.
        count: The number T of tokens.
        prefix: Numbers of the tokens that stand for no place, such as class and register tokens, wherever they are.
    """

    grid: tuple[int, int]
    index: Tensor
    count: int
    prefix: tuple[int, ...]

    def places(self, values: Tensor) -> Tensor:
        """Values `(n, T, D)` of the tokens as channels of the places, `(n, D, h, w)`."""
        found: Tensor = values.index_select(1, self.index).mT.unflatten(2, self.grid)
        return found

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """Values of the tokens, `(n, T, D)`, with channels `(m, D, h, w)` in place of those of the grid, `(m, T, D)`.

        One row of values is enough for m rows of channels.
        """
        rows = values.expand(len(places), -1, -1)
        return rows.index_copy(1, self.index, places.flatten(2).mT.to(values.dtype))


class ChannelsLast:
    """Activations `(N, h, w, D)`."""

    def places(self, values: Tensor) -> Tensor:
        """Values `(n, h, w, D)` as `(n, D, h, w)`."""
        return values.permute(0, 3, 1, 2)

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """Channels `(m, D, h, w)` as `(m, h, w, D)`."""
        return places.permute(0, 2, 3, 1).to(values.dtype).contiguous()  # what follows may cut it into windows


class ChannelsFirst:
    """Activations as methods see them, `(N, K, h, w)`; or anything else, which is left alone."""

    def places(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """The channels as they are."""
        return places


Layout = Tokens | ChannelsLast | ChannelsFirst


def natural(count: int, grid: tuple[int, int], device: torch.device) -> Tokens:
    """Places row by row behind all other tokens: for tensors without values, which tell nothing.

    Raises:
        ValueError: There are fewer tokens than places.
    """
    others = _others(count, grid)
    return Tokens(grid, torch.arange(others, count, device=device), count, tuple(range(others)))


def read(tokens: Edge, shape: tuple[int, ...], places: Edge, layout: Layout, device: torch.device) -> Tokens:
    """Which token each place of an earlier output went into, read off two gradients.

    The gradient of a weighted sum of the tokens at a place is some vector g; with each token's weights multiplied by
    its number, counted from 1, it is that number times g where the place went into this token alone, also through a
    normalization. Weights differ from channel to channel: the plain sum of what is normalized is constant.

    Args:
        tokens: Edge of the gradient's graph where the tokens come out.
        shape: Theirs, `(1, T, D)`.
        places: Edge where the earlier output comes out.
        layout: Where that one has its places.
        device: Where both are.

    Raises:
        ValueError: The tokens are no grid: one place went into several of them, several into one, or one into none.
    """
    number = torch.arange(1.0, shape[1] + 1, device=device)
    weights = torch.cos(torch.arange(1.0, shape[2] + 1, device=device)).expand(shape)
    plain, numbered = (
        _gradient(tokens, places, cotangent, layout) for cotangent in (weights, number[:, None] * weights)
    )
    grid = (plain.shape[1], plain.shape[2])
    _others(shape[1], grid)
    plain, numbered = plain.flatten(1), numbered.flatten(1)
    found = ((numbered * plain).sum(0) / (plain**2).sum(0)).round()
    alone = (numbered - found * plain).norm(dim=0) < MIXED * plain.norm(dim=0)  # also false for NaN
    index = [int(one) - 1 if fits else -1 for one, fits in zip(found.tolist(), alone.tolist(), strict=True)]
    if -1 in index or len(set(index)) < len(index):
        raise ValueError(
            f"the {shape[1]} tokens do not take over the {grid[0]} x {grid[1]} places before them one by one"
        )
    prefix = tuple(sorted(set(range(shape[1])) - set(index)))
    return Tokens(grid, torch.tensor(index, device=device), shape[1], prefix)


def _gradient(tokens: Edge, places: Edge, cotangent: Tensor, layout: Layout) -> Tensor:
    """The gradient at the places, `(K, h, w)`."""
    (gradient,) = torch.autograd.grad([tokens], [places], [cotangent], retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("they do not depend on the places before them")
    return layout.places(gradient)[0]


def _others(count: int, grid: tuple[int, int]) -> int:
    """How many tokens stand for no place."""
    others = count - grid[0] * grid[1]
    if others < 0:
        raise ValueError(f"the {count} tokens are fewer than the {grid[0]} x {grid[1]} places before them")
    return others
