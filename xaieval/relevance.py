"""Rules by which the relevance of a layer's outputs is shared out among its inputs.

Every rule is a backward pass of its own for a linear function `z_k = sum_j x_j w_jk + b_k`: input j receives the part
of relevance `R_k` that some contribution `c_jk` of it has among all, `R_j = sum_k c_jk R_k / (sum_j c_jk + c_k)`, where
`c_k` is the bias's. Rules differ in the contributions alone. With + and - for the positive and the negative part:

* `epsilon`: `x w`, and the bias `b` (Bach 2015, doi:10.1371/journal.pone.0130140, eq. 58).
* `positive`: `(x w)+ = x+ w+ + x- w-`, and `b+`; `negative` likewise. `alpha_beta` is `alpha` times what positive
  contributions receive minus `alpha - 1` times what negative ones do (Bach 2015, eq. 60).
* `gamma`: `x w + gamma (x w)+` where `z > 0`, `x w + gamma (x w)-` where `z < 0` (Montavon 2019,
  doi:10.1007/978-3-030-28954-6_10, section 10.2.3, for inputs of both signs).
* `flat`: 1 for every input in reach; no bias, which gets what reaches no input (Lapuschkin 2019,
  doi:10.1038/s41467-019-08987-4).
* `box`: `x w - low w+ - high w-` for inputs between two limits, the bias likewise (Montavon 2017,
  doi:10.1016/j.patcog.2016.11.008).
* `excitation`: `x+ w+`, no bias (Zhang 2016, arXiv:1608.00507, eq. 5).

Numbers of equations are unverified. A function of the inputs stands for its weights: convolutions, dense layers,
average poolings and sums are all shared out by the same few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-6
"""What keeps a denominator of LRP from zero, with its sign; one of 0 counts as positive."""

TINY = 1e-30
"""Least denominator of excitation backpropagation, whose numerators are 0 where it is."""

Function = Callable[[Tensor], Tensor]
Part = tuple[Tensor, Function]


@dataclass(frozen=True)
class Layer:
    """A linear layer.

    Attributes:
        apply: The function of inputs and weight, without bias.
        weight: The weight, whatever its shape.
        bias: The bias, in a shape that is added to outputs; None: there is none.
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """The outputs."""
        outputs = self.apply(inputs, self.weight)
        return outputs if self.bias is None else outputs + self.bias

    def scaled(self, scale: Tensor, shift: Tensor) -> Layer:
        """The layer with `scale z + shift` for its outputs z, one number for each channel."""
        weight = self.weight * scale.view(-1, *(1,) * (self.weight.dim() - 1))
        return Layer(self.apply, weight, shift if self.bias is None else shift + scale * self.bias)

    def by(self, weight: Tensor) -> Function:
        """The function with another weight."""
        return lambda inputs: self.apply(inputs, weight)

    def bias_of(self, change: Function) -> Tensor | None:
        """A change of the bias, where there is one."""
        return None if self.bias is None else change(self.bias)


@dataclass(frozen=True)
class Shares:
    """What relevance became.

    Attributes:
        inputs: What the inputs received, in their shape.
        bias: What the bias received, `(n,)`: it leaves the network there.
    """

    inputs: Tensor
    bias: Tensor

    def plus(self, other: Shares, factor: float = 1.0, own: float = 1.0) -> Shares:
        """A weighted sum, in the memory of this."""
        inputs = self.inputs.mul_(own).add_(other.inputs, alpha=factor)
        return Shares(inputs, own * self.bias + factor * other.bias)


def stabilized(values: Tensor) -> Tensor:
    """The values, further from zero by epsilon."""
    return values + torch.where(values >= 0, EPSILON, -EPSILON)


def share(
    relevance: Tensor,
    parts: Sequence[Part],
    bias: Tensor | None = None,
    stabilize: Function = stabilized,
    rest: bool = False,
) -> Shares:
    """Share relevance `(n, ...)` out among inputs in proportion to `sum_p x_p f_p'`, their linear contributions.

    Args:
        relevance: What the outputs received.
        parts: Inputs `(n, ...)` and the linear function that they go through; outputs are added, and so are what the
            inputs receive.
        bias: What else the outputs contain, and has its share.
        stabilize: Keeps denominators from zero.
        rest: Whether the bias gets what outputs received that have no part of any input.
    """
    with torch.enable_grad():
        leaves = [inputs.detach().requires_grad_() for inputs, _ in parts]
        outputs = [function(leaf) for leaf, (_, function) in zip(leaves, parts, strict=True)]
    total = outputs[0].detach() if bias is None else outputs[0].detach() + bias
    for output in outputs[1:]:
        total = total + output.detach()
    rates = relevance / stabilize(total)
    kept = relevance * (total == 0) if rest else rates * (0 if bias is None else bias)
    received: Tensor | None = None
    for leaf, output in zip(leaves, outputs, strict=True):  # one after another: fewer tensors at once
        (gradient,) = torch.autograd.grad(output, leaf, rates)
        contributed = leaf.detach() * gradient
        received = contributed if received is None else received.add_(contributed)
    assert received is not None  # there is at least one part
    return Shares(received, kept.reshape(len(kept), -1).sum(1))


def epsilon(layer: Layer, inputs: Tensor, relevance: Tensor) -> Shares:
    """In proportion to `x w`."""
    return share(relevance, [(inputs, layer.by(layer.weight))], layer.bias)


def positive(layer: Layer, inputs: Tensor, relevance: Tensor) -> Shares:
    """In proportion to `(x w)+`."""
    up, down = layer.by(_up(layer.weight)), layer.by(_down(layer.weight))
    return share(relevance, [(_up(inputs), up), (_down(inputs), down)], layer.bias_of(_up))


def negative(layer: Layer, inputs: Tensor, relevance: Tensor) -> Shares:
    """In proportion to `(x w)-`."""
    up, down = layer.by(_up(layer.weight)), layer.by(_down(layer.weight))
    return share(relevance, [(_up(inputs), down), (_down(inputs), up)], layer.bias_of(_down))


def alpha_beta(layer: Layer, inputs: Tensor, relevance: Tensor, alpha: float = 2.0) -> Shares:
    """`alpha` times in proportion to `(x w)+`, minus `alpha - 1` times in proportion to `(x w)-`."""
    return positive(layer, inputs, relevance).plus(negative(layer, inputs, relevance), 1 - alpha, alpha)


def gamma(layer: Layer, inputs: Tensor, relevance: Tensor, gamma: float = 0.25) -> Shares:
    """In proportion to `x w + gamma (x w)+` where the output is positive, `x w + gamma (x w)-` where negative."""
    output = layer(inputs)
    more_up, more_down = (layer.by(layer.weight + gamma * part(layer.weight)) for part in (_up, _down))
    bias_up, bias_down = (layer.bias_of(lambda b, part=part: b + gamma * part(b)) for part in (_up, _down))  # type: ignore[misc]
    up, down = _up(inputs), _down(inputs)
    above = share(relevance * (output > 0), [(up, more_up), (down, more_down)], bias_up)
    return above.plus(share(relevance * (output < 0), [(up, more_down), (down, more_up)], bias_down))


def flat(layer: Layer, inputs: Tensor, relevance: Tensor, real: Tensor | None = None) -> Shares:
    """In equal parts among all inputs in reach, but for those that are not `real`, such as padding."""
    ones = torch.ones_like(inputs) if real is None else real.to(inputs).expand_as(inputs)
    return share(relevance, [(ones, layer.by(torch.ones_like(layer.weight)))], rest=True)


def box(layer: Layer, inputs: Tensor, relevance: Tensor, low: Tensor, high: Tensor) -> Shares:
    """In proportion to `x w - low w+ - high w-`, which no input between its limits makes negative."""
    weight = layer.weight
    parts = [(inputs, layer.by(weight)), (low, layer.by(-_up(weight))), (high, layer.by(-_down(weight)))]
    return share(relevance, [(values.expand_as(inputs), function) for values, function in parts], rest=True)


def excitation(layer: Layer, inputs: Tensor, relevance: Tensor) -> Shares:
    """In proportion to `x+ w+`; an output that nothing excites passes on nothing."""
    return share(relevance, [(_up(inputs), layer.by(_up(layer.weight)))], stabilize=lambda z: z.clamp(min=TINY))


def _up(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _down(values: Tensor) -> Tensor:
    return values.clamp(max=0)
