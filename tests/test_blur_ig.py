"""BlurIG where blurs are known: SciPy's, waves that a blur only damps, and the authors' sum with many steps."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
import torch
from known_answers import Model, Smooth, bind, linear, normal, quadratic, random
from networks import assert_close, explained, network

from xaieval.attributions.blur_ig import BlurIG


def blurred(images, sigma, reach):
    """SciPy's Gaussian blur of images `(N, C, H, W)`, in double precision."""
    reach = (0, 0, reach, reach)
    values = images.double().numpy()
    return torch.from_numpy(scipy.ndimage.gaussian_filter(values, (0, 0, sigma, sigma), mode="reflect", radius=reach))


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("size", [(5, 6), (12, 9), (1, 7)])
def test_linear_model_gives_weights_times_what_the_blur_takes_away(steps, size):
    weights, inputs = normal(3, *size), random(2, 3, *size)
    expected = weights * (inputs - blurred(inputs, 3.0, 12))
    assert_close(BlurIG(steps, 3.0)(bind(linear(weights), inputs)), expected, 1e-5)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_quadratic_model_by_a_loop_over_the_path_and_complete_with_any_steps(steps):
    """The gradient is (A + A') x, and its middle on each straight line is its mean there."""
    matrix, inputs = normal(75, 75), random(2, 3, 5, 5)
    images = [blurred(inputs, 4.0 * step / steps, 16).flatten(1) for step in range(steps + 1)]
    terms = [(a - b) * ((a + b) / 2 @ (matrix + matrix.T).double()) for a, b in pairwise(images)]
    explicand = bind(quadratic(matrix), inputs)
    values = BlurIG(steps, 4.0)(explicand)
    assert_close(values, sum(terms).view_as(inputs), 1e-5)
    ends = [torch.einsum("ni,ij,nj->n", image, matrix.double(), image) for image in (images[0], images[-1])]
    torch.testing.assert_close(values.double().sum((1, 2, 3)), ends[0] - ends[1], rtol=1e-5, atol=1e-4)


def test_closed_form_for_an_image_of_one_wave():
    """A blur of s only damps a cosine u with |u| = 1: L_s = .5 + a d(s) u. For f = (u.x)^3 the integral is

    int 3 (a d)^2 u_p d(a d u_p) = u_p^2 a^3 (1 - d(m)^3).
    """
    side, wave, size, sigma = 12, 2, 0.7, 3.0
    cosine = torch.cos(math.pi * wave * (torch.arange(side) + 0.5) / side) * math.sqrt(2 / side)
    wave_image = (cosine[:, None] / math.sqrt(side)).expand(1, 1, side, side)
    offsets = np.arange(-12, 13)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    damped = float((kernel * np.cos(math.pi * wave * offsets / side)).sum() / kernel.sum())
    model = Model(lambda x: (x * wave_image).flatten(1).sum(1) ** 3)
    values = BlurIG(100, sigma)(bind(model, 0.5 + size * wave_image))
    # On a straight line of length h along u the middle rule is off by h^3 / 4, in all by about h^2 / 4 with h < .02.
    assert_close(values, wave_image**2 * size**3 * (1 - damped**3), 3e-4)


def test_with_many_steps_it_is_the_authors_sum():
    """-sum ds grad f(L_s) dL/ds with dL/ds a difference of .01 in s, in double precision; both sums converge."""
    model, inputs, sigma, steps = Smooth().double(), random(2, 3, 10, 11), 4.0, 600
    total = torch.zeros(2, 3, 10, 11, dtype=torch.float64)
    for step in range(steps):
        s = (step + 0.5) * sigma / steps
        image = blurred(inputs, s, 16).requires_grad_()
        (gradient,) = torch.autograd.grad(model(image)[[0, 1], [2, 0]].sum(), image)
        slope = (blurred(inputs, s + 0.01, 16) - blurred(inputs, s, 16)) / 0.01
        total -= slope * gradient * sigma / steps
    values = BlurIG(200, sigma)(bind(Smooth(), inputs, [2, 0]))
    assert_close(values, total, 0.01)  # the difference of .01 alone is .005 s away from the middle


def test_complete_against_the_most_blurred_image_as_the_middle_rule_is():
    """Twice the steps leave a quarter of what is missing."""
    inputs = random(3, 3, 14, 12)
    explicand = bind(Smooth(), inputs, [0, 2, 1])
    removal = BlurIG(1, 5.0).removal
    last = blurred(inputs, 5.0, 20).float()
    torch.testing.assert_close(explicand.removal(removal).values, last, rtol=0, atol=1e-6)
    change = explicand.clean.logit - bind(Smooth(), last, [0, 2, 1]).clean.logit
    torch.testing.assert_close(explicand.clean.logit - explicand.removed(removal).logit, change, rtol=0, atol=1e-6)
    few, more, many = (BlurIG(steps, 5.0)(explicand).sum((1, 2, 3)) - change for steps in (60, 120, 240))
    torch.testing.assert_close(torch.stack((few, more)) / 4, torch.stack((more, many)), rtol=0.05, atol=2e-6)
    assert float(many.abs().max()) < 1e-3 * float(change.abs().max())


def test_a_constant_image_gets_nothing():
    values = BlurIG(5, 2.0)(explained(network(), torch.full((3, 3, 16, 20), 0.3)))
    assert float(values.abs().max()) < 1e-6


def test_absent_features_take_no_part():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[:, 5:] = False
    inputs = random(2, 3, 8, 8)
    method, explicand = BlurIG(100, 3.0), bind(Smooth(), inputs, [0, 1], present=present)
    values = method(explicand)
    assert not values[:, :, 5:].any()
    change = explicand.clean.logit - explicand.removed(method.removal).logit
    torch.testing.assert_close(values.sum((1, 2, 3)), change, rtol=0, atol=2e-5)


def test_costs_one_gradient_a_step():
    explicand = explained(network())
    values = BlurIG(9)(explicand)
    assert explicand.cost[:2] == (9, 9)
    assert explicand.evaluations_of(values) == 9


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = BlurIG(10, 5.0)(explained(network(), inputs))
    assert_close(BlurIG(10, 5.0)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="BlurIG: steps must be at least 1, got 0"):
        BlurIG(0)
    for sigma in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"BlurIG: max_sigma must be a positive number of pixels, got {sigma}"):
            BlurIG(5, sigma)
