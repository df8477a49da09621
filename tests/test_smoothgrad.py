"""SmoothGrad, SmoothGrad-Squared and VarGrad on models whose moments under Gaussian noise are known."""

import pytest
import torch
from known_answers import Model, bind, constant, ids, linear, normal, quadratic, random
from networks import assert_close, explained, network
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.smoothgrad import KERNELS, VARIANTS, SmoothGrad
from xaieval.laws import check

SAMPLES = 2000


def recorded(function):
    """A model that keeps every input it sees, and the list of them."""
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x.detach().clone())
        return function(x)

    return Model(record), seen


def test_linear_model_gives_weights_their_squares_and_no_variance():
    weights = normal(3, 5, 6)
    explicand = bind(linear(weights), random(2, 3, 5, 6))
    assert_close(SmoothGrad(7)(explicand), weights.expand(2, -1, -1, -1), 1e-6)
    squares = (weights**2).sum(0, keepdim=True).expand(2, -1, -1, -1)
    assert_close(SmoothGrad(7, variant="squared")(explicand), squares, 1e-5)
    # Each gradient is a rounding of w, so deviations are at most an ulp of it.
    assert float(SmoothGrad(7, variant="variance")(explicand).max()) < 1e-12


@pytest.mark.parametrize("kernel", KERNELS)
class TestMomentsOfAQuadraticModel:
    """The gradient at x + e is Bx + Be with B = A + A': mean Bx and covariance s^2 BB'.

    A box of half the width r has s^2 = r^2 / 3. Errors are those of Gaussian gradients; a box's are not above them.
    """

    inputs = random(1, 3, 4, 4, seed=5)
    curvature = (lambda m: m + m.T)(normal(48, 48, seed=6))
    sigma = 0.15 * (inputs.max() - inputs.min())
    mean = inputs.flatten() @ curvature

    def covariance(self, kernel):
        square = self.sigma**2 if kernel == "gaussian" else self.sigma**2 / 3
        return square * self.curvature @ self.curvature

    def attribution(self, variant, kernel):
        explicand = bind(quadratic(self.curvature / 2), self.inputs, batch_size=64, ids=["a"])
        return SmoothGrad(SAMPLES, 0.15, variant, kernel=kernel)(explicand).flatten()

    def blocks(self, kernel):
        """Mean (16, 3) and covariance (16, 3, 3) of the channels of each pixel."""
        covariance = self.covariance(kernel).view(3, 16, 3, 16).diagonal(dim1=1, dim2=3).permute(2, 0, 1)
        return self.mean.view(3, 16).T, covariance

    def test_mean(self, kernel):
        error = (self.covariance(kernel).diagonal() / SAMPLES).sqrt()
        assert float(((self.attribution("mean", kernel) - self.mean) / error).abs().max()) < 4.5  # of 48 normal numbers

    def test_variance(self, kernel):
        _, covariance = self.blocks(kernel)
        expected = covariance.diagonal(dim1=1, dim2=2).sum(1)
        error = (2 * (covariance**2).sum((1, 2)) / SAMPLES).sqrt()
        assert float(((self.attribution("variance", kernel) - expected) / error).abs().max()) < 4.5

    def test_squared(self, kernel):
        mean, covariance = self.blocks(kernel)
        expected = (mean**2).sum(1) + covariance.diagonal(dim1=1, dim2=2).sum(1)
        spread = 2 * (covariance**2).sum((1, 2)) + 4 * torch.einsum("pi,pij,pj->p", mean, covariance, mean)
        error = (spread / SAMPLES).sqrt()
        assert float(((self.attribution("squared", kernel) - expected) / error).abs().max()) < 4.5


@pytest.mark.parametrize(("kernel", "width"), [("gaussian", 1.0), ("box", 3**-0.5)])
def test_noise_is_a_part_of_each_sample_s_own_range(kernel, width):
    model, seen = recorded(lambda x: (x**2).flatten(1).sum(1))
    inputs = random(2, 3, 8, 8) * torch.tensor([1.0, 0.2])[:, None, None, None]
    explicand = bind(model, inputs)
    seen.clear()
    SmoothGrad(200, 0.1, kernel=kernel)(explicand)
    ranges = inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1)
    noise = (torch.cat(seen).reshape(2, -1) - inputs.flatten(1).repeat(1, 200)) / (0.1 * ranges[:, None])
    numbers = noise[0].numel()
    # The standard deviation of n normal numbers has the relative error 1 / sqrt(2 n), that of a box a smaller one.
    assert ((noise.std(1) / width - 1) * (2 * numbers) ** 0.5).abs().max() < 4
    assert (noise.mean(1) / width * numbers**0.5).abs().max() < 4
    assert noise[0].unflatten(0, (200, -1)).unique(dim=0).shape[0] == 200
    if kernel == "box":  # of 38400 numbers the largest lies within 1e-3 of the end, but for a chance of e^-19
        torch.testing.assert_close(noise.abs().amax(1), torch.ones(2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_fourth_moments_on_a_model_of_degree_five(kernel):
    """The gradient of sum x^5 / 5 at x + e has the mean x^4 + 6 x^2 m2 + m4; m4 is 3 r^4, and r^4 / 5 for a box."""
    inputs = random(1, 1, 4, 4)
    radius = 0.5 * float(inputs.max() - inputs.min())
    second, fourth = (radius**2, 3 * radius**4) if kernel == "gaussian" else (radius**2 / 3, radius**4 / 5)
    explicand = bind(Model(lambda x: (x**5).flatten(1).sum(1) / 5), inputs, batch_size=64)
    mean, variance = (SmoothGrad(4000, 0.5, variant, kernel=kernel)(explicand) for variant in ("mean", "variance"))
    expected = inputs**4 + 6 * inputs**2 * second + fourth
    assert float(((mean - expected) / (variance / 4000).sqrt()).abs().max()) < 4.5


def test_a_box_leaves_absent_features_as_they_are():
    present = torch.ones(1, 6, 6, dtype=torch.bool)
    present[:, 4:] = False
    model, seen = recorded(lambda x: x.flatten(1).sum(1))
    explicand = bind(model, random(1, 3, 6, 6), present=present)
    seen.clear()
    SmoothGrad(5, kernel="box")(explicand)
    moved = torch.cat(seen) != explicand.inputs
    assert torch.equal(moved, present.expand(5, 3, -1, -1))


def test_laws_hold_for_a_box():
    assert not [result for result in check(SmoothGrad(kernel="box")) if not result.kept]


def test_the_target_is_that_of_the_clean_input():
    """Logits (w.x, -w.x) near 0: noise changes the predicted class every other time, and gradients would cancel."""
    weights = normal(3, 6, 6)
    inputs = random(2, 3, 6, 6)
    inputs -= (inputs * weights).sum((1, 2, 3), keepdim=True) / (weights**2).sum() * weights
    module = nn.Sequential(nn.Flatten(), nn.Linear(108, 2, bias=False))
    module[1].weight.data = torch.stack((weights.flatten(), -weights.flatten()))
    explicand = bind(module, inputs, None)
    sign = 1 - 2 * explicand.target.view(-1, 1, 1, 1)
    assert_close(SmoothGrad(20, 0.5)(explicand), sign * weights, 1e-6)


def test_three_variants_are_the_moments_of_the_same_maps_and_are_paid_for_once():
    explicand = explained(network())
    table = torch.stack(noisy_gradients(explicand, 12))  # (copies, N, C, H, W)
    before = explicand.cost
    mean, squared, variance = (SmoothGrad(12, variant=variant)(explicand) for variant in VARIANTS)
    assert_close(mean, table.mean(0), 1e-5)
    assert_close(squared, (table**2).mean(0).sum(1, keepdim=True), 1e-5)
    assert_close(variance, table.var(0, correction=0).sum(1, keepdim=True), 1e-5)
    assert explicand.cost.backwards - before.backwards == 12
    assert [explicand.evaluations_of(values) for values in (mean, squared, variance)] == [12, 12, 12]
    alone = SmoothGrad(12, variant="variance")(explained(network()))
    assert_close(variance, alone, 1e-6)


def noisy_gradients(explicand, samples):
    """Gradients at the noisy copies, one copy of all samples after another."""
    table = explicand.inputs.new_empty(explicand.count, samples, *explicand.shape[1:])
    for batch in explicand.batches(samples):
        noise = batch.of(0.15 * explicand.range) * batch.normal("smoothgrad", 0)
        batch.write(table, batch.gradients(batch.inputs + noise))
    return table.unbind(1)


def test_small_variance_beside_a_large_mean_keeps_its_digits():
    """Gradients 1e4 + e with e of size .1: E[a^2] - E[a]^2 would be lost, as 1e8 has a spacing of 8 in float32."""
    model, seen = recorded(lambda x: (1e4 * x + x**2 / 2).flatten(1).sum(1))
    inputs = random(2, 3, 4, 4)
    explicand = bind(model, inputs, batch_size=7)
    seen.clear()
    values = SmoothGrad(50, variant="variance")(explicand)
    exact = torch.cat(seen).double().reshape(2, 50, 3, 4, 4).var(1, correction=0).sum(1, keepdim=True)
    # The gradient itself is rounded to 1e-3, one part in 100 of its deviations, at random.
    torch.testing.assert_close(values.double(), exact, rtol=0.02, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_noise_it_is_the_method_at_the_input(variant):
    black = torch.full((2, 3, 16, 20), 0.3)  # a constant image has range 0
    for explicand, noise in ((explained(network()), 0.0), (explained(network(), black, (0, 1)), 0.2)):
        gradient = Gradient()(explicand)
        values = SmoothGrad(4, noise, variant)(explicand)
        if variant == "mean":
            assert_close(values, gradient, 1e-6)
        elif variant == "squared":
            assert_close(values, (gradient**2).sum(1, keepdim=True), 1e-6)
        else:
            assert float(values.max()) < 1e-12 * float((gradient**2).max())


@pytest.mark.parametrize(("variant", "power"), [("mean", 1), ("squared", 2), ("variance", 2)])
def test_scales_as_the_model_does(variant, power):
    inputs = random(2, 3, 6, 6)
    once, thrice = (
        SmoothGrad(5, variant=variant)(bind(Model(lambda x, c=c: c * (x**3).flatten(1).sum(1)), inputs)) for c in (1, 3)
    )
    assert_close(thrice, 3**power * once, 1e-5)


def test_wraps_any_method_in_its_units_and_cost():
    explicand = explained(network())
    path = SmoothGrad(4, 0.05, method=IntegratedGradients(3))
    values = path(explicand)
    assert explicand.cost[:2] == (12, 12)
    assert explicand.evaluations_of(values) == 12
    assert (path.units, explicand.units_of(values)) == ("contribution", "contribution")
    assert SmoothGrad(2, variant="variance", method=IntegratedGradients(3)).units == "importance"
    assert SmoothGrad(2, method=Occlusion(8, 8))(explicand).shape == (3, 1, 16, 20)


def test_nested_noise_is_drawn_anew_at_each_copy():
    model, seen = recorded(lambda x: x.flatten(1).sum(1))
    explicand = bind(model, random(1, 1, 4, 4))
    seen.clear()
    SmoothGrad(6, 0.1, method=SmoothGrad(5, 0.1))(explicand)
    assert torch.cat(seen).flatten(1).unique(dim=0).shape[0] == 30


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(variant, size):
    inputs = random(3, 3, 16, 20)
    reference = SmoothGrad(10, variant=variant)(explained(network(), inputs))
    assert_close(SmoothGrad(10, variant=variant)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_seed_and_id_decide_the_noise():
    inputs = random(3, 3, 16, 20)
    method, order = SmoothGrad(5), [2, 0, 1]
    values = method(explained(network(), inputs, ids=ids(3)))
    assert torch.equal(values, method(explained(network(), inputs, ids=ids(3))))
    moved = method(explained(network(), inputs[order], [4, 1, 0], ids=[ids(3)[i] for i in order]))
    assert_close(moved, values[order], 1e-5)
    for other in (
        SmoothGrad(5, seed=1)(explained(network(), inputs, ids=ids(3))),
        method(explained(network(), inputs)),
    ):
        assert float((other - values).abs().max()) > 0.01 * float(values.abs().max())


def test_a_model_that_ignores_its_input_gets_zeros():
    for variant in VARIANTS:
        assert not SmoothGrad(3, variant=variant)(bind(constant(), random(2, 3, 4, 4))).any()


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="variant must be one of mean, squared, variance, got 'median'"):
        SmoothGrad(variant="median")
    with pytest.raises(ValueError, match="variance needs samples >= 2, got 1"):
        SmoothGrad(1, variant="variance")
    with pytest.raises(ValueError, match="SmoothGrad: kernel must be one of gaussian, box, got 'ball'"):
        SmoothGrad(kernel="ball")
    with pytest.raises(ValueError, match=r"SmoothGrad: noise must be at least 0, got -0\.1"):
        SmoothGrad(noise=-0.1)
