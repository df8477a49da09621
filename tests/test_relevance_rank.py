"""Relevance rank accuracy: the share of the top K scores inside a mask of K features, minus chance."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.relevance_rank import RelevanceRank


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(RelevanceRank())


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def masks(count, seed=2):
    return random(count, 8, 8, seed=seed) > 0.7


def test_agrees_with_a_loop():
    attribution, mask, present = normal(4, 3, 8, 8), masks(4), random(4, 8, 8, seed=3) > 0.2
    values, shares = [], []
    for scores, inside, exists in zip(attribution.numpy(), mask.numpy(), present.numpy(), strict=True):
        places = [tuple(place) for place in np.argwhere(exists)]
        places.sort(key=lambda place: -scores[:, place[0], place[1]].sum())
        size = sum(inside[place] for place in places)
        values.append(sum(inside[place] for place in places[:size]) / size)
        shares.append(size / len(places))
    expected, chances = np.array(values), np.array(shares)
    where = explicand(mask, present=present)
    np.testing.assert_allclose(RelevanceRank().raw(where, attribution), expected, rtol=1e-6)
    np.testing.assert_allclose(RelevanceRank().chance(where), chances, rtol=1e-6)
    np.testing.assert_allclose(RelevanceRank()(where, attribution), (expected - chances) / (1 - chances), rtol=1e-5)


def test_ties_count_with_the_mean_over_all_ways_to_break_them():
    scores = np.array([3.0, 1.0, 2.0, 1.0, 1.0, 0.0])  # of the top 4, two are drawn from the three tied at 1
    inside = np.array([True, True, False, False, True, True])
    hits = []
    for order in itertools.permutations(range(6)):  # every way to break ties, by a stable sort of every arrangement
        top = sorted(order, key=lambda place: -scores[place])[:4]
        hits.append(inside[top].mean())
    attribution = torch.tensor(scores, dtype=torch.float32).view(1, 1, 2, 3)
    found = RelevanceRank().raw(explicand(torch.tensor(inside).view(1, 2, 3)), attribution)
    assert found.item() == pytest.approx(np.mean(hits))
    assert found.item() == pytest.approx((1 + 2 * 2 / 3) / 4)


def test_mask_is_one_complement_is_worst_and_constant_is_chance():
    mask = masks(3)
    where, inside = explicand(mask), mask[:, None].float()
    chance = RelevanceRank().chance(where)
    assert (chance < 0.5).all()
    assert RelevanceRank()(where, inside).tolist() == [1, 1, 1]
    torch.testing.assert_close(RelevanceRank()(where, 1 - inside), -chance / (1 - chance))
    for value in (1.0, -0.3):
        flat = torch.full_like(inside, value)
        torch.testing.assert_close(RelevanceRank()(where, flat), torch.zeros(3), atol=1e-6, rtol=0)


def test_any_increasing_transform_keeps_the_value():
    attribution, where = normal(3, 1, 8, 8), explicand(masks(3))
    assert torch.equal(RelevanceRank()(where, attribution), RelevanceRank()(where, attribution.exp()))


def test_empty_and_full_masks_are_undefined():
    mask = masks(3)
    mask[0], mask[1] = False, True
    values, reasons = RelevanceRank().evaluate(explicand(mask), random(3, 1, 8, 8))
    assert values.isnan().tolist() == [True, True, False]
    assert reasons["empty mask"].tolist() == [True, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False]


def test_random_maps_have_mean_zero():
    mask = masks(1).expand(400, 8, 8)
    values = RelevanceRank()(explicand(mask), random(400, 1, 8, 8, seed=5))
    assert abs(values.mean()) < 4 * values.std() / 20  # four standard errors of 400 maps


def test_gradient_of_a_planted_model_is_all_inside_and_its_negative_outside():
    mask = masks(1).expand(3, 8, 8)
    weights = mask[0] * (0.5 + random(3, 8, 8, seed=8))
    where = bind(linear(weights), random(3, 3, 8, 8), mask=mask)
    gradient = Gradient()(where)
    assert RelevanceRank()(where, gradient).tolist() == [1, 1, 1]
    assert RelevanceRank().raw(where, -gradient).tolist() == [0, 0, 0]
