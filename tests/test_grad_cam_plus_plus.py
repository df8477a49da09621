"""Grad-CAM++ against the second and third derivatives of exp(score), and in closed form before a global pooling."""

import pytest
import torch
from known_answers import random
from networks import TARGET, Normalized, assert_close, explained, network
from torch.nn.functional import interpolate

from xaieval.attributions.grad_cam_plus_plus import GradCAMPlusPlus
from xaieval.classifier import Classifier


def upsampled(maps, size):
    return interpolate(maps, size=size, mode="bilinear", align_corners=False)


def derivatives(function, activation):
    """First, second and third derivative of a function by each entry of `(K, h, w)`, by autograd."""
    leaf = activation.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(leaf), leaf, create_graph=True)
    second, third = torch.zeros_like(leaf), torch.zeros_like(leaf)
    for index in range(leaf.numel()):
        (row,) = torch.autograd.grad(first.flatten()[index], leaf, create_graph=True)
        second.view(-1)[index] = row.flatten()[index].detach()
        (row,) = torch.autograd.grad(row.flatten()[index], leaf, retain_graph=True)
        third.view(-1)[index] = row.flatten()[index]
    return first.detach(), second, third


@pytest.mark.parametrize("seed", [0, 1])
def test_is_the_paper_s_with_derivatives_of_the_exponential_score(seed):
    """Behind layer "1" are a convolution, a rectifier and a linear layer: piecewise linear, not linear."""
    module, inputs = network(seed).double(), random(3, 3, 8, 8, seed=seed).double()
    coarse = torch.zeros(3, 1, 4, 4)
    for number, target in enumerate(TARGET):
        activation = module[:2](inputs[number : number + 1])[0].detach()

        def exponential(values, target=target):
            return module[2:](values[None])[0, target].exp()

        first, second, third = derivatives(exponential, activation)
        divisor = 2 * second + third * activation.sum((1, 2), keepdim=True)
        alpha = torch.where(second == 0, 0, second / divisor)
        weights = (alpha * first.relu()).sum((1, 2)) / exponential(activation).detach()  # the factor that is left out
        coarse[number, 0] = (weights[:, None, None] * activation).sum(0).relu()
    explicand = Classifier(network(seed), batch_size=2).explicand(inputs.float(), TARGET)
    assert_close(GradCAMPlusPlus("1")(explicand), upsampled(coarse, (8, 8)), 1e-5)


def test_before_global_pooling_it_has_a_closed_form():
    """With head weights v: g = v / hw everywhere, so w = ReLU(v) / (2 + ReLU(v) mean A)."""
    module, inputs = network(), random(3, 3, 16, 20)
    activation = Normalized(module[:4])(inputs).detach()
    slope = module[6].weight[list(TARGET)].detach().relu()
    weights = slope / (2 + slope * activation.mean((2, 3)))
    explicand = explained(module, inputs)
    expected = upsampled(torch.einsum("nkhw,nk->nhw", activation, weights)[:, None], (16, 20))
    assert_close(GradCAMPlusPlus()(explicand), expected, 1e-5)
    assert explicand.cost[:2] == (1, 1)


def test_rescaling_the_layer_changes_nothing_rescaling_the_logits_does():
    module, scaled = network(), network()
    for parameter in scaled[2].parameters():
        parameter.data *= 7
    scaled[6].weight.data /= 7
    inputs = random(2, 3, 16, 20)
    reference = GradCAMPlusPlus("3")(explained(module, inputs, (1, 0)))
    assert_close(GradCAMPlusPlus("3")(explained(scaled, inputs, (1, 0))), reference, 1e-5)
    scaled[6].weight.data *= 70
    ratio = (GradCAMPlusPlus("3")(explained(scaled, inputs, (1, 0))) / reference).flatten(1)
    assert float((ratio.amax(1) / ratio.amin(1)).min()) > 1.05


def test_large_logits_do_not_overflow():
    module = network()
    module[6].weight.data *= 1e4
    maps = GradCAMPlusPlus()(explained(module, random(2, 3, 16, 20), (1, 0)))
    assert bool(maps.isfinite().all())
    assert bool(maps.flatten(1).any(1).all())


def test_a_channel_with_a_negative_sum_counts_as_empty_in_the_divisor():
    """Layer "2" is not rectified: 2 + g S could be 0."""
    module, inputs = network(), random(3, 3, 16, 20)
    module[6].weight.data *= 100  # here it is negative for some
    activation, gradient = explained(module, inputs).activations(("2",))["2"]
    total = activation.sum((2, 3), keepdim=True)
    assert float((2 + gradient * total)[gradient > 0].min()) < 0
    weights = (gradient.relu() / (2 + gradient.relu() * total.relu())).sum((2, 3), keepdim=True)
    expected = upsampled((weights * activation).sum(1, keepdim=True).relu(), (16, 20))
    assert_close(GradCAMPlusPlus("2")(explained(module, inputs)), expected, 1e-5)
