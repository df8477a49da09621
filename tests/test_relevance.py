"""Rules of relevance against scalar loops over every pair of an input and an output."""

from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from known_answers import normal, random

from xaieval import relevance
from xaieval.relevance import EPSILON, Layer, share

LAYERS: dict[str, Any] = {
    "dense": ((7,), (5, 7), functional.linear),
    "convolution": ((2, 5, 6), (4, 2, 3, 3), functional.conv2d),
    "stride and padding": (
        (2, 5, 6),
        (4, 2, 3, 2),
        lambda x, w: functional.conv2d(x, w, stride=(2, 1), padding=(1, 2)),
    ),
    "groups and dilation": (
        (4, 5, 5),
        (4, 2, 2, 2),
        lambda x, w: functional.conv2d(x, w, padding=1, dilation=2, groups=2),
    ),
    "depthwise": ((3, 4, 4), (3, 1, 3, 3), lambda x, w: functional.conv2d(x, w, padding=1, groups=3)),
    "one dimension": ((2, 8), (3, 2, 3), lambda x, w: functional.conv1d(x, w, stride=2)),
    "three dimensions": ((2, 3, 3, 3), (2, 2, 2, 2, 2), functional.conv3d),
    "transposed": ((2, 3, 3), (2, 3, 3, 3), lambda x, w: functional.conv_transpose2d(x, w, stride=2)),
}
LOW, HIGH = -0.7, 1.3


def up(value):
    return max(value, 0.0)


def down(value):
    return min(value, 0.0)


# What input x has in an output z, by a weight w; what a bias b has; and where they are compared.
RULES: dict[str, Any] = {
    "epsilon": (relevance.epsilon, lambda x, w, z: x * w, lambda b, z: b),
    "positive": (relevance.positive, lambda x, w, z: up(x * w), lambda b, z: up(b)),
    "negative": (relevance.negative, lambda x, w, z: down(x * w), lambda b, z: down(b)),
    "gamma": (
        relevance.gamma,
        lambda x, w, z: x * w + 0.25 * (up(x * w) if z > 0 else down(x * w)),
        lambda b, z: b + 0.25 * (up(b) if z > 0 else down(b)),
    ),
    "flat": (relevance.flat, lambda x, w, z: float(w != 0), lambda b, z: 0.0),
    "box": (
        lambda layer, x, r: relevance.box(layer, x, r, torch.tensor(LOW), torch.tensor(HIGH)),
        lambda x, w, z: x * w - LOW * up(w) - HIGH * down(w),
        lambda b, z: 0.0,
    ),
    "excitation": (relevance.excitation, lambda x, w, z: up(x) * up(w), lambda b, z: 0.0),
}


def made(kind, bias=True):
    """A layer with its inputs in [-1, 1], relevance of its outputs, and its weights as a matrix (outputs, inputs)."""
    shape, weights, apply = LAYERS[kind]
    inputs, weight = 2 * random(2, *shape) - 1, normal(*weights, seed=1)
    output = apply(inputs, weight)
    constant = normal(output.shape[1], *[1] * (output.dim() - 2), seed=2) if bias else None
    units = torch.eye(inputs[0].numel()).view(-1, *shape)
    return Layer(apply, weight, constant), inputs, normal(*output.shape, seed=3), apply(units, weight).flatten(1).T


def shared_slowly(layer, inputs, received, matrix, part, constant, keep, rest):
    """The rule of the module's first lines, one pair after another, in double precision."""
    biases = torch.zeros_like(received) if layer.bias is None else layer.bias.expand_as(received)
    found, absorbed = torch.zeros(len(inputs), inputs[0].numel(), dtype=torch.float64), [0.0] * len(inputs)
    for n, (x, b, r) in enumerate(
        zip(inputs.flatten(1).tolist(), biases.flatten(1).tolist(), received.flatten(1).tolist(), strict=True)
    ):
        for k, weights in enumerate(matrix.tolist()):
            z = sum(xj * w for xj, w in zip(x, weights, strict=True)) + b[k]
            parts, extra = [part(xj, w, z) for xj, w in zip(x, weights, strict=True)], constant(b[k], z)
            total = sum(parts) + extra
            if total == 0:  # what reaches no input stays with the bias, where the bias has no part of its own
                absorbed[n] += r[k] * rest
                continue
            rate = r[k] / (total + (EPSILON if total > 0 else -EPSILON) * keep)
            found[n] += rate * torch.tensor(parts, dtype=torch.float64)
            absorbed[n] += rate * extra
    return found.view(inputs.shape), torch.tensor(absorbed)


def assert_near(ours, theirs):
    """To rounding, of which a small denominator makes more: 1e-4 of the largest."""
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_its_formula(rule, kind, bias):
    layer, inputs, received, matrix = made(kind, bias)
    run, part, constant = RULES[rule]
    shares = run(layer, inputs, received)
    keep, rest = rule != "excitation", rule in ("flat", "box")
    expected, absorbed = shared_slowly(layer, inputs, received, matrix, part, constant, keep, rest)
    assert_near(shares.inputs, expected)
    if float(absorbed.abs().max()):
        assert_near(shares.bias, absorbed)
    else:
        assert not shares.bias.any()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rule", [*RULES, "alpha_beta"])
def test_nothing_is_lost(rule, kind):
    """What inputs and bias receive adds up to what the outputs had, where both signs contribute to each."""
    layer, inputs, received, matrix = made(kind)
    received = received * ((matrix > 0).any(1) & (matrix < 0).any(1)).view(received.shape[1:])
    run = relevance.alpha_beta if rule == "alpha_beta" else RULES[rule][0]
    shares = run(layer, inputs.abs() + 0.1, received)
    total = shares.inputs.flatten(1).sum(1) + shares.bias
    torch.testing.assert_close(total, received.flatten(1).sum(1), rtol=0, atol=1e-5 * float(received.abs().sum()))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.5])
def test_alpha_and_beta_weigh_the_two_signs(alpha):
    layer, inputs, received, _ = made("convolution")
    up, down = (rule(layer, inputs, received) for rule in (relevance.positive, relevance.negative))
    shares = relevance.alpha_beta(layer, inputs, received, alpha)
    assert_near(shares.inputs, alpha * up.inputs - (alpha - 1) * down.inputs)
    assert_near(shares.bias, alpha * up.bias - (alpha - 1) * down.bias)


def test_for_positive_inputs_gamma_is_the_papers_where_the_output_is_positive():
    layer, inputs, received, _ = made("dense", bias=False)
    inputs = inputs.abs()
    received = received * (layer.apply(inputs, layer.weight) > 0)
    more = Layer(layer.apply, layer.weight + 0.25 * layer.weight.clamp(min=0))
    assert_near(relevance.gamma(layer, inputs, received).inputs, relevance.epsilon(more, inputs, received).inputs)


def test_padding_is_not_real():
    layer, inputs, *_ = made("convolution")
    padded, real = functional.pad(inputs, (1, 2, 0, 1)), functional.pad(torch.ones_like(inputs), (1, 2, 0, 1)) > 0
    output = layer.apply(padded, layer.weight)
    shares = relevance.flat(layer, padded, torch.ones_like(output), real)
    assert not (shares.inputs * ~real).any()
    torch.testing.assert_close(shares.inputs.sum(), torch.tensor(float(output.numel())))


def test_any_linear_function_shares_in_proportion():
    """Average pooling: each input gets its part of the sum."""
    inputs, received = random(2, 3, 4, 4), random(2, 3, 2, 2, seed=1)
    shares = share(received, [(inputs, lambda x: functional.avg_pool2d(x, 2))])
    sums = functional.avg_pool2d(inputs, 2) * 4
    assert_near(shares.inputs, inputs * (received / sums).repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_a_denominator_of_zero_gives_zero_not_nan():
    layer = Layer(functional.linear, torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    inputs, received = torch.tensor([[2.0, 2.0], [0.0, 0.0]]), torch.ones(2, 2)
    for rule, (run, *_) in RULES.items():
        shares = run(layer, inputs, received)
        assert bool(shares.inputs.isfinite().all()), rule
    assert not relevance.excitation(layer, -inputs, received).inputs.any()
