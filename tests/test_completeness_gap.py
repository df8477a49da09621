"""Completeness gap: the relative error of the sum of contributions."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from known_answers import Model, Smooth, bind, constant, ids, linear, normal, quadratic, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.component import Method
from xaieval.metrics.completeness_gap import CompletenessGap
from xaieval.removal import Blur, Noise


@pytest.mark.parametrize("promise", [promise for promise in PROMISES if promise.__name__ != "same_at_any_scale"])
def test_promise(promise):
    """But the scale is what it measures."""
    promise(CompletenessGap())


def gap(where, method):
    return CompletenessGap()(where, method(where), method)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", Blur(5, 2.0)])
def test_integrated_gradients_of_a_linear_model_are_complete_against_their_own_baseline(removal):
    """On 192 products in float32; against any other baseline the gap would be of order 1."""
    where = bind(linear(normal(3, 8, 8), constant=2.0), random(3, 3, 8, 8))
    method = IntegratedGradients(steps=3, removal=removal)
    assert (gap(where, method) < 1e-5).all()
    if removal != "zero":
        assert (CompletenessGap()(where, method(where), InputXGradient()) > 0.01).all()


def test_the_exact_gap_of_a_quadratic_model():
    """f = x'Ax: input times gradient sums to 2 f, one part too much."""
    matrix = normal(192, 192)
    where = bind(quadratic(matrix @ matrix.T), random(3, 3, 8, 8))
    torch.testing.assert_close(gap(where, InputXGradient()), torch.ones(3), atol=1e-4, rtol=0)
    assert (gap(where, IntegratedGradients(steps=1)) < 1e-4).all()  # the middle rule is exact for linear gradients


def test_scaled_and_shifted_maps_by_hand():
    where = bind(linear(normal(3, 8, 8)), random(2, 3, 8, 8))
    exact = InputXGradient()(where)
    change = where.clean.logit
    for factor in (0.5, 2.0, -1.0):
        found = CompletenessGap()(where, factor * exact, units="contribution")
        torch.testing.assert_close(found, torch.full((2,), abs(factor - 1)), atol=1e-4, rtol=0)
    more = CompletenessGap()(where, exact + 1 / 192, units="contribution")
    torch.testing.assert_close(more, 1 / change.abs(), rtol=1e-4, atol=0)


def test_the_gap_falls_with_the_steps():
    where = bind(Smooth(), random(3, 3, 8, 8))
    few, many = (gap(where, IntegratedGradients(steps=steps, rule="midpoint")) for steps in (2, 40))
    assert (many < few / 20).all()
    assert (many < 1e-3).all()


def test_the_baseline_is_that_of_the_method_inside():
    where = bind(linear(normal(3, 8, 8)), random(2, 3, 8, 8))
    inner = IntegratedGradients(steps=2, removal="mean")
    method = SmoothGrad(samples=1, noise=0.0, method=inner)
    assert method.units == "contribution"
    assert (gap(where, method) < 1e-4).all()


def test_a_drawn_baseline_is_undefined_and_costs_nothing():
    where = bind(linear(normal(3, 8, 8)), random(2, 3, 8, 8))
    method = IntegratedGradients(steps=2, removal=Noise())
    attribution = method(where)
    spent = where.cost[:2]
    values, reasons = CompletenessGap().evaluate(where, attribution, method)
    assert values.isnan().all()
    assert reasons["drawn baseline"].all()
    assert where.cost[:2] == spent


def test_without_a_change_it_is_undefined_not_infinite():
    where = bind(constant(), random(2, 3, 8, 8))
    values, reasons = CompletenessGap().evaluate(where, normal(2, 3, 8, 8), units="contribution")
    assert values.isnan().all()
    assert reasons["no change to explain"].all()


def test_other_units_are_undefined_and_cost_nothing():
    where = bind(Smooth(), random(2, 3, 8, 8))
    for units in ("gradient", "importance"):
        values, reasons = CompletenessGap().evaluate(where, normal(2, 3, 8, 8), Gradient(), units)
        assert values.isnan().all()
        assert reasons["units"].all()
    assert where.cost[:2] == (0, 0)


def test_it_costs_the_two_ends_which_curves_share():
    where = bind(Smooth(), random(2, 3, 8, 8))
    CompletenessGap()(where, normal(2, 3, 8, 8), units="contribution")
    assert where.cost[:2] == (2, 0)
    for seed in (1, 2):
        CompletenessGap()(where, normal(2, 3, 8, 8, seed=seed), units="contribution")
    assert where.clean.logit.shape == where.removed("zero").logit.shape
    assert where.cost[:2] == (2, 0)


def test_rounding_is_no_gap_and_no_equality_either():
    """Equality, as Quantus tests it, fails on exact maps of a linear model: the sum of floats is never it."""

    @dataclass(frozen=True)
    class Exact(Method):
        units: ClassVar[str] = "contribution"

        def attribute(self, explicand):
            return explicand.inputs * normal(3, 16, 16)

    where = bind(linear(normal(3, 16, 16), constant=0.3), random(40, 3, 16, 16), ids=ids(40))
    sums = where.features(Exact()(where)).flatten(1).sum(1)
    assert not torch.equal(sums, where.clean.logit - where.removed("zero").logit)
    assert (gap(where, Exact()) < 1e-3).all()  # a few changes are near 0


def test_contributions_of_absent_features_do_not_count():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[..., 5:] = False
    weights = normal(3, 8, 8) * present[0]
    where = bind(Model(lambda x: (x * weights).flatten(1).sum(1)), random(2, 3, 8, 8), present=present)
    attribution = InputXGradient()(where) + 100 * ~present[:, None]
    assert (CompletenessGap()(where, attribution, units="contribution") < 1e-4).all()
