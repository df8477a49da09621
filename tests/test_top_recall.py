"""Top recall: the share of the mask in the alpha / 12 most active features, with its exact chance."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import bind, constant, normal, random
from metric_promises import PROMISES
from rationales import orders, rationale, scored

from xaieval.attributions.ground_truth import GroundTruth
from xaieval.metrics.top_recall import TopRecall

RAW = [TopRecall(alpha, above_chance=False) for alpha in (1, 3, 6, 0.5, 11.9)]


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(TopRecall())


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def points(count, height=8, width=9):
    """Masks of one pixel each, at all places in order."""
    return torch.eye(height * width, dtype=torch.bool)[:count].view(-1, height, width)


@pytest.mark.parametrize(("alpha", "last"), [(1, 6), (3, 18), (6, 36)])
def test_a_center_is_hit_among_the_first_twelfths_exactly(alpha, last):
    """Of 72 pixels in descending order 6, 18 and 36 are the most active."""
    falling = -torch.arange(72.0).view(1, 1, 8, 9).expand(72, 1, 8, 9)
    found = TopRecall(alpha, above_chance=False)(explicand(points(72)), falling)
    assert found.tolist() == [1.0] * last + [0.0] * (72 - last)
    shown = TopRecall(alpha)(explicand(points(72)), falling)
    torch.testing.assert_close(shown, (found - alpha / 12) / (1 - alpha / 12))


def slow(order, inside, alpha):
    """The share of the mask in the area; the place that it takes a part of counts with that part."""
    area = alpha * len(order) / 12
    return sum(min(max(area - place, 0), 1) for place, number in enumerate(order) if inside[number]) / sum(inside)


@pytest.mark.parametrize("metric", RAW, ids=str)
@pytest.mark.parametrize("scores", [[3, 1, 2, 1, 1, 0], [0, 0, 0, 0, 1, 1], [5, 4, 3, 2, 1, 0]], ids=str)
@pytest.mark.parametrize("inside", [[1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 0, 1, 1, 0, 1]], ids=str)
def test_ties_and_parts_of_features_count_with_the_mean_over_all_orders(metric, scores, inside):
    expected = np.mean([slow(order, inside, metric.alpha) for order in orders(scores)])
    found = metric(rationale([inside]), scored([scores]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", RAW, ids=str)
def test_chance_is_the_mean_over_all_orders(metric):
    inside = [1, 0, 1, 0, 0]
    orders_of_all = list(itertools.permutations(range(5)))
    mean = np.mean([slow(order, inside, metric.alpha) for order in orders_of_all])
    assert mean == pytest.approx(metric.alpha / 12)
    where = rationale([inside])
    assert metric.chance(where).tolist() == pytest.approx([metric.alpha / 12])
    for value in (1.0, -0.3):
        assert metric(where, torch.full((1, 1, 5), value)).tolist() == pytest.approx([metric.alpha / 12])


def test_random_maps_hit_as_often_as_chance_says():
    mask = points(40)[37:38].expand(2000, 8, 9)
    found = TopRecall(3, above_chance=False)(explicand(mask), random(2000, 1, 8, 9, seed=5))
    assert set(found.tolist()) == {0.0, 1.0}
    assert abs(found.mean() - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    assert found.mean() != 0.25


def test_a_mask_larger_than_the_area_is_found_in_part():
    mask = torch.zeros(2, 8, 9, dtype=torch.bool)
    mask[0, :4] = True  # 36 pixels, of which 6 are the most active at most
    mask[1, :6, 0] = True
    found = TopRecall(1, above_chance=False)(explicand(mask), GroundTruth()(explicand(mask)))
    assert found.tolist() == pytest.approx([1 / 6, 1])


def test_absent_pixels_are_no_part_of_the_area():
    present = torch.ones(1, 8, 9, dtype=torch.bool)
    present[:, 4:] = False
    falling = -torch.arange(72.0).view(1, 1, 8, 9).expand(20, 1, 8, 9)
    found = TopRecall(6, above_chance=False)(explicand(points(20), present=present.expand(20, 8, 9)), falling)
    assert found.tolist() == [1.0] * 18 + [0.0] * 2


def test_any_increasing_transform_keeps_the_value():
    attribution, where = normal(3, 1, 8, 9), explicand(random(3, 8, 9) > 0.8)
    assert torch.equal(TopRecall(1)(where, attribution), TopRecall(1)(where, attribution.exp()))


@pytest.mark.parametrize("alpha", [0, 12, -1, float("nan")])
def test_the_area_is_some_and_not_all(alpha):
    with pytest.raises(ValueError, match=r"twelfths of the features, in \(0, 12\), got"):
        TopRecall(alpha)
