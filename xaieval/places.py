"""Where the outputs of a model's layers have their places, found in one call: maps of channels, or grids of tokens.

A layer gives `(N, K, h, w)` in a convolutional network; in a vision transformer it may give `(N, h, w, D)`, see
`xaieval.axes`, or tokens `(N, T, D)` of which some stand for places, see `xaieval.token_grid`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from xaieval.axes import Axes
from xaieval.graph import crossed, graph_of
from xaieval.layers import Call, Step, calls_of, default_layer
from xaieval.token_grid import ChannelsFirst, ChannelsLast, Layout, Tokens, natural, read
from xaieval.unsupported import UnsupportedError


class Places:
    """The layouts of all layers' outputs for inputs of one shape.

    Args:
        module: The model.
        inputs: The leaf `(1, C, *F)` that the call starts from.
        call: Gives the logits `(1, classes)`, with their graph.

    Attributes:
        shapes: Of each layer with more than one place `(K, h, w)` and its class, in the order in which the layers end.
    """

    def __init__(self, module: nn.Module, inputs: Tensor, call: Callable[[], Tensor]) -> None:
        self._module, self._model = module, type(module).__name__
        self._image = tuple(inputs.shape)
        self._device = inputs.device
        self._calls, logits = calls_of(module, call)
        self._named = {one.name: one for one in self._calls}
        self._axes = Axes(self._image, self._calls)
        self._sequences: dict[int, Tokens | str] = {}  # by their length; why they are no grid in place of one
        for number, one in enumerate(self._calls):
            if self._axes.tokens(one.gave) and one.gave[1] not in self._sequences:
                self._sequences[one.gave[1]] = self._sequence(number)
        passed = passed_by(self._calls, logits, inputs) if self._axes.transformer else self._calls
        self._stream = [self._sequences[one.gave[1]] for one in passed if self._axes.tokens(one.gave)]
        found = self._with_gradient(passed, logits) if self._axes.transformer else passed
        self._steps = self._steps_of(found)
        self._gridless = self._behind(passed, found[-1:])
        self.shapes = {
            one.name: ((self._width(one), *self._grid(one.gave, one.layer)), type(one.layer).__name__)
            for one in self._calls
            if one.name and self._placed(one)
        }
        for one in self._calls:  # with the edges goes what the graph keeps of the call
            one.edge = None

    def layout(self, name: str) -> Layout:
        """How the output of a layer is turned into `(N, K, h, w)`; what has no places at all stays as it is.

        Raises:
            UnsupportedError: Tokens that are no grid, or axes of which nobody knows what they are.
        """
        call = self._named.get(name)
        found = ChannelsFirst() if call is None else self._layout(call.gave, call.layer)
        if isinstance(found, str):
            raise UnsupportedError(f"layer {name!r} has no grid of places: {found}", "name another layer")
        return found

    def check_arriving(self, name: str) -> None:
        """Make sure that a layer is given features, or activations with the channels before their places.

        Raises:
            UnsupportedError: It is given tokens, or channels-last activations.
        """
        call = self._named.get(name)
        shape = () if call is None else call.given
        if self._axes.tokens(shape) or self._axes.of(shape) not in ("", "first"):
            raise UnsupportedError(f"layer {name!r} is given {shape}, expected activations (N, K, h, w)")

    def tokens(self) -> Tokens:
        """The last tokens that everything passes.

        Raises:
            UnsupportedError: There are none, or they are no grid.
        """
        if not self._stream:
            raise UnsupportedError(
                f"{type(self._module).__name__} has no layer that gives tokens (N, T, D) and that everything passes"
            )
        found = [one for one in self._stream if isinstance(one, Tokens)] or self._stream
        if isinstance(found[-1], str):
            raise UnsupportedError(f"the tokens of {type(self._module).__name__} have no grid of places: {found[-1]}")
        return found[-1]

    def default_layer(self, method: str) -> str:
        """The layer that a class activation method reads if none is named.

        In a model of convolutions alone by `xaieval.layers.default_layer`. In one with tokens or channels-last
        activations Grad-CAM's is the last output that everything passes and at whose places the logits have a
        gradient. After the last block of a transformer whose head reads its class token the other tokens are read by
        nobody, so there it is the output of the block before; where all are averaged it is the last one. NormGrad's is
        the same, or the last of these whose input is spatially larger, as in Swin; cutting into patches is none.

        On tensors without values (`meta`) every gradient counts.

        Raises:
            UnsupportedError: The model has no such layer, or behind it everything passes tokens that are no grid.
        """
        if self._gridless:
            raise UnsupportedError(self._gridless, "choose another method, or name a layer with layer=")
        return default_layer(method, self._module, self._steps)

    # -- layouts --

    def _sequence(self, number: int) -> Tokens | str:
        """The grid of the tokens that a call gives, or why there is none, from the nearest output that tells."""
        nearest = {one.gave: one for one in self._calls[:number] if self._placed(one) and one.edge is not None}
        reasons = ["they come from no activations (N, K, h, w), such as those of a convolution"]
        for source in sorted(nearest.values(), key=self._calls.index, reverse=True):
            try:
                return self._taken(self._calls[number], source)
            except ValueError as error:
                reasons.append(str(error))
        return reasons[:2][-1]

    def _taken(self, call: Call, source: Call) -> Tokens:
        """Which of the tokens that a call gives took over the places of an earlier one.

        Raises:
            ValueError: They are no grid.
        """
        layout = self._layout(source.gave, source.layer)
        if self._device.type == "meta":
            return natural(call.gave[1], self._grid(source.gave, source.layer), self._device)
        if call.edge is None or source.edge is None or isinstance(layout, str):
            raise ValueError("they do not depend on the input")
        return read(call.edge, call.gave, source.edge, layout, self._device)

    def _layout(self, shape: tuple[int, ...], layer: nn.Module | None) -> Layout | str:
        """How activations become `(N, K, h, w)`, or why they do not."""
        if self._axes.tokens(shape):
            return self._sequences[shape[1]]
        axes = self._axes.of(shape, layer)
        if axes in ("both", "neither"):
            may = "may be either of" if axes == "both" else "is neither of"
            return f"by its sides its output {shape} {may} (N, K, h, w) and (N, h, w, K)"
        return ChannelsLast() if axes == "last" else ChannelsFirst()

    def _grid(self, shape: tuple[int, ...], layer: nn.Module | None = None) -> tuple[int, int]:
        """Rows and columns of activations, 0 where they have no places."""
        if self._axes.tokens(shape):
            tokens = self._sequences.get(shape[1], "")
            return (0, 0) if isinstance(tokens, str) else tokens.grid
        sides = {"first": shape[2:], "last": shape[1:3]}.get(self._axes.of(shape, layer), (0, 0))
        return (sides[0], sides[1])

    def _placed(self, call: Call) -> bool:
        """Whether it gives activations at more than one place."""
        return max(self._grid(call.gave, call.layer)) > 1

    def _width(self, call: Call) -> int:
        """The number of channels of what it gives."""
        return call.gave[1 if self._axes.of(call.gave, call.layer) == "first" else -1]

    # -- default layers --

    def _with_gradient(self, passed: Sequence[Call], logits: Tensor) -> list[Call]:
        """Those at whose places the logits have a gradient; all if they nowhere have one."""
        placed = [one for one in passed if one.name and self._placed(one)]
        if self._device.type == "meta" or not placed:
            return placed
        largest = []
        for one, gradient in zip(placed, gradients_at(placed, logits), strict=True):
            layout = self._layout(one.gave, one.layer)
            assert not isinstance(layout, str)  # it has places
            largest.append(layout.places(gradient).abs().amax())
        return [one for one, value in zip(placed, torch.stack(largest).tolist(), strict=True) if value > 0] or placed

    def _behind(self, passed: Sequence[Call], last: Sequence[Call]) -> str:
        """Why tokens behind the last layer with places have none, if everything passes such; else empty."""
        for one in reversed(passed):
            reason = self._sequences[one.gave[1]] if self._axes.tokens(one.gave) else ""
            if one in last or (isinstance(reason, str) and reason):
                return "" if one in last else f"layer {one.name!r} has no grid of places: {reason}"
        return ""

    def _steps_of(self, calls: Sequence[Call]) -> list[Step]:
        """The calls with the sides before and after; what makes tokens of something else does not shrink it."""
        transforming = [number for number, one in enumerate(self._calls) if self._axes.transforms(one)]
        patches = [*self._calls[: transforming[0] + 1], *self._whole()] if transforming else []
        return [
            Step(
                one.name,
                0 if one in patches else max(self._grid(one.given)),
                max(self._grid(one.gave, one.layer)),
                one.pooled,
            )
            for one in calls
        ]

    def _whole(self) -> list[Call]:
        """The calls that are given the input."""
        return [one for one in self._calls if one.given == self._image]


def passed_by(calls: Sequence[Call], logits: Tensor, inputs: Tensor) -> list[Call]:
    """The calls whose output everything passes on its way from the inputs to the logits."""
    passed = crossed(logits.grad_fn, get_gradient_edge(inputs).node)
    used: dict[Any, set[int]] = {}  # what comes out of one node may be several tensors, as after a split
    for node in graph_of(logits.grad_fn):
        for following, output in node.next_functions:
            used.setdefault(following, set()).add(output)
    return [
        one
        for one in calls
        if one.edge is not None and one.edge.node in passed and used.get(one.edge.node, set()) <= {one.edge[1]}
    ]


def gradients_at(calls: Sequence[Call], logits: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the logits at what calls gave; whose graph is gone afterwards."""
    weights = torch.cos(torch.arange(1.0, logits.shape[1] + 1, device=logits.device))  # else classes could cancel
    edges = [one.edge for one in calls if one.edge is not None]
    return torch.autograd.grad(logits, edges, weights.expand_as(logits), materialize_grads=True)
