"""Layers of a model: found by name or by the shapes that pass through them, and watched during one call."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from xaieval.contributions import Kernel
from xaieval.unsupported import UnsupportedError

Edit = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        name: Dotted name.
        layer: The module.
        given: Shape of the first argument; empty where it is no tensor.
        gave: Shape of what it returned; empty where that is no tensor.
        pooled: Whether it ended in a pooling.
        edge: Where the output leaves the gradient's graph; None where it needs no gradient.
    """

    name: str
    layer: nn.Module
    given: tuple[int, ...]
    gave: tuple[int, ...]
    pooled: bool
    edge: GradientEdge | None


@dataclass(frozen=True)
class Step:
    """One module's call: larger spatial side of its first input and of its output (0 where there is none)."""

    name: str
    before: int
    after: int
    pooled: bool


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """The submodule with this dotted name.

    Raises:
        ValueError: There is none; the message names the closest ones.
    """
    modules: dict[str, nn.Module] = dict(module.named_modules())
    if name not in modules:
        close = difflib.get_close_matches(name, modules, n=3) or list(modules)[1:4]
        raise ValueError(f"{type(module).__name__} has no layer {name!r}; close names: {', '.join(close)}")
    return modules[name]


@contextmanager
def watch(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Keep the outputs of these modules during one call, as the leaves or nodes that gradients are asked for.

    An output that needs no gradient becomes a detached leaf, so nothing before the first watched layer is
    differentiated. The module hands on a clone: an in-place rectifier after it changes the clone.

    Yields:
        Outputs by name, filled by the call.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, arguments: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"layer {name!r} returns a {type(output).__name__}, expected a tensor: name a layer inside it"
                )
            kept[name] = output if output.requires_grad else output.detach().requires_grad_()
            return kept[name].clone()

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in modules.items()]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def arriving(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Keep what these modules are given during one call, by name."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
            kept[name] = arguments[0].detach().clone()  # a layer after it may write into it

        return hook

    handles = [layer.register_forward_pre_hook(keep(name)) for name, layer in modules.items()]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def last_convolution(module: nn.Module, name: str) -> str:
    """The name of the last convolution in the submodule with this name.

    Raises:
        UnsupportedError: There is none.
    """
    found = [part for part, layer in find_layer(module, name).named_modules() if isinstance(layer, nn.Conv2d)]
    if not found:
        raise UnsupportedError(f"layer {name!r} holds no convolution", "name one with layers=")
    return f"{name}.{found[-1]}" if found[-1] else name


def kernel_of(name: str, layer: nn.Module, side: Sequence[int]) -> Kernel:
    """The geometry of a convolution whose input has these rows and columns.

    Raises:
        ValueError: The layer is no 2-D convolution, or pads with anything but zeros.
    """
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros":
        raise ValueError(f"layer {name!r} is {layer}, expected a Conv2d that pads with zeros")
    size, stride, dilation = ((values[0], values[1]) for values in (layer.kernel_size, layer.stride, layer.dilation))
    reach = [step * (length - 1) for step, length in zip(dilation, size, strict=True)]
    if type(layer).__name__ == "Conv2dSame":  # timm's, after TensorFlow: it pads its input by itself
        total = [max(0, (-(-n // s) - 1) * s + r + 1 - n) for n, s, r in zip(side, stride, reach, strict=True)]
    elif isinstance(layer.padding, str):
        total = reach if layer.padding == "same" else [0, 0]
    else:
        total = [2 * int(padding) for padding in layer.padding]
    (top, bottom), (left, right) = ((pad // 2, pad - pad // 2) for pad in total)
    return Kernel(size, stride, dilation, (left, right, top, bottom), layer.groups)


@contextmanager
def editing(modules: Mapping[str, nn.Module], edits: Mapping[str, Edit], arriving: bool = False) -> Iterator[set[str]]:
    """Put `edit(output)` in place of the outputs of these modules during one call, or of what they are given.

    Args:
        modules: Modules by name.
        edits: What becomes of each one's tensor; it must not give out one that has to stay, as a layer may write into
            what it is given.
        arriving: The first argument is edited in place of the output.

    Yields:
        Names of the modules that were reached, filled by the call.
    """
    reached: set[str] = set()

    def edited(name: str, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            verb = "is given" if arriving else "gives"
            raise ValueError(f"layer {name!r} {verb} a {type(value).__name__}, expected a tensor: name another layer")
        reached.add(name)
        return edits[name](value)

    def after(name: str) -> Callable[..., Tensor]:
        return lambda layer, arguments, output: edited(name, output)

    def before(name: str) -> Callable[..., tuple[Any, ...]]:
        return lambda layer, arguments: (edited(name, next(iter(arguments), None)), *arguments[1:])

    handles = [
        modules[name].register_forward_pre_hook(before(name))
        if arriving
        else modules[name].register_forward_hook(after(name))
        for name in edits
    ]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()


def default_layer(method: str, module: nn.Module, steps: Sequence[Step]) -> str:
    """The layer that a class activation method reads if none is named, by shapes alone.

    `normgrad`: the output of the last block whose input is spatially larger, that is the outermost module around the
    last downsampling. `excitation_backprop`: what that block is given. Everything else, Grad-CAM first, and these where
    nothing is: the last spatial output before pooling.

    Args:
        method: Name of the method.
        module: The model, for errors.
        steps: What its parts did in one call.

    Raises:
        UnsupportedError: The model has no spatial layer.
    """
    spatial = [step for step in steps if step.name and step.after > 1 and not step.pooled]
    if not spatial:
        raise UnsupportedError(
            f"{type(module).__name__} has no layer with a spatial output (N, K, h, w)",
            "choose another method, or name a layer with layer=",
        )
    shrinking = [step for step in spatial if step.before > step.after]
    if method in ("normgrad", "excitation_backprop") and shrinking:
        smallest = min(step.before for step in shrinking)
        block = [step for step in shrinking if step.before == smallest][-1].name
        before = list(itertools.takewhile(lambda step: not f"{step.name}.".startswith(f"{block}."), spatial))
        return before[-1].name if method == "excitation_backprop" and before else block
    return spatial[-1].name


def calls_of(module: nn.Module, call: Callable[[], Tensor]) -> tuple[list[Call], Tensor]:
    """Every module's call in the order in which they end, and what the whole call gives."""
    calls: list[Call] = []
    pooled: list[Tensor] = []

    def record(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            if "pool" in type(layer).__name__.lower() and isinstance(output, Tensor):
                pooled.append(output)
            # A container that ends in a pooling returns the pooling's own tensor.
            ends_in_pooling = any(output is tensor for tensor in pooled)
            edge = get_gradient_edge(output) if isinstance(output, Tensor) and output.requires_grad else None
            given = _shape(arguments[0] if arguments else None)
            calls.append(Call(name, layer, given, _shape(output), ends_in_pooling, edge))

        return hook

    handles = [layer.register_forward_hook(record(name)) for name, layer in module.named_modules()]
    try:
        return calls, call()
    finally:
        for handle in handles:
            handle.remove()


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()
