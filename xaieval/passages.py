"""The chain of a model: layers that everything passes one after the other on its way from the input to the logits.

A layer is on the chain if each path in the graph of the logits' gradient runs through its input and through its output.
Convolutions of a sequential network are; those inside a residual block are not, for the shortcut goes around them, but
the block is. Between two layers channels are taken to go over one by one, as in normalization, rectifiers, pooling and
flattening: that their order stays is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xaieval.graph import crossed
from xaieval.layers import find_layer
from xaieval.unsupported import UnsupportedError


@dataclass(frozen=True)
class Link:
    """A layer of the chain.

    Attributes:
        name: Dotted name.
        channels: Units that it is given: channels, or features in groups that were one channel before flattening.
        gives: Channels or features that it gives, which are the units of the next layer.
        spatial: Whether it is given and gives activations `(n, K, h, w)`, with more than one place.
    """

    name: str
    channels: int
    gives: int
    spatial: bool


@dataclass(eq=False)
class Passage:
    """One call of a module: when it began and ended, the shapes given and returned, and the nodes that made both."""

    name: str
    layer: nn.Module
    start: int
    given: tuple[int, ...]
    before: Any
    stop: int = 0
    gave: tuple[int, ...] = ()
    after: Any = None

    @property
    def computes(self) -> bool:
        """Whether it is a convolution or a linear layer."""
        return isinstance(self.layer, nn.Conv2d | nn.Linear)


class Chain:
    """The layers that everything passes, found in one call.

    Args:
        module: The model.
        inputs: The leaf `(1, C, *F)` that the call starts from.
        call: Gives the logits `(1, classes)`.
    """

    def __init__(self, module: nn.Module, inputs: Tensor, call: Callable[[], Tensor]) -> None:
        self._module = module
        calls, logits = _watched(module, call)
        self._classes = logits.shape[1]
        names = [passage.name for passage in calls]
        passed = crossed(logits.grad_fn, torch.autograd.graph.get_gradient_edge(inputs).node)
        self._computing = [passage for passage in calls if passage.computes]
        self._passed = {
            passage.name: passage
            for passage in calls
            if passage.before in passed and passage.after in passed and names.count(passage.name) == 1
        }
        for passage in calls:  # with the nodes goes what the graph keeps of the call
            passage.before = passage.after = None

    def found(self) -> tuple[Link, ...]:
        """Convolutions and linear layers, or the blocks around them, back from the logits as far as the chain reaches.

        What holds a convolution that something goes around is a block, and so is every module of its class.

        Raises:
            UnsupportedError: The logits come from no such layer.
        """
        blocks = {type(self._passed[name].layer) for name in self._around()}
        chain: list[Passage] = []
        for passage in sorted(self._passed.values(), key=lambda one: one.start, reverse=True):
            part = type(passage.layer) in blocks or passage.computes
            inside = any(type(self._passed[outer].layer) in blocks for outer in self._outer(passage.name))
            if part and not inside:
                if self._gap(passage, chain[0] if chain else None):
                    break
                chain.insert(0, passage)
        if not chain:
            raise UnsupportedError(
                f"{type(self._module).__name__} has no layer that gives the logits (n, classes) and that everything "
                "passes, so no chain of layers ends there"
            )
        return _links(chain)

    def named(self, names: Sequence[str]) -> tuple[Link, ...]:
        """The chain of these layers, the last of which gives the logits.

        Raises:
            ValueError: A layer that the model does not have, that something goes around, or that is not followed by
                the next one.
        """
        for name in names:
            find_layer(self._module, name)
            if name not in self._passed:
                raise ValueError(
                    f"layer {name!r} is no part of the chain: something goes around it, or it is called more than "
                    "once; name the block that holds it"
                )
        chain = [self._passed[name] for name in names]
        for passage, following in zip(chain, [*chain[1:], None], strict=True):
            gap = self._gap(passage, following)
            if gap:
                raise ValueError(gap)
        return _links(chain)

    def _outer(self, name: str) -> Iterator[str]:
        """The layers of the chain that hold a module, the innermost first; not the model itself."""
        while "." in name:
            name = name.rpartition(".")[0]
            if name in self._passed:
                yield name

    def _around(self) -> set[str]:
        """The innermost layers around what is not on the chain."""
        hidden = [passage.name for passage in self._computing if passage.name not in self._passed]
        return {outer for name in hidden for outer in list(self._outer(name))[:1]}

    def _gap(self, passage: Passage, following: Passage | None) -> str:
        """Why a layer's channels are not those that the following one (None: the logits) is given; else empty."""
        start = following.start if following else max(one.stop for one in self._computing) + 1
        between = [one.name for one in self._computing if passage.stop < one.start < start]
        to = f"layer {following.name!r}" if following else "the logits"
        if between or start <= passage.start:
            what = f"{between[0]!r} lies between" if between else "their order is another one"
            return f"layer {passage.name!r} is not followed by {to} ({what}): name every layer up to the logits"
        given = following.given if following else (1, self._classes)
        fits = {len(passage.given), len(passage.gave), len(given)} <= {2, 4}
        whole = fits and (given[1] == passage.gave[1] if len(given) == 4 or not following else True)
        if not whole or given[1] % passage.gave[1]:
            return (
                f"layer {passage.name!r} takes {passage.given} to {passage.gave} and {to} takes {given}: expected "
                "channels (n, K, h, w) or features (n, K) that go over one by one"
            )
        return ""


def _links(chain: Sequence[Passage]) -> tuple[Link, ...]:
    return tuple(
        Link(
            passage.name,
            before.gave[1] if before else passage.given[1],
            passage.gave[1],
            len(passage.given) == len(passage.gave) == 4 and max(passage.gave[2:]) > 1,
        )
        for before, passage in zip([None, *chain], chain, strict=False)
    )


def _watched(module: nn.Module, call: Callable[[], Tensor]) -> tuple[list[Passage], Tensor]:
    """Every call of a submodule that takes and gives one tensor, and the logits."""
    done: list[Passage] = []
    under_way: list[Passage | None] = []
    clock = iter(range(10**9))

    def enter(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
            value = arguments[0] if arguments else None
            known = value if isinstance(value, Tensor) else None
            start = next(clock)
            under_way.append(None if known is None else Passage(name, layer, start, tuple(known.shape), known.grad_fn))

        return hook

    def leave(layer: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        passage = under_way.pop()
        if passage is not None and isinstance(output, Tensor):
            passage.stop, passage.gave, passage.after = next(clock), tuple(output.shape), output.grad_fn
            done.append(passage)

    inner = [(name, layer) for name, layer in module.named_modules() if name]
    handles = [layer.register_forward_pre_hook(enter(name)) for name, layer in inner]
    handles += [layer.register_forward_hook(leave) for _, layer in inner]
    try:
        return done, call()
    finally:
        for handle in handles:
            handle.remove()
