"""MoRF and LeRF: the area between the two curves of one order."""

import math

import numpy as np
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Model, Smooth, bind, constant, normal, random
from metric_promises import PROMISES

from xaieval.metrics.deletion import Deletion
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.morf_lerf import MorfLerf

UNIT = MorfLerf(grid=4, steps=16, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(MorfLerf(grid=4, steps=5, output=output))


def test_closed_form_of_an_additive_model():
    """1/N sum_r c_(r) (N + 1 - 2 r), in which the bias and the sum of all contributions cancel."""
    where, contributions = additive(5)
    patches = normal(5, 16)
    order, place = patches.argsort(1, descending=True), torch.arange(1, 17)
    expected = (contributions.gather(1, order) * (17 - 2 * place)).sum(1) / 16
    torch.testing.assert_close(UNIT(where, maps(patches)), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(UNIT(where, maps(-patches)), -expected, rtol=1e-5, atol=1e-5)


def test_agrees_with_a_loop_over_both_orders():
    """On a model that is not additive, from deletions alone: one in the order, one in the order of the negated map."""
    model, inputs, attribution, steps = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8), 8
    found = MorfLerf(grid=4, steps=steps, removal="mean")(bind(model, inputs, target=1), attribution)
    expected = []
    for x, a in zip(inputs.double().numpy(), attribution.double().numpy(), strict=True):
        sums = a.reshape(3, 4, 2, 4, 2).sum((0, 2, 4)).ravel()
        areas = []
        for order in (np.argsort(sums), np.argsort(-sums)):
            curve = []
            for k in range(steps + 1):
                y = x.copy()
                for patch in order[: 2 * k]:
                    i, j = divmod(patch, 4)
                    y[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = x.mean((1, 2))[:, None, None]
                with torch.no_grad():
                    curve.append(model.double()(torch.tensor(y)[None]).softmax(1)[0, 1].item())
            areas.append(np.trapezoid(curve, dx=1 / steps))
        expected.append(areas[0] - areas[1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
def test_is_insertion_minus_deletion_and_costs_nothing_beside_them(removal):
    where, attribution = bind(Smooth(), random(3, 3, 8, 8), target=1), normal(3, 1, 8, 8)
    areas = [metric(4, 5, removal=removal)(where, attribution) for metric in (Insertion, Deletion)]
    spent = where.cost
    assert torch.equal(MorfLerf(4, 5, removal=removal)(where, attribution), areas[0] - areas[1])
    assert where.cost == spent


def test_sentinels_stand_where_expected():
    """Exact above its permutations above the negated map; random and constant maps at 0, whatever the bias."""
    where, contributions = additive(300, bias=5.0)
    best, worst = UNIT(where, maps(contributions)), UNIT(where, maps(-contributions))
    others = UNIT(additive(100)[0], maps(permuted(contributions[0])))
    assert best[0] > others.max() > others.min() > worst[0]
    assert abs(others.mean()) < 4 * others.std() / 10
    for attribution in (maps(normal(300, 16)), torch.full((300, 1, 8, 8), 0.1)):
        values = UNIT(where, attribution)
        assert abs(values.mean()) < 4 * values.std() / 300**0.5


def test_product_lasts_as_long_as_both_factors():
    """f = u v on two of four patches: the area is 2.5 of 4 steps minus half a step."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(2, 3, 2, 2, seed=1) + 0.2)
    right = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).expand(2, 1, 2, 2).contiguous()
    torch.testing.assert_close(MorfLerf(2, 4, "logit")(where, right), where.clean.logit * 2 / 4)


def test_constant_model_has_one_curve():
    values = MorfLerf(grid=4)(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    torch.testing.assert_close(values, torch.zeros(2), rtol=0, atol=1e-7)


def test_bounds_are_those_of_a_difference():
    assert MorfLerf().bounds == (-1, 1)
    assert MorfLerf(output="logit").bounds == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "loss"}, "MorfLerf: output must be one of logit, log_probability, probability, margin, got 'loss'"),
        ({"steps": 0}, "MorfLerf: steps must be at least 1, got 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MorfLerf(**options)
