"""AOPC: the mean drop along the curve of deletion, which it shares."""

import math

import numpy as np
import pytest
import torch
from additive import additive, maps
from known_answers import Model, Smooth, bind, constant, normal, random
from metric_promises import PROMISES

from xaieval.metrics.aopc import AOPC
from xaieval.metrics.decision_flip import DecisionFlip
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.monotonicity import Monotonicity
from xaieval.metrics.morf_lerf import MorfLerf

UNIT = AOPC(grid=4, steps=16, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(AOPC(grid=4, steps=5, output=output))


def test_closed_form_of_an_additive_model():
    """1/(L+1) sum over the 17 points of what has gone: not over 16, and not from the first removal on."""
    where, contributions = additive(5)
    patches = normal(5, 16)
    order = patches.argsort(1, descending=True)
    expected = contributions.gather(1, order).cumsum(1).sum(1) / 17
    torch.testing.assert_close(UNIT(where, maps(patches)), expected, rtol=1e-5, atol=1e-5)


def test_clean_score_minus_it_is_the_mean_of_the_curve():
    where, attribution = bind(Smooth(), random(3, 3, 8, 8), target=1), normal(3, 1, 8, 8)
    for output in ("probability", "logit"):
        mean = where.curve(attribution, 4, 5).scores.of(output).mean(1)
        found = AOPC(4, 5, output)(where, attribution)
        torch.testing.assert_close(where.clean.of(output) - found, mean, rtol=1e-5, atol=1e-6)


def test_exact_order_is_the_best_and_random_ones_have_the_middle():
    where, contributions = additive(300)
    best, worst = UNIT(where, maps(contributions)), UNIT(where, maps(-contributions))
    others = UNIT(where, maps(normal(300, 16)))
    assert (best > others).all()
    assert (others > worst).all()
    assert abs(others.mean() - contributions[0].sum() / 2) < 4 * others.std() / 300**0.5
    flat = UNIT(where, torch.full((300, 1, 8, 8), 0.1))  # ties are random, too
    assert abs(flat.mean() - contributions[0].sum() / 2) < 4 * flat.std() / 300**0.5


def test_agrees_with_a_loop():
    model, inputs, attribution, steps = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8), 5
    found = AOPC(grid=4, steps=steps, removal="mean")(bind(model, inputs, target=1), attribution)
    expected = []
    for x, a in zip(inputs.double().numpy(), attribution.double().numpy(), strict=True):
        sums = a.reshape(3, 4, 2, 4, 2).sum((0, 2, 4)).ravel()
        curve = []
        for k in range(steps + 1):
            y = x.copy()
            for patch in np.argsort(-sums)[: round(k / steps * 16)]:
                i, j = divmod(patch, 4)
                y[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = x.mean((1, 2))[:, None, None]
            with torch.no_grad():
                curve.append(model.double()(torch.tensor(y)[None]).softmax(1)[0, 1].item())
        expected.append(sum(curve[0] - p for p in curve) / (steps + 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_product_falls_with_the_first_factor():
    """f = u v on two of four patches: removed first, all of f is gone at 4 of 5 points, removed last at 2."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(2, 3, 2, 2, seed=1) + 0.2)
    right = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).expand(2, 1, 2, 2).contiguous()
    metric, score = AOPC(grid=2, steps=4, output="logit"), where.clean.logit
    torch.testing.assert_close(metric(where, right), score * 4 / 5)
    torch.testing.assert_close(metric(where, -right), score * 2 / 5)


def test_constant_model_never_falls():
    assert AOPC(grid=4)(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8)).tolist() == [0, 0]


def test_metrics_of_one_order_cost_one_curve():
    """Deletion, AOPC, monotonicity and decision flip read the same points; insertion's serve the LeRF curve."""
    where, attribution = bind(Smooth(), random(3, 3, 16, 16), target=None), normal(3, 1, 16, 16)
    for metric in (Deletion(), AOPC(), Monotonicity(), DecisionFlip(), AOPC(output="logit"), Deletion(normalize=True)):
        metric(where, attribution)
        assert where.cost[:2] == (15, 0)  # both ends and 13 points between, for an input bound without a target too
    for other in (MorfLerf(), Insertion(), Insertion(normalize=True), MorfLerf(output="margin")):
        other(where, attribution)
        assert where.cost[:2] == (28, 0)


def test_bounds_are_those_of_a_drop():
    assert AOPC().bounds == (-1, 1)
    assert AOPC(output="logit").bounds == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "loss"}, "AOPC: output must be one of logit, log_probability, probability, margin, got 'loss'"),
        ({"steps": 0}, "AOPC: steps must be at least 1, got 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AOPC(**options)
