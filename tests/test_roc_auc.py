"""ROC AUC of the scores as a detector of the mask, minus one half."""

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES
from scipy.stats import mannwhitneyu

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.roc_auc import RocAuc


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(RocAuc())


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def masks(count, seed=2, side=8):
    return random(count, side, side, seed=seed) > 0.7


@pytest.mark.parametrize("levels", [0, 2, 5])
@pytest.mark.parametrize("side", [8, 15])
def test_agrees_with_mann_whitney_of_scipy_with_and_without_ties(levels, side):
    attribution, mask = normal(4, 3, side, side), masks(4, side=side)
    if levels:
        attribution = (attribution * levels).round() / levels
    present = random(4, side, side, seed=3) > 0.2
    expected = []
    for scores, inside, exists in zip(attribution.sum(1).numpy(), mask.numpy(), present.numpy(), strict=True):
        groups = scores[inside & exists], scores[~inside & exists]
        expected.append(mannwhitneyu(*groups).statistic / (len(groups[0]) * len(groups[1])))
    where = explicand(mask, present=present)
    np.testing.assert_allclose(RocAuc().raw(where, attribution), expected, rtol=1e-6)
    np.testing.assert_allclose(RocAuc()(where, attribution), 2 * np.array(expected) - 1, atol=1e-6)
    assert RocAuc().chance(where).tolist() == [0.5] * 4


def test_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    attribution, mask = normal(3, 1, 8, 8).round(decimals=1), masks(3)
    expected = [metrics.roc_auc_score(mask[row].flatten(), attribution[row].flatten()) for row in range(3)]
    np.testing.assert_allclose(RocAuc().raw(explicand(mask), attribution), expected, rtol=1e-6)


def test_exact_by_hand():
    """Inside 3 and 1, outside 2, 1 and 0: of six pairs 3 + 1 are won and one is tied."""
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0, 7.0]).view(1, 1, 2, 3)
    mask = torch.tensor([True, True, False, False, False, False]).view(1, 2, 3)
    present = torch.tensor([True, True, True, True, True, False]).view(1, 2, 3)
    assert RocAuc().raw(explicand(mask, present=present), scores).item() == 0.75


def test_mask_is_one_complement_is_minus_one_and_constant_zero():
    mask = masks(3)
    where, inside = explicand(mask), mask[:, None].float()
    assert RocAuc()(where, inside).tolist() == [1, 1, 1]
    assert RocAuc()(where, 1 - inside).tolist() == [-1, -1, -1]
    for value in (1.0, -0.3):
        assert RocAuc()(where, torch.full_like(inside, value)).tolist() == [0, 0, 0]


def test_any_increasing_transform_keeps_the_value_and_the_negative_negates_it():
    attribution, where = normal(3, 1, 8, 8), explicand(masks(3))
    assert torch.equal(RocAuc()(where, attribution), RocAuc()(where, attribution.exp()))
    torch.testing.assert_close(RocAuc()(where, -attribution), -RocAuc()(where, attribution))


def test_a_large_image_keeps_its_digits():
    """Ranks of 224 x 224 pixels sum to 1e9, beyond float32: one wrong pair in 1e9 would show, none is."""
    mask = torch.zeros(1, 224, 224, dtype=torch.bool)
    mask[0, :112] = True
    assert RocAuc()(explicand(mask), (mask[:, None] + 0.9 * random(1, 1, 224, 224))).item() == 1


def test_empty_and_full_masks_are_undefined():
    mask = masks(3)
    mask[0], mask[1] = False, True
    values, reasons = RocAuc().evaluate(explicand(mask), random(3, 1, 8, 8))
    assert values.isnan().tolist() == [True, True, False]
    assert reasons["empty mask"].tolist() == [True, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False]


def test_random_maps_have_mean_zero():
    values = RocAuc()(explicand(masks(1).expand(400, 8, 8)), random(400, 1, 8, 8, seed=5))
    assert abs(values.mean()) < 4 * values.std() / 20  # four standard errors of 400 maps


def test_gradient_of_a_planted_model_is_perfect():
    mask = masks(1).expand(3, 8, 8)
    where = bind(linear(mask[0] * (0.5 + random(3, 8, 8, seed=8))), random(3, 3, 8, 8), mask=mask)
    assert RocAuc()(where, Gradient()(where)).tolist() == [1, 1, 1]
