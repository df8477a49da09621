"""Excitation backpropagation against loops over units, its mass, and its contrast."""

import pytest
import timm
import torch
import torchvision
from known_answers import normal, random
from networks import TARGET, assert_close, explained, network
from timm.layers.squeeze_excite import SEModule
from torch import nn
from torch.nn.functional import interpolate

from xaieval.attributions.excitation_backprop import ExcitationBackprop
from xaieval.attributions.grad_cam import GradCAM
from xaieval.classifier import Classifier
from xaieval.laws.guards import untouched
from xaieval.laws.toys import seeded
from xaieval.unsupported import UnsupportedError


def perceptron():
    """A map of 2 x 2 places and 3 channels, then two dense layers; biases are there, and have no say."""
    return nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 6), nn.ReLU(inplace=True), nn.Linear(6, 4)
    )


def passed_slowly(x, weight, p):
    """`p_j = x_j sum_i w_ij+ p_i / sum_k w_ik+ x_k`, a unit after the other."""
    found = [0.0] * len(x)
    for i, row in enumerate(weight):
        total = sum(max(w, 0.0) * xk for w, xk in zip(row, x, strict=True))
        for j, (w, xj) in enumerate(zip(row, x, strict=True)):
            found[j] += xj * max(w, 0.0) * p[i] / total if total else 0.0
    return found


def by_hand(module, x, target, contrastive):
    """The map `(2, 2)` of one input."""
    with torch.no_grad():
        first = module[:3](x[None])[0].tolist()
        second = module[:5](x[None])[0].tolist()
    last = module[5].weight[[target]]
    p = passed_slowly(second, last.tolist(), [1.0])
    if contrastive:
        against = passed_slowly(second, (-last).tolist(), [1.0])
        p = [one - other for one, other in zip(p, against, strict=True)]
    return torch.tensor(passed_slowly(first, module[3].weight.tolist(), p)).view(3, 2, 2).sum(0)


@pytest.mark.parametrize("contrastive", [False, True])
def test_two_dense_layers_against_loops(contrastive):
    module, inputs = seeded(perceptron), random(5, 3, 2, 2)
    found = ExcitationBackprop("1", contrastive)(Classifier(module).explicand(inputs, 2))
    expected = torch.stack([by_hand(module, x, 2, contrastive) for x in inputs])[:, None]
    assert float(expected.min()) < 0 or not contrastive  # else the contrast is not tested
    assert_close(found, expected.clamp(min=0) if contrastive else expected, 1e-5)


@pytest.mark.parametrize("layer", ["0", "2"])
def test_of_a_probability_of_one_all_arrives(layer):
    """Where every unit is excited: weights are positive, and so are pixels."""
    module = network(channels=(3, 6, 8, 8))
    for weight in module.parameters():
        weight.data.abs_()
    maps = ExcitationBackprop(layer)(Classifier(module).explicand(random(3, 3, 16, 20), 1))
    height, width = module[: int(layer) + 1](random(1, 3, 16, 20)).shape[2:]
    mass = maps.flatten(1).mean(1) * height * width  # upsampling keeps values
    torch.testing.assert_close(mass, torch.ones(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("contrastive", [False, True])
def test_before_global_pooling_it_is_a_map_of_class_activation_with_positive_weights(contrastive):
    explicand = explained(network())
    activation, _ = explicand.activations(("3",))["3"]
    weights = explicand.classifier.module[6].weight[list(TARGET)].detach()

    def maps(weights):
        excited = torch.einsum("nkhw,nk->nhw", activation, weights.clamp(min=0))
        return excited / excited.sum((1, 2), keepdim=True)

    expected = (maps(weights) - maps(-weights)).clamp(min=0) if contrastive else maps(weights)
    expected = interpolate(expected[:, None], size=(16, 20), mode="bilinear")
    assert_close(ExcitationBackprop("3", contrastive)(explicand), expected, 1e-5)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (network, "1"),
        (lambda: torchvision.models.resnet18(num_classes=5), "layer3"),
        (lambda: torchvision.models.resnet50(num_classes=5), "layer3"),
        (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5), "blocks.4"),
    ],
)
def test_by_default_it_reads_what_the_last_smaller_block_is_given(make, layer):
    explicand = Classifier(seeded(make).eval()).explicand(random(1, 3, 64, 64), 1)
    assert explicand.layer("excitation_backprop") == layer
    assert torch.equal(ExcitationBackprop()(explicand), ExcitationBackprop(layer)(explicand))


def test_what_classes_share_is_taken_off():
    """Two channels see the same; one speaks for the class, the other as much against it."""
    module = network(channels=(3, 4, 2))
    with torch.no_grad():
        module[2].weight[1] = module[2].weight[0]
        module[2].bias.fill_(0.5)
        module[6].weight[:, 0], module[6].weight[:, 1] = 1.0, -1.0
    explicand = explained(module)
    plain, contrast = (ExcitationBackprop("1", contrastive)(explicand) for contrastive in (False, True))
    assert float(plain.max()) > 1e-3
    assert float(contrast.max()) < 1e-6 * float(plain.max())


def test_a_batch_normalization_with_negative_scales_is_as_if_folded():
    """With scale s, weights excite where `s w` is positive; a rectifier between them changes that."""
    generator = torch.Generator().manual_seed(0)
    scale, convolution = normal(6, seed=1), seeded(lambda: nn.Conv2d(4, 6, 3))
    assert float(scale.min()) < 0 < float(scale.max())
    norm = nn.BatchNorm2d(6, eps=0)
    norm.load_state_dict(
        {"weight": scale, "bias": torch.rand(6, generator=generator), "running_var": torch.ones(6)}, strict=False
    )
    folded = seeded(lambda: nn.Conv2d(4, 6, 3))
    with torch.no_grad():
        folded.weight *= scale.view(-1, 1, 1, 1)
        folded.load_state_dict({"weight": folded.weight, "bias": convolution.bias * scale + norm.bias})
    head = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3)))
    first = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()))
    maps = [
        ExcitationBackprop("0.1")(Classifier(nn.Sequential(first, *middle, head)).explicand(random(2, 3, 8, 8), 1))
        for middle in ((convolution, norm), (folded,))
    ]
    assert_close(maps[0], maps[1], 1e-5)


@pytest.mark.parametrize("inplace", [True, False])
def test_skip_connections_share_by_their_positive_parts(inplace):
    """In the last block of a ResNet, down to the block's input, by hand."""
    module = seeded(lambda: torchvision.models.resnet18(num_classes=5)).eval()
    block, x = module.layer4[1], random(2, 3, 40, 40)
    block.relu.inplace = inplace
    kept: dict[str, torch.Tensor] = {}
    module.layer4[0].register_forward_hook(lambda *call: kept.update(x=call[2].detach().clone()))
    found = ExcitationBackprop("layer4.0")(Classifier(module).explicand(x, 2))
    with torch.no_grad():
        a = kept["x"]
        middle = block.bn1(block.conv1(a)).relu()
        branch = block.bn2(block.conv2(middle)).clamp(min=0)
        summed = branch + a
        pooled = (block.bn2(block.conv2(middle)) + a).relu()
        weight = module.fc.weight[2].clamp(min=0).view(1, -1, 1, 1)
        p = pooled * weight / (pooled * weight).sum((1, 2, 3), keepdim=True)
        rate = p / summed.clamp(min=1e-30)
        through = rate * branch
        for source, layer in ((middle, block.conv2), (a, block.conv1)):
            up = layer.weight.clamp(min=0)
            total = nn.functional.conv2d(source, up, padding=1).clamp(min=1e-30)
            through = source * nn.functional.conv_transpose2d(through / total, up, padding=1)
        expected = (through + rate * a).sum(1, keepdim=True)
    assert_close(found, interpolate(expected, size=(40, 40), mode="bilinear"), 1e-4)


def test_only_what_follows_the_layer_needs_rules():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), SEModule(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    explicand = Classifier(module).explicand(random(2, 3, 8, 8), 1)
    assert bool(ExcitationBackprop("2")(explicand).isfinite().all())
    why = r"1 \(SEModule\) calls mul, for which excitation backpropagation has no rule"
    with untouched(module), pytest.raises(UnsupportedError, match=why):
        ExcitationBackprop("0")(explicand)


def test_one_forward_and_one_backward():
    explicand = explained(network())
    ExcitationBackprop()(explicand)
    assert explicand.cost[:2] == (1, 1)
    GradCAM()(explicand)
    assert explicand.cost[:2] == (2, 2)


def test_a_layer_without_places_is_told():
    with pytest.raises(ValueError, match=r"layer '6' gives \(3, 5\), expected a spatial output"):
        ExcitationBackprop("6")(explained(network()))
    with pytest.raises(ValueError, match="has no layer 'seven'"):
        ExcitationBackprop("seven")(explained(network()))
