"""Randomized models: what is drawn, from which seed, in which order, and how often."""

import copy
import gc
import weakref
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from known_answers import bind, random
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.laws.guards import untouched
from xaieval.laws.toys import General, seeded
from xaieval.metrics.efficient_mprt import EfficientMPRT
from xaieval.metrics.mprt import MPRT
from xaieval.metrics.smooth_mprt import SmoothMPRT
from xaieval.randomization import drawn_weights, randomized

LAYERS = ["0", "1", "4", "5", "10"]


def merged(explicand, seed=0):
    return {name: values for layer in drawn_weights(explicand, seed) for name, values in layer.items()}


def general(seed=0):
    return bind(seeded(General, seed), random(3, 3, 16, 16))


class Own(nn.Linear):
    """A layer that draws its weights with a function, counts that, and forgets its bias."""

    calls = 0

    def reset_parameters(self):
        Own.calls += 1
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape))


class Net(nn.Module):
    """A bare parameter, a layer of its own kind, and two equal convolutions."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(1, 2, 48).view(3, 4, 4))
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = Own(48, 3)
        with torch.no_grad():  # its own reset leaves the bias as memory was, not a number at times
            self.head.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x * self.scale)))).flatten(1))


def test_layers_draw_as_their_reset_does():
    where = general()
    drawn, known = merged(where), where.classifier.weights
    assert set(drawn) == set(known)
    for name in ("0", "4", "10"):  # uniform within one over the root of the number of inputs
        weight, bias = drawn[f"{name}.weight"], drawn[f"{name}.bias"]
        bound = weight[0].numel() ** -0.5
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.9 * bound
        assert bias.abs().max() <= bound
        # The standard deviation of a uniform variable is bound / sqrt 3; four times its own error.
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=4 * (0.2 / weight.numel()) ** 0.5)
    for name in ("1", "5"):
        for entry, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            assert (drawn[f"{name}.{entry}"] == value).all()


def test_what_a_reset_leaves_alone_or_has_none_is_permuted():
    where = bind(seeded(Net), random(2, 3, 4, 4))
    drawn, known = merged(where), where.classifier.weights
    assert list(drawn) == ["scale", "first.weight", "first.bias", "second.weight", "second.bias"] + [
        "head.weight",
        "head.bias",
    ]
    for name in ("scale", "head.bias"):
        assert torch.equal(drawn[name].flatten().sort().values, known[name].flatten().sort().values)
    assert not torch.equal(drawn["scale"], known["scale"])
    assert abs(float(drawn["head.weight"].std()) - 1) < 4 * (2 * 144) ** -0.5  # standard normal


def test_draws_depend_on_seed_and_layer_alone():
    with untouched(module := seeded(Net)):
        first = merged(bind(module, random(2, 3, 4, 4)))
    again = merged(bind(seeded(Net, 5), random(1, 3, 4, 4, seed=3)))
    other = merged(bind(module, random(2, 3, 4, 4)), 1)
    for name in ("first.weight", "second.weight", "head.weight"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    assert not torch.equal(first["first.weight"], first["second.weight"])  # equal layers are drawn apart


def changed(models, known):
    """The layers of each model whose weights are not those of the trained one."""
    return [
        [layer for layer in LAYERS if not torch.equal(weights[f"{layer}.weight"], known[f"{layer}.weight"])]
        for weights in models
    ]


@pytest.mark.parametrize(
    ("order", "steps", "expected"),
    [
        ("top_down", 8, [LAYERS[4:], LAYERS[3:], LAYERS[2:], LAYERS[1:], LAYERS]),
        ("top_down", 2, [LAYERS[3:], LAYERS]),
        ("top_down", 1, [LAYERS]),
        ("bottom_up", 8, [LAYERS[:1], LAYERS[:2], LAYERS[:3], LAYERS[:4], LAYERS]),
        ("bottom_up", 3, [LAYERS[:1], LAYERS[:3], LAYERS]),
        ("independent", 8, [["10"], ["5"], ["4"], ["1"], ["0"]]),
        ("independent", 2, [["5", "10"], ["0", "1", "4"]]),
    ],
)
def test_orders(order, steps, expected):
    module = seeded(General)
    for name in ("1", "5"):  # else a fresh batch normalization has the weights of the trained one
        nn.init.normal_(module.get_parameter(f"{name}.weight"))
    where = bind(module, random(3, 3, 16, 16))
    models = [model.classifier.weights for model in randomized(where, order, steps, 0)]
    assert changed(models, where.classifier.weights) == expected
    drawn = merged(where)
    for weights, layers in zip(models, expected, strict=True):
        for name, values in weights.items():
            source = drawn if name.rpartition(".")[0] in layers else where.classifier.weights
            assert torch.equal(values, source[name])


def test_randomized_models_are_called_with_the_drawn_weights():
    module = seeded(General)
    where = bind(module, random(3, 3, 16, 16))
    (model,) = randomized(where, "top_down", 1, 0)
    twin = copy.deepcopy(module).eval()
    twin.load_state_dict(merged(where))
    torch.testing.assert_close(model.logits, twin(where.inputs).detach())
    assert model.target is where.target


def test_weights_are_drawn_once_for_all_methods_and_metrics():
    where = bind(seeded(Net), random(2, 3, 4, 4))
    Own.calls = 0
    metrics = (MPRT(), MPRT(order="independent"), SmoothMPRT(samples=2), EfficientMPRT())
    for method in (Gradient(), InputXGradient()):
        for metric in metrics:
            metric(where, method(where), method)
    assert Own.calls == 1
    MPRT(seed=1)(where, Gradient()(where), Gradient())
    assert Own.calls == 2


@dataclass(frozen=True)
class Counted(Method):
    """The gradient; notes how many models have been explained that still are held."""

    units: ClassVar[str] = "gradient"
    models: "weakref.WeakSet[Classifier]" = field(default_factory=weakref.WeakSet, compare=False)
    held: list[int] = field(default_factory=list, compare=False)

    def attribute(self, explicand):
        gc.collect()
        self.models.add(explicand.classifier)
        self.held.append(len(self.models))
        return explicand.gradient.clone()


def test_one_randomized_model_is_held_at_a_time():
    where, method = general(), Counted()
    MPRT()(where, Gradient()(where), method)
    assert method.held == [1] * 5
