"""Monotonicity correlation: ranks of score sizes against ranks of squared changes under noise."""

import numpy as np
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Model, Smooth, bind, constant, linear, normal, random, spread
from metric_promises import PROMISES
from scipy.stats import rankdata, spearmanr

from xaieval.attributions.gradient import Gradient
from xaieval.correlation import ranks
from xaieval.each_patch import EachPatch
from xaieval.metrics.monotonicity_correlation import MonotonicityCorrelation
from xaieval.removal import Noise

SMALL = MonotonicityCorrelation(samples=3, grid=4)


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(SMALL)


def test_gradient_of_a_linear_model_is_one_and_so_is_its_negative():
    """Both sides are the same squares; a plain |gradient| would not know the distance from the noise."""
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8, seed=1))
    gradient = Gradient()(where)
    for attribution in (gradient, -3 * gradient):
        torch.testing.assert_close(SMALL(where, attribution), torch.ones(3), rtol=0, atol=1e-6)


def test_closed_form_of_squared_changes_on_a_linear_model():
    """One pixel a patch: E[(f(x) - f(x with u))^2] = w^2 E[(u - x)^2] = w^2 (1/12 + (x - 1/2)^2)."""
    weights, inputs = normal(1, 3, 3), random(1, 1, 3, 3, seed=1)
    where = bind(linear(weights), inputs)
    change = where.response(EachPatch.of(where, 3, Noise(0), 4000)).change.view(9, 4000).square().mean(1)
    expected = (weights**2 * (1 / 12 + (inputs[0] - 0.5) ** 2)).flatten()
    # Four standard errors: (u - x)^2 lies in [0, 1], so its deviation is below .5.
    assert ((change - expected).abs() < 4 * 0.5 * weights.flatten() ** 2 / 4000**0.5).all()
    order = spearmanr(normal(9, seed=5).abs(), expected).statistic
    found = MonotonicityCorrelation(4000, 3)(where, normal(9, seed=5).view(1, 1, 3, 3), units="importance")
    np.testing.assert_allclose(found, spearmanr(normal(9, seed=5).abs(), change).statistic, atol=1e-6)
    assert abs(found - order) < 0.15  # no more than two neighbors in another order


@pytest.mark.parametrize("units", ["gradient", "contribution"])
def test_agrees_with_scipy(units):
    model, inputs, attribution = Smooth(), random(4, 3, 8, 8), normal(4, 3, 8, 8)
    where = bind(model, inputs, target=1)
    draws = EachPatch.of(where, 4, Noise(0), 3)
    shown = torch.cat([draws.inputs(where, batch) for batch in where.batches(draws.samples)]).view(4, 16, 3, 3, 8, 8)
    expected = []
    for x, a, y in zip(inputs.double(), attribution.double(), shown.double(), strict=True):
        with torch.no_grad():
            change = model.double()(x[None])[0, 1] - model.double()(y.flatten(0, 1))[:, 1].view(16, 3)
        sums = torch.nn.functional.avg_pool2d(a.sum(0)[None], 2).flatten().abs()
        squared = ((x - y) * a).sum((2, 3, 4)).square().mean(1)
        expected.append(spearmanr(squared if units == "gradient" else sums, change.square().mean(1)).statistic)
    # Two changes closer than rounding may be tied here and not there: one pair of 16 moves the value by 2e-3.
    np.testing.assert_allclose(SMALL(where, attribution, units=units), expected, atol=3e-3)


def test_ranks_share_their_mean_among_ties():
    values = torch.tensor([[3.0, 1.0, 2.0, 1.0, 1.0, 3.0], [0.0, -1.0, 5.0, 5.0, 5.0, 5.0 + 1e-7]])
    expected = rankdata(values.half().numpy(), axis=1) - 1
    np.testing.assert_array_equal(ranks(values, torch.full((2,), 1e-5)), expected)


def test_absent_patches_do_not_count():
    present = torch.ones(1, 8, 8, dtype=torch.bool)
    present[:, :, 4:] = False
    given, other = normal(1, 4, 4), normal(1, 4, 4, seed=1)
    where = bind(linear(spread(given, 8)[0]), torch.ones(1, 3, 8, 8), present=present)
    draws = EachPatch.of(where, 4, Noise(0), 3)
    change = where.response(draws).change.view(4, 4, 3)[:, :2].square().mean(2)
    expected = spearmanr(change.flatten(), other[0, :, :2].abs().flatten()).statistic
    np.testing.assert_allclose(SMALL(where, spread(other, 8)), expected, atol=1e-6)


def test_product_feels_both_factors_alike():
    """f = u v: only the two patches of the factors change it, so a map of them is better than one of others."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), torch.full((2, 3, 2, 2), 0.9))
    metric = MonotonicityCorrelation(20, 2)
    right = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).expand(2, 1, 2, 2)
    change = where.response(EachPatch.of(where, 2, Noise(0), 20)).change.view(2, 4, 20).square().mean(2)
    expected = [spearmanr(row, [2.0, 0.0, 0.0, 1.0]).statistic for row in change]
    np.testing.assert_allclose(metric(where, right), expected, atol=1e-6)
    assert (metric(where, right) > metric(where, right.flip(3))).all()


def test_constant_model_and_constant_map_are_undefined():
    values, reasons = SMALL.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["constant response"].all()
    values, reasons = SMALL.evaluate(bind(Smooth(), random(2, 3, 8, 8)), torch.full((2, 1, 8, 8), 0.1))
    assert values.isnan().all()
    assert reasons["constant prediction"].all()


def test_sentinels_stand_where_expected():
    where, contributions = additive(100)
    exact, others = SMALL(where, maps(contributions)), SMALL(where, maps(permuted(contributions[0])))
    assert exact.min() > 0.8  # sizes of the contributions, but not their draws of the noise
    assert exact.mean() > others.mean()
    assert torch.equal(exact, SMALL(where, maps(-contributions)))
    assert abs(others.mean()) < 4 * others.std() / 10


def test_ten_maps_cost_the_samples_of_each_patch():
    where = bind(Smooth(), random(3, 3, 8, 8))
    for seed in range(10):
        SMALL(where, normal(3, 1, 8, 8, seed=seed))
    assert where.cost[:2] == (49, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "MonotonicityCorrelation: samples must be at least 1, got 0"),
        ({"grid": 1}, "MonotonicityCorrelation: a correlation needs a grid of at least 2, got 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MonotonicityCorrelation(**options)
