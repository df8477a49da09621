"""Layers: found by name and by shapes, and watched during a call."""

import pytest
import timm
import torch
import torchvision
from known_answers import random
from torch import nn

from xaieval.classifier import Classifier
from xaieval.laws.toys import Rectified, seeded
from xaieval.layers import find_layer, watch


def default(module, method, size=64):
    explicand = Classifier(module).explicand(random(1, 3, size, size), 0)
    return explicand.layer(method)


@pytest.mark.parametrize(
    ("make", "normgrad", "grad_cam"),
    [
        (lambda: timm.create_model("tf_efficientnet_lite0"), "blocks.5", "bn2"),
        (lambda: torchvision.models.resnet18(), "layer4", "layer4"),
        (lambda: torchvision.models.vgg11(), "features.19", "features.19"),
    ],
)
def test_default_layers(make, normgrad, grad_cam):
    """NormGrad: the last block whose input is larger; Grad-CAM: the last spatial output; by shapes alone."""
    with torch.device("meta"):
        module, inputs = make(), torch.empty(1, 3, 64, 64)
    explicand = Classifier(module, device="meta").explicand(inputs, 0)
    assert explicand.layer("grad_cam").startswith(grad_cam)
    assert explicand.layer("normgrad") == normgrad


def test_the_last_spatial_output_of_efficientnet_is_after_its_last_activation():
    with torch.device("meta"):
        module = timm.create_model("tf_efficientnet_lite0")
    assert isinstance(module.get_submodule("bn2.act"), nn.ReLU6)  # inside the batch norm, so its output is rectified


def test_a_models_own_choice_comes_first_and_costs_nothing():
    module = seeded(lambda: Rectified("module"))
    explicand = Classifier(module, layers={"normgrad": "last"}).explicand(random(1, 3, 16, 16), 0)
    assert explicand.layer("normgrad") == "last"
    assert explicand.layer("grad_cam") == "last"
    assert explicand.cost.forwards == 0


def test_a_block_in_a_block_is_found_as_the_outermost():
    class Block(nn.Sequential):
        pass

    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        Block(Block(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU()), nn.Conv2d(4, 4, 3, padding=1)),
        nn.Conv2d(4, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    assert default(module, "normgrad", 16) == "1"
    assert default(module, "grad_cam", 16) == "2"


def test_a_container_that_ends_in_a_pooling_is_passed_over():
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    module = nn.Sequential(features, nn.Identity(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, 3, 16, 16))
    assert default(module, "grad_cam", 16) == "0.1"


def test_a_model_without_spatial_layers_says_so():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    with pytest.raises(ValueError, match=r"Sequential has no layer with a spatial output .* name a layer with layer="):
        default(module, "grad_cam", 16)


def test_an_unknown_layer_is_answered_with_close_names():
    module = torchvision.models.resnet18()
    with pytest.raises(ValueError, match=r"ResNet has no layer 'layer5'; close names: layer\d, layer\d, layer\d"):
        find_layer(module, "layer5")
    with pytest.raises(ValueError, match="has no layer 'qqq'; close names: conv1, bn1, relu"):
        find_layer(module, "qqq")


@pytest.mark.parametrize("kind", ["module", "in place", "function"])
def test_activations_and_gradients_are_those_of_autograd(kind):
    """Also where an in-place rectifier follows the watched layer."""
    module = seeded(lambda: Rectified(kind))
    inputs, target = random(5, 3, 16, 16), [0, 1, 2, 3, 0]
    found = Classifier(module, batch_size=2).explicand(inputs, target).activations(("first", "last"))
    first = nn.functional.conv2d(inputs, module.first.weight, module.first.bias, stride=2, padding=1)
    first = first.detach().requires_grad_()
    last = nn.functional.conv2d(first.relu(), module.last.weight, module.last.bias, padding=1)
    logits = module.head(last.mean((2, 3)))
    gradients = torch.autograd.grad(logits.gather(1, torch.tensor(target)[:, None]).sum(), (first, last))
    for name, activation, gradient in zip(("first", "last"), (first, last), gradients, strict=True):
        torch.testing.assert_close(found[name][0], activation.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[name][1], gradient, rtol=1e-4, atol=1e-6)


def test_a_shared_module_gives_its_last_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.convolution(self.convolution(x)).mean((2, 3))

    module, inputs = seeded(Twice), random(1, 3, 8, 8)
    activation, gradient = Classifier(module).explicand(inputs, 1).activations(("convolution",))["convolution"]
    with torch.no_grad():
        torch.testing.assert_close(activation, module.convolution(module.convolution(inputs)))
    assert torch.equal(gradient[0, 1], torch.full((8, 8), 1 / 64))
    assert not gradient[0, [0, 2]].any()


def test_a_container_and_its_last_layer_can_both_be_watched():
    module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, 3, 8, 8))
    found = Classifier(module).explicand(random(2, 3, 8, 8), 0).activations(("0", "0.1", "0.0"))
    assert torch.equal(found["0"][0], found["0.1"][0])
    assert torch.equal(found["0"][1], found["0.1"][1])
    assert torch.equal(found["0.0"][0].relu(), found["0.1"][0])
    assert torch.equal(found["0.0"][1], found["0.1"][1] * (found["0.0"][0] > 0))


def test_layers_that_cannot_be_read_say_why():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.pair = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), Pair()

        def forward(self, x):
            return self.pair(self.used(x))[0].mean((2, 3))

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    explicand = Classifier(Odd()).explicand(random(1, 3, 8, 8), 0)
    with pytest.raises(ValueError, match="layer 'unused' is part of the model, but the call never reached it"):
        explicand.activations(("used", "unused"))
    with pytest.raises(ValueError, match="layer 'pair' returns a tuple, expected a tensor: name a layer inside it"):
        explicand.activations(("pair",))
    with pytest.raises(ValueError, match="Odd has no layer 'use'; close names: used"):
        explicand.activations(("use",))
    assert not any(part._forward_hooks for part in explicand.classifier.module.modules())


def test_a_layer_that_is_not_spatial_says_so():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    with pytest.raises(ValueError, match=r"layer '0' gives \(1, 192\), expected a spatial output"):
        Classifier(module).explicand(random(1, 3, 8, 8), 0).activations(("0",))


def test_watching_ends_with_the_block():
    layer = nn.Conv2d(3, 3, 1)
    with pytest.raises(RuntimeError), watch({"layer": layer}):
        raise RuntimeError
    assert not layer._forward_hooks


def test_a_patch_embedding_is_no_default_layer():
    with torch.device("meta"):
        module = timm.create_model("vit_tiny_patch16_224", depth=1)
        mixed = timm.create_model("coatnet_0_rw_224")  # convolutions, then attention on places
    explicand = Classifier(module, device="meta").explicand(torch.empty(1, 3, 224, 224, device="meta"), 0)
    assert explicand.layer("grad_cam") == explicand.layer("normgrad") == "norm"
    explicand = Classifier(mixed, device="meta").explicand(torch.empty(1, 3, 224, 224, device="meta"), 0)
    assert explicand.layer("grad_cam").startswith(("stages.3", "norm"))
    assert explicand.layer("normgrad") == "stages.3"
