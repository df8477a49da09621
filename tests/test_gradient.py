"""Gradient, and input times gradient."""

import captum.attr
import pytest
import torch
from known_answers import bind, linear, normal, quadratic, random
from networks import TARGET, Normalized, assert_close, explained, network

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient


def test_linear_model_gives_its_weights_and_their_products_with_the_input():
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    explicand = bind(linear(weights, 0.3), inputs)
    assert_close(Gradient()(explicand), weights.expand(2, -1, -1, -1), 1e-6)
    assert_close(InputXGradient()(explicand), weights * inputs, 1e-6)


def test_quadratic_model():
    matrix, inputs = normal(27, 27), random(2, 3, 3, 3)
    gradient = (inputs.flatten(1) @ (matrix + matrix.T)).view_as(inputs)
    explicand = bind(quadratic(matrix), inputs)
    assert_close(Gradient()(explicand), gradient, 1e-5)
    assert_close(InputXGradient()(explicand), inputs * gradient, 1e-5)


def test_input_x_gradient_sums_to_the_logit_without_biases():
    """f(a x) = a f(x) for a > 0, so by Euler the sum of x df/dx is f."""
    module, inputs = network(bias=False), random(3, 3, 16, 20)
    explicand = bind(module, inputs, list(TARGET))
    sums = InputXGradient()(explicand).sum((1, 2, 3))
    torch.testing.assert_close(sums, explicand.clean.logit, rtol=1e-4, atol=1e-5)


def test_agree_with_captum():
    module, inputs, target = network(), random(3, 3, 16, 20), torch.tensor(TARGET)
    explicand, theirs = explained(module, inputs), Normalized(module)
    leaf = inputs.clone().requires_grad_()
    saliency = captum.attr.Saliency(theirs).attribute(leaf, target, abs=False)
    assert_close(Gradient()(explicand), saliency.detach())
    product = captum.attr.InputXGradient(theirs).attribute(leaf, target)
    assert_close(InputXGradient()(explicand), product.detach())


def test_one_gradient_serves_both_and_each_is_charged_for_it():
    explicand = explained(network())
    maps = [Gradient()(explicand), InputXGradient()(explicand)]
    assert explicand.cost[:2] == (1, 1)
    assert [explicand.evaluations_of(values) for values in maps] == [1, 1]


def test_a_map_is_the_caller_s_own():
    explicand = explained(network())
    before = explicand.gradient.clone()
    Gradient()(explicand).zero_()
    assert torch.equal(explicand.gradient, before)


def test_max_is_the_paper_s_saliency():
    """The largest absolute weight over a linear model's channels."""
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    explicand = bind(linear(weights, 0.3), inputs)
    expected = weights.abs().amax(0).expand(2, 1, -1, -1)
    assert_close(Gradient("max")(explicand), expected, 1e-6)
    assert Gradient("max").units == "importance"
    Gradient()(explicand)
    assert explicand.cost[:2] == (1, 1)


def test_an_unknown_variant():
    with pytest.raises(ValueError, match="Gradient: variant must be one of signed, max, got 'mean'"):
        Gradient("mean")
