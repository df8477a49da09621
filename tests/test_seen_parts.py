"""Points and masks of parts go the way of their picture."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from xaieval.datasets.preprocess import Preprocess
from xaieval.datasets.seen_parts import middle, seen_mask, seen_point, told
from xaieval.parts import Scheme

PREPROCESSES = [Preprocess(32, 20), Preprocess(32, 27, "bilinear"), Preprocess(50, 29), Preprocess(24, 24, squash=True)]
SIZES = [(64, 40), (40, 64), (48, 48), (57, 43), (31, 90)]  # width and height


def white(size, x, y, side=1):
    """A black picture with a white square around a pixel."""
    values = np.zeros((size[1], size[0]), np.uint8)
    values[max(y - side // 2, 0) : y + side // 2 + 1, max(x - side // 2, 0) : x + side // 2 + 1] = 255
    return Image.fromarray(values)


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_painted_pixel_is_found_at_its_point(preprocess, size):
    """The brightest pixel of the crop is the one that the point says, and where it says none, there is none."""
    seen = 0
    for x, y in itertools.product(range(0, size[0], 3), range(0, size[1], 3)):
        part = seen_point(preprocess, (y, x), size)
        image = preprocess(white(size, x, y))[0][0]
        row, column = divmod(int(image.argmax()), preprocess.crop)
        if part.visible:
            seen += 1
            brightest = torch.tensor([row, column])
            assert float((part.center - brightest).abs().max()) <= 0.5 + 1e-4
        else:
            assert part.center.isnan().all()
            on_edge = {row, column} & {0, preprocess.crop - 1}
            assert float(image.max()) < 0.02 or on_edge  # at most the fringe of a pixel beside the crop
    assert 0.1 * size[0] * size[1] / 9 < seen


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_painted_mask_lies_on_its_picture(preprocess, size):
    """Away from its rim, a mask is white where the picture is; its middle is the point's place."""
    for x, y in itertools.product(range(8, size[0] - 8, 6), range(8, size[1] - 8, 6)):
        square = white(size, x, y, side=9)
        part = seen_mask(preprocess, square)
        image = preprocess(square)[0][0]
        assert part.mask is not None
        assert bool(part.mask[image > 0.9].all())
        assert not bool(part.mask[image < 0.1].any())
        if part.visible > 0.999:
            point = seen_point(preprocess, (y, x), size)
            assert float((part.center - point.center).abs().max()) <= 0.5


def test_a_point_between_pixels():
    """Halved, pixels 10 and 11 become pixel 5: the point 10.5 between them is its middle."""
    part = seen_point(Preprocess(16, 16), (10.5, 4.5), (32, 32))
    assert part.center.tolist() == [5, 2]
    assert seen_point(Preprocess(16, 16), (-0.5, 31.4), (32, 32)).center.tolist() == [0, 15]


@pytest.mark.parametrize("portrait", [False, True])
def test_what_the_crop_cuts_off(portrait):
    """Pictures of 40 x 20 lose 10 pixels at both ends of the longer side: 10 to 29 are left."""

    def turned(first, second):
        return (second, first) if portrait else (first, second)

    preprocess, size = Preprocess(20, 20), turned(40, 20)
    for column, center in ((9, None), (10, 0), (29, 19), (30, None)):
        part = seen_point(preprocess, turned(3, column), size)
        assert part.visible == (center is not None)
        assert center is None or tuple(part.center.tolist()) == turned(3, center)
    drawn = np.zeros((20, 40), np.uint8)
    drawn[4:8, 26:34] = 1  # half of it is left of 30
    part = seen_mask(preprocess, Image.fromarray(drawn.T if portrait else drawn))
    assert part.visible == 0.5
    drawn[:, :30] = 0
    part = seen_mask(preprocess, Image.fromarray(drawn.T if portrait else drawn))
    assert part.visible == 0
    assert part.center.isnan().all()


def test_shares_and_middles():
    preprocess = Preprocess(20, 20)
    drawn = np.zeros((20, 40), np.uint8)
    drawn[4:8, 26:34] = 1
    part = seen_mask(preprocess, Image.fromarray(drawn), visible=0.6)
    assert part.visible == pytest.approx(0.3)
    assert part.center.tolist() == [5.5, 17.5]  # of what is seen: columns 16 to 19 of the crop
    assert seen_mask(preprocess, Image.fromarray(drawn), point=(4, 27)).center.tolist() == [4, 17]
    assert seen_mask(preprocess, Image.fromarray(drawn), point=(4, 32)).center.tolist() == [5.5, 17.5]


def test_the_middle_of_a_ring_lies_on_it():
    ring = torch.zeros(11, 11, dtype=torch.bool)
    ring[1:10, 1:10] = True
    ring[3:8, 3:8] = False
    center = middle(ring)
    assert bool(ring[tuple(center.long().tolist())])
    assert float((center - 5).square().sum()) == 9  # nearest to the centroid (5, 5): straight above it
    ring[3:8, 3:8] = True
    assert middle(ring).tolist() == [5, 5]


def test_what_is_told_of_parts_that_are_not_there():
    scheme = Scheme(("a", "b"), ("x", "y", "z"), (0, 1, -1))
    parts = told(scheme, {1: seen_point(Preprocess(8, 8), (2, 3), (8, 8), 0.5)}, (0, 2), None)
    assert parts.masks is None
    assert parts.centers[0].isnan().all()
    assert parts.centers[1].tolist() == [2, 3]
    assert parts.visible.tolist() == [0, 0.5]
    assert parts.concepts.tolist() == [True, False, True]
    parts = told(scheme, {0: seen_mask(Preprocess(8, 8), white((8, 8), 5, 6))}, (), 8)
    assert parts.masks is not None
    assert parts.masks.nonzero().tolist() == [[0, 6, 5]]
    assert not parts.concepts.any()
