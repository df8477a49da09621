"""LayerCAM: its formula with gradients by hand, in closed form before a global pooling, and several layers together."""

import pytest
import torch
from known_answers import random
from networks import TARGET, Normalized, assert_close, explained, network
from torch.nn.functional import interpolate

from xaieval.attributions.layer_cam import LayerCAM
from xaieval.classifier import Classifier


def upsampled(maps):
    return interpolate(maps, size=(16, 20), mode="bilinear", align_corners=False)


def plain(module, inputs):
    """Without normalization, so that the module's parts can be called by hand."""
    return Classifier(module, batch_size=2).explicand(inputs, TARGET)


def coarse(module, inputs, layer):
    """The map `(N, 1, h, w)` of one layer, position by position."""
    output = module[: int(layer) + 1](inputs).detach().requires_grad_()
    logits = module[int(layer) + 1 :](output).gather(1, torch.tensor(TARGET)[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), output)
    maps = torch.zeros(len(output), 1, *output.shape[2:])
    for channel in range(output.shape[1]):
        positive = gradient[:, channel].clamp(min=0)
        maps[:, 0] += positive * output[:, channel].detach()
    return maps.clamp(min=0)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_each_position_is_weighted_by_its_own_positive_gradient(layer, inplace):
    inputs = random(3, 3, 16, 20)
    expected = upsampled(coarse(network(), inputs, layer))
    assert_close(LayerCAM((layer,))(plain(network(inplace=inplace), inputs)), expected, 1e-5)


def test_before_global_pooling_it_is_class_activation_mapping_with_positive_weights():
    module, inputs = network(), random(3, 3, 16, 20)
    activation = Normalized(module[:4])(inputs).detach()
    weights = module[6].weight[list(TARGET)].detach().relu() / (4 * 5)
    explicand = explained(module, inputs)
    assert_close(LayerCAM()(explicand), upsampled(torch.einsum("nkhw,nk->nhw", activation, weights)[:, None]), 1e-5)
    assert explicand.cost[:2] == (1, 1)


def test_several_layers_are_lifted_and_the_largest_is_taken():
    module, inputs = network(), random(3, 3, 16, 20)
    expected = torch.zeros(3, 1, 16, 20)
    for layer in ("1", "2", "3"):
        maps = coarse(module, inputs, layer)
        for sample in range(3):
            lifted = torch.tanh(2 * maps[sample] / maps[sample].max())
            expected[sample] = torch.maximum(expected[sample], upsampled(lifted[None])[0])
    explicand = plain(module, inputs)
    assert_close(LayerCAM(("1", "2", "3"))(explicand), expected, 1e-5)
    assert explicand.cost[:2] == (1, 1)


def test_a_layer_whose_map_is_zero_says_nothing():
    """All gradients at the last layer are negative; earlier ones have both signs."""
    module, inputs = network(), random(3, 3, 16, 20)
    module[6].weight.data = -module[6].weight.data.abs()
    assert not LayerCAM(("3",))(plain(module, inputs)).any()
    maps = coarse(module, inputs, "1")
    expected = upsampled(torch.tanh(2 * maps / maps.amax((1, 2, 3), keepdim=True)))
    assert_close(LayerCAM(("1", "3"))(plain(module, inputs)), expected, 1e-5)
