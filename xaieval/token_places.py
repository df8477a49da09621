"""Where the outputs of a text model's layers have its tokens, found in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xaieval.layers import Call, calls_of
from xaieval.places import gradients_at, passed_by
from xaieval.token_grid import Along, ChannelsFirst, Layout, Tokens
from xaieval.unsupported import UnsupportedError

CHANNELS_FIRST = (
    *(nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d),
    *(nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d),
)


class TokenPlaces:
    """The layouts of all layers' outputs for inputs `(N, D, T)`: what has T entries along one axis has the tokens.

    Outputs are `(N, T, K)`; those of convolutions along a text `(N, K, T)`.

    Args:
        module: The model.
        inputs: The leaf `(1, D, T)` that the call starts from.
        call: Gives the logits `(1, classes)`, with their graph.

    Attributes:
        shapes: Of each layer with the tokens `(K, T)` and its class, in the order in which the layers end.
    """

    def __init__(self, module: nn.Module, inputs: Tensor, call: Callable[[], Tensor]) -> None:
        self._model, self._count, self._device = type(module).__name__, inputs.shape[2], inputs.device
        calls, logits = calls_of(module, call)
        self._named = {one.name: one for one in calls}
        self._convolving = any(isinstance(one.layer, CHANNELS_FIRST) for one in calls)
        self.shapes = {
            one.name: (one.gave[:0:-1] if layout.last else one.gave[1:], type(one.layer).__name__)
            for one in calls
            if one.name and (layout := self._along(one))
        }
        passed = [one for one in passed_by(calls, logits, inputs) if one.name in self.shapes]
        self._read = self._with_gradient(passed, logits)
        for one in calls:  # with the edges goes what the graph keeps of the call
            one.edge = None

    def layout(self, name: str) -> Layout:
        """How the output of a layer is turned into `(N, K, T)`, but for the order of the tokens.

        Raises:
            UnsupportedError: The output has no tokens, or nobody knows which axis they are.
        """
        call = self._named.get(name)
        if call is None or not call.gave:
            return ChannelsFirst()  # whoever reads it says what is wrong with it
        found = self._along(call)
        if found is None:
            why = (
                f"may be either of (N, T, K) and (N, K, T) with T = {self._count}"
                if self._told(call) == "both"
                else "is not one output for each token (N, T, K)"
            )
            raise UnsupportedError(f"layer {name!r} gives {call.gave}, which {why}", "name another layer")
        return found

    def check_arriving(self, name: str) -> None:
        """Make sure that a layer is given features, or activations with the channels before their places.

        Raises:
            UnsupportedError: It is given tokens `(N, T, K)`.
        """
        call = self._named.get(name)
        if call is not None and len(call.given) == 3 and not isinstance(call.layer, CHANNELS_FIRST):
            raise UnsupportedError(f"layer {name!r} is given {call.given}, expected activations (N, K, T)")

    def tokens(self) -> Tokens:
        """None: the tokens of a text are no grid.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(f"the tokens of {self._model} are those of a text and no grid of places")

    def default_layer(self, method: str) -> str:
        """The layer that a class activation method reads if none is named, the same for all of them.

        It is the last output that everything passes and at which the logits have a gradient at more than half of the
        tokens: after the last block of a transformer whose head reads one token, the first or the last, the others are
        read by nobody, so there it is the output of the block before; where all are averaged it is the last one.

        On tensors without values (`meta`) every gradient counts.

        Raises:
            UnsupportedError: The model has no such layer.
        """
        if not self._read:
            raise UnsupportedError(
                f"{self._model} has no layer with one output for each token (N, T, K) that everything passes",
                "choose another method, or name a layer with layer=",
            )
        return self._read[-1]

    def _along(self, call: Call) -> Along | None:
        """How its output becomes `(N, K, T)`; None where that is not known."""
        told = self._told(call)
        return Along(told == "last") if told in ("last", "first") else None

    def _told(self, call: Call) -> str:
        """Whether channels come `last` or `first`; `both` if it could be either; else empty.

        Where there are as many channels as tokens they come last, unless the model has convolutions along the text:
        then only some kinds of layers are sure.
        """
        if len(call.gave) != 3:
            return ""
        last, first = (side == self._count for side in call.gave[1:])
        if last and first:
            sure = isinstance(call.layer, nn.Linear | nn.LayerNorm | nn.Embedding) or not self._convolving
            return "first" if isinstance(call.layer, CHANNELS_FIRST) else "last" if sure else "both"
        return "last" if last else "first" if first else ""

    def _with_gradient(self, passed: Sequence[Call], logits: Tensor) -> list[str]:
        """Those at which more than half of the tokens have a gradient of the logits; all if there are none."""
        names = [one.name for one in passed]
        if self._device.type == "meta" or not passed:
            return names
        found = zip(names, gradients_at(passed, logits), strict=True)
        read = [(self.layout(name).places(gradient) != 0).any(1).sum() for name, gradient in found]
        counts = torch.stack(read).tolist()
        return [name for name, count in zip(names, counts, strict=True) if 2 * count > self._count] or names
