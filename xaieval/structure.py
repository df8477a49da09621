"""What a call with one input tells of a model: where outputs have places, what everything passes, what is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xaieval.attention import reading
from xaieval.axes import CHANNELS_FIRST
from xaieval.layers import find_layer
from xaieval.module_call import ModuleCall, keepable, normal, without_deleted
from xaieval.passages import Chain
from xaieval.places import Places
from xaieval.token_grid import Along, ChannelsFirst, Layout, Tokens
from xaieval.token_places import TokenPlaces


class Structure:
    """Facts about a model that depend on the shape of its inputs alone, each found once for a shape.

    The calls that find them are no evaluations of a sample and not counted. For a transformer they wait for the device,
    once. In all functions `example` is inputs `(N, C, *F)`, of which the first is used; where `attended` is given, all
    of its features are attended, so that nothing depends on which sample comes first.

    Args:
        module: The model.
        name: What to call it in errors.
        call: Gives its logits.
    """

    def __init__(self, module: nn.Module, name: str, call: ModuleCall) -> None:
        self._module = module
        self._name = name
        self._call = call
        self._found: dict[tuple[int, ...], tuple[Places | TokenPlaces, Chain]] = {}  # by the shape of an input
        self._readings: dict[tuple[int, ...], Tensor] = {}

    def places(self, example: Tensor, attended: Tensor | None = None) -> Places | TokenPlaces:
        """Where the outputs of all layers have their places; of inputs `(N, D, T)` these are the T tokens."""
        return self._looked_up(example, attended)[0]

    def chain(self, example: Tensor, attended: Tensor | None = None) -> Chain:
        """The layers that everything passes on its way to the logits, from the same call as `places`."""
        return self._looked_up(example, attended)[1]

    def tokens(self, example: Tensor, attended: Tensor | None = None) -> Tokens:
        """Which token of a vision transformer's sequence `(N, T, D)` stands for which place of a grid `(h, w)`.

        Raises:
            UnsupportedError: The model has no tokens, or they are no grid.
        """
        return self.places(example, attended).tokens()

    def reading(self, example: Tensor, attended: Tensor | None = None) -> Tensor:
        """How much the logits read each token behind the last attention, `(1, 1, T)`.

        Raises:
            UnsupportedError: The model does not attend over all its tokens again and again.
        """
        shape = tuple(example.shape[1:])
        if shape not in self._readings:
            with keepable():
                one = normal(example[:1])
                call = partial(self._call, attended=_everything(attended))
                self._readings[shape] = reading(self._name, self._module, one, call)
        return self._readings[shape]

    def order(self, attended: Tensor | None) -> Tensor | None:
        """For each token inside the model `(N, T)` which of the input it is; None: each is where it was.

        A module that moves its tokens says so by a method `order(attended)`.
        """
        moves: Any = getattr(self._module, "order", None)
        if attended is None or moves is None:
            return None
        order: Tensor = moves(attended)
        return order

    def layouts(
        self,
        layers: Sequence[str],
        inputs: Tensor,
        attended: Tensor | None = None,
        present: Tensor | None = None,
    ) -> dict[str, Layout]:
        """How the outputs of layers become `(N, K, h, w)`; those of a convolution are it without looking.

        For inputs `(N, D, T)` they become `(N, K, T)`, with 0 at tokens that are not present `(N, T)`.

        Raises:
            ValueError: There is no layer of such a name.
        """
        modules = {name: find_layer(self._module, name) for name in layers}
        found = {
            name: (ChannelsFirst() if isinstance(layer, CHANNELS_FIRST) else self.places(inputs, attended).layout(name))
            for name, layer in modules.items()
        }
        moved = self.order(without_deleted(inputs, attended)[1])
        return {
            name: Along(layout.last, moved, present) if isinstance(layout, Along) else layout
            for name, layout in found.items()
        }

    def _looked_up(self, example: Tensor, attended: Tensor | None) -> tuple[Places | TokenPlaces, Chain]:
        if example.dim() == 3 and example.shape[2] == 1:  # of one token nobody could say whether others are read
            example = torch.cat((example, example), 2)
            attended = None if attended is None else torch.cat((attended, attended), 1)
        shape = tuple(example.shape[1:])
        if shape not in self._found:
            logits: list[Tensor] = []
            chains: list[Chain] = []

            def call() -> Tensor:
                logits.append(self._call(leaf, attended=_everything(attended)))
                return logits[0]

            def watched() -> Tensor:
                chains.append(Chain(self._module, leaf, call))
                return logits[0]

            with keepable(), torch.enable_grad():
                leaf = normal(example[:1]).detach().clone().requires_grad_()
                places = TokenPlaces if example.dim() == 3 else Places
                self._found[shape] = places(self._module, leaf, watched), chains[0]
        return self._found[shape]


def _everything(attended: Tensor | None) -> Tensor | None:
    """One sample of which everything is attended."""
    return None if attended is None else torch.ones_like(attended[:1])
