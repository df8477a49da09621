"""DeepLift: the difference of the score from that of a baseline, shared out backwards through differences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.propagation import ELEMENTWISE, MAX_POOLING, Function, Propagation, Rule
from xaieval.removal import Removal
from xaieval.scores import Scores

# What counts as no difference, as part of the number itself.
SAME = 8 * torch.finfo(torch.float32).eps
# By how much a sum may miss the change of the logit: as part of that change, and as part of all that was summed.
GAP = 0.01
ROUNDING = 1e-5


@final
@dataclass(frozen=True)
class DeepLift(Method):
    """`m (x - x0)`, `(N, C, *F)`: m is the gradient whose chain rule has `(y - y0) / (z - z0)` for every nonlinearity.

    Shrikumar 2017 (arXiv:1704.02685, section 3.5.1, the rescale rule). z and y are what goes into a nonlinear function
    and what comes out for the input, z0 and y0 for the baseline x0. Any function of one number has this rule, however
    it is called. Where `|z - z0| <= 8 eps |z|`, eps = 2^-23, the difference is no more than the rounding of sums and
    the quotient means nothing: there the multiplier is the derivative at z. In max pooling a window's `y - y0` goes to
    the input's largest place if `y >= y0`, else to the baseline's: that changed by at least as much, so windows may
    overlap.
    Linear functions have their gradient; without any nonlinear one the map is `w (x - x0)`.

    Units: contribution in logits, against the baseline x0. Complete: the sum is `f_c(x) - f_c(x0)`. A sample whose sum
    misses that by more than 1 % of it, and by more than rounding, has no map: it is NaN.

    Cost: two forwards and two backwards; input and baseline go through in one call.

    Differs from the paper: the rule of max pooling is Captum's (and SHAP's), for windows that overlap too. No rule for
    products of activations, softmax or normalization over features, which are refused; no RevealCancel (section 3.5.3).

    Attributes:
        removal: The baseline x0: the input with every feature removed. A drawn removal is drawn once for each sample.

    Raises:
        UnsupportedError: The model calls a function that has no rule; names the layer.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1704.02685"
    complete: ClassVar[bool] = True
    refuses: ClassVar[str] = "unsupported layers: completeness gap above 1 %"
    removal: str | Removal = "zero"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The contributions `(N, C, *F)`, NaN in samples whose sum misses the change of the logit."""
        baseline = explicand.baseline(self.removal)
        scores, multipliers = explicand.propagated(_Differences, baseline)
        attribution = multipliers * (explicand.inputs - baseline)
        wrong = _incomplete(attribution, scores)
        return attribution.masked_fill(wrong.view(-1, *(1,) * (attribution.dim() - 1)), torch.nan)


def _incomplete(attribution: Tensor, scores: Scores) -> Tensor:
    """Where `(N,)` the sum misses the change of the logit by more than 1 % of it, and by more than rounding.

    Rounding is 1e-5 of the two logits and of all that was summed. This finds what no table of functions does: layers
    that hide what they compute from torch, or mix samples.
    """
    change = scores.logit[0] - scores.logit[1]
    flat = attribution.flatten(1)
    rounding = ROUNDING * (scores.logit.abs().sum(0) + flat.abs().sum(1))
    return ~((flat.sum(1) - change).abs() <= GAP * change.abs() + rounding)  # also where the sum is NaN


class _Differences(Propagation):
    """The rescale rule, in calls of inputs with their baselines behind them."""

    def __init__(self) -> None:
        rules: dict[str, Rule] = dict.fromkeys(ELEMENTWISE, _elementwise)
        rules |= {name: partial(_max_pooling, sides=int(name[-2])) for name in MAX_POOLING}
        super().__init__("DeepLift", rules)


def _elementwise(function: Function, options: dict[str, Any]) -> Any:
    inputs: Tensor = options["input"]
    others = [value for name, value in options.items() if name != "input" and isinstance(value, Tensor)]
    if not inputs.dim() or len(inputs) % 2 or any(value.requires_grad for value in others):
        return NotImplemented
    halves = inputs.detach().unflatten(0, (2, -1))
    result = function(**options | {"input": inputs.detach()}).detach()
    slope = _slope(function, options, halves[0])
    change = halves[0] - halves[1]
    quotient = torch.sub(*result.unflatten(0, (2, -1))).div_(change)
    same = change.abs_() <= halves[0].abs().mul_(SAME)
    return _Scaled.apply(inputs, result, torch.where(same, slope, quotient))


def _slope(function: Function, options: dict[str, Any], inputs: Tensor) -> Tensor:
    leaf = inputs.detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(**options | {"input": leaf}), leaf, leaf.new_ones(()).expand_as(leaf))
    return slope


def _max_pooling(function: Function, options: dict[str, Any], sides: int) -> Any:
    inputs: Tensor = options["input"]
    if inputs.dim() != 2 + sides or len(inputs) % 2:
        return NotImplemented
    with torch.no_grad():
        result, places = function(**options | {"return_indices": True})
        y, y0 = result.unflatten(0, (2, -1)).flatten(3)
        place = torch.where(y >= y0, *places.unflatten(0, (2, -1)).flatten(3))
        z, z0 = inputs.unflatten(0, (2, -1)).flatten(3)
        change = (z - z0).gather(2, place)
        multiplier = torch.where(change == 0, 1, (y - y0) / change)
    return _Sent.apply(inputs, result, place, multiplier)


class _Scaled(torch.autograd.Function):
    """A result known already, whose gradient is multiplied by what stands for the derivative."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, result: Tensor, multiplier: Tensor) -> Tensor:
        ctx.save_for_backward(multiplier)
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (multiplier,) = ctx.saved_tensors
        return (gradients[0].unflatten(0, (2, -1)) * multiplier).flatten(0, 1), None, None


class _Sent(torch.autograd.Function):
    """A result known already, whose gradient is multiplied and sent to one place of each plane for each entry."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, result: Tensor, place: Tensor, multiplier: Tensor) -> Tensor:
        ctx.save_for_backward(place, multiplier)
        ctx.shape = inputs.shape
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        place, multiplier = ctx.saved_tensors
        sent = gradients[0].unflatten(0, (2, -1)).flatten(3) * multiplier
        planes = sent.new_zeros(ctx.shape).unflatten(0, (2, -1)).flatten(3)
        return planes.scatter_add(3, place.expand_as(sent), sent).view(ctx.shape), None, None, None
