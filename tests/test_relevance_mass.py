"""Relevance mass accuracy: the share of the positive score inside the mask, minus chance."""

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.relevance_mass import RelevanceMass


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(RelevanceMass())


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def masks(count, seed=2):
    return random(count, 8, 8, seed=seed) > 0.7


def test_agrees_with_a_loop():
    attribution, mask, present = normal(4, 3, 8, 8), masks(4), random(4, 8, 8, seed=3) > 0.2
    values, shares = [], []
    for scores, inside, exists in zip(attribution.double().numpy(), mask.numpy(), present.numpy(), strict=True):
        within = total = features = 0.0
        for place in np.argwhere(exists):
            y, x = place
            score = max(0.0, scores[:, y, x].sum())
            total += score
            within += score * inside[y, x]
            features += inside[y, x]
        values.append(within / total)
        shares.append(features / exists.sum())
    expected, chances = np.array(values), np.array(shares)
    where = explicand(mask, present=present)
    np.testing.assert_allclose(RelevanceMass().raw(where, attribution), expected, rtol=1e-5)
    np.testing.assert_allclose(RelevanceMass().chance(where), chances, rtol=1e-6)
    np.testing.assert_allclose(RelevanceMass()(where, attribution), (expected - chances) / (1 - chances), rtol=1e-4)


def test_mask_is_one_complement_is_worst_and_constant_is_chance():
    mask = masks(3)
    where, inside = explicand(mask), mask[:, None].float()
    chance = RelevanceMass().chance(where)
    assert RelevanceMass()(where, inside).tolist() == [1, 1, 1]
    assert RelevanceMass().raw(where, 1 - inside).tolist() == [0, 0, 0]
    torch.testing.assert_close(RelevanceMass()(where, 1 - inside), -chance / (1 - chance))
    torch.testing.assert_close(RelevanceMass()(where, torch.full_like(inside, 0.3)), torch.zeros(3), atol=1e-6, rtol=0)


def test_negative_scores_do_not_lead_out_of_the_unit_interval():
    attribution, mask = normal(200, 1, 8, 8), masks(200)
    raw = RelevanceMass().raw(explicand(mask), attribution)
    assert ((raw >= 0) & (raw <= 1)).all()
    assert not torch.equal(raw, (attribution[:, 0] * mask).sum((1, 2)) / attribution.sum((1, 2, 3)))


def test_without_a_positive_score_it_is_undefined():
    attribution = torch.stack((-random(1, 8, 8) - 0.1, random(1, 8, 8)))
    values, reasons = RelevanceMass().evaluate(explicand(masks(2)), attribution)
    assert values.isnan().tolist() == [True, False]
    assert reasons["no positive score"].tolist() == [True, False]
    assert RelevanceMass().raw(explicand(masks(2)), attribution).isnan().tolist() == [True, False]


def test_empty_and_full_masks_are_undefined():
    mask = masks(3)
    mask[0], mask[1] = False, True
    values, reasons = RelevanceMass().evaluate(explicand(mask), random(3, 1, 8, 8))
    assert values.isnan().tolist() == [True, True, False]
    assert reasons["empty mask"].tolist() == [True, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False]


def test_random_maps_have_mean_zero():
    mask = masks(1).expand(400, 8, 8)
    values = RelevanceMass()(explicand(mask), random(400, 1, 8, 8, seed=5))
    assert abs(values.mean()) < 4 * values.std() / 20  # four standard errors of 400 maps


def test_gradient_of_a_planted_model_is_all_inside():
    mask = masks(1).expand(3, 8, 8)
    weights = mask[0] * (0.5 + random(3, 8, 8, seed=8))
    where = bind(linear(weights), random(3, 3, 8, 8), mask=mask)
    assert RelevanceMass()(where, Gradient()(where)).tolist() == [1, 1, 1]


def test_it_is_the_localization_of_the_grid_pointing_game_and_the_focus_on_mosaics():
    """Both written as in their papers, with slices of tiles in place of masks."""
    attribution = normal(4, 3, 8, 8)
    tiles = [(slice(y, y + 4), slice(x, x + 4)) for y in (0, 4) for x in (0, 4)]
    positive = attribution.sum(1).clamp(min=0)
    mass = torch.stack([positive[:, rows, columns].sum((1, 2)) for rows, columns in tiles])
    mask = torch.zeros(4, 8, 8, dtype=torch.bool)
    for number, (rows, columns) in enumerate(tiles):
        mask[number, rows, columns] = True
    cell = mass.diagonal() / mass.sum(0)
    torch.testing.assert_close(RelevanceMass().raw(explicand(mask), attribution), cell)
    assert RelevanceMass().chance(explicand(mask)).tolist() == [0.25] * 4
    mask[:, :4, :4] = True
    first = torch.tensor([0.0, 1, 1, 1]) * mass[0]
    torch.testing.assert_close(
        RelevanceMass().raw(explicand(mask), attribution), (mass.diagonal() + first) / mass.sum(0)
    )
    assert RelevanceMass().chance(explicand(mask)).tolist() == [0.25, 0.5, 0.5, 0.5]
