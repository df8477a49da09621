"""Intersection over union of the mask and the high scores, minus chance."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.iou import Iou
from xaieval.metrics.relevance_rank import RelevanceRank

METRICS = [Iou(), Iou("maximum", 0.3), Iou("mean", 2)]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.threshold)
@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise, metric):
    promise(metric)


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def masks(count, seed=2):
    return random(count, 8, 8, seed=seed) > 0.7


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.threshold)
def test_agrees_with_a_loop(metric):
    attribution, mask, present = normal(4, 3, 8, 8), masks(4), random(4, 8, 8, seed=3) > 0.2
    expected = []
    for scores, inside, exists in zip(attribution.sum(1).numpy(), mask.numpy(), present.numpy(), strict=True):
        scores, inside = scores[exists], inside[exists]
        level = {
            "area": np.sort(scores)[::-1][inside.sum() - 1],
            "maximum": 0.3 * scores.max(),
            "mean": 2 * np.maximum(scores, 0).mean(),
        }[metric.threshold]
        expected.append(overlap(scores >= level, inside))
    np.testing.assert_allclose(metric.raw(explicand(mask, present=present), attribution), expected, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.threshold)
def test_chance_is_the_mean_over_all_places_of_the_scores(metric):
    scores, inside = np.array([5.0, 0.4, 2.0, -1.0, 2.5, 1.0, 0.1]), np.arange(7) < 3
    present = np.array([True] * 7 + [False])
    mask = torch.tensor(np.append(inside, True)).view(1, 2, 4)
    where = explicand(mask, present=torch.tensor(present).view(1, 2, 4))
    attribution = torch.tensor(np.append(scores, 9.0), dtype=torch.float32).view(1, 1, 2, 4)
    level = {"area": 2.0, "maximum": 1.5, "mean": 2 * 11 / 7}[metric.threshold]
    size = (scores >= level).sum()
    expected = np.mean(
        [overlap(np.isin(np.arange(7), chosen), inside) for chosen in itertools.combinations(range(7), size)]
    )
    chance = metric.chance(where, attribution)
    assert chance.item() == pytest.approx(expected, rel=1e-6)
    raw = overlap(scores >= level, inside)
    assert metric(where, attribution).item() == pytest.approx((raw - expected) / (1 - expected), abs=1e-6)


def test_chance_of_large_masks_is_near_the_ratio_of_means():
    """`s / (2 - s)` for a share s; the variance of the overlap moves it by less than 1e-4 of 50176 pixels."""
    mask = (torch.arange(224) < 90).expand(1, 224, 224)
    share = 90 / 224
    assert Iou().chance(explicand(mask)).item() == pytest.approx(share / (2 - share), abs=1e-4)


def test_ties_count_with_the_mean_over_all_ways_to_break_them():
    scores, inside = np.array([3.0, 1.0, 2.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False, True, True])
    tops = [sorted(order, key=lambda place: -scores[place])[:4] for order in itertools.permutations(range(6))]
    expected = np.mean([overlap(np.isin(np.arange(6), top), inside) for top in tops])
    attribution = torch.tensor(scores, dtype=torch.float32).view(1, 1, 2, 3)
    found = Iou().raw(explicand(torch.tensor(inside).view(1, 2, 3)), attribution)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_with_equal_areas_it_is_a_function_of_relevance_rank():
    attribution, where = normal(5, 3, 8, 8), explicand(masks(5))
    inside = RelevanceRank().raw(where, attribution)
    torch.testing.assert_close(Iou().raw(where, attribution), inside / (2 - inside))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.threshold)
def test_mask_is_one_complement_is_worst_and_constant_is_chance(metric):
    mask = masks(3)
    where, inside = explicand(mask), mask[:, None].float()
    chance = metric.chance(where, 1 - inside)
    assert metric(where, inside).tolist() == [1, 1, 1]
    if metric.threshold == "area":  # the complement is larger than the mask: all of B lies outside
        torch.testing.assert_close(metric(where, 1 - inside), -chance / (1 - chance))
    assert (metric(where, 1 - inside) <= 0).all()
    flat = metric(where, torch.ones_like(inside))
    torch.testing.assert_close(flat, torch.zeros(3), atol=1e-6, rtol=0)


def test_random_maps_have_mean_zero():
    where = explicand(masks(1).expand(400, 8, 8))
    for metric in METRICS:
        values = metric(where, random(400, 1, 8, 8, seed=5) - 0.3)
        assert abs(values.mean()) < 4 * values.std() / 20  # four standard errors of 400 maps


def test_empty_and_full_masks_and_maps_without_positive_scores_are_undefined():
    mask = masks(4)
    mask[0], mask[1] = False, True
    attribution = random(4, 1, 8, 8)
    attribution[2] -= 2
    for metric in METRICS:
        values, reasons = metric.evaluate(explicand(mask), attribution)
        assert values.isnan().tolist() == [True, True, metric.threshold != "area", False]
        assert reasons["empty mask"].tolist() == [True, False, False, False]
        assert reasons["mask covers everything"].tolist() == [False, True, False, False]
        if metric.threshold != "area":
            assert reasons["no positive score"].tolist() == [False, False, True, False]


def test_gradient_of_a_planted_model_matches():
    mask = masks(1).expand(3, 8, 8)
    where = bind(linear(mask[0] * (0.5 + random(3, 8, 8, seed=8))), random(3, 3, 8, 8), mask=mask)
    assert Iou()(where, Gradient()(where)).tolist() == [1, 1, 1]


def test_chance_that_depends_on_the_map_asks_for_it():
    with pytest.raises(ValueError, match="with threshold='mean' chance depends on the map: give the attribution"):
        Iou("mean").chance(explicand(masks(1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "otsu"}, "threshold must be one of area, maximum, mean, got 'otsu'"),
        ({"factor": 0}, "factor is a part of the maximum, in .*, or positive, got 0"),
        ({"threshold": "maximum", "factor": 1.2}, "factor is a part of the maximum, in .*got 1.2"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Iou(**options)
