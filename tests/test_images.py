"""Images: patches, removals and edges against loops, SciPy and scikit-image."""

import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.filters
import torch
from known_answers import Smooth, bind, normal, random

from xaieval.modalities.images import ImagePatches, Images
from xaieval.removal import Blur, Mean, Noise, Removal, Zero, removal_of

IMAGES = Images()
SIZES = [((8, 8), 4), ((10, 7), 3), ((7, 10), 4), ((5, 6), 14), ((224, 224), 14), ((1, 9), 2)]


def pixels(size, grid):
    """The pixels of each patch, by the definition, one after the other."""
    rows, columns = (min(grid, side) for side in size)
    where: dict[int, list[tuple[int, int]]] = {}
    for y in range(size[0]):
        for x in range(size[1]):
            where.setdefault((y * rows // size[0]) * columns + x * columns // size[1], []).append((y, x))
    return [where[patch] for patch in range(rows * columns)]


@pytest.mark.parametrize(("size", "grid"), SIZES)
def test_patches_by_a_loop(size, grid):
    patches, places = ImagePatches(size, grid, torch.device("cpu")), pixels(size, grid)
    assert patches.count == len(places)
    assert patches.area.tolist() == [len(place) for place in places]
    features, values = normal(2, *size), normal(3, patches.count)
    sums, spread, share = patches.sum(features), patches.spread(values), patches.share(values)
    assert spread.shape == share.shape == (3, 1, *size)
    for number, place in enumerate(places):
        y, x = torch.tensor(place).T
        torch.testing.assert_close(sums[:, number], features[:, y, x].sum(1), rtol=1e-5, atol=1e-5)
        assert torch.equal(spread[:, 0, y, x], values[:, number, None].expand(3, len(place)))
        torch.testing.assert_close(share[:, 0, y, x].sum(1), values[:, number], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "grid"), SIZES)
def test_areas_differ_by_one_row_or_column(size, grid):
    patches = ImagePatches(size, grid, torch.device("cpu"))
    sides = [(side // cells, -(-side // cells)) for side, cells in zip(size, patches.shape, strict=True)]
    areas = patches.area.unflatten(0, patches.shape)
    assert areas.min() >= sides[0][0] * sides[1][0]
    assert areas.max() <= sides[0][1] * sides[1][1]
    assert areas.sum() == math.prod(size)


def test_equal_patches_have_equal_sums():
    """So that ties are ties, wherever the patch lies and however many samples are summed together."""
    patches = ImagePatches((224, 224), 14, torch.device("cpu"))
    for value in (0.1, 1 / 3, 1e-8, 123.456):
        assert patches.sum(torch.full((1, 224, 224), value)).unique().numel() == 1
    maps = normal(9, 224, 224)
    assert torch.equal(patches.sum(maps)[4:5], patches.sum(maps[4:5]))


def test_upsampling_keeps_values_and_nearest_is_the_patch():
    coarse = normal(2, 1, 4, 4)
    patches = ImagePatches((10, 10), 4, torch.device("cpu"))
    nearest = IMAGES.upsample(coarse, (10, 10), "nearest")
    assert torch.equal(nearest, patches.spread(coarse.flatten(1)))
    constant = IMAGES.upsample(torch.full((1, 1, 3, 3), 0.7), (10, 7), "bilinear")
    torch.testing.assert_close(constant, torch.full((1, 1, 10, 7), 0.7))


@pytest.mark.parametrize(("size", "sigma"), [(11, 5.0), (5, 1.0), (4, 2.0)])
def test_blur_is_that_of_scipy(size, sigma):
    image = random(2, 3, 12, 15)
    offsets = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    expected = image.numpy().astype(np.float64)
    for axis in (2, 3):  # SciPy's "mirror" is torch's "reflect"
        expected = scipy.ndimage.correlate1d(expected, kernel / kernel.sum(), axis, mode="mirror")
    np.testing.assert_allclose(IMAGES.blur(image, size, sigma, None).numpy(), expected, atol=1e-6)


def test_blur_of_a_small_image_replicates_its_border():
    image = random(1, 1, 4, 4)
    kernel = np.exp(-((np.arange(11) - 5.0) ** 2) / 50)
    expected = image.numpy().astype(np.float64)
    for axis in (2, 3):
        expected = scipy.ndimage.correlate1d(expected, kernel / kernel.sum(), axis, mode="nearest")
    np.testing.assert_allclose(IMAGES.blur(image, 11, 5.0, None).numpy(), expected, atol=1e-6)


def test_blur_leaves_out_what_is_absent():
    image, present = random(1, 3, 12, 12), torch.ones(1, 12, 12, dtype=torch.bool)
    present[:, :, 8:] = False
    first, second = (IMAGES.blur(image.masked_fill(~present[:, None], v), 5, 1.0, present) for v in (0.0, 100.0))
    assert torch.equal(first, second)
    constant = IMAGES.blur(torch.full((1, 3, 12, 12), 0.4), 5, 1.0, present)
    torch.testing.assert_close(constant[..., :8], torch.full((1, 3, 12, 8), 0.4))
    torch.testing.assert_close(first[..., :6], IMAGES.blur(image, 5, 1.0, None)[..., :6])  # far from the edge


@pytest.mark.parametrize("size", [(12, 15), (7, 1), (40, 33)])
def test_each_image_has_its_own_gaussian_blur_which_is_that_of_scipy(size):
    """Also where the kernel is much wider than the image, so that the border is reflected many times."""
    sigmas, reach = [0.0, 0.3, 1.0, 4.0, 50.0], 200
    image = random(len(sigmas), 3, *size)
    expected = np.stack(
        [
            scipy.ndimage.gaussian_filter(one, (0, sigma, sigma), mode="reflect", radius=(0, reach, reach))
            for one, sigma in zip(image.double().numpy(), sigmas, strict=True)
        ]
    )
    values = IMAGES.diffuse(image, torch.tensor(sigmas), reach, None)
    np.testing.assert_allclose(values.numpy(), expected, atol=2e-6)  # sums of up to 40 x 33 products in float32


def test_what_a_wide_gaussian_blur_leaves_of_the_contrast_keeps_its_digits():
    """Contrast of 5e-5 on a mean of .5, where float32 has a spacing of 6e-8: nothing is lost but half of that."""
    image = random(1, 1, 16, 16)
    expected = scipy.ndimage.gaussian_filter(image.double().numpy()[0, 0], 18.0, mode="reflect", radius=120)
    (values,) = IMAGES.diffuse(image, torch.tensor([18.0]), 120, None)[0].double().numpy()
    contrast = np.abs(expected - expected.mean()).max()
    assert contrast < 5e-5
    np.testing.assert_allclose(values - image.double().mean().item(), expected - expected.mean(), atol=4e-8)


def test_gaussian_blur_leaves_out_what_is_absent():
    image, present = random(2, 3, 12, 12), torch.ones(2, 12, 12, dtype=torch.bool)
    present[:, :, 8:] = False
    sigma, absent = torch.tensor([1.0, 30.0]), ~present[:, None]
    first, second = (IMAGES.diffuse(image.masked_fill(absent, v), sigma, 120, present) for v in (0.0, 100.0))
    assert torch.equal(first, second)
    constant = IMAGES.diffuse(torch.full((2, 3, 12, 12), 0.4), sigma, 120, present)
    torch.testing.assert_close(constant[..., :8], torch.full((2, 3, 12, 8), 0.4))
    torch.testing.assert_close(first[:1, ..., :3], IMAGES.diffuse(image[:1], sigma[:1], 120, None)[..., :3])


def test_edges_are_those_of_scikit_image():
    image = random(2, 3, 9, 13)
    expected = np.stack([skimage.filters.sobel(gray, mode="nearest") for gray in image.mean(1).numpy()])
    # scikit-image divides each direction by 4 and the magnitude by sqrt(2)
    np.testing.assert_allclose(IMAGES.edges(image, None)[:, 0].numpy(), 4 * math.sqrt(2) * expected, atol=1e-5)


def test_edges_beside_absent_pixels_are_zero():
    image, present = random(1, 3, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    present[:, :, 6:] = False
    edges = IMAGES.edges(image, present)
    assert (edges[..., 5:] == 0).all()
    assert torch.equal(edges[..., :5], IMAGES.edges(image, None)[..., :5])


@pytest.mark.parametrize("distance", [0, 1, 1.5, 3, 15])
def test_dilation_is_every_pixel_strictly_nearer(distance):
    masks = random(2, 12, 17) > 0.98
    far = np.stack([scipy.ndimage.distance_transform_edt(~mask) for mask in masks.numpy()])
    expected = (far < distance) | masks.numpy()
    assert np.array_equal(IMAGES.dilate(masks, distance).numpy(), expected)


# -- removals --


def one_batch(explicand, count=1):
    (batch,) = explicand.batches(count)
    return batch


def test_removed_features_have_the_removals_values():
    inputs = random(2, 3, 12, 12)
    explicand = bind(Smooth(), inputs)
    gone = (random(2, 1, 12, 12, seed=1) > 0.5).float()
    expected = {
        Zero(): torch.zeros_like(inputs),
        Mean(): inputs.mean((2, 3), keepdim=True).expand_as(inputs),
        Blur(5, 1.0): IMAGES.blur(inputs, 5, 1.0, None),
    }
    for removal, other in expected.items():
        bound = explicand.removal(removal)
        assert bound.fixed
        torch.testing.assert_close(bound.values, other)
        torch.testing.assert_close(bound(one_batch(explicand), gone), torch.where(gone > 0, other, inputs))


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", "noise"])
def test_between_0_and_1_a_feature_is_faded(removal):
    inputs = random(2, 3, 12, 12)
    explicand = bind(Smooth(), inputs)
    bound, batch = explicand.removal(removal), one_batch(explicand)
    gone = random(2, 1, 12, 12, seed=1)
    other = bound(batch, torch.ones(2, 1, 12, 12))
    torch.testing.assert_close(bound(batch, gone), (1 - gone) * inputs + gone * other)
    assert torch.equal(bound(batch, torch.zeros(2, 1, 12, 12)), inputs)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", "noise"])
def test_absent_features_stay(removal):
    inputs, present = random(2, 3, 12, 12), random(2, 12, 12, seed=2) > 0.3
    explicand = bind(Smooth(), inputs, present=present)
    removed = explicand.removal(removal)(one_batch(explicand), torch.ones(2, 1, 12, 12))
    absent = ~present[:, None].expand_as(inputs)
    assert torch.equal(removed[absent], inputs[absent])
    assert not torch.equal(removed[~absent], inputs[~absent])


def test_the_mean_color_is_that_of_what_is_present():
    inputs, present = random(2, 3, 6, 6), random(2, 6, 6, seed=2) > 0.3
    values = bind(Smooth(), inputs, present=present).removal("mean").values
    for sample in range(2):
        expected = inputs[sample][:, present[sample]].mean(1)
        torch.testing.assert_close(values[sample, :, 0, 0], expected)


def test_noise_is_drawn_anew_for_each_variant_and_sample():
    explicand = bind(Smooth(), random(2, 3, 6, 6), batch_size=16)
    drawn = explicand.removal(Noise(seed=4))(one_batch(explicand, 3), torch.ones(6, 1, 6, 6))
    assert len({values.sum().item() for values in drawn}) == 6
    assert not explicand.removal("noise").fixed


def test_a_name_or_a_removal():
    assert removal_of("blur") == Blur(11, 5.0)
    assert removal_of(Mean()) == Mean()
    known = "zero, mean, blur, noise, noisy_linear, pad_token, zero_embedding, deletion"
    with pytest.raises(ValueError, match=f"removal must be one of {known} or a Removal, got 'black'"):
        removal_of("black")
    with pytest.raises(NotImplementedError):
        Removal().values(bind(Smooth(), random(1, 3, 6, 6)))
