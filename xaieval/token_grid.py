"""Layouts of activations; above all which token of a sequence stands for which place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge as Edge

MIXED = 0.05  # what is left of a place's gradient without its token, as a part of it; one token beside it leaves more


class Layout:
    """How activations become `(N, K, *places)`, as methods see them, and back."""

    def part(self, rows: slice) -> Layout:
        """The layout of the activations of some of the inputs."""
        return self

    def places(self, values: Tensor) -> Tensor:
        """Channels of the places, `(n, K, *places)`."""
        raise NotImplementedError

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """The values with channels `(m, K, *places)` in place of those that they have at the places."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Tokens(Layout):
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


@dataclass(frozen=True, eq=False)
class Along(Layout):
    """Activations of the tokens of texts, `(N, T, D)`, or of a convolution along them, `(N, D, T)`.

    Places are the tokens in the order of the input: those that are features. Special tokens and padding have 0, and
    keep what they have when channels are put in place.

    Attributes:
        last: Whether the channels come last.
        order: Which token of the input stands where in the activations, `(N, T)`; None: they are in its order.
        there: Which tokens of the input are places, `(N, T)`; None: all are.
    """

    last: bool
    order: Tensor | None = None
    there: Tensor | None = None

    def part(self, rows: slice) -> Along:
        """The layout of the activations of some of the inputs."""
        order, there = (None if table is None else table[rows] for table in (self.order, self.there))
        return Along(self.last, order, there)

    def places(self, values: Tensor) -> Tensor:
        """Values `(n, T, D)` or `(n, D, T)` as channels of the places, `(n, D, T)`."""
        found = values.mT if self.last else values
        if self.order is not None:
            found = torch.zeros_like(found).scatter(2, self.order[:, None].expand_as(found), found)
        return found if self.there is None else found.masked_fill(~self.there[:, None], 0.0)

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """Values with channels `(n, D, T)` in place of those of the places."""
        before = values.mT if self.last else values
        there = torch.ones_like(before[:, 0], dtype=torch.bool) if self.there is None else self.there
        found = places.to(values.dtype)
        if self.order is not None:
            found = found.gather(2, self.order[:, None].expand_as(found))
            there = there.gather(1, self.order)
        found = torch.where(there[:, None], found, before)
        return found.mT.contiguous() if self.last else found


class ChannelsLast(Layout):
    """Activations `(N, h, w, D)`."""

    def places(self, values: Tensor) -> Tensor:
        """Values `(n, h, w, D)` as `(n, D, h, w)`."""
        return values.permute(0, 3, 1, 2)

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """Channels `(m, D, h, w)` as `(m, h, w, D)`."""
        return places.permute(0, 2, 3, 1).to(values.dtype).contiguous()  # what follows may cut it into windows


class ChannelsFirst(Layout):
    """Activations as methods see them, `(N, K, h, w)`; or anything else, which is left alone."""

    def places(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values

    def put(self, values: Tensor, places: Tensor) -> Tensor:
        """The channels as they are."""
        return places


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
