"""Batch normalization with fixed statistics, made cheap: folded into the convolution before it, else one affine map.

In evaluation mode `BN(conv(x; W, b))` is `conv(x; s W, s b + t)` with `s = weight / sqrt(variance + eps)` and `t =
bias - s mean`. That saves one pass over memory forward and two backward, a quarter of EfficientNet-Lite0's time. The
module is not edited: `Folded` answers its calls of `conv2d` and `batch_norm` while it runs.

A pair is folded only if that is safe. The first call is `Observed`: the convolution's output must go into the batch
normalization and nowhere else in the graph of the logits. Every later call checks that it still does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaieval.graph import graph_of


class Normalization(NamedTuple):
    """The arguments of `torch.nn.functional.batch_norm`."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5

    @property
    def fixed(self) -> bool:
        """Whether it is an affine map: the statistics do not depend on the input, and precisions are not mixed."""
        known = not self.training and self.running_mean is not None and self.running_var is not None
        return known and self.running_var is not None and self.input.dtype == self.running_var.dtype

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift `(K,)` of each channel."""
        assert self.running_mean is not None
        assert self.running_var is not None
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale
        return scale, shift if self.bias is None else shift + self.bias


@dataclass(frozen=True)
class Fold:
    """A convolution that does the work of the batch normalization after it.

    Attributes:
        source: The convolution's own weight, by which its call is known.
        running_mean: The statistics by which the call of the batch normalization is known.
        weight: The weight with the scale in it.
        bias: The bias with scale and shift in it.
    """

    source: Tensor
    running_mean: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, after: Normalization) -> Fold:
        """The fold of a convolution's weight and bias with the batch normalization after it."""
        assert after.running_mean is not None
        scale, shift = after.affine()
        return cls(
            weight,
            after.running_mean,
            weight * scale[:, None, None, None],
            shift if bias is None else shift + scale * bias,
        )


class UnsafeFoldError(Exception):
    """The output of a folded convolution went elsewhere than into its batch normalization."""


class Observed(TorchFunctionMode):
    """Notes which convolutions with known weights feed a batch normalization with known statistics.

    Args:
        known: The weights and buffers that stay the same from call to call.
    """

    def __init__(self, known: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._known = {id(tensor) for tensor in known.values()}
        self._convolutions: dict[int, tuple[Tensor, Tensor, Tensor | None, Any]] = {}
        self._pairs: list[tuple[Tensor, Tensor | None, Normalization, Any, Any]] = []
        self._calls: Counter[int] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every call as it is, with notes on two kinds of it."""
        result = func(*args, **(kwargs or {}))
        if func is torch.conv2d and _positional(args, kwargs):
            self._calls[id(args[1])] += 1
            self._convolutions[id(result)] = (result, args[1], args[2], result.grad_fn)
        elif func is functional.batch_norm:
            self._note(Normalization(*args, **(kwargs or {})), result)
        return result

    def _note(self, call: Normalization, result: Tensor) -> None:
        output, weight, bias, node = self._convolutions.get(id(call.input), (None, None, None, None))
        self._calls[id(call.running_mean)] += 1
        if output is call.input and weight is not None and call.fixed and node is call.input.grad_fn:
            self._pairs.append((weight, bias, call, node, result.grad_fn))

    def folds(self, logits: Tensor) -> dict[int, Fold]:
        """The safe pairs by the identity of the convolution's weight, after the call that gave these logits."""
        users: dict[Any, list[Any]] = {}
        for user, used in graph_of(logits.grad_fn).items():
            for node in used:
                users.setdefault(node, []).append(user)
        return {
            id(weight): Fold.of(weight, bias, call)
            for weight, bias, call, convolution, normalization in self._pairs
            if convolution is not None and users.get(convolution) == [normalization] and self._fixed(weight, bias, call)
        }

    def _fixed(self, weight: Tensor, bias: Tensor | None, call: Normalization) -> bool:
        """Whether nothing of a pair changes from call to call, or is used twice in one."""
        parts = (weight, bias, call.running_mean, call.running_var, call.weight, call.bias)
        known = all(part is None or id(part) in self._known for part in parts)
        return known and self._calls[id(weight)] == 1 and self._calls[id(call.running_mean)] == 1


class Folded(TorchFunctionMode):
    """Inside the block, folded convolutions do the work of their batch normalizations.

    Any other batch normalization with fixed statistics becomes `scale x + shift` where a gradient will be asked for:
    PyTorch's backward pass on the CPU sums over the batch for gradients of weights that nobody wants.

    Raises:
        UnsafeFoldError: The output of a folded convolution went elsewhere; the call has to be made again without folds.
    """

    def __init__(self, folds: Mapping[int, Fold]) -> None:
        super().__init__()
        self._folds = folds
        self._waiting: dict[int, tuple[Tensor, Fold]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer the calls of two functions, hand on every other."""
        if func is torch.conv2d and _positional(args, kwargs) and id(args[1]) in self._folds:
            return self._convolve(*args)
        if func is functional.batch_norm:
            return self._normalize(Normalization(*args, **(kwargs or {})))
        result = func(*args, **(kwargs or {}))
        if self._waiting and _makes_tensors(result) and any(id(arg) in self._waiting for arg in _flat(args, kwargs)):
            raise UnsafeFoldError
        return result

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """See the base class."""
        super().__exit__(kind, error, trace)
        if error is None and self._waiting:
            raise UnsafeFoldError

    def _convolve(self, inputs: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        fold = self._folds[id(weight)]
        result: Tensor = torch.conv2d(inputs, fold.weight, fold.bias, *options)
        self._waiting[id(result)] = (result, fold)
        return result

    def _normalize(self, call: Normalization) -> Tensor:
        _, fold = self._waiting.pop(id(call.input), (None, None))
        if fold is not None:
            if call.running_mean is not fold.running_mean:
                raise UnsafeFoldError
            return call.input
        if not call.fixed or not call.input.requires_grad:
            return functional.batch_norm(*call)
        scale, shift = (values.view(-1, *(1,) * (call.input.dim() - 2)) for values in call.affine())
        return torch.addcmul(shift, call.input, scale)


def hooked(module: nn.Module) -> bool:
    """Whether anybody watches a part of the module, and so might see what a folded convolution gives."""
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


def _positional(args: Any, kwargs: Any) -> bool:
    """Whether a convolution is called as `nn.Conv2d` does it: input, weight, bias and options in their order."""
    return len(args) >= 3 and not kwargs


def _flat(args: Any, kwargs: Any) -> Iterator[Any]:
    for arg in (*args, *(kwargs or {}).values()):
        yield from arg if isinstance(arg, list | tuple) else (arg,)


def _makes_tensors(result: Any) -> bool:
    """Whether a call did more than ask for a shape or another fact."""
    return any(isinstance(part, Tensor) for part in (result if isinstance(result, list | tuple) else (result,)))
