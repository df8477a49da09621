"""Contributions of positions to a weight's gradient: every closed form against the tensors it never makes."""

import pytest
import torch
import torch.nn.functional as functional
from known_answers import random
from networks import assert_close
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from xaieval.attributions.normgrad import NormGrad
from xaieval.classifier import Classifier
from xaieval.contributions import AGGREGATIONS, Kernel, aggregated
from xaieval.laws.toys import seeded
from xaieval.layers import kernel_of

TARGET = 1


def summands(x, g, kernel):
    """Every contribution o_u, `(N, groups, L / groups, K / groups * size, h, w)`, made as it is defined."""
    seen = functional.unfold(functional.pad(x, kernel.padding), kernel.size, kernel.dilation, stride=kernel.stride)
    seen = seen.unflatten(1, (kernel.groups, -1)).unflatten(3, g.shape[2:])
    return torch.einsum("ngahw,ngbhw->ngabhw", g.unflatten(1, (kernel.groups, -1)), seen)


REDUCE = {
    "sum": lambda o: o.sum(1),
    "norm": lambda o: o.norm(dim=1),
    "filter_norm": lambda o: o.clamp(min=0).norm(dim=1),
    "max": lambda o: o.amax(1),
    "max_abs": lambda o: o.abs().amax(1),
}
KERNELS = {
    "1x1": Kernel(),
    "scaling": Kernel(groups=6),
    "3x3": Kernel.centered(3),
    "depthwise": Kernel.centered(3, groups=6),
    "grouped": Kernel((3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 2, 0, 1), groups=2),
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("name", KERNELS)
def test_closed_forms_equal_the_definition(name, aggregation):
    kernel, x = KERNELS[name], random(2, 6, 7, 8) - 0.5
    shape = functional.unfold(
        functional.pad(x, kernel.padding)[:, :1], kernel.size, kernel.dilation, stride=kernel.stride
    ).shape[2]
    sides = [
        (side + sum(pad) - d * (k - 1) - 1) // s + 1
        for side, pad, d, k, s in zip(
            (7, 8), (kernel.padding[2:], kernel.padding[:2]), kernel.dilation, kernel.size, kernel.stride, strict=True
        )
    ]
    assert sides[0] * sides[1] == shape
    g = random(2, 12 if name == "grouped" else 6, *sides, seed=1) - 0.5
    expected = REDUCE[aggregation](summands(x, g, kernel).flatten(1, 3))
    torch.testing.assert_close(aggregated(x, g, kernel, aggregation)[:, 0], expected)


class Head(nn.Module):
    """A smooth network whose first part is `layer`."""

    def __init__(self, layer, inserted=None):
        super().__init__()
        self.layer, self.inserted = layer, inserted or nn.Identity()
        self.last = nn.Conv2d(6, 4, 3)
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        hidden = self.inserted(self.layer(x))
        return self.linear(torch.tanh(self.last(torch.tanh(hidden))).mean((2, 3)))


class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x):
        return x * self.weight


class Bias(Scaling):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.weight)

    def forward(self, x):
        return x + self.weight


def identity(size, groups):
    layer = nn.Conv2d(6, 6, size, padding=size // 2, groups=groups, bias=False)
    nn.init.dirac_(layer.weight, groups)
    return layer


INSERTED = {
    "bias": Bias,
    "scaling": Scaling,
    "conv1x1": lambda: identity(1, 1),
    "conv3x3": lambda: identity(3, 1),
    "depthwise3x3": lambda: identity(3, 6),
}


def weight_gradient(module, weight, x):
    return torch.autograd.grad(module(x)[:, TARGET].sum(), weight)[0]


@pytest.mark.parametrize("extraction", INSERTED)
def test_contributions_sum_to_the_gradient_of_an_identity_layer_really_inserted(extraction):
    """The defining property, for the sum of the entries, which sees the sign of each."""
    x, layer = random(1, 3, 10, 9), seeded(lambda: nn.Conv2d(3, 6, 3))
    plain, longer = seeded(lambda: Head(layer)), seeded(lambda: Head(layer, INSERTED[extraction]()))
    longer.last, longer.linear = plain.last, plain.linear
    torch.testing.assert_close(longer(x), plain(x))  # an identity
    whole = weight_gradient(longer, longer.inserted.weight, x)
    activation, gradient = Classifier(plain).explicand(x, TARGET).activations(("layer",))["layer"]
    kernel = KERNELS[
        {"bias": "scaling", "scaling": "scaling", "conv1x1": "1x1", "conv3x3": "3x3"}.get(extraction, "depthwise")
    ]
    seen = torch.ones_like(activation) if extraction == "bias" else activation
    assert_close(summands(seen, gradient, kernel).sum((0, 4, 5)).flatten(), whole.flatten(), 1e-5)
    maps = NormGrad(("layer",), extraction, "sum")._map(
        Classifier(plain).explicand(x, TARGET), "layer", activation, gradient
    )
    assert_close(maps.sum(), whole.sum(), 1e-5)


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(3, 6, 3),
    "strided": lambda: nn.Conv2d(3, 6, (3, 2), stride=2, padding=(1, 0), bias=False),
    "dilated": lambda: nn.Conv2d(3, 6, 3, dilation=2, padding="same"),
    "grouped": lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1),
    "valid": lambda: nn.Conv2d(3, 6, 2, padding="valid"),
    "tensorflow": lambda: Conv2dSame(3, 6, 3, stride=2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_contributions_to_a_real_convolution_sum_to_its_own_gradient(kind):
    """Also strided, dilated, grouped, and padded as TensorFlow does, which EfficientNet-Lite0 is."""
    x = random(1, 3, 11, 10)
    module = seeded(lambda: Head(CONVOLUTIONS[kind]()))
    whole = weight_gradient(module, module.layer.weight, x)
    explicand = Classifier(module).explicand(x, TARGET)
    seen, gradient = explicand.activations(("layer",), arrived=True)["layer"]
    torch.testing.assert_close(seen, x)
    parts = summands(seen, gradient, explicand.kernel("layer", seen))
    assert_close(parts.sum((0, 4, 5)).flatten(), whole.flatten(), 1e-5)
    maps = NormGrad(("layer",), "real")(explicand)
    expected = functional.interpolate(
        parts.flatten(1, 3).norm(dim=1)[:, None], size=(11, 10), mode="bilinear", align_corners=False
    )
    assert_close(maps, expected, 1e-5)


def test_what_arrives_is_kept_before_a_layer_writes_into_it():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            y = self.conv(x)
            x += 1
            return (y.tanh() * x).mean((2, 3))

    x = random(2, 3, 4, 4)
    explicand = Classifier(seeded(Residual)).explicand(x, TARGET)
    torch.testing.assert_close(explicand.activations(("conv",), arrived=True)["conv"][0], x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Linear(3, 3), "expected a Conv2d that pads with zeros"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "expected a Conv2d that pads with zeros"),
    ],
)
def test_layers_without_contributions(layer, message):
    with pytest.raises(ValueError, match=message):
        kernel_of("some.layer", layer, (5, 5))
