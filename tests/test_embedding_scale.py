"""Noise and radii have the unit of the input: how large a model's embeddings are changes no value."""

import pytest
import torch
from text_models import (
    MASK,
    PAD,
    WEIGHTS,
    WIDTH,
    WORDS,
    Attending,
    TextModel,
    embeddings,
    present,
    projected,
    text,
)

from xaieval.attributions.expected_gradients import ExpectedGradients
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.laws.toys import seeded
from xaieval.metrics.accumulated_prediction_sensitivity import AccumulatedPredictionSensitivity
from xaieval.metrics.input_invariance import InputInvariance
from xaieval.metrics.local_lipschitz import LocalLipschitz
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.modalities.images import Images
from xaieval.modalities.texts import Texts
from xaieval.perturbation import Gaussian, NoisyBaseline
from xaieval.unsupported import UnsupportedError

METHODS = {name: method for name, method in composed("method") if "world" not in method.needs}
METRICS = dict(composed("metric"))
FACTOR = 10.0
SHOWN = present()


class Tenth(Attending):
    """The same model of embeddings ten times as large, with weights of the same names."""

    def forward(self, embeddings, attended):
        return super().forward(embeddings / FACTOR, attended)


def scaled(module, factor=1.0, **options):
    modality = Texts(mask=factor * MASK, padding=factor * PAD)
    return text(module, factor * embeddings(), modality=modality, mask=SHOWN & (torch.arange(7) < 3), **options)


def pair(**options):
    """The same texts for the model and for its tenth."""
    return scaled(seeded(Attending), **options), scaled(seeded(Tenth), FACTOR, **options)


def close(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def size():
    """Root mean square of the present tokens, by a loop."""
    own = [embeddings()[row][:, SHOWN[row]] for row in range(3)]
    return torch.stack([values.square().mean().sqrt() for values in own])


def test_the_scale_is_the_root_mean_square_of_present_tokens():
    work = scaled(seeded(Attending))
    close(work.scale, size(), 1e-6)
    close(work.range, size(), 1e-6)
    assert torch.equal(Images().scale(torch.rand(2, 3, 4, 4), None), torch.ones(2))
    assert torch.equal(Texts().scale(torch.full((1, 2, 3), 3.0), None), torch.tensor([3.0]))


@pytest.mark.parametrize("name", METHODS)
def test_maps(name):
    """Contributions are the same, gradients a tenth by the chain rule, importance has the same shares."""
    method = limited(METHODS[name], SMALL)
    works = pair(groups=WORDS, target=[0, 1, 2])
    try:
        first = method(works[0])
    except UnsupportedError:
        return
    second = method(works[1])
    if method.units == "gradient":
        second = FACTOR * second
    first, second = first * SHOWN[:, None], second * SHOWN[:, None]
    scale, other = (max(1e-6, float(maps.abs().max())) for maps in (first, second))
    if method.units == "importance":  # of which the scale means nothing: embeddings themselves, squared gradients
        second = second * scale / other
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("name", METRICS)
def test_values(name):
    """The metric's own units are those of the map over those of the input; with the map of a contribution none."""
    metric, works = limited(METRICS[name], SMALL), pair(groups=WORDS)
    for method in (InputXGradient(), Gradient()):
        if method.units not in metric.accepts:
            continue
        try:
            first, second = (metric(work, work.attribution(method), method, method.units) for work in works)
        except UnsupportedError:
            return
        if (name, method.units) == ("local_lipschitz", "gradient"):
            second = FACTOR * second  # the change of the map itself
        torch.testing.assert_close(second, first, rtol=5e-3, atol=1e-4, equal_nan=True)


def linear(factor=1.0):
    return TextModel(lambda x, attended: (projected(x) * attended).sum(1) / factor + 0.2)


@pytest.mark.parametrize("factor", [1.0, FACTOR])
def test_known_answers_on_a_linear_bag(factor):
    """Of `f = w.x` with input times gradient `w (x - m)`: a step s of the embeddings' size moves it by `w s`."""
    work, maps = scaled(linear(factor), factor), InputXGradient()
    corner = MaxSensitivity(copies=4, radius=0.02, corners=True)(work, maps(work), maps)
    count = SHOWN.sum(1)
    norm = (WEIGHTS[None, :, None] * (embeddings() - MASK[:, None]) * SHOWN[:, None]).flatten(1).norm(dim=1)
    close(corner, 0.02 * size() * WEIGHTS.norm() * count.sqrt() / norm, 1e-3)
    lipschitz = LocalLipschitz(copies=20)(work, maps(work), maps)  # w per value, times the values' unit
    assert bool((lipschitz <= WEIGHTS.abs().max() * size() + 1e-3).all())
    assert bool((lipschitz >= WEIGHTS.abs().min() * size()).all())
    assert torch.equal(MaxSensitivity(copies=3)(work, Gradient()(work), Gradient()), torch.zeros(3))
    moved = InputInvariance()(work, maps(work), maps)
    close(moved, size() * WEIGHTS.norm() * count.sqrt() / norm, 1e-3)
    p = work.clean.probability
    expected = 2 * p * (1 - p) * WEIGHTS.norm() * size()  # both classes have the same slope, with other signs
    close(AccumulatedPredictionSensitivity()(work, maps(work)), expected, 1e-4)


def test_noise_has_the_size_of_the_embeddings():
    """Standard deviations over many draws; the noise of a sample knows nothing of its neighbors."""
    work = scaled(linear(), batch_size=500)
    batch = next(work.batches(160, "scores"))
    noise = Gaussian(160, noise=0.5).inputs(work, batch) - batch.inputs
    base = NoisyBaseline(160, noise=0.5).inputs(work, batch)
    drawn = work.removal("noise")(batch, torch.ones_like(batch.inputs[:, :1]))
    for row in range(3):
        part = slice(160 * row, 160 * (row + 1))
        inside = SHOWN[row]
        close(noise[part][..., inside].std(), 0.5 * size()[row], 0.05)
        close((base[part] - MASK[:, None])[..., inside].std(), 0.5 * size()[row], 0.05)
        close(drawn[part][..., inside].square().mean().sqrt(), size()[row], 0.05)
        assert torch.equal(base[part][..., ~inside], batch.inputs[part][..., ~inside])


def test_smoothgrad_and_expected_gradients_have_noise_of_that_size():
    """On `f = |x|^2 / 2` the variance of the gradient is that of the noise, and so is the mean loss of a baseline."""
    work = scaled(TextModel(lambda x, attended: (x.square().sum(1) * attended).sum(1) / 2), batch_size=100)
    variance = SmoothGrad(400, noise=0.3, variant="variance")(work)[:, 0]
    mean = (variance * SHOWN).sum(1) / SHOWN.sum(1) / WIDTH
    close(mean, (0.3 * size()) ** 2, 0.05)
    plain, noisy = (
        work.features(ExpectedGradients(2000, noise, "zero_embedding")(work)).sum(1) for noise in (0.0, 0.3)
    )
    close(plain - noisy, WIDTH * SHOWN.sum(1) * (0.3 * size()) ** 2 / 2, 0.15)


def test_shifted_cells_move_by_that_size():
    """Sobol's amplitude: on a linear bag indices are shares of squared sums of weights, the same for all tokens."""
    work = scaled(linear())
    found = Sobol(designs=512, amplitude=1.0)(work)[:, 0]
    close(found, SHOWN / SHOWN.sum(1, keepdim=True), 0.03)


def test_copies_have_a_scale_of_their_own():
    work = scaled(linear())
    batch = next(work.batches(1, "scores"))
    close(batch.copies(3 * batch.inputs).scale, 3 * work.scale[batch.samples], 1e-6)
