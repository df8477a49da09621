"""Top-k intersection: the share of a fixed number of top scores inside the mask, minus chance."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.top_k_intersection import TopKIntersection


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(TopKIntersection(fraction=0.2))


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def masks(count, seed=2):
    return random(count, 8, 8, seed=seed) > 0.7


@pytest.mark.parametrize("fraction", [0.02, 0.07, 0.25, 0.9])
def test_agrees_with_a_loop(fraction):
    attribution, mask, present = normal(4, 3, 8, 8), masks(4), random(4, 8, 8, seed=3) > 0.2
    values = []
    for scores, inside, exists in zip(attribution.sum(1).numpy(), mask.numpy(), present.numpy(), strict=True):
        top = np.argsort(-np.where(exists, scores, -np.inf).ravel())[: int(np.ceil(fraction * exists.sum()))]
        values.append((inside & exists).ravel()[top].mean())
    shares = (mask & present).sum((1, 2)) / present.sum((1, 2))
    where = explicand(mask, present=present)
    expected = torch.tensor(np.array(values), dtype=torch.float32)
    torch.testing.assert_close(TopKIntersection(fraction).raw(where, attribution), expected)
    torch.testing.assert_close(TopKIntersection(fraction)(where, attribution), (expected - shares) / (1 - shares))


def test_the_number_of_the_top_is_the_one_that_was_asked_for():
    """.07 x 100 is a little above 7 in floating point, .02 x 50176 is 1003.52."""
    for fraction, side, size in ((0.07, 10, 7), (0.02, 224, 1004), (0.001, 10, 1)):
        scores = -torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side)
        masks = torch.zeros(2, side * side, dtype=torch.bool)
        masks[0, :size], masks[1, size - 1] = True, True  # all of the top, and the last of it alone
        found = TopKIntersection(fraction).raw(explicand(masks.view(2, side, side)), scores.expand(2, 1, side, side))
        assert found.tolist() == pytest.approx([1, 1 / size])


def test_ties_count_with_the_mean_over_all_ways_to_break_them():
    scores, inside = np.array([3.0, 1.0, 2.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False, True, False])
    hits = [
        inside[sorted(order, key=lambda place: -scores[place])[:3]].mean() for order in itertools.permutations(range(6))
    ]
    attribution = torch.tensor(scores, dtype=torch.float32).view(1, 1, 2, 3)
    found = TopKIntersection(fraction=0.5).raw(explicand(torch.tensor(inside).view(1, 2, 3)), attribution)
    assert found.item() == pytest.approx(np.mean(hits))
    assert found.item() == pytest.approx((1 + 2 / 3) / 3)


def test_a_mask_smaller_than_the_top_caps_the_value():
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    mask[0, 3, :5] = True
    assert TopKIntersection(fraction=0.2).raw(explicand(mask), mask[:, None].float()).item() == 0.25


def test_mask_is_one_complement_is_worst_and_constant_is_chance():
    mask = masks(3)
    where, inside = explicand(mask), mask[:, None].float()
    chance = TopKIntersection(0.1).chance(where)
    assert TopKIntersection(0.1)(where, inside).tolist() == [1, 1, 1]
    torch.testing.assert_close(TopKIntersection(0.1)(where, 1 - inside), -chance / (1 - chance))
    flat = torch.ones_like(inside)
    torch.testing.assert_close(TopKIntersection(0.1)(where, flat), torch.zeros(3), atol=1e-6, rtol=0)


def test_random_maps_have_mean_zero():
    values = TopKIntersection(0.1)(explicand(masks(1).expand(400, 8, 8)), random(400, 1, 8, 8, seed=5))
    assert abs(values.mean()) < 4 * values.std() / 20  # four standard errors of 400 maps


def test_empty_and_full_masks_are_undefined():
    mask = masks(3)
    mask[0], mask[1] = False, True
    values, reasons = TopKIntersection().evaluate(explicand(mask), random(3, 1, 8, 8))
    assert values.isnan().tolist() == [True, True, False]
    assert reasons["empty mask"].tolist() == [True, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False]


def test_gradient_of_a_planted_model_is_all_inside():
    mask = masks(1).expand(3, 8, 8)
    where = bind(linear(mask[0] * (0.5 + random(3, 8, 8, seed=8))), random(3, 3, 8, 8), mask=mask)
    assert TopKIntersection(0.1)(where, Gradient()(where)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_fractions_that_leave_nothing_or_everything_are_refused(fraction):
    with pytest.raises(ValueError, match=rf"fraction is a part of the features, in \(0, 1\), got {fraction}"):
        TopKIntersection(fraction=fraction)
