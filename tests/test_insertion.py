"""Insertion: the area below the score while the top patches are put back."""

import math

import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, constant, ids, linear, normal, random, spread
from metric_promises import PROMISES

from xaieval.metrics.insertion import Insertion

UNIT = Insertion(grid=4, steps=16, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(Insertion(grid=4, steps=5, output=output) if promise.__name__ != "yaml_holds_the_defaults" else Insertion())


def additive(count=1, bias=0.3):
    """An additive model on a white image, and its contributions `(count, 16)` of 4 x 4 patches."""
    contributions = normal(1, 4, 4, seed=6)
    where = bind(linear(spread(contributions, 8)[0] / 12, bias), torch.ones(count, 3, 8, 8), ids=ids(count))
    return where, contributions.flatten(1).expand(count, 16)


def test_closed_form_of_an_additive_model():
    """With unit steps Ins = f(b) + (1/N) sum_r c_(r) (N - r + 1/2)."""
    where, contributions = additive(5)
    patches = normal(5, 4, 4)
    order = patches.flatten(1).argsort(1, descending=True)
    place = torch.arange(1, 17)
    expected = 0.3 + (contributions.gather(1, order) * (16 - place + 0.5)).sum(1) / 16
    torch.testing.assert_close(UNIT(where, spread(patches, 8)), expected, rtol=1e-5, atol=1e-5)


def test_exact_order_is_the_best_and_its_negative_the_worst():
    where, contributions = additive(300)
    exact = spread(contributions.view(300, 4, 4), 8)
    others = UNIT(where, spread(normal(300, 4, 4), 8))
    assert (UNIT(where, exact) > others).all()
    assert (others > UNIT(where, -exact)).all()


def test_random_and_constant_maps_have_the_mean_of_both_ends():
    where, contributions = additive(300)
    middle = 0.3 + contributions[0].sum() / 2
    for attribution in (spread(normal(300, 4, 4), 8), torch.full((300, 1, 8, 8), 0.1)):
        values = UNIT(where, attribution)
        assert abs(values.mean() - middle) < 4 * values.std() / 300**0.5


def test_agrees_with_a_loop():
    """From each image's mean color."""
    model, inputs, attribution, steps = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8), 5
    found = Insertion(grid=4, steps=steps, removal="mean")(bind(model, inputs, target=1), attribution)
    expected = []
    for x, a in zip(inputs.double().numpy(), attribution.double().numpy(), strict=True):
        sums = [a[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() for i in range(4) for j in range(4)]
        order = np.argsort(sums)[::-1]
        curve, places = [], []
        for k in range(steps + 1):
            back = round(k / steps * 16)
            y = np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape).copy()
            for patch in order[:back]:
                place = np.s_[:, 2 * (patch // 4) : 2 * (patch // 4) + 2, 2 * (patch % 4) : 2 * (patch % 4) + 2]
                y[place] = x[place]
            with torch.no_grad():
                curve.append(model.double()(torch.tensor(y)[None]).softmax(1)[0, 1].item())
            places.append(back / 16)
        expected.append(np.trapezoid(curve, places))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_constant_model_has_its_own_score():
    values = Insertion(grid=4)(bind(constant(0.7), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    torch.testing.assert_close(values, torch.full((2,), 1 / (1 + math.exp(-0.7))))


def test_product_rises_with_the_last_factor():
    """f = u v on two of four patches: both put back first give 2.5 of 4 steps, both last half a step."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(2, 3, 2, 2, seed=1) + 0.2)
    metric, score = Insertion(grid=2, steps=4, output="logit"), where.clean.logit
    right = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).expand(2, 1, 2, 2)
    torch.testing.assert_close(metric(where, right), score * 2.5 / 4)
    torch.testing.assert_close(metric(where, -right), score * 0.5 / 4)


def test_black_image_has_one_score_all_along():
    where = bind(Smooth(), torch.zeros(2, 3, 8, 8))
    torch.testing.assert_close(Insertion(grid=4)(where, normal(2, 1, 8, 8)), where.clean.probability)


def test_normalized_curve_of_an_additive_probability():
    """p = p0 + sum c: in parts of its drop the area is that of contributions c / sum c, whatever p0 and the sum."""
    contributions = random(1, 4, 4, seed=6)
    shares = (contributions / contributions.sum()).flatten(1)
    patches = normal(5, 4, 4)
    attribution = spread(patches, 8)
    order, place = patches.flatten(1).argsort(1, descending=True), torch.arange(1, 17)
    expected = (shares.expand(5, 16).gather(1, order) * (16 - place + 0.5)).sum(1) / 16
    for floor, drop in ((0.1, 0.8), (0.3, 0.2)):
        weights = drop * spread(shares.view(1, 4, 4), 8)[0] / 12
        model = Model(lambda x, w=weights, b=floor: ((x * w).flatten(1).sum(1) + b).logit())
        where = bind(model, torch.ones(5, 3, 8, 8), ids=ids(5))
        found = Insertion(grid=4, steps=16, normalize=True)(where, attribution)
        # Rounding of the probability, 1e-7, in parts of a drop of .2.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        raw = Insertion(grid=4, steps=16)(where, attribution)
        torch.testing.assert_close(raw, floor + drop * expected, rtol=0, atol=1e-5)
        assert where.cost[:2] == (17, 0)


def test_low_clean_probability_is_undefined_where_normalized():
    """sigmoid(f) for a white, a gray and a black image: .02 above .5 is too little, .23 is not."""
    inputs = torch.tensor([1.0, 0.08, 0.0]).view(3, 1, 1, 1).expand(3, 3, 8, 8)
    where = bind(linear(torch.full((3, 8, 8), 1 / 192)), inputs, ids=ids(3))
    values, reasons = Insertion(grid=4, normalize=True).evaluate(where, normal(3, 1, 8, 8))
    assert reasons["low clean probability"].tolist() == [False, True, True]
    assert values.isnan().tolist() == [False, True, True]
    assert Insertion(grid=4)(where, normal(3, 1, 8, 8)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"output": "loss"},
            "Insertion: output must be one of logit, log_probability, probability, margin, got 'loss'",
        ),
        ({"steps": 0}, "Insertion: steps must be at least 1, got 0"),
        ({"normalize": True, "output": "logit"}, "Insertion: normalize needs the output probability, got 'logit'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Insertion(**options)
