"""Figures on a backdrop: each pixel is that of one figure alone, and what is left out touches no other pixel."""

import cmath
from dataclasses import replace

import numpy as np
import pytest

from xaieval.drawing import DARK, SHAPES, TEXTURES, Backdrop, Figure, Light, paint, silhouette

BACKDROP = Backdrop(3, ((0.2, 0.3, 0.4), (0.6, 0.5, 0.3)))
EVEN = Light(1.0, 0.0, 0.0)
BOX = Figure("box", "plain", (1.0, 0.5, 0.25), 0.5, 0.5, 0.2, 0.3)


def figures(count, seed=0):
    """Figures anywhere, also across the edges and outside."""
    draw = np.random.default_rng(seed)
    return [
        Figure(
            shape=str(draw.choice(list(SHAPES))),
            texture=str(draw.choice(list(TEXTURES))),
            color=(float(draw.random()), float(draw.random()), float(draw.random())),
            row=float(draw.uniform(-0.1, 1.1)),
            column=float(draw.uniform(-0.1, 1.1)),
            height=float(draw.uniform(0.05, 0.3)),
            width=float(draw.uniform(0.05, 0.3)),
            angle=float(draw.uniform(0, 7)),
            mirrored=bool(draw.random() < 0.5),
            apart=float(draw.choice([0, 1.2])),
        )
        for _ in range(count)
    ]


def alone(size, figure):
    """Where a figure would be seen alone."""
    return paint(size, BACKDROP, EVEN, [figure]).owner == 0


@pytest.mark.parametrize("size", [64, 97])
def test_a_figure_that_is_left_out_changes_the_pixels_where_it_was_seen_and_no_others(size):
    all_of_them, light = figures(14), Light(0.7, 0.2, -0.1)
    whole = paint(size, BACKDROP, light, all_of_them)
    for number, figure in enumerate(all_of_them):
        rest = paint(size, BACKDROP, light, all_of_them[:number] + all_of_them[number + 1 :])
        changed = (whole.pixels != rest.pixels).any(0)
        assert np.array_equal(changed, whole.owner == number)
        assert not changed[~alone(size, figure)].any()


def test_the_last_figure_is_in_front_and_every_pixel_has_one_owner():
    all_of_them = figures(14, seed=1)
    whole = paint(64, BACKDROP, EVEN, all_of_them)
    expected = np.full((64, 64), -1)
    for number, figure in enumerate(all_of_them):
        expected[alone(64, figure)] = number
    assert np.array_equal(whole.owner, expected)
    assert len(np.unique(expected)) > 8


@pytest.mark.parametrize("apart", [0.0, 1.2])
def test_a_turned_figure_is_that_of_complex_numbers_pixel_by_pixel(apart):
    figure = Figure("disc", "plain", (1.0, 1.0, 1.0), 0.45, 0.55, 0.1, 0.15, 0.7, apart=apart)
    expected = np.zeros((40, 40), bool)
    for row in range(40):
        for column in range(40):
            place = complex((column + 0.5) / 40 - 0.55, (row + 0.5) / 40 - 0.45) * cmath.exp(-0.7j)
            centers = [-apart * 0.15, apart * 0.15]
            expected[row, column] = any(
                ((place.real - center) / 0.15) ** 2 + (place.imag / 0.1) ** 2 < 1 for center in centers
            )
    assert np.array_equal(alone(40, figure), expected)


def test_the_color_is_that_of_the_figure_where_its_texture_is_bright_and_less_where_it_is_dark():
    picture = paint(64, BACKDROP, EVEN, [replace(BOX, texture="checked")])
    shown = np.unique(picture.pixels[:, picture.owner == 0], axis=1).T
    np.testing.assert_allclose(shown, np.array([[DARK], [1]]) * np.array(BOX.color), rtol=1e-6)


def test_light_multiplies_every_pixel_by_where_it_lies():
    light = Light(0.6, 0.3, -0.2)
    lit, flat = (paint(32, BACKDROP, given, figures(5)).pixels for given in (light, EVEN))
    along = (np.arange(32) + 0.5) / 32 - 0.5
    np.testing.assert_allclose(lit, flat * (0.6 + 0.3 * along[:, None] - 0.2 * along), rtol=1e-5)


def test_areas_count_pixels_that_are_covered_or_outside():
    inside = replace(BOX, row=0.5, column=0.5)
    outside = replace(BOX, row=0.5, column=2.5)  # moved by whole pixels
    cut = replace(BOX, row=0.0, column=0.5)
    cover = replace(BOX, width=0.4, height=0.4)
    picture = paint(64, BACKDROP, EVEN, [inside, outside, cut, cover])
    first = picture.areas[0]
    assert picture.areas[:3] == (first, first, first)
    assert first == alone(64, inside).sum()
    assert (picture.owner == 0).sum() == (picture.owner == 1).sum() == 0
    assert alone(64, cut).sum() == first / 2


def test_a_mirrored_figure_is_the_other_way_round():
    for shape in SHAPES:
        figure = Figure(shape, "plain", (1.0, 1.0, 1.0), 0.5, 0.5, 0.31, 0.27)
        assert np.array_equal(alone(64, replace(figure, mirrored=True)), alone(64, figure)[:, ::-1]), shape


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_looks_alike_in_every_size_and_fills_a_part_of_its_box(shape):
    figure = Figure(shape, "plain", (1.0, 1.0, 1.0), 0.48, 0.53, 0.25, 0.3, 0.4)
    small, large = alone(64, figure), alone(256, figure)
    shares = large.reshape(64, 4, 64, 4).mean((1, 3))
    sure = (shares == 0) | (shares == 1)
    assert np.array_equal(small[sure], shares[sure] == 1)
    area = silhouette(256, replace(figure, angle=0.0))[0].mean()
    assert 0.2 < area < 0.95
    assert small.sum() * 16 == pytest.approx(large.sum(), rel=0.1)


def test_shapes_and_textures_differ():
    grid = np.linspace(-1, 1, 40)
    for known in (SHAPES, TEXTURES):
        drawn = [np.broadcast_to(function(grid[None], grid[:, None]), (40, 40)) for function in known.values()]
        for number, one in enumerate(drawn):
            assert all((one != other).mean() > 0.04 for other in drawn[:number])


def test_the_backdrop_is_noise_between_two_colors_alike_in_every_size():
    small, large = (paint(size, BACKDROP, EVEN, []) for size in (64, 128))
    assert (small.owner == -1).all()
    share = (small.pixels[0] - 0.2) / 0.4
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.std() > 0.08
    for channel, (first, second) in enumerate(zip(*BACKDROP.colors, strict=True)):
        np.testing.assert_allclose(small.pixels[channel], first + (second - first) * share, atol=1e-6)
    np.testing.assert_allclose(large.pixels.reshape(3, 64, 2, 64, 2).mean((2, 4)), small.pixels, atol=0.01)
    assert not np.array_equal(small.pixels, paint(64, replace(BACKDROP, seed=4), EVEN, []).pixels)
