"""Propagation: every guise of a function meets its rule, what has none is noted with its layer, nothing is edited."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from known_answers import random
from torch import nn

from xaieval.classifier import Classifier
from xaieval.laws.guards import HOOKS
from xaieval.laws.toys import seeded
from xaieval.propagation import MAX_POOLING, Propagation
from xaieval.unsupported import UnsupportedError


class Negated(torch.autograd.Function):
    """The function as it is, minus the gradient."""

    @staticmethod
    def forward(ctx, inputs, result):
        return result.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient, None


def negated(function, options):
    return Negated.apply(options["input"], function(**options))


def ones(*shape):
    return torch.ones(shape, requires_grad=True) * 1


RELUS: dict[str, Callable[..., Any]] = {
    "functional": lambda x: functional.relu(x),
    "keyword": lambda x: functional.relu(input=x, inplace=False),
    "module": nn.ReLU(),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "positional in place": lambda x: functional.relu(x, True),
    "module in place": nn.ReLU(inplace=True),
    "torch in place": torch.relu_,
    "method in place": lambda x: x.relu_(),
    "functional_": functional.relu_,
}
ADDITIONS: dict[str, Callable[..., Any]] = {
    "plus": lambda x, y: x + y,
    "torch": torch.add,
    "keyword": lambda x, y: torch.add(input=x, other=y),
    "method": lambda x, y: x.add(y),
    "in place": lambda x, y: x.add_(y),
    "augmented": lambda x, y: x.__iadd__(y),
}
POOLS: dict[str, list[Callable[..., Any]]] = {
    "max_pool2d": [
        lambda x: functional.max_pool2d(x, 2),
        lambda x: torch.max_pool2d(x, 2),
        lambda x: functional.max_pool2d(x, kernel_size=2, stride=2),
        nn.MaxPool2d(2),
    ],
    "adaptive_max_pool2d": [lambda x: functional.adaptive_max_pool2d(x, 2), nn.AdaptiveMaxPool2d(2)],
}


@pytest.mark.parametrize("kind", RELUS)
def test_every_way_to_call_a_rectifier(kind):
    x = -ones(4)
    with Propagation("This", {"relu": negated}) as mode:
        result = RELUS[kind](x)
    assert mode.seen == 1
    assert mode.unsupported == {}
    assert torch.equal(result, torch.zeros(4))
    if "in place" in kind or kind == "functional_":  # code that holds the input finds the result there
        assert result is x
    else:
        assert torch.equal(x, -torch.ones(4))
    x = ones(4)
    leaf = x.detach().requires_grad_()
    with mode:
        (gradient,) = torch.autograd.grad(RELUS[kind](leaf * 3).sum(), leaf)
    assert torch.equal(gradient, torch.full((4,), -3.0))


@pytest.mark.parametrize("kind", ADDITIONS)
def test_every_way_to_add(kind):
    calls = []

    def rule(function, options):
        calls.append(sorted(options))
        return function(**options)

    x = ones(3)
    with Propagation("This", {"add": rule}) as mode:
        result = ADDITIONS[kind](x, ones(3))
    assert calls == [["input", "other"]]
    assert torch.equal(result, torch.full((3,), 2.0))
    assert (result is x) == (kind in ("in place", "augmented"))
    assert mode.seen == 0  # it is no nonlinear function


@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in POOLS.items() for call in calls])
def test_every_way_to_pool(name, call):
    x = ones(1, 1, 4, 4)
    with Propagation("This", {name: lambda function, options: function(**options)}) as mode:
        result = call(x)
    assert mode.seen == 1
    assert torch.equal(result, call(x))


def test_pooling_that_gives_the_places_too_is_unsupported():
    with Propagation("This", dict.fromkeys(MAX_POOLING, negated)) as mode:
        functional.max_pool2d(ones(1, 1, 4, 4), 2, return_indices=True)
    assert list(mode.unsupported) == ["max_pool2d_with_indices"]


LINEAR: dict[str, Callable[..., Any]] = {
    "conv": nn.Conv2d(2, 3, 3),
    "transposed": nn.ConvTranspose2d(2, 3, 3),
    "linear": nn.Linear(4, 2),
    "batch_norm": nn.BatchNorm2d(2),
    "dropout": nn.Dropout(),
    "avg_pool": nn.AvgPool2d(2),
    "adaptive": nn.AdaptiveAvgPool2d(1),
    "mean": lambda x: x.mean((2, 3)) + x.sum(),
    "interpolate": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "arithmetic": lambda x: 1 - 2 * (x + x - 1) / 3 - -x,
    "in place": lambda x: x.add_(1).mul_(2).div_(3).sub_(x * 2),
    "matmul": lambda x: x @ torch.ones(4, 4) + torch.einsum("abcd,de->abce", x, torch.ones(4, 4)),
    "folded": lambda x: torch.addcmul(torch.ones(1), x, torch.ones(1)),
    "moved": lambda x: torch.cat([x[:, :1], *x.chunk(2, 1), x.flip(1)], 1).mT.permute(0, 2, 3, 1).flatten(1).view(-1),
    "shapes": lambda x: x.view(x.shape[0], -1).unsqueeze(0).expand(3, -1, -1).contiguous().to(torch.float32),
    "pad": lambda x: functional.pad(x, (1, 1)).roll(1, 2).split(1, 1)[0],
}
NONLINEAR: dict[str, Callable[..., Any]] = {
    "mul": lambda x: x * x,
    "div": lambda x: 1 / (x / (x + 1)),
    "matmul": lambda x: x @ x,
    "layer_norm": lambda x: functional.layer_norm(x, (4,)),
    "softmax": lambda x: x.softmax(-1),
    "scaled_dot_product_attention": lambda x: functional.scaled_dot_product_attention(x, x, x),
    "batch_norm": lambda x: functional.batch_norm(x, None, None, training=True),
    "dropout": lambda x: functional.dropout(x, 0.1, training=True),
    "max": lambda x: x.max(-1)[0],
    "relu": torch.relu,
    "where": lambda x: torch.where(x > 0, x, 2 * x),
    "conv2d": lambda x: functional.conv2d(x, x),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_functions_pass(kind):
    layer = LINEAR[kind]
    if isinstance(layer, nn.Module):
        layer = layer.eval().requires_grad_(False)
    with Propagation("This", {}) as mode:
        layer(ones(2, 2, 4, 4))
    assert mode.unsupported == {}


@pytest.mark.parametrize("kind", NONLINEAR)
def test_what_has_no_rule_is_noted(kind):
    with Propagation("This", {}) as mode:
        NONLINEAR[kind](ones(2, 2, 4, 4))
    assert next(iter(mode.unsupported)) == kind


def test_a_rule_may_decline():
    with Propagation("This", {"mul": lambda function, options: NotImplemented}) as mode:
        result = ones(3) * 2
    assert torch.equal(result, torch.full((3,), 2.0))
    assert list(mode.unsupported) == ["mul"]


def test_what_needs_no_gradient_goes_on_untouched():
    x = ones(1, 2, 4, 4)
    with Propagation("This", {"relu": negated}) as mode:
        torch.ones(3).relu()
        torch.ones(3).softmax(0)
        assert x.shape[0] == 1
        assert bool((x > 0).any())
        with torch.no_grad():
            x.softmax(1)
    assert mode.seen == 0
    assert mode.unsupported == {}


def test_an_unknown_name():
    with pytest.raises(ValueError, match="'layer_norm' is in none of its tables"):
        Propagation("This", {"layer_norm": negated})


# -- behind a classifier --


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Softmax(1)), nn.ReLU())
        self.head = nn.Linear(4, 3)
        self.norm.get_buffer("running_var").fill_(4.0)

    def forward(self, x):
        return self.head(self.blocks(self.norm(self.stem(x))).mean((2, 3)))


def state(module):
    hooks = [len(getattr(part, name)) for part in module.modules() for name in HOOKS]
    return hooks, {name: value.clone() for name, value in module.state_dict().items()}


def test_folded_batch_norms_reach_the_rules_as_convolutions():
    """The classifier folds them in a mode of its own that lies on top."""
    net, x = seeded(Net), random(4, 3, 6, 6)
    net.get_submodule("blocks.0").register_module("1", nn.Identity())
    weights = []

    def rule(function, options):
        weights.append(options["weight"])
        return function(**options)

    classifier = Classifier(net, batch_size=4)
    explicand = classifier.explicand(x, 1)
    called = []

    def make():
        called.append(Propagation("This", {"conv2d": rule, "relu": lambda function, options: function(**options)}))
        return called[-1]

    scores, gradients = classifier.propagated([explicand.inputs], explicand.target, make)
    torch.testing.assert_close(gradients, explicand.gradient)
    torch.testing.assert_close(scores.logit[0], explicand.clean.logit)
    weights.clear()
    classifier.propagated([explicand.inputs], explicand.target, make)
    torch.testing.assert_close(weights[0], net.stem.weight / (4 + 1e-5) ** 0.5)
    assert called[-1].seen == 1


def test_variants_go_through_in_one_call_that_fits():
    net, x = seeded(Net), random(5, 3, 6, 6)
    net.get_submodule("blocks.0").register_module("1", nn.Identity())
    rows = []
    net.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    classifier = Classifier(net, batch_size=4)
    explicand = classifier.explicand(x, 1)
    rows.clear()
    scores, gradients = classifier.propagated(
        [explicand.inputs, 2 * explicand.inputs],
        explicand.target,
        lambda: Propagation("This", {"relu": lambda function, options: function(**options)}),
    )
    assert rows == [4, 4, 2]
    assert scores.logit.shape == (2, 5)
    torch.testing.assert_close(scores.logit[1], net.eval()(2 * x)[:, 1])
    torch.testing.assert_close(gradients, explicand.gradient)


def test_a_refusal_names_the_innermost_layer_and_leaves_nothing_behind():
    net, x = seeded(Net), random(4, 3, 6, 6)
    before = state(net)
    explicand = Classifier(net).explicand(x, 1)
    with pytest.raises(UnsupportedError, match=r"blocks\.0\.1 \(Softmax\) calls softmax, for which This has no rule"):
        explicand.classifier.propagated([explicand.inputs], explicand.target, lambda: Propagation("This", {}))
    after = state(net)
    assert before[0] == after[0]
    assert all(torch.equal(before[1][name], after[1][name]) for name in before[1])
    assert net.training
