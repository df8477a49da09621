"""The only place where a module runs: with copies of its weights, and left as it was."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.func import functional_call

from xaieval.batch_norm import Fold, Folded, Observed, UnsafeFoldError, hooked

Normalization = tuple[Tensor, Tensor]
"""What is subtracted from each channel, and what it is multiplied with, `(C, 1, 1)` each."""


class ModuleCall:
    """A module as a function of its inputs, with weights that can be others than its own.

    Args:
        module: The model. It is put into evaluation mode for the time of a call only.
        device: Where the copies of the weights are.
        name: What to call the model in errors.
        normalization: The first layer; None: inputs go in as they are.

    Attributes:
        weights: Copies of the parameters and buffers, by name; none before the first `refresh`.
        version: How often the module's weights were copied.
        classes: Number of classes; None before the first call.
        folds: Batch normalizations that convolutions do the work of; None: not known before the first call.
    """

    def __init__(self, module: nn.Module, device: torch.device, name: str, normalization: Normalization | None) -> None:
        self.weights: dict[str, Tensor] = {}
        self.version = 0
        self.classes: int | None = None
        self.folds: dict[int, Fold] | None = None
        self._module = module
        self._device = device
        self._name = name
        self._normalization = normalization
        self._layout = torch.channels_last
        self._source: Mapping[str, Tensor] = {}  # what the weights are copies of
        self._pristine: dict[str, int] = {}  # version of each copy when it was made
        self._seen: list[tuple[float, ...]] | None = None

    def refresh(self) -> None:
        """Copy the module's weights once, and again when one was replaced or changed."""
        named = {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}
        seen = [_fingerprint(tensor) for tensor in named.values()]
        if seen != self._seen:
            self._copy_weights(named)
            self._seen = seen
            self.version += 1

    def with_weights(self, weights: Mapping[str, Tensor]) -> ModuleCall:
        """The same function with other values of some parameters or buffers."""
        twin = copy.copy(self)
        twin._copy_weights({**self.weights, **weights})
        return twin

    def with_normalization(self, normalization: Normalization) -> ModuleCall:
        """The same module behind another first layer."""
        twin = copy.copy(self)
        twin._normalization = normalization
        return twin

    def weight_gradients(self, inputs: Tensor, target: Tensor, attended: Tensor | None = None) -> dict[str, Tensor]:
        """Gradient of the mean cross-entropy of `(N, C, *F)` for the targets `(N,)` at every parameter, by name."""
        with keepable(), torch.enable_grad():
            leaves = {name: self.weights[name].detach().requires_grad_() for name, _ in self._module.named_parameters()}
            inputs, attended = without_deleted(normal(inputs), attended)
            logits = self._run(inputs, {**self.weights, **leaves}, attended=attended)
            loss = functional.cross_entropy(logits, normal(target))
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(leaves, gradients, strict=True))

    def __call__(
        self, inputs: Tensor, bfloat16: bool = False, count: int | None = None, attended: Tensor | None = None
    ) -> Tensor:
        """Logits `(n, classes)` in float32, with a graph where gradients are enabled.

        Args:
            inputs: `(n, C, *F)`; where `attended` is given, features that are NaN are deleted.
            bfloat16: Compute in this precision.
            count: The number n of logits, where an edit between layers changes it.
            attended: Which features the model reads, `(n, *F)`, its second argument; None: it has but one.

        Raises:
            TypeError: The model does not return logits `(n, classes)`.
        """
        if not inputs.requires_grad:  # else it was done before the leaf was made: rules of propagation begin there
            inputs, attended = without_deleted(inputs, attended)
        try:
            return self._fastest(inputs, bfloat16, count, attended)
        except RuntimeError as error:
            if self._layout == torch.contiguous_format or "view size is not compatible" not in str(error):
                raise
        # The model counts on the layout of memory, as `x.view(n, -1)` does: it gets the usual one from now on.
        self._layout = torch.contiguous_format
        self._copy_weights(self.weights)
        return self._fastest(inputs, bfloat16, count, attended)

    def _fastest(self, inputs: Tensor, bfloat16: bool, count: int | None, attended: Tensor | None) -> Tensor:
        if bfloat16:
            with torch.autocast(self._device.type, torch.bfloat16):
                return self._run(inputs, count=count, attended=attended)
        if hooked(self._module):
            return self._run(inputs, count=count, attended=attended)
        if self.folds is None:
            try:
                return self._observed(inputs, attended)
            except torch.OutOfMemoryError:  # the graph of gradients may not fit where scores alone do
                self.folds = {}
        try:
            with Folded(self.folds):
                return self._run(inputs, attended=attended)
        except UnsafeFoldError:
            self.folds = {}
            return self._run(inputs, attended=attended)

    def _observed(self, inputs: Tensor, attended: Tensor | None) -> Tensor:
        """A call that also finds out which batch normalizations later calls may fold into a convolution."""
        differentiated = torch.is_grad_enabled()
        with keepable(), torch.enable_grad(), Observed(self.weights) as observed:
            leaf = inputs if inputs.requires_grad else normal(inputs).detach().requires_grad_()
            logits = self._run(leaf, attended=attended)
            self.folds = observed.folds(logits)
        return logits if differentiated else logits.detach()

    def _run(
        self,
        inputs: Tensor,
        weights: Mapping[str, Tensor] | None = None,
        count: int | None = None,
        attended: Tensor | None = None,
    ) -> Tensor:
        inputs = self._first_layer(inputs)
        arguments = (inputs,) if attended is None else (inputs, normal(attended))
        with _evaluating(self._module):
            try:
                # A dictionary of its own: buffers that the model replaces are put into it.
                output = functional_call(self._module, dict(weights or self.weights), arguments)
            finally:
                self._mend_weights()
        return self._checked(output, len(inputs) if count is None else count)

    def _first_layer(self, inputs: Tensor) -> Tensor:
        """Normalized inputs in the model's layout; always a copy, which a model may change in place."""
        inputs = inputs.float()
        layout = self._layout if inputs.dim() == 4 else torch.contiguous_format
        if self._normalization is None:
            return inputs.clone(memory_format=layout)
        mean, scale = self._normalization
        if inputs.shape[1] != len(mean):
            raise ValueError(f"{self._name} normalizes {len(mean)} channels, got inputs {tuple(inputs.shape)}")
        return ((inputs - mean) * scale).contiguous(memory_format=layout)

    def _checked(self, output: Any, count: int) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{self._name} returned a {type(output).__name__}, expected logits as a tensor ({count}, classes): "
                "wrap the model so that it returns the logits alone"
            )
        if output.dim() != 2 or output.shape[0] != count:
            raise TypeError(
                f"{self._name} returned a tensor {tuple(output.shape)} for {count} inputs, expected logits "
                f"({count}, classes): wrap the model so that it returns one row of logits for each input"
            )
        self.classes = output.shape[1]
        return output.float()

    def _copy_weights(self, named: Mapping[str, Tensor]) -> None:
        self._source = named
        self.weights = {name: self._prepared(tensor) for name, tensor in named.items()}
        self._pristine = {name: copy._version for name, copy in self.weights.items()}
        self.folds = None

    def _mend_weights(self) -> None:
        """Make the copies again that a call wrote into, such as a counter of calls: each call starts alike."""
        changed = [name for name, version in self._pristine.items() if self.weights[name]._version != version]
        if changed:
            with keepable():
                self.weights |= {name: self._prepared(self._source[name]) for name in changed}
            self._pristine |= {name: self.weights[name]._version for name in changed}

    def _prepared(self, weight: Tensor) -> Tensor:
        copy = weight.detach().to(
            self._device, torch.float32 if weight.is_floating_point() else weight.dtype, copy=True
        )
        return copy.contiguous(memory_format=self._layout) if copy.dim() == 4 else copy


def keepable() -> contextlib.AbstractContextManager[object]:
    """Outside inference mode, whose tensors can neither be differentiated nor kept for later."""
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else contextlib.nullcontext()


def normal(tensor: Tensor) -> Tensor:
    """The tensor, as one that can be differentiated."""
    return tensor.clone() if tensor.is_inference() else tensor


def without_deleted(inputs: Tensor, attended: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Inputs and what is attended, without features that are NaN: these were deleted, see `removal.Deletion`."""
    if attended is None:
        return inputs, None
    deleted = inputs.isnan().any(1)
    return inputs.masked_fill(deleted[:, None], 0.0), attended * ~deleted


def _fingerprint(tensor: Tensor) -> tuple[float, ...]:
    """Address, version and sum: `weight.data.mul_(2)` changes neither of the first two."""
    version = 0 if tensor.is_inference() else tensor._version
    if tensor.is_meta or not tensor.is_floating_point():
        return (tensor.data_ptr(), version)
    return (tensor.data_ptr(), version, float(tensor.detach().sum(dtype=torch.float64)))


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, each submodule's own mode afterwards."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
