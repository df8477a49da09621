"""Propagation of relevance: each function of a network is read as a layer, a sum or a passage.

Layers share relevance out by a rule of `xaieval.relevance`; a batch normalization right after one becomes part of its
weights. Functions of one number pass relevance on as it is; rearrangements and max pooling, to its winners, are left to
autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xaieval.batch_norm import Normalization
from xaieval.propagation import ELEMENTWISE, IN_EVALUATION, MAX_POOLING, REARRANGING, Propagation, Rule, tensors
from xaieval.relevance import Layer, share, stabilized

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
AVERAGES = tuple(f"{kind}avg_pool{dimensions}d" for kind in ("", "adaptive_") for dimensions in (1, 2, 3))
DROPOUT = frozenset(IN_EVALUATION) - {"batch_norm"}

Limits = tuple[Tensor, Tensor]
"""The smallest and the largest value that each number of a tensor may have."""


@dataclass
class LayerCall:
    """One call of a layer.

    Attributes:
        layer: The layer; with the batch normalization after it, once that was called.
        dense: Whether it is a dense layer.
        place: Its number among all layers, from 1.
        limits: Of its inputs, where it is a convolution that reads the network's input and asks for them.
    """

    layer: Layer
    dense: bool
    place: int
    limits: Limits | None


class Relevance(Propagation):
    """Relevance by the contributions of all summands, of which constant ones absorb theirs.

    Args:
        method: What to call the method in errors.

    Attributes:
        layers_called: How many layers were called.
        sharing: How many layers, averages and sums share relevance out.
        bounded: Whether convolutions that read the network's input ask for its limits.
    """

    bounded = False

    def __init__(self, method: str) -> None:
        table: dict[str, Rule] = {
            **dict.fromkeys(ELEMENTWISE, self._pass),
            **dict.fromkeys(MAX_POOLING, self._pool),
            **dict.fromkeys((*AVERAGES, "mean", "sum"), self._average),
            **dict.fromkeys(CONVOLUTIONS, self._convolve),
            **dict.fromkeys(TRANSPOSED, partial(self._convolve, transposed=True)),
            **dict.fromkeys(("matmul", "mm"), self._multiply),
            **dict.fromkeys(("mul", "div"), self._scale),
            "add": self._add,
            "sub": partial(self._add, signs=(1, -1)),
            "rsub": partial(self._add, signs=(-1, 1)),
            "linear": self._dense,
            "batch_norm": self._normalize,
            "addcmul": self._shift,
            "neg": self._negate,
        }
        super().__init__(method, table, frozenset(REARRANGING) | DROPOUT)
        self.layers_called = self.sharing = 0
        self._last: tuple[Any, LayerCall] | None = None  # the last layer's output in the graph, and its call

    # -- what a method decides --

    def share(self, call: LayerCall, inputs: Tensor, relevance: Tensor) -> Tensor:
        """What the inputs of a layer receive of the relevance of its outputs."""
        raise NotImplementedError

    def contribution(self, summand: Any, constant: bool = False) -> Any:
        """What a summand, a tensor or a number, counts for."""
        return summand

    def stabilize(self, values: Tensor) -> Tensor:
        """Denominators, kept from zero."""
        return stabilized(values)

    def passage(self, scaled: Tensor) -> Tensor | float:
        """The part of its relevance that an activation times a constant hands on."""
        return 1.0

    def limits(self, inputs: Tensor) -> Limits | None:
        """Limits of a tensor that is the network's input, normalized or rearranged."""
        return None

    def normalized(self, inputs: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """The network's input, normalized or rearranged, for those that tell its limits."""
        raise NotImplementedError

    def absorb(self, shares: Tensor) -> None:
        """Book what constants received, `(n,)`."""

    # -- layers --

    def _convolve(self, function: Any, options: dict[str, Any], transposed: bool = False) -> Any:
        inputs, weight, bias = options["input"], options["weight"], options.get("bias")
        bias = None if bias is None else bias.view(-1, *(1,) * (inputs.dim() - 2))
        layer = Layer(lambda x, w: function(**options | {"input": x, "weight": w, "bias": None}), weight, bias)
        return self._layer(layer, inputs, dense=False, folding=not transposed)

    def _dense(self, function: Any, options: dict[str, Any]) -> Any:
        return self._layer(Layer(function, options["weight"], options.get("bias")), options["input"], folding=True)

    def _multiply(self, function: Any, options: dict[str, Any]) -> Any:
        inputs, weight = options["input"], options["other"]
        if _needs(inputs):
            return self._layer(Layer(function, weight), inputs)
        return self._layer(Layer(lambda x, w: function(w, x), inputs), weight)

    def _layer(self, layer: Layer, inputs: Tensor, dense: bool = True, folding: bool = False) -> Any:
        if _needs(layer.weight) or not _needs(inputs):
            return NotImplemented
        self.layers_called += 1
        call = LayerCall(layer, dense, self.layers_called, self.limits(inputs) if self.bounded and not dense else None)
        self.sharing += 1
        result: Tensor = _Shared.apply(inputs, layer, lambda x, relevance: self.share(call, x, relevance))
        self._last = (result.grad_fn, call) if folding else None
        return result

    def _average(self, function: Any, options: dict[str, Any]) -> Tensor:
        inputs = options["input"]

        def run(values: Tensor) -> Tensor:
            averaged: Tensor = function(**options | {"input": values})
            return averaged

        def rule(values: Tensor, relevance: Tensor) -> Tensor:
            return share(relevance, [(self.contribution(values), run)], stabilize=self.stabilize).inputs

        self.sharing += 1
        result: Tensor = _Shared.apply(inputs, run, rule)
        return result

    # -- batch normalization --

    def _normalize(self, function: Any, options: dict[str, Any]) -> Any:
        call = Normalization(**options)
        if not call.fixed:
            return NotImplemented
        scale, shift = (values.view(-1, *(1,) * (call.input.dim() - 2)) for values in call.affine())
        return self._affine(call.input, scale, shift, lambda inputs: function(**options | {"input": inputs}))

    def _shift(self, function: Any, options: dict[str, Any]) -> Any:
        """`shift + inputs scale`, as which batch normalizations may come."""
        if len(options) > 3 or not _needs(options["tensor1"]) or _needs(options["tensor2"]) or _needs(options["input"]):
            return NotImplemented
        inputs, scale, shift = options["tensor1"], options["tensor2"], options["input"]
        return self._affine(inputs, scale, shift, lambda values: torch.addcmul(shift, values, scale))

    def _affine(self, inputs: Tensor, scale: Tensor, shift: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        node, call = self._last or (None, None)
        if node is inputs.grad_fn and call is not None and scale.shape == inputs.shape[1:2] + (1,) * (scale.dim() - 1):
            call.layer = call.layer.scaled(scale, shift)
            return passed(inputs, run)
        if self.limits(inputs) is not None:
            return self.normalized(inputs, run)
        return self._summed([(inputs, inputs.detach() * scale), (shift, shift)], lambda: run(inputs.detach()))

    # -- sums and products with constants --

    def _add(self, function: Any, options: dict[str, Any], signs: tuple[int, int] = (1, 1)) -> Any:
        if options.get("alpha", 1) != 1:
            return NotImplemented
        name, other = ("input", "other") if _needs(options["input"]) else ("other", "input")
        if not _needs(options[other]) and self.limits(options[name]) is not None:
            return self.normalized(options[name], lambda values: function(**options | {name: values}))
        pair = (options["input"], options["other"])
        terms = [(value, sign * _detached(value)) for value, sign in zip(pair, signs, strict=True)]
        return self._summed(terms, lambda: function(**{name: _detached(value) for name, value in options.items()}))

    def _summed(self, terms: list[tuple[Any, Any]], run: Callable[[], Tensor]) -> Tensor:
        """A sum of terms, each as it came and as it is added; those that need no gradient are constants."""
        moving = [term for term, _ in terms if _needs(term)]
        self.sharing += 1
        result: Tensor = _Summed.apply(self, run, terms, *moving)
        return result

    def _scale(self, function: Any, options: dict[str, Any]) -> Any:
        name = "input" if _needs(options["input"]) else "other"
        others = [value for key, value in options.items() if key != name]
        if any(map(_needs, others)) or (name == "other" and function is torch.div) or len(options) > 2:
            return NotImplemented
        inputs = options[name]

        def run(values: Tensor) -> Tensor:
            scaled: Tensor = function(**options | {name: values})
            return scaled

        if self.limits(inputs) is not None:
            return self.normalized(inputs, run)
        return passed(inputs, run, self.passage(run(torch.ones_like(inputs.detach()))))

    def _negate(self, function: Any, options: dict[str, Any]) -> Tensor:
        inputs = options["input"]
        return passed(inputs, torch.neg, self.passage(-torch.ones_like(inputs.detach())))

    # -- passages --

    def _pass(self, function: Any, options: dict[str, Any]) -> Any:
        if any(_needs(value) for key, value in options.items() if key != "input"):
            return NotImplemented
        return passed(options["input"], lambda inputs: function(**options | {"input": inputs}))

    def _pool(self, function: Any, options: dict[str, Any]) -> Any:
        return NotImplemented if options.get("return_indices") else function(**options)


class _Passed(torch.autograd.Function):
    """A function of one tensor; a part of the relevance goes back as it is."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, run: Callable[[Tensor], Tensor], part: Tensor | float) -> Tensor:
        ctx.shape, ctx.part = inputs.shape, part
        return run(inputs)

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor, None, None]:
        return (relevance[0] * ctx.part).sum_to_size(ctx.shape), None, None


class _Shared(torch.autograd.Function):
    """A function of one tensor with a rule that gives its relevance, for the tensor and the result's relevance."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, run: Callable[[Tensor], Tensor], rule: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.rule = rule
        return run(inputs)

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rule(*ctx.saved_tensors, relevance[0]), None, None


class _Summed(torch.autograd.Function):
    """A sum that shares out in proportion to contributions.

    It keeps the parts, not the terms, into which the sum may be written.
    """

    @staticmethod
    def forward(
        ctx: Any, mode: Relevance, run: Callable[[], Tensor], terms: list[tuple[Any, Any]], *moving: Tensor
    ) -> Tensor:
        result = run()
        counted = [mode.contribution(value, not _needs(term)) for term, value in terms]
        total = mode.stabilize(sum(counted) + torch.zeros_like(result))
        ctx.mode, ctx.needing = mode, [_needs(term) for term, _ in terms]
        ctx.shapes = [tensor.shape for tensor in moving]
        ctx.save_for_backward(*(value / total for value in counted))
        return result

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Any, ...]:
        received = [part * relevance[0] for part in ctx.saved_tensors]
        for values, needing in zip(received, ctx.needing, strict=True):
            if not needing:
                ctx.mode.absorb(values.reshape(len(values), -1).sum(1))
        moving = [values for values, needing in zip(received, ctx.needing, strict=True) if needing]
        return None, None, None, *(values.sum_to_size(shape) for values, shape in zip(moving, ctx.shapes, strict=True))


def passed(inputs: Tensor, run: Callable[[Tensor], Tensor], part: Tensor | float = 1.0) -> Tensor:
    """`run(inputs)`; a part of its relevance goes back as it is."""
    result: Tensor = _Passed.apply(inputs, run, part)
    return result


def moving(values: Any) -> list[Tensor]:
    """The tensors that need a gradient among arguments or results."""
    return [tensor for tensor in tensors(values) if tensor.requires_grad]


def _needs(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
