"""Expected gradients: closed forms in expectation, Captum's on the same draws, and what each draw is."""

import captum.attr
import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, ids, linear, normal, quadratic, random
from networks import Normalized, assert_close, explained, network

from xaieval.attributions.expected_gradients import ExpectedGradients
from xaieval.removal import Noise


def drawn(explicand, method):
    """Baselines `(N, samples, C, H, W)` and places a `(N, samples)` of a method."""
    baselines = explicand.inputs.new_empty(explicand.count, method.samples, *explicand.shape[1:])
    places = baselines.new_empty(explicand.count, method.samples)
    removal = explicand.removal(method.removal)
    for batch in explicand.batches(method.samples):
        noise = batch.of(method.noise * explicand.range) * batch.normal("expected gradients: baseline", method.seed)
        batch.write(baselines, removal(batch, torch.ones_like(batch.inputs[:, :1])) + noise)
        place = batch.uniform("expected gradients: a", method.seed, (1, 1, 1))[:, 0, 0, 0]
        batch.write(places, (batch.variants + place) / method.samples)
    return baselines, places


def deviations(values, expected):
    """How many standard errors the mean of independent rows is off, for each column."""
    error = values.std(0) / len(values) ** 0.5
    return float(((values.mean(0) - expected) / error).abs().max())


@pytest.mark.parametrize(("samples", "repeats"), [(1, 4000), (5, 1000)])
@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_expectation_on_a_quadratic_model(samples, repeats, removal):
    """With x0 = b + e, d = x - b and B = A + A' it is E[(d - e) B (b + a d + (1 - a) e)], entry by entry

    d B (b + d / 2) - s^2 / 2 diag B. One image under many names gives independent estimates.
    """
    matrix, image = normal(12, 12), random(1, 3, 2, 2)
    explicand = bind(quadratic(matrix), image.expand(repeats, -1, -1, -1), batch_size=500, ids=ids(repeats))
    values = ExpectedGradients(samples, 0.3, removal)(explicand).flatten(1)
    both, middle = matrix + matrix.T, explicand.removal(removal).values[:1]
    noise = 0.3 * float(image.max() - image.min())
    expected = ((image - middle) * (((image + middle) / 2).flatten(1) @ both).view_as(image)).flatten()
    assert deviations(values, expected - noise**2 / 2 * both.diagonal()) < 4.5  # of 12 normal numbers


def test_complete_in_expectation():
    """The sum is f(x) - E f(x0)."""
    repeats, image = 1500, random(1, 3, 8, 8)
    explicand = bind(Smooth(), image.expand(repeats, -1, -1, -1), 2, batch_size=500, ids=ids(repeats))
    method = ExpectedGradients(2, 0.5)
    baselines, _ = drawn(explicand, method)
    sums = method(explicand).sum((1, 2, 3))
    with torch.no_grad():
        changes = explicand.clean.logit - Smooth()(baselines.flatten(0, 1))[:, 2].unflatten(0, (repeats, 2)).mean(1)
    assert deviations((sums - changes)[:, None], 0) < 4
    assert float(changes.std()) > 0.02 * float(changes.mean().abs())  # noise does move the model


@pytest.mark.parametrize("removal", ["zero", "blur", Noise(seed=4)], ids=str)
def test_agrees_with_captum_on_the_same_draws(removal, monkeypatch):
    module, inputs, samples = network(), random(1, 3, 16, 20), 12
    explicand, method = explained(module, inputs, (4,)), ExpectedGradients(samples, 0.2, removal)
    (baselines,), (places,) = drawn(explicand, method)
    monkeypatch.setattr(np.random, "choice", lambda number, size: np.arange(size))
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: places.numpy())
    theirs = captum.attr.GradientShap(Normalized(module))
    expected = theirs.attribute(inputs, baselines, n_samples=samples, stdevs=0.0, target=4)
    assert_close(method(explicand), expected.detach())


@pytest.mark.parametrize("removal", ["zero", Noise(seed=4)], ids=str)
def test_linear_model_gives_weights_times_the_way_from_the_mean_of_the_baselines(removal):
    weights, inputs, method = normal(3, 5, 6), random(2, 3, 5, 6), ExpectedGradients(7, 0.2, removal)
    explicand = bind(linear(weights), inputs)
    baselines, _ = drawn(explicand, method)
    assert baselines.flatten(0, 1).flatten(1).unique(dim=0).shape[0] == 14  # each draw has its own
    assert_close(method(explicand), weights * (inputs - baselines.mean(1)), 1e-5)


def test_noise_is_a_part_of_each_sample_s_own_range():
    inputs = random(2, 3, 8, 8) * torch.tensor([1.0, 0.2])[:, None, None, None]
    baselines, _ = drawn(bind(Smooth(), inputs), ExpectedGradients(200, 0.1))
    ranges = inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1)
    numbers = baselines[0].numel()
    # The standard deviation of n normal numbers has the relative error 1 / sqrt(2 n).
    assert ((baselines.flatten(1).std(1) / (0.1 * ranges) - 1) * (2 * numbers) ** 0.5).abs().max() < 4


def test_each_equal_part_of_the_way_has_one_point():
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x.detach().clone())
        return x.flatten(1).sum(1)

    explicand = bind(Model(record), torch.ones(1, 1, 4, 4))
    seen.clear()
    ExpectedGradients(20, 0.0)(explicand)
    places = torch.cat(seen).flatten(1)
    assert torch.equal(places, places[:, :1].expand(-1, 16))
    assert torch.equal((20 * places[:, 0]).floor(), torch.arange(20.0))
    assert (20 * places[:, 0]).frac().unique().numel() == 20


def test_without_noise_it_becomes_integrated_gradients():
    """f = sum w x^3 gives w x^3; a in its n parts has an error of order n^(-3/2), here below 1e-3."""
    weights, inputs = normal(3, 4, 4), random(2, 3, 4, 4)
    explicand = bind(Model(lambda x: (weights * x**3).flatten(1).sum(1)), inputs)
    assert_close(ExpectedGradients(300, 0.0)(explicand), weights * inputs**3, 1e-3)


def test_a_constant_image_has_no_noise():
    weights = normal(3, 5, 6)
    explicand = bind(linear(weights), torch.full((1, 3, 5, 6), 0.4))
    assert_close(ExpectedGradients(3)(explicand), 0.4 * weights[None], 1e-5)


def test_absent_features_take_no_part():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[:, 5:] = False
    inputs = random(2, 3, 8, 8)
    explicand = bind(Smooth(), inputs, [0, 1], present=present)
    values, (baselines, _) = ExpectedGradients(4)(explicand), drawn(explicand, ExpectedGradients(4))
    assert not values[:, :, 5:].any()
    assert values[:, :, :5].all()
    assert torch.equal(baselines[..., 5:, :], inputs[:, None, :, 5:].expand(-1, 4, -1, -1, -1))


def test_costs_one_gradient_a_draw():
    explicand = explained(network())
    values = ExpectedGradients(9)(explicand)
    assert explicand.cost[:2] == (9, 9)
    assert explicand.evaluations_of(values) == 9


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = ExpectedGradients(10)(explained(network(), inputs))
    assert_close(ExpectedGradients(10)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="ExpectedGradients: samples must be at least 1, got 0"):
        ExpectedGradients(0)
    for noise in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"ExpectedGradients: noise must be at least 0, got {noise}"):
            ExpectedGradients(noise=noise)
