"""Pointing game: hits within a tolerance, minus the chance of the dilated mask."""

import numpy as np
import pytest
import torch
from known_answers import bind, constant, normal, random
from metric_promises import PROMISES
from scipy.ndimage import distance_transform_edt

from xaieval.metrics.pointing_game import PointingGame


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(PointingGame(tolerance=1.5, largest_chance=0.95))


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def point(height, width, *places):
    """A map with its maximum at the places."""
    attribution = torch.zeros(1, 1, height, width)
    for y, x in places:
        attribution[..., y, x] = 1.0
    return attribution


def pixel(height, width, y, x):
    return point(height, width, (y, x))[:, 0].bool()


@pytest.mark.parametrize(
    ("tolerance", "height", "width"), [(15, 60, 47), (2.5, 9, 12), (1, 8, 8), (0, 8, 8), (15, 8, 9)]
)
def test_dilation_is_the_distance_to_the_mask(tolerance, height, width):
    masks = random(3, height, width, seed=2) > 0.997
    masks[:, height // 3, 1] = True
    distance = np.stack([distance_transform_edt(~mask) for mask in masks.numpy()])
    expected = (distance < tolerance) | masks.numpy()
    found = PointingGame(tolerance=tolerance).region(explicand(masks), masks)
    assert np.array_equal(found.numpy(), expected)
    chance = PointingGame(tolerance=tolerance).chance(explicand(masks))
    np.testing.assert_allclose(chance, expected.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("offset", "hit"),
    [
        ((0, 0), 1),
        ((0, 14), 1),
        ((10, 11), 1),
        ((-11, 10), 1),
        ((0, 15), 0),
        ((9, 12), 0),
        ((11, 11), 0),
        ((-30, 20), 0),
    ],
)
def test_hit_is_strictly_within_fifteen_pixels(offset, hit):
    where = explicand(pixel(64, 64, 31, 31))
    attribution = point(64, 64, (31 + offset[0], 31 + offset[1])) - 5
    assert PointingGame().raw(where, attribution).item() == hit
    chance = PointingGame().chance(where)
    torch.testing.assert_close(PointingGame()(where, attribution), (hit - chance) / (1 - chance))


def test_tied_maxima_count_with_their_share():
    where = explicand(pixel(64, 64, 5, 5))
    assert PointingGame().raw(where, point(64, 64, (5, 5), (60, 60), (50, 3), (7, 7))).item() == 0.5
    flat = torch.ones(1, 1, 64, 64)
    torch.testing.assert_close(PointingGame().raw(where, flat), PointingGame().chance(where))
    assert PointingGame()(where, flat).item() == pytest.approx(0, abs=1e-7)


def test_a_random_point_has_mean_zero():
    places = [(y, x) for y in range(8) for x in range(8)]
    masks = (random(8, 8, seed=4) > 0.9).expand(64, 8, 8)
    points = torch.cat([point(8, 8, place) for place in places])
    metric = PointingGame(tolerance=2, largest_chance=1)
    assert metric(explicand(masks), points).mean().item() == pytest.approx(0, abs=1e-6)
    assert metric.raw(explicand(masks), points).mean().item() == pytest.approx(
        metric.chance(explicand(masks))[0].item()
    )


def test_empty_and_full_masks_are_undefined_not_hits():
    masks = torch.zeros(3, 64, 64, dtype=torch.bool)
    masks[1] = True
    masks[2, 30, 30] = True
    where, attribution = explicand(masks), point(64, 64, (30, 30)).expand(3, 1, 64, 64)
    values, reasons = PointingGame().evaluate(where, attribution)
    assert values.isnan().tolist() == [True, True, False]
    assert values[2] == 1
    assert reasons["empty mask"].tolist() == [True, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False]
    raw = PointingGame().raw(where, attribution)
    assert raw.isnan().tolist() == [True, False, False]
    assert raw[1:].tolist() == [1, 1]


def test_mask_that_covers_everything_once_dilated_is_undefined():
    _, reasons = PointingGame().evaluate(explicand(pixel(8, 8, 4, 4)), point(8, 8, (0, 0)))
    assert reasons["mask covers everything"].item()


def test_above_the_largest_chance_a_miss_is_undefined_not_a_hundred_hits():
    """Of 100 features 74, 75, 76 and 99 hit: the first miss costs 2.85, the second 3, the others would 3.2 and 99."""
    masks = torch.zeros(4, 100, dtype=torch.bool)
    for row, size in enumerate((74, 75, 76, 99)):
        masks[row, :size] = True
    where, corner = explicand(masks.view(4, 10, 10)), point(10, 10, (9, 9)).expand(4, 1, 10, 10)
    values, reasons = PointingGame(tolerance=0).evaluate(where, corner)
    assert values[:2].tolist() == pytest.approx([-74 / 26, -3])
    assert values.isnan().tolist() == [False, False, True, True]
    assert reasons["chance above 0.75"].tolist() == [False, False, True, True]
    assert PointingGame().bounds == (-3, 1)
    everything = PointingGame(tolerance=0, largest_chance=1)
    assert everything(where, corner)[3].item() == pytest.approx(-99, rel=1e-4)
    assert everything.bounds == (-float("inf"), 1)


def test_small_objects_stand_apart_by_the_mask_not_dilated():
    masks = torch.zeros(3, 20, 20, dtype=torch.bool)
    masks[0, :10, :10], masks[1, :10, :11], masks[2, 4, 4] = True, True, True
    present = torch.ones(3, 20, 20, dtype=torch.bool)
    small = PointingGame(tolerance=3, largest_object=0.25)
    values, reasons = small.evaluate(explicand(masks), point(20, 20, (4, 4)).expand(3, 1, 20, 20))
    assert reasons["object above 0.25 of the features"].tolist() == [False, True, False]
    assert values.isnan().tolist() == [False, True, False]
    present[0, 19] = False  # 100 of 380 present features are more than a quarter
    _, reasons = small.evaluate(explicand(masks, present=present), point(20, 20, (4, 4)).expand(3, 1, 20, 20))
    assert reasons["object above 0.25 of the features"].tolist() == [True, True, False]


def test_without_a_mask_the_value_is_undefined_and_the_parts_say_so():
    where, attribution = bind(constant(), random(1, 3, 8, 8)), point(8, 8, (1, 1))
    values, reasons = PointingGame().evaluate(where, attribution)
    assert values.isnan().all()
    assert reasons["no mask"].all()
    with pytest.raises(ValueError, match="PointingGame compares with a mask and the explicand has none"):
        PointingGame().raw(where, attribution)
    with pytest.raises(ValueError, match="none: bind the inputs with mask="):
        PointingGame().chance(where)


def test_absent_pixels_are_neither_hits_nor_maxima():
    present = torch.ones(1, 8, 8, dtype=torch.bool)
    present[..., 4:] = False
    where, metric = explicand(pixel(8, 8, 2, 3), present=present), PointingGame(tolerance=2)
    assert metric.chance(where).item() == 6 / 32  # of the 9 pixels of the disc, 3 lie in column 4
    assert metric.raw(where, point(8, 8, (2, 3)) - 5).item() == 1  # scores below the 0 that absent features have
    assert metric.raw(where, point(8, 8, (2, 4)) - 5 + 0.1 * point(8, 8, (7, 0))).item() == 0


def test_channels_are_summed_with_their_signs():
    attribution = torch.zeros(1, 3, 64, 64)
    attribution[0, :, 5, 5] = torch.tensor([3.0, -3.0, 0.0])
    attribution[0, :, 60, 60] = 0.5
    assert PointingGame().raw(explicand(pixel(64, 64, 60, 60)), attribution).item() == 1


def test_a_mask_points_at_itself_and_sentinels_stand_where_expected():
    side = torch.arange(64) - 31.5
    center = torch.exp(-(side[:, None] ** 2 + side**2) / 200)[None, None]
    middle, corner = explicand(pixel(64, 64, 31, 31)), explicand(pixel(64, 64, 3, 3))
    assert PointingGame()(middle, center).item() == pytest.approx(1)  # a centre blob is right about centred objects
    assert PointingGame()(corner, center) < 0
    noise = normal(400, 1, 64, 64)
    many = explicand(pixel(64, 64, 31, 31).expand(400, 64, 64))
    chance = PointingGame().chance(many)[0].item()
    deviation = (chance * (1 - chance) / 400) ** 0.5
    assert abs(PointingGame().raw(many, noise).mean().item() - chance) < 4 * deviation


def test_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance is a distance in pixels, at least 0, got -1"):
        PointingGame(tolerance=-1)


@pytest.mark.parametrize("option", ["largest_object", "largest_chance"])
@pytest.mark.parametrize("value", [0, 1.5])
def test_shares_outside_the_unit_interval_are_refused(option, value):
    with pytest.raises(ValueError, match=rf"PointingGame: {option} is a share, in \(0, 1\], got {value}"):
        PointingGame(**{option: value})
