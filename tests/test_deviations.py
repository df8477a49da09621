"""What docs/deviations.md says of Captum, shown on models with known answers: its number, and ours."""

import re
from pathlib import Path

import captum.attr
import captum.metrics
import pytest
import torch
from known_answers import Smooth, bind, linear, normal, random
from networks import Normalized, assert_close, explained
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.guided_backprop import GuidedBackprop
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.config import names
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.max_sensitivity import MaxSensitivity

WEIGHTS = normal(3, 8, 8)


def test_the_page_names_methods_and_metrics_that_there_are():
    page = (Path(__file__).parents[1] / "docs/deviations.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## (.+)\n\n((?:.+\n)+)", page, re.MULTILINE))
    del parts["What all of them share"]
    for part, rows in parts.items():
        found = [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", re.split("[:|]", row)[1])]
        known = names("method" if part == "Methods" else "metric")
        assert found, part
        assert [name for name in found if name not in known] == [], part


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_captums_trapezoid_is_low_by_one_in_n(steps):
    """Its weights are 1/n where nodes lie 1/(n - 1) apart, so they sum to (n - 1)/n."""
    model, inputs = linear(WEIGHTS), random(2, 3, 8, 8)
    exact = WEIGHTS * inputs  # black is 0
    theirs = captum.attr.IntegratedGradients(model).attribute(
        inputs, target=0, n_steps=steps, method="riemann_trapezoid"
    )
    assert_close(theirs, (steps - 1) / steps * exact, 1e-6)
    assert_close(IntegratedGradients(steps, "trapezoid")(bind(model, inputs)), exact, 1e-6)


def test_captums_infidelity_grows_with_the_scale_of_a_map():
    """On a linear model the gradient predicts every change, and so does any multiple of it once it is scaled."""
    model, inputs = linear(WEIGHTS), random(2, 3, 8, 8)
    where = bind(model, inputs)
    gradient = Gradient()(where)

    def theirs(attribution, normalize):
        def perturb(expanded):
            noise = 0.1 * normal(*expanded.shape, seed=5)
            return noise, expanded - noise

        return captum.metrics.infidelity(model, perturb, inputs, attribution, target=0, normalize=normalize)

    change = theirs(torch.zeros_like(gradient), False)  # a map of zeros predicts nothing: E[D^2]
    assert (theirs(gradient, False) < 1e-9 * change).all()
    torch.testing.assert_close(theirs(10 * gradient, False), 81 * change, rtol=1e-3, atol=0)  # (10 D - D)^2
    assert (theirs(-gradient, True) < 1e-6 * change).all()  # its scale may turn the sign
    metric = Infidelity(samples=20, perturbation="gaussian")
    assert metric(where, 10 * gradient).max() < 1e-9
    assert metric(where, -gradient).tolist() == [1, 1]


def test_a_map_of_zeros_is_perfectly_insensitive_for_captum():
    where = bind(Smooth(), random(2, 3, 8, 8))
    theirs = captum.metrics.sensitivity_max(lambda inputs: tuple(map(torch.zeros_like, inputs)), where.inputs)
    assert theirs.tolist() == [0, 0]
    values, reasons = MaxSensitivity(copies=2).evaluate(where, torch.zeros_like(where.inputs), Gradient())
    assert values.isnan().all()
    assert reasons["zero attribution"].all()


def test_captums_noise_does_not_follow_the_range_of_the_input():
    """The gradient of a sum of squares is 2 x, so VarGrad is four times the variance of the noise."""

    class Squares(nn.Module):
        def forward(self, x):
            score = x.square().flatten(1).sum(1)
            return torch.stack((score, -score), 1)

    faint = 0.1 * random(2, 3, 32, 32)
    options = {"nt_type": "vargrad", "nt_samples": 50, "target": 0, "abs": False}
    theirs = captum.attr.NoiseTunnel(captum.attr.Saliency(Squares()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = [
            (theirs.attribute(inputs, **options).mean((1, 2, 3)) / 4).sqrt() for inputs in (faint, 10 * faint)
        ]  # fmt: skip
    for found in noise:
        torch.testing.assert_close(found, torch.ones(2), rtol=0.05, atol=0)  # of 3072 x 50 draws, about .3 %
    ours = SmoothGrad(50, noise=0.15, variant="variance")
    for inputs in (faint, 10 * faint):
        spread = (ours(bind(Squares(), inputs)).mean((1, 2, 3)) / 12).sqrt()  # summed over three channels
        extent = inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1)
        torch.testing.assert_close(spread, 0.15 * extent, rtol=0.05, atol=0)


def test_captums_guided_backprop_is_the_gradient_where_rectifiers_are_functions():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)).mean((2, 3)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Functional()
    explicand = explained(module)
    theirs = captum.attr.GuidedBackprop(Normalized(module))
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        found = theirs.attribute(explicand.inputs.clone().requires_grad_(), explicand.target)
    gradient, guided = Gradient()(explicand), GuidedBackprop()(explicand)
    assert_close(found.detach(), gradient, 1e-5)
    assert float((guided - gradient).abs().max()) > 0.1 * float(gradient.abs().max())


def test_captums_saliency_is_absolute_unless_it_is_told():
    model, inputs = linear(WEIGHTS), random(2, 3, 8, 8)
    theirs = captum.attr.Saliency(model).attribute(inputs.clone().requires_grad_(), 0)
    assert_close(theirs, WEIGHTS.abs().expand(2, 3, 8, 8))
    assert_close(Gradient()(bind(model, inputs)), WEIGHTS.expand(2, 3, 8, 8))
