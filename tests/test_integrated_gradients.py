"""Integrated gradients: exact where a rule is exact, complete, and Captum's where the rules are the same."""

import captum.attr
import pytest
import torch
from known_answers import Model, Smooth, bind, linear, normal, quadratic, random
from networks import TARGET, Normalized, assert_close, explained, network

from xaieval.attributions.integrated_gradients import RULES, IntegratedGradients
from xaieval.removal import Noise


def least(rule):
    return 2 if rule == "trapezoid" else 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 50])
def test_weights_sum_to_one(rule, steps):
    nodes, weights = IntegratedGradients(steps, rule).quadrature()
    assert nodes.shape == weights.shape == (steps,)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert 0 <= nodes.min() < nodes.max() <= 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_linear_model_is_exact_at_any_number_of_steps(rule, removal):
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    explicand = bind(linear(weights), inputs)
    baseline = 0 if removal == "zero" else inputs.mean((2, 3), keepdim=True)
    for steps in (least(rule), 5):
        assert_close(IntegratedGradients(steps, rule, removal)(explicand), weights * (inputs - baseline), 1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_quadratic_model_is_exact_with_the_fewest_steps(rule, removal):
    """The gradient is linear along the line, so its mean is the gradient halfway: (A + A') (x + x0) / 2."""
    matrix, inputs = normal(27, 27), random(2, 3, 3, 3)
    baseline = torch.zeros_like(inputs) if removal == "zero" else inputs.mean((2, 3), keepdim=True).expand_as(inputs)
    halfway = ((inputs + baseline) / 2).flatten(1) @ (matrix + matrix.T)
    expected = (inputs - baseline) * halfway.view_as(inputs)
    explicand = bind(quadratic(matrix), inputs)
    assert_close(IntegratedGradients(least(rule), rule, removal)(explicand), expected, 1e-5)


@pytest.mark.parametrize(
    ("rule", "steps", "integral"),
    [
        ("gauss_legendre", 2, 1 / 3),  # exact for gradients of degree 3
        ("midpoint", 2, (0.25**2 + 0.75**2) / 2),
        ("trapezoid", 3, (0.5**2 + 1 / 2) / 2),  # with weights 1/n it would be a quarter
    ],
)
def test_each_rule_integrates_a_square_as_it_should(rule, steps, integral):
    """f = sum w x^3: the gradient along the line is 3 w x^2 a^2."""
    weights, inputs = normal(3, 4, 4), random(2, 3, 4, 4)
    explicand = bind(Model(lambda x: (weights * x**3).flatten(1).sum(1)), inputs)
    assert_close(IntegratedGradients(steps, rule)(explicand), 3 * integral * weights * inputs**3, 1e-5)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", Noise(seed=4)], ids=str)
def test_complete_on_a_smooth_network(removal):
    explicand = bind(Smooth(), random(3, 3, 14, 12), [0, 2, 1])
    sums = IntegratedGradients(30, removal=removal)(explicand).sum((1, 2, 3))
    baseline = explicand.removal(removal)  # as methods draw it: a curve's end has noise of its own
    removed = explicand.scores(lambda batch: baseline(batch, torch.ones_like(batch.inputs[:, :1])), 1)[:, 0]
    change = explicand.clean.logit - removed
    torch.testing.assert_close(sums, change, rtol=0, atol=1e-5)  # rounding of logits of size 1


def test_nothing_where_the_input_is_its_own_baseline():
    inputs = random(2, 3, 8, 8)
    inputs[:, :, 2:4] = 0
    inputs[1] = 0
    values = IntegratedGradients(4)(explained(network(), inputs, (0, 1)))
    assert not values[:, :, 2:4].any()
    assert not values[1].any()
    assert values[0].any()


@pytest.mark.parametrize(("rule", "captums"), [("gauss_legendre", "gausslegendre"), ("midpoint", "riemann_middle")])
def test_agrees_with_captum(rule, captums):
    module, inputs = network(), random(3, 3, 16, 20)
    theirs = captum.attr.IntegratedGradients(Normalized(module))
    expected = theirs.attribute(
        inputs, torch.zeros(1, 3, 1, 1).expand_as(inputs), torch.tensor(TARGET), n_steps=20, method=captums
    )
    assert_close(IntegratedGradients(20, rule)(explained(module, inputs)), expected.detach())


def test_absent_features_take_no_part():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[:, 5:] = False
    inputs = random(2, 3, 8, 8)
    explicand = bind(Smooth(), inputs, [0, 1], present=present)
    values = IntegratedGradients(30)(explicand)
    assert not values[:, :, 5:].any()
    kept = torch.where(present[:, None], 0, inputs)
    change = explicand.clean.logit - bind(Smooth(), kept, [0, 1]).clean.logit
    torch.testing.assert_close(values.sum((1, 2, 3)), change, rtol=0, atol=1e-5)  # rounding of logits of size 1


def test_costs_one_gradient_a_step():
    explicand = explained(network())
    values = IntegratedGradients(9)(explicand)
    assert explicand.cost[:2] == (9, 9)
    assert explicand.evaluations_of(values) == 9


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = IntegratedGradients(10)(explained(network(), inputs))
    assert_close(IntegratedGradients(10)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="rule must be one of gauss_legendre, midpoint, trapezoid, got 'right'"):
        IntegratedGradients(rule="right")
    with pytest.raises(ValueError, match="trapezoid needs steps >= 2, got 1"):
        IntegratedGradients(1, "trapezoid")
