"""The infidelity-optimal explanation: Stein's identity, least squares by NumPy, and that nothing beats it."""

import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, linear, normal, quadratic, random
from networks import assert_close, explained, network

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.infidelity_optimal import PERTURBATIONS, InfidelityOptimal
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.lime import LIME
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.random import Random
from xaieval.attributions.rise import RISE
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.metrics.infidelity import Infidelity
from xaieval.perturbation import PatchMask, ShapleyMask
from xaieval.removal import Noise
from xaieval.segments import segments_of

REPLICATES = 8
EXACT = 1e-10  # a ridge that leaves the solution as it is in float64


def on_average(method, explicand, expected, limit):
    """The mean over seeds is the expected map, to 5 of its standard errors, and these are below the limit."""
    maps = torch.stack([method(seed)(explicand) for seed in range(REPLICATES)])
    error = maps.std(0) / REPLICATES**0.5
    assert float(error.max()) < limit
    gap = (maps.mean(0) - expected).abs()
    assert bool((gap < 5 * error + 2 / 4000 * expected.abs().max()).all()), (gap / error).max()


def test_gaussian_noise_gives_the_mean_gradient():
    """Stein: for f = sum x^3 it is 3 (x^2 + sigma^2), as SmoothGrad finds it, too; the gradient at x is 3 x^2."""
    sigma, inputs = 0.5, random(2, 1, 2, 2)
    explicand = bind(Model(lambda x: (x**3).flatten(1).sum(1)), inputs, batch_size=1000)
    expected = 3 * (inputs**2 + sigma**2)

    def optimal(seed):
        return InfidelityOptimal(4000, "gaussian", EXACT, grid=2, noise=sigma, seed=seed)

    on_average(optimal, explicand, expected, 0.1)
    assert float((Gradient()(explicand) - expected).abs().min()) > 0.7
    for sample in range(2):
        alone = bind(explicand.classifier.module, inputs[sample : sample + 1], batch_size=1000)
        noise = sigma / float(alone.range)
        on_average(lambda seed, noise=noise: SmoothGrad(4000, noise, seed=seed), alone, expected[sample], 0.1)


def test_gaussian_noise_gives_the_gradient_of_a_quadratic():
    """f = x'Ax has the mean gradient (A + A')x, whatever the noise."""
    matrix, inputs = normal(4, 4), random(1, 1, 2, 2)
    expected = ((matrix + matrix.T) @ inputs.flatten()).view(1, 1, 2, 2)
    explicand = bind(quadratic(matrix), inputs, batch_size=1000)
    on_average(lambda seed: InfidelityOptimal(4000, "gaussian", EXACT, grid=2, seed=seed), explicand, expected, 0.05)


@pytest.mark.parametrize("perturbation", ["gaussian", "noisy_baseline"])
def test_noise_gives_the_weights_of_a_linear_model(perturbation):
    weights, inputs = normal(3, 4, 4), random(2, 3, 4, 4)
    explicand = bind(linear(weights, 2.0), inputs)
    values = InfidelityOptimal(200, perturbation, EXACT, grid=4)(explicand)
    assert explicand.units_of(values) == "gradient"
    assert_close(values, weights.expand_as(inputs), 1e-4)  # scores are rounded to 1e-7 of changes of about 1
    assert explicand.cost[:2] == (201, 0)


@pytest.mark.parametrize("perturbation", ["patches", "square", "shapley"])
@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_removal_gives_the_contributions_of_a_linear_model(perturbation, removal):
    weights, inputs = normal(3, 4, 4), random(2, 3, 4, 4)
    explicand = bind(linear(weights, 2.0), inputs)
    values = InfidelityOptimal(200, perturbation, EXACT, grid=4, largest=0.8, removal=removal)(explicand)
    baseline = 0 if removal == "zero" else inputs.mean((2, 3), keepdim=True)
    assert explicand.units_of(values) == "contribution"
    assert_close(values, (weights * (inputs - baseline)).sum(1, keepdim=True), 1e-4)


def game(x):
    """Products and a square of pixels."""
    z = x.flatten(1)
    return 3 * z[:, 0] * z[:, 1] * z[:, 2] - 2 * z[:, 20] * z[:, 45] + z.mean(1) ** 2


@pytest.mark.parametrize("segments", ["grid", "slic"])
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_ridge_regression_by_numpy_on_the_same_draws(perturbation, segments):
    """From the perturbed images that the model saw: I summed over each segment, or the removed part of it."""
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x)
        return game(x)

    inputs = 0.1 + 0.8 * random(1, 2, 9, 7)  # no pixel is black before it is removed
    explicand = bind(Model(record), inputs)
    _ = explicand.clean
    seen.clear()
    method = InfidelityOptimal(60, perturbation, 0.05, segments, 3)
    values = method(explicand)[0]
    perturbed = torch.cat(seen)
    assert perturbed.shape == (60, 2, 9, 7)
    labels = segments_of(explicand, segments, 3).labels[0]
    local = perturbation in ("gaussian", "noisy_baseline")
    taken = inputs - perturbed if local else (perturbed[:, :1] == 0).double()
    parts = [(labels == number).double() for number in range(9)]
    columns = [
        (channel * part).sum((1, 2)) / (1 if local else part.sum()) for channel in taken.unbind(1) for part in parts
    ]
    z = np.nan_to_num(torch.stack(columns, 1).double().numpy())  # there may be fewer superpixels
    change = (game(inputs) - game(perturbed)).double().numpy()
    used = z.any(0)
    mean_square = (z[:, used] ** 2).mean()
    system = np.concatenate((z, np.sqrt(0.05 * 60 * mean_square) * np.eye(z.shape[1])))
    solution = np.linalg.lstsq(system, np.append(change, np.zeros(z.shape[1])), rcond=None)[0]
    solution = torch.from_numpy(solution).view(-1, 9)
    spread = [
        sum(v / (1 if local else part.sum().clamp(min=1)) * part for v, part in zip(row, parts, strict=True))
        for row in solution
    ]
    assert_close(values, torch.stack(spread), 1e-4)


RIVALS = {
    "input_x_gradient": InputXGradient(),
    "gradient": Gradient(),
    "feature_ablation": FeatureAblation(grid=4),
    "kernel_shap": KernelSHAP(400, "grid", 4),
    "lime": LIME(400, ridge=1e-6, segments="grid", grid=4),
    "occlusion": Occlusion(4, 4),
    "sobol": Sobol(4),
    "rise": RISE(400),
    "random": Random(),
    "fresh": InfidelityOptimal(400, ridge=EXACT, grid=4, seed=1),
}


def fitted(**options):
    """The method, and infidelity on the very draws that it is fitted on."""
    method = InfidelityOptimal(**options)
    names = ("samples", "perturbation", "grid", "fraction", "largest", "noise", "removal")
    metric = Infidelity(**{name: getattr(method, name) for name in names}, seed=method.draws.seed)
    assert metric.draws == method.draws
    return method, metric


@pytest.mark.parametrize("removal", ["zero", "blur"])
def test_no_method_beats_it_on_the_draws_that_it_was_fitted_on(removal):
    """Not even with the best factor for each rival: `raw` is at most ratio E[D^2]. On fresh draws it may lose."""
    method, metric = fitted(samples=400, ridge=EXACT, grid=4, removal=removal)
    explicand = bind(Smooth(), random(3, 3, 16, 16), [0, 1, 2])
    best = metric.raw(explicand, method(explicand))
    power = explicand.response(metric.draws).change.double().square().mean(1)
    assert bool((best < 0.5 * power).all())
    for name, rival in RIVALS.items():
        attribution = rival(explicand)
        scaled = metric(explicand, attribution).double() * power
        assert bool((best <= scaled + 1e-6 * power).all()), name
        assert bool((best <= metric.raw(explicand, attribution) + 1e-6 * power).all()), name


@pytest.mark.parametrize("seed", range(5))
def test_on_fresh_draws_of_the_same_patches_it_beats_other_methods(seed):
    """Each on every sample of a small network: what infidelity with this grid can be brought down to, or nearly."""
    explicand = explained(network(), random(3, 3, 16, 16))
    metric = Infidelity(200, grid=4, seed=seed)
    best = metric(explicand, InfidelityOptimal(400, grid=4)(explicand))
    for rival in (FeatureAblation(grid=4), KernelSHAP(400, "grid", 4), Sobol(4), RISE(400), Gradient(), Random()):
        assert bool((best < metric(explicand, rival(explicand))).all()), rival


@pytest.mark.parametrize("perturbation", ["square", "gaussian", "noisy_baseline"])
def test_other_maps_at_its_resolution_are_worse_for_the_papers_perturbations(perturbation):
    method, metric = fitted(samples=400, perturbation=perturbation, ridge=EXACT, grid=4)
    explicand = bind(Smooth(), random(2, 3, 16, 16), [0, 1])
    attribution = method(explicand)
    best = metric.raw(explicand, attribution)
    for seed in range(20):
        coarse = normal(2, attribution.shape[1], 4, 4, seed=seed).repeat_interleave(4, 2).repeat_interleave(4, 3)
        for size in (1e-2, 1.0):
            other = attribution + size * attribution.abs().mean() * coarse
            assert bool((metric.raw(explicand, other, method.units) > best).all())


def test_a_larger_ridge_gives_a_smaller_map_and_predicts_its_draws_worse():
    explicand = bind(Smooth(), random(2, 3, 16, 16), [0, 1])
    maps, raw = [], []
    for ridge in (EXACT, 0.1, 10.0):
        method, metric = fitted(samples=50, ridge=ridge, grid=4)
        maps.append(method(explicand).flatten(1).norm(dim=1))
        raw.append(metric.raw(explicand, method(explicand)))
    assert bool((maps[0] > maps[1]).all() and (maps[1] > maps[2]).all())
    assert bool((raw[0] < raw[1]).all() and (raw[1] < raw[2]).all())


def test_a_metric_never_has_its_draws():
    explicand = bind(Smooth(), random(1, 3, 16, 16))
    for seed in range(3):
        draws = InfidelityOptimal(50, seed=seed).draws
        assert isinstance(draws, PatchMask)
        assert draws.seed not in range(1000)
        assert not torch.equal(draws.masks(explicand), PatchMask(50, seed).masks(explicand))
    with_noise = InfidelityOptimal(removal=Noise(3)).draws
    assert isinstance(with_noise, PatchMask)
    assert isinstance(with_noise.removal, Noise)
    assert with_noise.removal != Noise(3)


def test_subsets_under_the_shapley_kernel_are_whole_segments_of_any_size():
    present = torch.ones(2, 16, 16, dtype=torch.bool)
    present[0, :, 12:] = False
    explicand = bind(Smooth(), random(2, 3, 16, 16), present=present)
    draws, patches = ShapleyMask(400, grid=4), explicand.patches(4)
    masks = torch.empty(2, 400, 1, 16, 16)
    for batch in explicand.batches(400, "scores"):
        batch.write(masks, draws.mask(explicand, batch))
    for sample, total in enumerate((12, 16)):
        cells = patches.sum(masks[sample, :, 0]) / 16
        assert set(cells.unique().tolist()) == {0, 1}
        sizes = cells.sum(1).int()
        assert sorted(set(sizes.tolist())) == list(range(1, total))
        one = 1 / (total - 1) / sum(1 / (k * (total - k)) for k in range(1, total))
        assert float((sizes == 1).float().mean()) == pytest.approx(one, abs=4 * (one / 400) ** 0.5)
    with pytest.raises(ValueError, match="ShapleyMask: segments must be one of slic, grid, got 'words'"):
        ShapleyMask(segments="words")


def test_absent_features_have_no_score():
    present = torch.ones(1, 16, 16, dtype=torch.bool)
    present[:, :, 11:] = False
    weights = normal(3, 16, 16)
    explicand = bind(linear(weights), random(1, 3, 16, 16), present=present)
    for perturbation in PERTURBATIONS:
        values = InfidelityOptimal(50, perturbation, grid=4)(explicand)
        assert not values[~present[:, None].expand_as(values)].any()
    values = InfidelityOptimal(50, ridge=EXACT, grid=4)(explicand)
    expected = (weights * explicand.inputs * present[:, None]).sum(1).view(1, 4, 4, 4, 4).sum((2, 4))
    assert_close(values.view(1, 4, 4, 4, 4).sum((2, 4)), expected, 1e-4)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    for method in (InfidelityOptimal(30, grid=3), InfidelityOptimal(30, "gaussian", segments="slic", grid=3)):
        reference = method(explained(network(), inputs))
        assert_close(method(explained(network(), inputs, batch_size=size)), reference, 1e-3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"perturbation": "blur"},
            "perturbation must be one of patches, square, shapley, gaussian, noisy_baseline, got",
        ),
        ({"segments": "words"}, "InfidelityOptimal: segments must be one of slic, grid, got 'words'"),
        ({"samples": 0}, "InfidelityOptimal: samples must be at least 1, got 0"),
        ({"ridge": 0}, "InfidelityOptimal: ridge must be positive, got 0"),
        ({"fraction": 2.0}, r"fraction must lie in \(0, 1\], got 2.0"),
        ({"perturbation": "square", "largest": 0}, r"largest must lie in \(0, 1\], got 0"),
        ({"removal": "black"}, "removal must be one of zero"),
    ],
)
def test_wrong_options_are_told(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        InfidelityOptimal(**options)
