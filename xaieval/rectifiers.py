"""Rectifiers whose backward pass follows another rule than the derivative: guided backpropagation and deconvnet.

The rule is applied to every call of a rectifier, whether it is a module, a function, in place or used twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode

RULES = ("guided", "deconvnet")

# What is called, and the names of its arguments in their order.
_PARAMETERS: dict[Callable[..., Any], tuple[str, ...]] = {
    **dict.fromkeys((torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu_), ("input",)),
    **dict.fromkeys((functional.relu, functional.relu6), ("input", "inplace")),
    functional.hardtanh: ("input", "min_val", "max_val", "inplace"),
    functional.hardtanh_: ("input", "min_val", "max_val"),
}
_IN_PLACE = (torch.relu_, Tensor.relu_, functional.relu_, functional.hardtanh_)
_LIMITS = {functional.relu6: (0.0, 6.0), functional.hardtanh: (-1.0, 1.0), functional.hardtanh_: (-1.0, 1.0)}


class Rectifiers(TorchFunctionMode):
    """Inside the block gradients p pass a rectifier by a rule of their own.

    * `guided`: `p` where `p > 0` and the rectifier let its input through (Springenberg 2014, arXiv:1412.6806).
    * `deconvnet`: `p` where `p > 0`, whatever the rectifier did (Zeiler 2013, arXiv:1311.2901).

    Rectifiers are relu, relu6 and hardtanh. The forward pass stays as it is.

    Attributes:
        seen: How many calls of rectifiers there were.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"Rectifiers: rule must be one of {', '.join(RULES)}, got {rule!r}")
        self.seen = 0
        self._rule = rule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer the calls of rectifiers, hand on every other."""
        if func not in _PARAMETERS:
            return func(*args, **(kwargs or {}))
        self.seen += 1
        return self._rectify(func, dict(zip(_PARAMETERS[func], args, strict=False)) | (kwargs or {}))

    def _rectify(self, func: Any, options: dict[str, Any]) -> Tensor:
        inputs: Tensor = options["input"]
        low, high = _LIMITS.get(func, (0.0, torch.inf))
        low, high = options.get("min_val", low), options.get("max_val", high)
        result: Tensor = _Rectify.apply(inputs, low, high, self._rule == "guided")
        # What is written in place has to be found there, by code that holds the input.
        return inputs.copy_(result) if func in _IN_PLACE or options.get("inplace") else result


class _Rectify(torch.autograd.Function):
    """`clamp(inputs, low, high)` with another backward pass."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, low: float, high: float, guided: bool) -> Tensor:
        result = inputs.clamp(low, high)
        if guided:  # where the result lies between the limits the input did
            ctx.save_for_backward(result)
            ctx.limits = (low, high)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        positive = gradients[0].clamp(min=0)
        for result in ctx.saved_tensors:
            positive = torch.ops.aten.hardtanh_backward(positive, result, *ctx.limits)
        return positive, None, None, None
