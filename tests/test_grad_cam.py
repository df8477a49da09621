"""Grad-CAM on networks where it is class activation mapping, and against Captum."""

import captum.attr
import pytest
import torch
from known_answers import random
from networks import TARGET, Normalized, assert_close, explained, network
from torch.nn.functional import interpolate

from xaieval.attributions.grad_cam import GradCAM


def upsampled(maps):
    return interpolate(maps, size=(16, 20), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("relu", [True, False])
def test_before_global_pooling_it_is_class_activation_mapping_over_the_area(relu):
    module, inputs = network(), random(3, 3, 16, 20)
    activation = Normalized(module[:4])(inputs).detach()
    maps = torch.einsum("nkhw,nk->nhw", activation, module[6].weight[list(TARGET)].detach())[:, None] / (4 * 5)
    explicand = explained(module, inputs)
    assert float(maps.min()) < 0 < float(maps.max())
    assert_close(GradCAM("3", relu)(explicand), upsampled(maps.relu() if relu else maps), 1e-5)
    assert_close(GradCAM(relu=relu)(explicand), GradCAM("3", relu)(explicand), 1e-6)
    assert explicand.cost[:2] == (1, 1)


def test_before_global_pooling_it_is_the_linear_approximation():
    """There the gradient equals its mean at every position, so sum_k A_k mean g_k = sum_k A_k g_k."""
    explicand = explained(network())
    activation, gradient = explicand.activations(("3",))["3"]
    assert_close(GradCAM("3", relu=False)(explicand), upsampled((activation * gradient).sum(1, keepdim=True)), 1e-5)


@pytest.mark.parametrize("layer", ["0", "1", "2"])
@pytest.mark.parametrize("relu", [True, False])
def test_agrees_with_captum_which_leaves_rectifier_and_upsampling_to_the_caller(layer, relu):
    module, inputs = network(), random(3, 3, 16, 20)
    theirs = captum.attr.LayerGradCam(Normalized(module), module[int(layer)])
    coarse = theirs.attribute(inputs, torch.tensor(TARGET), relu_attributions=relu)
    assert_close(GradCAM(layer, relu)(explained(module, inputs)), upsampled(coarse.detach()))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = GradCAM()(explained(network(), inputs))
    assert_close(GradCAM()(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_a_layer_without_places_is_told():
    with pytest.raises(ValueError, match=r"layer '6' gives \(3, 5\), expected a spatial output"):
        GradCAM("6")(explained(network()))
