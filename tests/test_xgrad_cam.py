"""XGrad-CAM: Grad-CAM before a global pooling, its two axioms where they hold exactly, and channels that sum to 0."""

import pytest
import torch
from known_answers import bind, random
from networks import assert_close, explained, network
from torch import nn

from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.xgrad_cam import XGradCAM


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
    assert_close(XGradCAM(relu=relu)(explicand), GradCAM(relu=relu)(explicand), 1e-5)
    assert explicand.cost[:2] == (1, 1)


def test_conservation_where_what_follows_has_no_bias():
    """The map sums to the logit (piecewise linear, so f = g.A), which Grad-CAM's weights do not keep."""
    rest = (nn.Conv2d(4, 6, 3, stride=2, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    explicand = bind(fine(*rest, nn.Linear(6, 3, bias=False)), random(2, 3, 8, 9), [0, 2])
    assert_close(XGradCAM("1", relu=False)(explicand).sum((1, 2, 3)), explicand.clean.logit, 1e-5)
    gap = GradCAM("1", relu=False)(explicand).sum((1, 2, 3)) - explicand.clean.logit
    assert float(gap.abs().min()) > 0.1


@pytest.mark.parametrize("relu", [True, False])
def test_sensitivity_where_a_linear_layer_follows(relu):
    """There each channel's part sums to the drop without the channel, which fixes the weights without any gradient."""
    module, inputs, target = fine(nn.Flatten(), nn.Linear(4 * 8 * 9, 3)), random(2, 3, 8, 9), [0, 2]
    expected = torch.zeros(2, 1, 8, 9)
    with torch.no_grad():
        for sample in range(2):
            output = module[:2](inputs[sample : sample + 1])
            for channel in range(4):
                without = output.clone()
                without[:, channel] = 0
                drop = (module[2:](output) - module[2:](without))[0, target[sample]]
                expected[sample] += drop / output[0, channel].sum() * output[0, channel]
    expected = expected.relu() if relu else expected
    assert_close(XGradCAM("1", relu)(bind(module, inputs, target)), expected, 1e-5)


class Doubled(nn.Module):
    """Channels, the same channels less their means, which sum to rounding, and channels of zeros."""

    def forward(self, x):
        return torch.cat((x, x - x.mean((2, 3), keepdim=True), torch.zeros_like(x)), 1)


def test_channels_that_sum_to_zero_have_no_part():
    inputs, weights = random(2, 3, 8, 9), random(3, 9 * 8 * 9, seed=1) - 0.5
    module = nn.Sequential(Doubled(), nn.Flatten(), nn.Linear(9 * 8 * 9, 3))
    module[2].weight.data = weights
    short = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(3 * 8 * 9, 3))
    short[2].weight.data = weights[:, : 3 * 8 * 9]
    expected = XGradCAM("0")(bind(short, inputs, [0, 2]))
    assert_close(XGradCAM("0")(bind(module, inputs, [0, 2])), expected, 1e-5)
