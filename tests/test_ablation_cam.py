"""Ablation-CAM against a loop over channels with plain calls of the module's parts, and in closed form."""

import pytest
import torch
from known_answers import random
from networks import TARGET, Normalized, assert_close, explained, network
from torch.nn.functional import interpolate

from xaieval.attributions.ablation_cam import AblationCAM
from xaieval.classifier import Classifier


def upsampled(maps):
    return interpolate(maps, size=(16, 20), mode="bilinear", align_corners=False)


@torch.no_grad()
def slow(module, inputs, layer):
    """Before the rectifier, one sample and one channel at a time, `(N, 1, h, w)`."""
    maps = []
    for image, target in zip(inputs, TARGET, strict=True):
        output = module[: layer + 1](image[None])
        score = module[layer + 1 :](output)[0, target]
        total = torch.zeros_like(output[:, :1])
        for channel in range(output.shape[1]):
            without = output.clone()
            without[:, channel] = 0
            total += (score - module[layer + 1 :](without)[0, target]) * output[:, channel : channel + 1]
        maps.append(total[0])
    return torch.stack(maps)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("inplace", [False, True])
def test_agrees_with_a_loop_over_channels(layer, inplace):
    inputs = random(3, 3, 16, 20)
    maps = slow(network(), inputs, layer)
    explicand = Classifier(network(inplace=inplace), batch_size=7).explicand(inputs, TARGET)
    assert_close(AblationCAM(str(layer))(explicand), upsampled(maps.relu()), 1e-4)
    assert_close(AblationCAM(str(layer), relu=False)(explicand), upsampled(maps), 1e-4)


def test_before_global_pooling_the_weights_count_how_active_a_channel_is():
    module, inputs = network(), random(3, 3, 16, 20)
    activation = Normalized(module[:4])(inputs).detach()
    weights = module[6].weight[list(TARGET)].detach() * activation.mean((2, 3))
    explicand = explained(module, inputs)
    expected = torch.einsum("nkhw,nk->nhw", activation, weights)[:, None]
    # Drops are differences of logits, so their rounding is that of the logits.
    assert_close(AblationCAM(relu=False)(explicand), upsampled(expected), 1e-4)
    assert explicand.cost[:2] == (8 + 2, 0)
