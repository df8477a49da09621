"""Noisy linear imputation against SciPy's direct solution of the system as the paper writes it, row by row."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from interpolated import interpolated
from known_answers import Smooth, bind, ids, linear, normal, random
from metric_promises import NoHost

from xaieval.imputation import _coarsened, _Level, _near, _refined, impute
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.removal import NoisyLinear, removal_of

TOLERANCE = 1e-3  # of pixels in [0, 1]; what a fixed number of iterations promises
EXACT = NoisyLinear(noise=0.0)


def filled(images, gone, present=None):
    """Images with what is gone replaced, as a removal without noise replaces it."""
    return torch.lerp(images, impute(images, gone, present), gone.expand_as(images))


def photos(count, channels, height, width):
    """Smooth colors with some texture, in [0, 1]."""
    coarse = torch.nn.functional.interpolate(random(count, channels, 5, 5), size=(height, width), mode="bilinear")
    return (3 * coarse + random(count, channels, height, width, seed=1)) / 4


def patches(scores, fraction, size):
    """The top patches of a grid `(g, g)` of scores, as pixels `(size, size)`."""
    top = scores.ravel() >= np.sort(scores.ravel())[-round(fraction * scores.size)]
    index = np.arange(size) * len(scores) // size
    return top.reshape(scores.shape)[index][:, index]


def masks(size):
    """Removed pixels by name: in orders as attributions have them, at random, and the shapes that are hard."""
    draw = np.random.default_rng(0)
    place = np.arange(14) - 6.5
    orders = {
        "random": draw.normal(size=(14, 14)),
        "smooth": scipy.ndimage.gaussian_filter(draw.normal(size=(14, 14)), 2),
        "center": -(place[:, None] ** 2) - place**2,
        "border": place[:, None] ** 2 + place**2,
    }
    found = {
        f"{name} {part}": patches(scores, part, size)
        for name, scores in orders.items()
        for part in (0.1, 0.3, 0.5, 0.7, 0.9)
    }
    rows, columns = np.mgrid[:size, :size] / size
    found["one hole"] = (abs(rows - 0.5) < 0.45) & (abs(columns - 0.5) < 0.45)
    found["corner"] = (rows < 0.6) & (columns < 0.6)
    found["all but a corner"] = (rows > 0.1) | (columns > 0.1)
    found["all but a pixel"] = (rows != 0.5) | (columns != 0.5)
    found["lines"] = np.arange(size)[:, None] % 9 + np.zeros(size) < 2
    found["single pixels"] = draw.random((size, size)) < 0.99
    found["fine shapes"] = scipy.ndimage.gaussian_filter(draw.normal(size=(size, size)), 3) > -0.05
    return found


MASKS = masks(224)


@pytest.mark.parametrize("name", MASKS)
def test_agrees_with_a_direct_solution(name):
    """At the size of most models; the worst of all is 99 % of the single pixels, with 3e-4."""
    image, gone = photos(1, 1, 224, 224), torch.from_numpy(MASKS[name])[None, None].float()
    expected = torch.from_numpy(interpolated(image[0].double().numpy(), MASKS[name]))
    difference = (filled(image, gone)[0] - expected).abs()
    assert difference.max() < TOLERANCE / (2 if name == "single pixels" else 10)


@pytest.mark.parametrize("size", [(37, 53), (8, 8), (5, 64), (1, 9), (9, 1), (3, 2), (2, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_in_batches(size, channels):
    images, parts = photos(6, channels, *size), torch.linspace(0.1, 0.95, 6)
    gone = random(6, 1, *size, seed=2) < parts.view(6, 1, 1, 1)
    gone[:, :, 0, 0] = False
    gone[1], gone[1, :, -1, -1] = True, False
    expected = [interpolated(x.double().numpy(), g[0].numpy()) for x, g in zip(images, gone, strict=True)]
    found = filled(images, gone.float())
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=TOLERANCE / 2)


def test_what_is_gone_in_part_is_faded_to_its_neighbors():
    """x = (1 - g) image + g (mean of the neighbors of x), as a dense system."""
    image, part = photos(1, 3, 6, 7), random(1, 1, 6, 7, seed=3)
    part[..., 2:4, :], part[..., 0] = 1.0, 0.0
    weights = np.zeros((42, 42))
    for i in range(42):
        for j in range(42):
            rows, columns = abs(i // 7 - j // 7), abs(i % 7 - j % 7)
            weights[i, j] = (0 if i == j else 1 / 6 if rows + columns == 1 else 1 / 12) * (max(rows, columns) <= 1)
    weights /= weights.sum(1, keepdims=True)
    g = part.double().numpy().reshape(42, 1)
    pixels = image[0].double().numpy().reshape(3, 42).T
    expected = np.linalg.solve(np.eye(42) - g * weights, (1 - g) * pixels).T.reshape(1, 3, 6, 7)
    np.testing.assert_allclose(filled(image, part), expected, rtol=0, atol=1e-5)


def test_a_constant_image_stays_and_so_does_what_is_not_gone():
    images, gone = photos(23, 3, 64, 64), torch.from_numpy(np.stack(list(masks(64).values())))[:, None].float()[:23]
    found = filled(images, gone)
    kept = gone.expand_as(images) == 0
    assert torch.equal(found[kept], images[kept])
    flat = random(len(gone), 3, 1, 1, seed=4).expand_as(images)
    torch.testing.assert_close(filled(flat, gone), flat, rtol=0, atol=1e-6)


def test_a_ramp_stays_in_a_hole_inside_but_not_at_the_border():
    """Weights are symmetric about a pixel, except where it has no neighbors on one side."""
    ramp = (torch.arange(40)[:, None] * 0.01 + torch.arange(40) * 0.015)[None, None]
    inside, border = torch.zeros(2, 1, 1, 40, 40)
    inside[..., 5:30, 8:39], border[..., :10, :10] = 1.0, 1.0
    torch.testing.assert_close(filled(ramp, inside), ramp, rtol=0, atol=1e-5)
    assert (filled(ramp, border) - ramp).abs().max() > 0.01


def test_nothing_left_is_the_mean_color():
    images = photos(3, 3, 17, 16)
    gone = torch.ones(3, 1, 17, 16)
    gone[1, :, 4, 5] = 0
    found = filled(images, gone)
    mean = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(found[::2], mean[::2].expand(2, 3, 17, 16))
    torch.testing.assert_close(found[1], images[1, :, 4, 5, None, None].expand(3, 17, 16))  # one pixel colors all


def test_what_is_gone_or_absent_is_never_read():
    images, gone = photos(2, 3, 24, 20), (random(2, 1, 24, 20, seed=5) > 0.4).float()
    present = random(2, 1, 24, 20, seed=6) > 0.2
    hidden = torch.where((gone == 0) & present, images, 1e3 * normal(2, 3, 24, 20))
    found = [impute(values, gone, present) for values in (images, hidden)]
    assert torch.equal(*found)


def test_absent_pixels_are_as_if_outside_the_image():
    """Padding gives what the image without it gives, and one pixel that has no neighbors the mean of what is left."""
    images, gone = photos(2, 3, 20, 24), (random(2, 1, 20, 24, seed=5) > 0.3).float()
    present = torch.zeros(2, 1, 20, 24, dtype=torch.bool)
    present[..., 3:17, :19] = True
    inside, cut = filled(images, gone * present, present), (..., slice(3, 17), slice(0, 19))
    torch.testing.assert_close(inside[cut], filled(images[cut], gone[cut]), rtol=0, atol=1e-5)
    assert torch.equal(inside.masked_fill(present, 0.0), images.masked_fill(present, 0.0))
    present[..., 0, 23], gone[..., 0, 23] = True, 1.0
    there = ((gone == 0) & present).float()
    mean = (images * there).sum((2, 3)) / there.sum((2, 3))
    found = filled(images, gone * present, present)
    torch.testing.assert_close(found[..., 0, 23], mean)
    torch.testing.assert_close(found[cut], inside[cut], rtol=0, atol=1e-5)


def test_an_island_that_is_gone_has_a_color_of_what_is_left():
    images, gone, present = photos(2, 3, 20, 24), torch.zeros(2, 1, 20, 24), torch.zeros(2, 1, 20, 24, dtype=torch.bool)
    present[..., :16, :19], present[..., 18:, 21:], gone[..., 18:, 21:], gone[..., 4:12, 8:] = True, True, 1.0, 1.0
    island, left = impute(images, gone * present, present)[..., 18:, 21:], images[..., :16, :8]
    assert (island > left.amin((2, 3), keepdim=True)).all()
    assert (island < left.amax((2, 3), keepdim=True)).all()


def test_neighbors_and_order_do_not_matter():
    images, gone = photos(5, 3, 30, 31), (random(5, 1, 30, 31, seed=5) > 0.2).float()
    gone[2] = 1
    whole = impute(images, gone)
    for rows in ([4, 2, 0], [3]):
        torch.testing.assert_close(impute(images[rows], gone[rows]), whole[rows], rtol=0, atol=1e-6)
    strided = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(impute(strided, gone), whole, rtol=0, atol=1e-6)


def test_conjugate_gradients_apply():
    """The matrix and the preconditioner are symmetric and positive, borders and padding included."""
    there = torch.ones(1, 1, 11, 14)
    there[..., 9:] = 0
    level = _Level(there * (random(1, 1, 11, 14) > 0.3) * (random(1, 1, 11, 14, seed=1) + 0.2).clamp(max=1), there)
    units = torch.eye(154).view(154, 1, 11, 14) * level._unknown
    for function in (level._product, level._correction):
        matrix = function(units).view(154, 154).double()
        torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-6)
        unknown = level._unknown.flatten() > 0
        assert torch.linalg.eigvalsh(matrix[unknown][:, unknown]).min() > 0


def test_coarsening_is_the_transpose_of_refining():
    fine, coarse = normal(1, 1, 11, 14), normal(1, 1, 6, 7)
    torch.testing.assert_close((fine * _refined(coarse, fine)).sum(), (_coarsened(fine) * coarse).sum())


def test_the_neighbors_have_the_weights_of_the_paper():
    pixel = torch.zeros(1, 1, 3, 3)
    pixel[..., 1, 1] = 12
    torch.testing.assert_close(_near(pixel)[0, 0], torch.tensor([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]]))


# -- the removal --


def bound(removal, count=3, copies=1, **options):
    explicand = bind(Smooth(), photos(count, 3, 16, 16), ids=ids(count), batch_size=64, **options)
    (batch,) = explicand.batches(copies)
    return explicand, batch, explicand.removal(removal, "curve")


def test_noise_is_added_to_what_is_gone_alone():
    gone = (random(60, 1, 16, 16, seed=5) > 0.5).float()
    explicand, batch, removal = bound(NoisyLinear(0.1), 60)
    noise = removal(batch, gone) - filled(explicand.inputs, gone)
    assert (noise.masked_select(gone == 0) == 0).all()
    drawn = noise.masked_select(gone > 0)
    assert abs(drawn.mean()) < 4 * 0.1 / len(drawn) ** 0.5
    assert abs(drawn.std() - 0.1) < 4 * 0.1 / (2 * len(drawn)) ** 0.5
    assert abs(torch.corrcoef(noise.transpose(0, 1).flatten(1))[0, 1]) < 0.05  # another one for each channel


def test_noise_is_drawn_anew_for_each_pair_seed_and_purpose():
    gone = torch.ones(4, 1, 16, 16)
    explicand, batch, removal = bound(NoisyLinear(0.1), 2, 2)
    found = removal(batch, gone)
    assert len({values.sum().item() for values in found}) == 4
    assert torch.equal(removal(batch, gone), found)
    for other in (explicand.removal(NoisyLinear(0.1, seed=1), "curve"), explicand.removal(NoisyLinear(0.1), "method")):
        assert not torch.equal(other(batch, gone), found)
    assert not removal.fixed


def test_bright_pixels_are_not_clipped():
    explicand = bind(Smooth(), torch.ones(1, 3, 16, 16))
    (batch,) = explicand.batches(1)
    found = explicand.removal(NoisyLinear(0.1))(batch, torch.ones(1, 1, 16, 16))
    assert (found > 1).sum() > 0.4 * found.numel()


def test_absent_pixels_are_not_filled():
    present = random(3, 16, 16, seed=2) > 0.3
    explicand, batch, removal = bound(NoisyLinear(0.1), present=present)
    found, absent = removal(batch, torch.ones(3, 1, 16, 16)), ~present[:, None].expand(3, 3, 16, 16)
    assert torch.equal(found[absent], explicand.inputs[absent])
    assert (found != explicand.inputs)[~absent].all()


def test_other_metrics_remove_with_it():
    """A gradient predicts the change of a linear model, whatever stands in; a curve has the image's mean at its end."""
    weights = normal(3, 16, 16)
    where = bind(linear(weights, 0.2), photos(3, 3, 16, 16), ids=ids(3))
    gradient = weights.expand(3, 3, 16, 16).contiguous()
    values = Infidelity(samples=20, grid=4, removal="noisy_linear").raw(where, gradient)
    torch.testing.assert_close(values, torch.zeros(3), rtol=0, atol=1e-8)
    Deletion(4, 4, "logit", removal=EXACT)(where, gradient)
    mean = where.inputs.mean((2, 3), keepdim=True)
    torch.testing.assert_close(where.removed(EXACT).logit, (mean * weights).sum((1, 2, 3)) + 0.2, rtol=1e-4, atol=1e-4)


def test_runs_on_meta_and_never_asks_the_host():
    images, gone, present = photos(2, 3, 21, 18), torch.ones(2, 1, 21, 18), torch.ones(2, 1, 21, 18, dtype=torch.bool)
    with NoHost():
        impute(images, gone, present)
    assert impute(images.to("meta"), gone.to("meta"), present.to("meta")).is_meta


def test_its_name_is_the_removal():
    assert removal_of("noisy_linear") == NoisyLinear() == NoisyLinear(0.01, 0)


@pytest.mark.parametrize("noise", [-0.1, float("nan")])
def test_negative_noise_is_refused(noise):
    with pytest.raises(ValueError, match=f"NoisyLinear: noise must be at least 0, got {noise}"):
        NoisyLinear(noise)
