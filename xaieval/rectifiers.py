"""Rectifiers whose backward pass follows another rule than the derivative: guided backpropagation and deconvnet.

The rule is applied to every call of a rectifier, whether it is a module, a function, in place or used twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xaieval.propagation import Function, Propagation

RULES = ("guided", "deconvnet")

_LIMITS = {"relu": (0.0, torch.inf), "relu6": (0.0, 6.0), "hardtanh": (-1.0, 1.0)}
"""What rectifiers clamp to, by name, unless they are given other limits."""


class Rectifiers(Propagation):
    """Inside the block gradients p pass a rectifier by a rule of their own.

    * `guided`: `p` where `p > 0` and the rectifier let its input through (Springenberg 2014, arXiv:1412.6806).
    * `deconvnet`: `p` where `p > 0`, whatever the rectifier did (Zeiler 2013, arXiv:1311.2901).

    Rectifiers are relu, relu6 and hardtanh; everything else keeps its derivative. The forward pass stays as it is.

    Attributes:
        seen: How many calls of rectifiers there were, of those that a gradient has to pass.
    """

    def __init__(self, rule: str) -> None:
        if rule not in RULES:
            raise ValueError(f"Rectifiers: rule must be one of {', '.join(RULES)}, got {rule!r}")
        self._guided = rule == "guided"
        super().__init__(rule, {name: self._rule(*limits) for name, limits in _LIMITS.items()})

    def _rule(self, low: float, high: float) -> Any:
        def rectify(function: Function, options: dict[str, Any]) -> Tensor:
            limits = (options.get("min_val", low), options.get("max_val", high))
            result: Tensor = _Rectify.apply(options["input"], *limits, self._guided)
            return result

        return rectify


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
