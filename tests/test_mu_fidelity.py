"""Mu-fidelity: the rank correlation of predicted and real changes."""

import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, constant, linear, normal, random, spread
from metric_promises import PROMISES
from scipy.stats import spearmanr

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.mu_fidelity import MuFidelity

SMALL = MuFidelity(samples=40, grid=4)


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(SMALL)


def test_draws_are_those_of_infidelity():
    assert MuFidelity().draws == Infidelity().draws
    mine, others = MuFidelity(30, 7, 0.5, "mean", 4), Infidelity(30, grid=7, fraction=0.5, removal="mean", seed=4)
    assert mine.draws == others.draws


def test_exact_contributions_are_one_and_negated_ones_minus_one():
    shape = normal(3, 8, 8)
    where = bind(Model(lambda x: (torch.sin(3 * x) * shape).flatten(1).sum(1)), random(3, 3, 8, 8, seed=1))
    contribution = torch.sin(3 * where.inputs) * shape
    for units in ("contribution", "importance"):
        torch.testing.assert_close(SMALL(where, contribution, units=units), torch.ones(3), rtol=0, atol=1e-5)
        torch.testing.assert_close(SMALL(where, -contribution, units=units), -torch.ones(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", "noise"])
def test_gradient_of_a_linear_model_is_one(removal):
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8, seed=1))
    metric = MuFidelity(samples=40, grid=4, removal=removal)
    torch.testing.assert_close(metric(where, Gradient()(where)), torch.ones(3), rtol=0, atol=1e-5)


def test_agrees_with_scipy():
    model, inputs, attribution = Smooth(), random(4, 3, 8, 8), normal(4, 3, 8, 8)
    where = bind(model, inputs, target=1)
    gone = SMALL.draws.masks(where).view(4, 40, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = []
    for x, a, masks in zip(inputs.double(), attribution.double(), gone, strict=True):
        with torch.no_grad():
            scores = model.double()(torch.cat((x[None], x * ~masks[:, None])))[:, 1]
        predicted = (masks[:, None] * a).sum((1, 2, 3))
        expected.append(spearmanr(scores[0] - scores[1:], predicted).statistic)
    # Two changes closer than rounding may be tied here and not there: one pair of 40 moves the value by about 1e-4.
    np.testing.assert_allclose(SMALL(where, attribution, units="contribution"), expected, atol=2e-4)


def test_agrees_with_scipy_where_most_values_are_tied():
    """f = u v with one of four patches removed: the change is f or 0, and two patches have equal scores."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(3, 3, 2, 2, seed=1) + 0.2)
    metric, attribution = MuFidelity(samples=50, grid=2, fraction=0.25), torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    masks = metric.draws.masks(where).numpy()
    change, predicted = masks[..., 0] | masks[..., 3], masks @ np.array([1, 1, 0, 2])
    expected = [spearmanr(d, p).statistic for d, p in zip(change, predicted, strict=True)]
    found = metric(where, attribution.expand(3, 1, 2, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_constant_model_and_constant_map_are_undefined():
    values, reasons = SMALL.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["constant response"].all()
    assert not reasons["constant prediction"].any()
    values, reasons = SMALL.evaluate(bind(Smooth(), random(2, 3, 8, 8)), torch.full((2, 1, 8, 8), 0.1))
    assert values.isnan().all()
    assert reasons["constant prediction"].all()
    assert not reasons["constant response"].any()


def test_uniform_model_has_a_constant_response():
    """Every draw removes as much, though not nothing."""
    where = bind(linear(torch.ones(3, 8, 8)), torch.full((1, 3, 8, 8), 0.3))
    assert where.response(SMALL.draws).change.min() > 1
    assert SMALL.evaluate(where, normal(1, 1, 8, 8))[1]["constant response"].all()


def test_sentinels_stand_where_expected():
    weights = spread(normal(1, 4, 4), 8)[0]
    where = bind(linear(weights), torch.ones(1, 3, 8, 8))
    generator = torch.Generator().manual_seed(0)
    exact, rows = weights[None], weights[0, ::2, ::2].flatten()
    permuted = torch.stack(
        [SMALL(where, spread(rows[torch.randperm(16, generator=generator)].view(1, 4, 4), 8)) for _ in range(100)]
    )
    assert SMALL(where, exact) > permuted.mean() > SMALL(where, -exact)
    # A permutation is right by chance as often as wrong: four standard errors of 100.
    assert abs(permuted.mean()) < 4 * permuted.std() / 10
    many = bind(linear(weights), torch.ones(200, 3, 8, 8))
    noise = SMALL(many, spread(normal(200, 4, 4, seed=9), 8))
    assert abs(noise.mean()) < 4 * noise.std() / 200**0.5


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="a correlation needs at least 2 samples, got 1"):
        MuFidelity(samples=1)
