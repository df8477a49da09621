"""Guided IG against the algorithm in NumPy, on paths that are known, and where it is integrated gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, linear, normal, quadratic, random
from networks import assert_close, explained, network

from xaieval.attributions.guided_ig import GuidedIG
from xaieval.removal import Noise


def path_of(gradient, image, baseline, steps, fraction, distance):
    """The algorithm for one flat image in double precision, entry by entry where that is plainer: attribution."""
    image, baseline = image.astype(np.float64), baseline.astype(np.float64)
    whole, point, total = np.abs(image - baseline).sum(), baseline.copy(), np.zeros(len(image))
    for step in range(1, steps + 1):
        slopes, start = gradient(point), point.copy()
        low = baseline + (image - baseline) * max(step / steps - distance, 0)
        high = baseline + (image - baseline) * min(step / steps + distance, 1)
        for entry in range(len(image)):
            if abs(image[entry] - point[entry]) > abs(image[entry] - low[entry]):
                point[entry] = low[entry]
        target = whole * (1 - step / steps)
        sizes = np.abs(slopes)
        while (excess := np.abs(image - point).sum() - target) > 1e-12:
            sizes[np.isclose(point, high, rtol=0, atol=1e-12)] = np.inf
            limit = np.quantile(sizes, fraction, method="lower")
            moving = [entry for entry in range(len(image)) if sizes[entry] <= limit and sizes[entry] < np.inf]
            if not moving:
                break
            share = min(1.0, excess / sum(abs(high[entry] - point[entry]) for entry in moving))
            for entry in moving:
                point[entry] += share * (high[entry] - point[entry])
        total += (point - start) * slopes
    return total


OPTIONS = [(10, 0.25, 0.02), (10, 0.25, 0.3), (7, 0.1, 1.0), (5, 1.0, 0.1), (12, 0.5, 0.05), (1, 0.25, 0.02)]


@pytest.mark.parametrize("removal", ["zero", "mean"])
@pytest.mark.parametrize("options", OPTIONS)
def test_quadratic_model_by_the_algorithm_in_numpy(options, removal):
    matrix, inputs = normal(48, 48), random(3, 3, 4, 4)
    both = (matrix + matrix.T).double().numpy()
    explicand = bind(quadratic(matrix), inputs, batch_size=2)
    baselines = explicand.removal(removal).values.flatten(1).numpy()
    images = inputs.flatten(1).numpy()
    expected = [path_of(lambda x: both @ x, *pair, *options) for pair in zip(images, baselines, strict=True)]
    values = replace(GuidedIG(*options), removal=removal)(explicand)
    assert_close(values, torch.from_numpy(np.stack(expected)).view_as(values), 1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_entries_of_equal_gradients_by_the_algorithm_in_numpy(options):
    """f = sum w relu(x - .314)^2 on few values of x and w: many gradients are 0, others equal, none by chance."""
    weights, inputs = torch.tensor([1.0, -2.123, 3.456]), (4 * random(2, 3, 5, 5)).round() / 4
    inputs[1, :, 2] = 0

    def gradient(x):
        return 2 * weights.double().numpy().repeat(25) * np.maximum(x - 0.314, 0)

    expected = [path_of(gradient, image, np.zeros(75), *options) for image in inputs.flatten(1).numpy()]
    model = Model(lambda x: (weights[:, None, None] * (x - 0.314).relu() ** 2).flatten(1).sum(1))
    values = GuidedIG(*options)(bind(model, inputs))
    assert_close(values, torch.from_numpy(np.stack(expected)).view_as(values), 1e-5)


@pytest.mark.parametrize("steps", [1, 4, 25])
@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_on_the_straight_line_it_is_integrated_gradients_with_left_ends(steps, removal):
    """On x'Ax the mean of the gradients at x0 + t / n (x - x0), t < n, is that at (n - 1) / 2n of the way."""
    matrix, inputs = normal(48, 48), random(2, 3, 4, 4)
    explicand = bind(quadratic(matrix), inputs)
    baseline = explicand.removal(removal).values
    middle = torch.lerp(baseline, inputs, (steps - 1) / (2 * steps)).flatten(1)
    expected = (inputs - baseline) * (middle @ (matrix + matrix.T)).view_as(inputs)
    assert_close(GuidedIG(steps, max_dist=0, removal=removal)(explicand), expected, 1e-5)


@pytest.mark.parametrize("removal", ["zero", "mean"])
@pytest.mark.parametrize("options", OPTIONS)
def test_linear_model_is_exact_on_every_path(options, removal):
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    explicand = bind(linear(weights), inputs)
    expected = weights * (inputs - explicand.removal(removal).values)
    assert_close(replace(GuidedIG(*options), removal=removal)(explicand), expected, 1e-5)


def recorded(function, inputs, method):
    """The points `(steps, *inputs)` at which a method takes the gradients of one image."""
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x.detach().clone())
        return function(x)

    explicand = bind(Model(record), inputs)
    seen.clear()
    method(explicand)
    return torch.cat(seen)


def test_entries_with_small_gradients_go_first():
    """16 entries, 16 steps, one entry at a time, no bound: step t brings the one with the t-th smallest weight."""
    weights = normal(1, 4, 4)
    points = recorded(lambda x: (x * weights).flatten(1).sum(1), torch.ones(1, 1, 4, 4), GuidedIG(16, 0.01, 1.0))
    rank = weights.abs().flatten().argsort().argsort()
    assert_close(points.flatten(1), (rank < torch.arange(16)[:, None]).float(), 1e-6)


@pytest.mark.parametrize("distance", [0.0, 0.02, 0.2, 1.0])
def test_the_path_keeps_its_distance_and_its_band(distance):
    inputs, steps = random(1, 3, 8, 8), 10
    model = Smooth()
    points = recorded(lambda x: model(x)[:, 0], inputs, GuidedIG(steps, max_dist=distance))
    parts = torch.arange(steps) / steps
    left = (inputs - points).abs().flatten(1).sum(1) / inputs.sum()
    torch.testing.assert_close(left, 1 - parts, rtol=0, atol=1e-5)
    strays = (points / inputs - parts[:, None, None, None]).abs()  # pixels are not 0 here
    assert float(strays.max()) <= distance + 1e-5
    assert float(strays.max()) > 0.99 * min(distance, 0.5)


def test_sums_to_the_change_as_the_left_rule_does():
    """Twice the steps leave about half of what is missing; about, since the path changes a little."""
    inputs = random(3, 3, 10, 9)
    explicand = bind(Smooth(), inputs, [0, 2, 1])
    change = explicand.clean.logit - explicand.removed("zero").logit
    few, more, many = (GuidedIG(n)(explicand).sum((1, 2, 3)) - change for n in (50, 100, 200))
    torch.testing.assert_close(torch.stack((few, more)) / 2, torch.stack((more, many)), rtol=0.2, atol=1e-5)
    assert float(many.abs().max()) < 0.01 * float(change.abs().max())


def test_a_drawn_baseline_is_drawn_once_for_each_sample():
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    explicand = bind(linear(weights), inputs)
    removal = explicand.removal(Noise(seed=4))
    (batch,) = explicand.batches(1)
    baseline = removal(batch, torch.ones_like(inputs[:, :1]))
    assert_close(GuidedIG(5, removal=Noise(seed=4))(explicand), weights * (inputs - baseline), 1e-5)


def test_nothing_where_the_input_is_its_own_baseline():
    inputs = random(2, 3, 8, 8)
    inputs[:, :, 2:4] = 0
    inputs[1] = 0
    values = GuidedIG(6)(explained(network(), inputs, (0, 1)))
    assert not values[:, :, 2:4].any()
    assert not values[1].any()
    assert values[0].any()


def test_absent_features_take_no_part():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[:, 5:] = False
    inputs = random(2, 3, 8, 8)
    values = GuidedIG(20)(bind(Smooth(), inputs, [0, 1], present=present))
    assert not values[:, :, 5:].any()
    assert values[:, :, :5].all()


def test_costs_one_gradient_a_step_which_samples_share():
    explicand = explained(network())
    values = GuidedIG(9)(explicand)
    assert explicand.cost[:2] == (9, 9)
    assert explicand.evaluations_of(values) == 9


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = GuidedIG(10)(explained(network(), inputs))
    assert_close(GuidedIG(10)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="GuidedIG: steps must be at least 1, got 0"):
        GuidedIG(0)
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"GuidedIG: fraction must be above 0 and at most 1, got {fraction}"):
            GuidedIG(fraction=fraction)
    for distance in (-0.1, 2.0):
        with pytest.raises(ValueError, match=f"GuidedIG: max_dist must lie between 0 and 1, got {distance}"):
            GuidedIG(max_dist=distance)
