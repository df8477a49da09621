"""ROAD: LeRF minus MoRF under noisy linear imputation, against SciPy's imputation patch by patch."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from additive import maps, permuted
from interpolated import interpolated
from known_answers import Model, Smooth, bind, constant, ids, linear, normal, random, spread
from metric_promises import PROMISES, explicand

from xaieval.metrics.road import ROAD
from xaieval.removal import NoisyLinear

PARTS = (0.1, 0.3, 0.5, 0.9)
UNIT = ROAD(PARTS, grid=4, output="logit", noise=0.0)


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(ROAD(PARTS, grid=4, output=output) if promise.__name__ != "yaml_holds_the_defaults" else ROAD())


def textured(count, contributions, bias=0.0):
    """Gray images of 8 x 8 with a checkerboard, whose strength in each of 4 x 4 patches the model adds up.

    What is interpolated is smooth, so a patch that is removed takes its contribution with it, up to what the pixels
    beside a hole leave of the board.
    """
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)
    weights = spread(contributions.view(1, 4, 4), 8)[0] * board / (4 * 3 * 0.4)
    return bind(linear(weights, bias), (0.5 + 0.4 * board).expand(count, 3, 8, 8), batch_size=64, ids=ids(count))


def order_of(patches):
    """Numbers of the patches `(16,)` from the highest to the lowest."""
    return np.argsort(-patches.double().numpy())


def without(image, order, count):
    """An image `(C, 8, 8)` of 4 x 4 patches without the first of an order."""
    gone = np.zeros(16, bool)
    gone[order[:count]] = True
    return interpolated(image, gone.reshape(4, 4).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("output", ["logit", "probability", "log_probability", "margin", "accuracy"])
def test_agrees_with_a_loop_over_scipys_imputation(output):
    """On a model that is not additive, with at least one patch gone and both orders losing equally many."""
    model, inputs, attribution = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8)
    target = model(inputs).argmax(1)
    found = ROAD((0.01, 0.22, 0.5, 0.9), 4, output, noise=0.0)(bind(model, inputs, target=target.tolist()), attribution)
    expected = []
    for x, a, y in zip(inputs.double().numpy(), attribution, target.tolist(), strict=True):
        morf = order_of(a.view(3, 4, 2, 4, 2).sum((0, 2, 4)).flatten())
        means = []
        for order in (morf[::-1], morf):
            images = torch.tensor(np.stack([without(x, order, count) for count in (1, 4, 8, 14)]))
            with torch.no_grad():
                logits = model.double()(images)
            rival = logits.index_fill(1, torch.tensor(y), -torch.inf).amax(1)
            forms = {
                "logit": logits[:, y],
                "probability": logits.softmax(1)[:, y],
                "log_probability": logits.log_softmax(1)[:, y],
                "margin": logits[:, y] - rival,
                "accuracy": (logits[:, y] > rival).double(),
            }
            means.append(forms[output].mean().item())
        expected.append((means[0] - means[1]) / 2)
    model.float()
    # Pixels are exact to 1e-4 of their scale at worst; values are about .01.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_additive_model_and_the_negated_map():
    """f = sum w x + b: the bias cancels, and both orders change places where the map is negated."""
    where, patches = textured(5, normal(1, 16, seed=6)[0], bias=0.3), normal(5, 16)
    weights, image = where.gradient[0].double().numpy(), where.inputs[0].double().numpy()

    def left(order):
        return sum((without(image, order, count) * weights).sum() for count in (2, 5, 8, 14)) / 4

    expected = np.array([(left(order_of(row)[::-1]) - left(order_of(row))) / 2 for row in patches])
    np.testing.assert_allclose(UNIT(where, maps(patches)), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(UNIT(where, maps(-patches)), -expected, rtol=0, atol=1e-4)


def test_accuracy_is_the_part_of_the_points_where_the_class_is_still_predicted():
    contributions = normal(1, 16, seed=6)[0]
    where = textured(5, contributions, bias=-float(contributions.sum()) / 2)
    weights, image = where.gradient[0].double().numpy(), where.inputs[0].double().numpy()
    threshold = float(contributions.sum()) / 2
    patches, expected = normal(5, 16), []
    for row in patches:
        order = order_of(row)
        sums = [
            [(without(image, one, count) * weights).sum() for count in (2, 5, 8, 14)] for one in (order[::-1], order)
        ]
        assert np.abs(np.array(sums) - threshold).min() > 1e-3
        lerf, morf = (np.array(sums) > threshold).mean(1)
        expected.append((lerf - morf) / 2)
    assert len(set(expected)) > 1
    values = ROAD(PARTS, 4, "accuracy", 0.0)(where, maps(patches))
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


def test_sentinels_stand_where_expected():
    """Exact above its permutations above the negated map; random and constant maps at 0, whatever the bias."""
    contributions = normal(1, 16, seed=6)[0]
    where = textured(300, contributions, bias=5.0)
    exact = contributions.expand(300, 16)
    best, worst = UNIT(where, maps(exact)), UNIT(where, maps(-exact))
    others = UNIT(textured(100, contributions), maps(permuted(contributions)))
    assert best[0] > others.max() > others.min() > worst[0]
    torch.testing.assert_close(best, -worst, rtol=0, atol=1e-5)
    assert abs(others.mean()) < 4 * others.std() / 10
    for attribution in (maps(normal(300, 16)), torch.full((300, 1, 8, 8), 0.1)):
        values = UNIT(where, attribution)
        assert values.unique().numel() > 100  # ties are broken for each sample
        assert abs(values.mean()) < 4 * values.std() / 300**0.5


def test_the_law_holds_for_a_map_that_is_exact_for_interpolation():
    """What `exceptions` declares: permutations of it are better on average than the negated map, at the defaults."""
    contributions = normal(1, 16, seed=6)[0] / 10
    metric = ROAD(grid=4)
    where = textured(3, contributions)
    exact, negated = (metric(where, maps(sign * contributions.expand(3, 16))) for sign in (1, -1))
    others = metric(textured(100, contributions), maps(permuted(contributions)))
    assert (exact > others.mean()).all()
    assert (others.mean() > negated).all()


def test_both_orders_get_the_same_noise():
    """So noise that the model hears cancels where both remove the same patches, as at one of one."""
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8), ids=ids(3))
    values = ROAD((0.5,), grid=1, output="logit", noise=0.5)(where, normal(3, 1, 8, 8))
    assert values.tolist() == [0, 0, 0]
    loud, silent = (ROAD((0.5,), 4, "logit", noise)(where, normal(3, 1, 8, 8)) for noise in (0.5, 0.0))
    assert ((loud - silent).abs() > 1e-3).all()


def test_the_order_and_its_ties_are_those_of_deletion_and_insertion():
    """With one patch of 16 gone: the first point of one curve and the last but one of the other, under one removal."""
    where = bind(Smooth(), random(4, 3, 8, 8), target=1, ids=ids(4))
    for attribution in (normal(4, 1, 8, 8), torch.ones(4, 1, 8, 8)):
        morf, lerf = (
            where.curve(attribution, 4, 16, NoisyLinear(0.0), direction).scores.logit[:, point]
            for direction, point in (("deletion", 1), ("insertion", 15))
        )
        values = ROAD((1 / 16,), 4, "logit", 0.0)(where, attribution)
        torch.testing.assert_close(values, (lerf - morf) / 2, rtol=0, atol=1e-6)


def test_costs_two_forwards_for_each_part():
    where, attribution = explicand(), normal(5, 1, 8, 8)
    start = where.cost.forwards
    for output in ("probability", "logit", "accuracy", "margin"):
        ROAD(grid=4, output=output)(where, attribution)
        assert where.cost.forwards - start == 14
    ROAD(grid=4)(where, normal(5, 1, 8, 8, seed=1))
    assert where.cost.forwards - start == 28
    ROAD(grid=4, seed=1)(where, attribution)
    assert where.cost.forwards - start == 42
    assert where.cost.backwards == 0


def test_padding_is_neither_removed_nor_read():
    """The parts are those of the patches that exist, in either order."""
    inputs, attribution = random(2, 3, 8, 8), normal(2, 1, 8, 8)
    present = torch.zeros(2, 8, 8, dtype=torch.bool)
    present[:, :6] = True
    seen = []

    def spy(x):
        seen.append((x != inputs[:1]).any(1))
        return x.mean((1, 2, 3))

    where = bind(Model(spy), inputs, present=present, batch_size=1)
    seen.clear()
    ROAD((0.25, 0.5), grid=4)(where.part(slice(0, 1), [0]), attribution[:1])
    assert [int(gone.sum()) for gone in seen] == [12, 24, 12, 24]  # 3 and 6 of 12 patches of 4 pixels
    assert not any(gone[:, 6:].any() for gone in seen)


def test_constant_model_has_no_difference():
    for output in ("probability", "accuracy"):
        values = ROAD(grid=4, output=output)(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
        assert values.tolist() == [0, 0]


def test_bounds_are_half_those_of_a_difference():
    assert ROAD().bounds == ROAD(output="accuracy").bounds == (-0.5, 0.5)
    assert ROAD(output="logit").bounds == (-math.inf, math.inf)


def test_a_list_of_parts_is_the_tuple():
    parts: Any = [0.1, 0.5]
    assert ROAD(parts) == ROAD((0.1, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"output": "loss"},
            "ROAD: output must be one of logit, log_probability, probability, margin, accuracy, got 'loss'",
        ),
        ({"percentages": ()}, r"ROAD: percentages must be numbers in \(0, 1\), got \(\)"),
        ({"percentages": (10, 50)}, r"ROAD: percentages must be numbers in \(0, 1\), got \(10, 50\)"),
        ({"percentages": (0.5, 1.0)}, r"ROAD: percentages must be numbers in \(0, 1\), got \(0.5, 1.0\)"),
        ({"noise": -0.1}, "ROAD: noise must be at least 0, got -0.1"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ROAD(**options)
