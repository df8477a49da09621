"""HiResCAM: Grad-CAM before a global pooling, Captum's product elsewhere, and what it sums to."""

import captum.attr
import pytest
import torch
from known_answers import bind, random
from networks import TARGET, Normalized, assert_close, explained, network
from torch import nn
from torch.nn.functional import interpolate

from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.hires_cam import HiResCAM


def upsampled(maps):
    return interpolate(maps, size=(16, 20), mode="bilinear", align_corners=False)


def fine(*rest):
    """A rectified layer "1" at the input's size, so that no map is upsampled, and what follows it."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *rest)
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5, generator=generator)
    return module


@pytest.mark.parametrize("relu", [True, False])
def test_before_global_pooling_it_is_grad_cam(relu):
    explicand = explained(network())
    assert_close(HiResCAM(relu=relu)(explicand), GradCAM(relu=relu)(explicand), 1e-5)
    assert explicand.cost[:2] == (1, 1)


@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_agrees_with_captum_which_leaves_the_sum_to_the_caller(layer):
    module, inputs = network(), random(3, 3, 16, 20)
    theirs = captum.attr.LayerGradientXActivation(Normalized(module), module[int(layer)])
    coarse = theirs.attribute(inputs, torch.tensor(TARGET)).detach().sum(1, keepdim=True)
    assert_close(HiResCAM(layer)(explained(module, inputs)), upsampled(coarse))
    assert_close(HiResCAM(layer, relu=True)(explained(module, inputs)), upsampled(coarse.relu()))


def test_sums_to_the_logit_where_what_follows_has_no_bias():
    """Piecewise linear without biases: f = g.A by Euler, which Grad-CAM's mean of g does not keep."""
    rest = (nn.Conv2d(4, 6, 3, stride=2, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    explicand = bind(fine(*rest, nn.Linear(6, 3, bias=False)), random(2, 3, 8, 9), [0, 2])
    assert_close(HiResCAM("1")(explicand).sum((1, 2, 3)), explicand.clean.logit, 1e-5)
    gap = GradCAM("1", relu=False)(explicand).sum((1, 2, 3)) - explicand.clean.logit
    assert float(gap.abs().min()) > 0.1


def test_sums_to_the_logit_minus_the_bias_where_one_linear_layer_follows():
    module = fine(nn.Flatten(), nn.Linear(4 * 8 * 9, 3))
    explicand = bind(module, random(2, 3, 8, 9), [0, 2])
    expected = explicand.clean.logit - module[3].bias.detach()[[0, 2]]
    assert_close(HiResCAM("1")(explicand).sum((1, 2, 3)), expected, 1e-5)


def test_is_zero_where_the_score_does_not_depend_on_the_layer():
    """Grad-CAM is not: its mean gradient spreads over the whole layer."""
    module = fine(nn.Flatten(), nn.Linear(4 * 8 * 10, 3))
    module[3].weight.data.view(3, 4, 8, 10)[..., 5:] = 0
    explicand = bind(module, random(2, 3, 8, 10), [0, 2])
    maps = HiResCAM("1")(explicand)
    assert not maps[..., 5:].any()
    assert bool(maps[..., :5].flatten(1).any(1).all())
    assert bool(GradCAM("1", relu=False)(explicand)[..., 5:].flatten(1).any(1).all())
