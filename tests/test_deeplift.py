"""DeepLift: Captum's where that is right, complete where it is not, closed forms, refusals instead of wrong maps."""

from collections.abc import Callable
from typing import Any

import captum.attr
import pytest
import timm
import torch
import torch.nn.functional as functional
import torchvision
from known_answers import Model, bind, linear, normal, random
from networks import Normalized, assert_close, explained, network
from torch import nn

from xaieval.attributions.deeplift import DeepLift
from xaieval.attributions.gradient import Gradient
from xaieval.classifier import Classifier
from xaieval.laws.guards import HOOKS
from xaieval.laws.toys import seeded
from xaieval.propagation import ELEMENTWISE
from xaieval.unsupported import UnsupportedError


def calibrated(make, side=64):
    """A network in evaluation mode with batch norms that have seen images, and scales and shifts of their own."""

    def made():
        net = make().train()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, std=0.2)
                part.momentum = None  # the statistics themselves
        with torch.no_grad():
            net(torch.rand(16, 3, side, side))
        return net.eval()

    return seeded(made)


def change(explicand):
    """Logit of the input minus that of black, `(N,)`."""
    black = explicand.classifier.scores(torch.zeros_like(explicand.inputs), explicand.target)
    return explicand.clean.logit - black.logit


# -- another implementation --


def captums(module, inputs, target):
    leaf, method = inputs.clone().requires_grad_(), captum.attr.DeepLift(module)
    with pytest.warns(UserWarning, match="forward, backward hooks"):
        return method.attribute(leaf, torch.zeros_like(inputs), target=target).detach()


def vgg():
    """Pools stand before batch norms: of two neighbors with a rule, such as ReLU and MaxPool2d, Captum loses one."""

    def stage(before, after):
        return nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.ReLU()

    features = (*stage(3, 8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), *stage(8, 16), *stage(16, 16))
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 5))


class Block(torchvision.models.resnet.BasicBlock):  # type: ignore[misc]
    """The block of ResNet-18 with a module for each call of a rectifier, and no call in place."""

    def forward(self, x):
        out = self.bn2(self.conv2(self.first(self.bn1(self.conv1(x)))))
        return self.second(out + (x if self.downsample is None else self.downsample(x)))


def separate():
    net = torchvision.models.resnet18(num_classes=5)
    net.relu, net.maxpool = nn.ReLU(), nn.AvgPool2d(3, 2, 1)
    for block in [block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage]:
        block.__class__, block.first, block.second = Block, nn.ReLU(), nn.ReLU()
    return net


SHARED = {
    "sequential": (lambda: network(channels=(3, 6, 8, 10)), 1e-5),
    "vgg": (vgg, 1e-5),
    "resnet18": (separate, 5e-5),  # Captum in float64 differs from us by 3e-5, from itself in float32 by 1e-5
}


@pytest.mark.parametrize("name", SHARED)
def test_captum_agrees_where_every_rectifier_is_a_module(name):
    """To rounding, which differs: batch norms are folded here, and memory is in channels-last layout."""
    net, inputs = calibrated(SHARED[name][0]), random(3, 3, 64, 64)
    found = DeepLift()(Classifier(net).explicand(inputs, 2))
    assert_close(found, captums(net, inputs, 2), SHARED[name][1])
    plain = Gradient()(Classifier(net).explicand(inputs, 2)) * inputs
    assert float((found - plain).abs().max()) > 0.01 * float(found.abs().max())


def test_captum_agrees_behind_a_normalization():
    """The baseline is black in pixels, not zero in what the first layer gives."""
    net, inputs = network(), random(3, 3, 16, 20)
    target = torch.tensor([1, 0, 4])
    assert_close(DeepLift()(explained(net, inputs)), captums(Normalized(net), inputs, target), 1e-5)


# -- completeness --


def swish():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3),
        nn.GELU(),
        nn.Flatten(),
        nn.LazyLinear(5),
    )


REAL = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "vgg11": lambda: torchvision.models.vgg11(num_classes=5, dropout=0),
    "efficientnet_lite0": lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=5),
    "swish": swish,
}


@pytest.mark.parametrize("name", REAL)
def test_complete_on_real_networks(name):
    """Re-used and in-place rectifiers, overlapping windows, ReLU6 and SiLU: the sum is the change of the logit."""
    explicand = Classifier(calibrated(REAL[name])).explicand(random(3, 3, 64, 64))
    sums, expected = DeepLift()(explicand).sum((1, 2, 3)), change(explicand)
    assert float(((sums - expected) / expected).abs().max()) < 1e-4


@pytest.mark.parametrize("removal", ["mean", "blur"])
def test_complete_against_other_baselines(removal):
    explicand = Classifier(calibrated(REAL["resnet18"])).explicand(random(3, 3, 64, 64))
    sums, baseline = DeepLift(removal)(explicand).sum((1, 2, 3)), explicand.removal(removal)
    removed = explicand.scores(lambda batch: baseline(batch, torch.ones_like(batch.inputs[:, :1])), 1)[:, 0]
    torch.testing.assert_close(sums, explicand.clean.logit - removed, rtol=1e-4, atol=1e-5)


# -- closed forms --


@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_a_linear_model_gives_its_weights_times_the_difference(removal):
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    baseline = 0 if removal == "zero" else inputs.mean((2, 3), keepdim=True)
    assert_close(DeepLift(removal)(bind(linear(weights), inputs)), weights * (inputs - baseline), 1e-5)


def pair(*values):
    return torch.tensor(values)[None, None, None]


@pytest.mark.parametrize(
    ("score", "inputs", "expected"),
    [
        # min(1, x1 + x2), as in the paper's figure 1: the gradient is 0 where it saturates
        (lambda x: 1 - torch.relu(1 - x.sum((1, 2, 3))), (1.0, 1.0), (0.5, 0.5)),
        (lambda x: x.sum((1, 2, 3)).clamp(max=1), (2.0, 1.0), (2 / 3, 1 / 3)),
        # the gradient is (1, 1), and its product with the input 2 where the score is 1
        (lambda x: torch.relu(torch.relu(x).sum((1, 2, 3)) - 1), (1.0, 1.0), (0.5, 0.5)),
        (lambda x: torch.relu(torch.relu(2 * x - 1).sum((1, 2, 3)) - 2), (2.0, 1.0), (1.5, 0.5)),
        # both are at their baseline's value, and each has its part: the derivative in place of 0 / 0
        (lambda x: functional.softplus(x[..., 0] - x[..., 1]).flatten(), (0.5, 0.5), (0.25, -0.25)),
    ],
)
def test_networks_by_hand(score, inputs, expected):
    torch.testing.assert_close(DeepLift()(bind(Model(score), pair(*inputs))), pair(*expected))


OPTIONS: dict[str, dict[str, float | str]] = {
    "hardtanh": {"min_val": -0.4, "max_val": 0.3},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 0.7},
    "celu": {"alpha": 0.7},
    "gelu": {"approximate": "tanh"},
    "softplus": {"beta": 2.0},
    "threshold": {"threshold": 0.1, "value": -0.2},
    "hardshrink": {"lambd": 0.2},
    "softshrink": {"lambd": 0.2},
    "clamp": {"min": -0.1, "max": 0.4},
    "clamp_min": {"min": -0.1},
    "clamp_max": {"max": 0.4},
}


def applied(name):
    """The function with options other than its defaults, where it has some."""
    if name == "prelu":
        return lambda x: functional.prelu(x, torch.tensor([0.3, 0.1, 2.0]))
    if name == "pow":
        return lambda x: x**3
    function = getattr(functional, name, None) or getattr(torch, name)
    return lambda x: function(x, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_function_of_one_number(name):
    """For `sum w f(a x + b)` each feature has `w (f(a x + b) - f(b))`, whatever f is."""
    function, weights, inputs = applied(name), normal(3, 4, 4), random(2, 3, 4, 4)
    inputs[:, :, 1] = 0  # the baseline itself: no difference, no contribution
    positive = name in ("log", "log1p", "sqrt", "rsqrt", "reciprocal")
    slope, shift = (1.0, 0.5) if positive else (4.0, -1.5)
    found = DeepLift()(bind(Model(lambda x: (weights * function(slope * x + shift)).sum((1, 2, 3))), inputs))
    start = torch.full_like(inputs, shift)
    assert_close(found, weights * (function(slope * inputs + shift) - function(start)), 1e-5)
    assert not found[:, :, 1].any()


def shares(values, reference, size, stride, padding):
    """Cross maximum by enumeration: for each window, its change of the maximum goes to one place; `(h, w)` weights."""
    high, wide = values.shape

    def window(row, column):
        return [
            (r, c)
            for r in range(row * stride - padding, row * stride - padding + size)
            for c in range(column * stride - padding, column * stride - padding + size)
            if 0 <= r < high and 0 <= c < wide
        ]

    for row in range((high + 2 * padding - size) // stride + 1):
        for column in range((wide + 2 * padding - size) // stride + 1):
            places = window(row, column)
            ours, theirs = (max(places, key=lambda place: float(map_[place])) for map_ in (values, reference))
            difference = float(values[ours] - reference[theirs])
            yield (row, column), ours if difference >= 0 else theirs, difference


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 1)])
def test_max_pooling_against_enumeration(size, stride, padding):
    """The change of a window's maximum goes to the place that brought it, also where windows overlap."""
    weights, shift, inputs = normal(2, 7, 6, seed=2), normal(2, 7, 6, seed=3), random(2, 2, 7, 6)
    shift[0, 2, 2] = -3.0
    outputs = functional.max_pool2d(inputs, size, stride, padding)
    last = normal(*outputs.shape[1:], seed=4)

    def score(x):
        return (last * functional.max_pool2d(weights * x + shift, size, stride, padding)).sum((1, 2, 3))

    expected = torch.zeros_like(inputs)
    for sample, channel in [(n, k) for n in range(2) for k in range(2)]:
        values = weights[channel] * inputs[sample, channel] + shift[channel]
        for entry, place, difference in shares(values, shift[channel], size, stride, padding):
            expected[sample, channel][place] += last[channel][entry] * difference
    explicand = bind(Model(score), inputs)
    found = DeepLift()(explicand)
    assert_close(found, expected, 1e-5)
    torch.testing.assert_close(found.sum((1, 2, 3)), change(explicand), rtol=1e-5, atol=1e-5)


POOLS: dict[str, Callable[..., Any]] = {
    "1d": lambda x: functional.max_pool1d(x.flatten(2), 3, 2, 1),
    "2d": lambda x: torch.max_pool2d(x, 3, 2, 1),
    "3d": lambda x: functional.max_pool3d(x[:, None], 2, 1),
    "adaptive 1d": lambda x: functional.adaptive_max_pool1d(x.flatten(2), 5),
    "adaptive 2d": nn.AdaptiveMaxPool2d(3),
    "adaptive 3d": lambda x: functional.adaptive_max_pool3d(x[:, None], 2),
    "dilated": nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True),
}


@pytest.mark.parametrize("kind", POOLS)
def test_max_pooling_of_every_kind_is_complete(kind):
    shift = normal(3, 8, 8)
    model = Model(lambda x: (POOLS[kind](2 * x + shift) ** 3).flatten(1).sum(1))
    explicand = bind(model, random(2, 3, 8, 8))
    sums = DeepLift()(explicand).sum((1, 2, 3))
    torch.testing.assert_close(sums, change(explicand), rtol=1e-5, atol=1e-5)


# -- ways to write one network --


class Written(nn.Module):
    """Three convolutions with two rectifiers that are called in some way."""

    def __init__(self, rectify):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3)])
        self.head, self.rectify = nn.Linear(6, 3), rectify

    def forward(self, x):
        for layer in self.layers:
            x = self.rectify(layer(x))
        return self.head(x.mean((2, 3)))


REUSED = nn.ReLU()
WAYS = {
    "re-used": REUSED,
    "in place": nn.ReLU(inplace=True),
    "functional": functional.relu,
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "method in place": lambda x: (x.relu_(), x)[1],
    "clamped": lambda x: x.clamp(min=0),
    "on a view": lambda x: (x[:, :3].relu_(), x[:, 3:].relu_(), x)[2],
    "twice": lambda x: REUSED(REUSED(x)),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_network_has_one_map_however_it_is_written(way):
    inputs = random(3, 3, 12, 12)
    sequential = nn.Sequential()
    for layer in seeded(lambda: Written(None)).layers:
        sequential.extend([layer, nn.ReLU()])
    head = seeded(lambda: Written(None)).head
    sequential.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), head])
    found = DeepLift()(Classifier(seeded(lambda: Written(WAYS[way]))).explicand(inputs, 1))
    assert_close(found, captums(sequential, inputs, 1), 1e-5)


# -- what is refused --

NONE = {
    "vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=5),
        r"blocks\.0\.norm1 \(LayerNorm\) calls layer_norm",
    ),
    "squeeze-excitation": (
        lambda: torchvision.models.efficientnet_b0(num_classes=5),
        r"features\.1\.0\.block\.1 \(SqueezeExcitation\) calls mul",
    ),
    "gates": (lambda: nn.Sequential(nn.Flatten(), nn.GLU(), nn.Linear(1536, 5)), r"1 \(GLU\) calls glu"),
    "softmax": (lambda: nn.Sequential(nn.Flatten(), nn.Softmax(1), nn.Linear(3072, 5)), r"1 \(Softmax\) calls softmax"),
}


def state(module):
    hooks = [len(getattr(part, name)) for part in module.modules() for name in HOOKS]
    return hooks, [value.clone() for value in module.state_dict().values()]


@pytest.mark.parametrize("name", NONE)
def test_what_has_no_rule_is_refused_with_its_layer(name):
    make, sentence = NONE[name]
    net, inputs = calibrated(make, 32), random(2, 3, 32, 32)
    hooks, weights = state(net)
    explicand = Classifier(net).explicand(inputs, 1)
    with pytest.raises(
        UnsupportedError, match=f"^unsupported layers: {sentence}, for which DeepLift has no rule; choose"
    ):
        DeepLift()(explicand)
    assert state(net)[0] == hooks
    assert all(map(torch.equal, state(net)[1], weights))


class Square(torch.autograd.Function):
    """Something that torch tells nobody of."""

    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs**2

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


def test_a_sample_whose_sum_misses_the_change_has_no_map():
    """f = x1 + x2^2 with a hidden square: the map is (x1, 2 x2^2), complete where x2^2 is below 1 % of f."""
    model = Model(lambda x: x[:, 0, 0, 0] + Square.apply(x[:, 0, 0, 1]))
    inputs = torch.cat([pair(1.0, 0.0), pair(1.0, 0.09), pair(1.0, 0.12), pair(0.0, 1.0)])
    found = DeepLift()(bind(model, inputs))
    assert found.isfinite().flatten(1).all(1).tolist() == [True, True, False, False]
    assert found.isnan().flatten(1).all(1).tolist() == [False, False, True, True]
    torch.testing.assert_close(found[:2], torch.cat([pair(1.0, 0.0), pair(1.0, 2 * 0.09**2)]))


def test_a_network_that_mixes_samples_has_no_map():
    model = Model(lambda x: torch.relu(4 * x.flatten(1).t() - 2).t().sum(1))
    assert bool(DeepLift()(bind(model, random(4, 3, 4, 4))).isnan().all())


# -- evaluations --


def test_two_forwards_and_two_backwards():
    explicand = explained(network())
    values = DeepLift()(explicand)
    assert explicand.cost[:2] == (2, 2)
    assert explicand.evaluations_of(values) == 2


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_batch_size_changes_nothing(size):
    inputs, target = random(5, 3, 16, 20), (1, 0, 4, 2, 2)
    reference = DeepLift()(explained(network(), inputs, target))
    assert_close(DeepLift()(explained(network(), inputs, target, batch_size=size)), reference, 1e-5)


def test_absent_features_take_no_part():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[:, 5:] = False
    found = DeepLift()(bind(network(), random(2, 3, 8, 8), [0, 1], present=present))
    assert not found[:, :, 5:].any()
    assert found[:, :, :5].any()


def test_bfloat16_is_left_to_other_methods():
    """Differences of numbers with 8 bits mean nothing, so gradients are taken in float32 whatever the precision."""
    net, inputs = calibrated(REAL["swish"]), random(3, 3, 64, 64)
    found = [DeepLift()(Classifier(net, precision=p).explicand(inputs, 1)) for p in ("float32", "bfloat16_all")]
    assert_close(*found)  # batch norms are folded in one of them, and small differences are divided by each other


def test_an_unknown_removal():
    with pytest.raises(ValueError, match="nothing"):
        DeepLift("nothing")(explained(network()))
