"""Guided backpropagation and deconvnet: every rectifier follows the rule, however it is called."""

import captum.attr
import pytest
import timm
import torch
import torch.nn.functional as functional
import torchvision
from known_answers import random
from torch import nn

from xaieval.attributions.deconvnet import Deconvnet
from xaieval.attributions.guided_backprop import GuidedBackprop
from xaieval.classifier import Classifier
from xaieval.laws.toys import Smooth, seeded
from xaieval.rectifiers import Rectifiers

METHODS = {"guided": GuidedBackprop(), "deconvnet": Deconvnet()}


class Net(nn.Module):
    """Three linear layers with two rectifiers that are called in some way."""

    def __init__(self, rectify):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 3)])
        self.rectify = rectify

    def forward(self, x):
        hidden = self.layers[0](x.flatten(1))
        hidden = self.layers[1](self.rectify(hidden))
        return self.layers[2](self.rectify(hidden))


def by_hand(net, x, target, rule, low=0.0, high=torch.inf):
    """The rule as the papers write it, layer by layer."""
    first = net.layers[0](x.flatten(1))
    second = net.layers[1](first.clamp(low, high))
    gradient = net.layers[2].weight[target].expand(len(x), -1)
    for values, layer in ((second, net.layers[1]), (first, net.layers[0])):
        passed = (values > low) & (values < high) if rule == "guided" else torch.ones_like(values, dtype=torch.bool)
        gradient = torch.where(passed & (gradient > 0), gradient, 0) @ layer.weight
    return gradient.detach().view_as(x)


def without_result(rectify):
    """A rectifier whose result is not used: it works in place."""

    def rectified(x):
        rectify(x)
        return x

    return rectified


REUSED = nn.ReLU()
RELUS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "re-used": lambda x: REUSED(REUSED(x)),  # the second does nothing, and must do no harm
    "functional": functional.relu,
    "keyword": lambda x: functional.relu(input=x, inplace=True),
    "torch": torch.relu,
    "torch in place": without_result(torch.relu_),
    "method": lambda x: x.relu(),
    "method in place": without_result(lambda x: x.relu_()),
    "functional in place": without_result(lambda x: functional.relu(x, inplace=True)),
    "functional_": functional.relu_,
}
BOUNDED = {
    "relu6": (nn.ReLU6(), 0.0, 6.0),
    "relu6 in place": (nn.ReLU6(inplace=True), 0.0, 6.0),
    "hardtanh": (nn.Hardtanh(-0.1, 0.2), -0.1, 0.2),
    "hardtanh in place": (nn.Hardtanh(-0.1, 0.2, inplace=True), -0.1, 0.2),
    "hardtanh default": (functional.hardtanh, -1.0, 1.0),
    "hardtanh_": (lambda x: functional.hardtanh_(x, -0.1, 0.2), -0.1, 0.2),
    "hardtanh keyword": (lambda x: functional.hardtanh(x, max_val=0.2, min_val=-0.1), -0.1, 0.2),
}


@pytest.mark.parametrize("rule", METHODS)
@pytest.mark.parametrize("kind", RELUS)
def test_every_way_to_call_a_rectifier(kind, rule):
    net, x = seeded(lambda: Net(RELUS[kind])), random(5, 3, 2, 2)
    found = METHODS[rule](Classifier(net).explicand(x, 1))
    torch.testing.assert_close(found, by_hand(net, x, 1, rule))


@pytest.mark.parametrize("rule", METHODS)
@pytest.mark.parametrize("kind", BOUNDED)
def test_rectifiers_with_two_limits(kind, rule):
    rectify, low, high = BOUNDED[kind]
    net, x = seeded(lambda: Net(rectify)), 20 * random(5, 3, 2, 2)
    hidden = net.layers[0](x.flatten(1))
    assert bool((hidden > high).any())  # else the upper limit is not tested
    found = METHODS[rule](Classifier(net).explicand(x, 1))
    torch.testing.assert_close(found, by_hand(net, x, 1, rule, low, high))


def test_captum_agrees_on_resnet18_whose_rectifiers_are_modules():
    """To rounding: Captum runs the same rule by backward hooks on `nn.ReLU`."""
    net, x = seeded(torchvision.models.resnet18).eval(), random(2, 3, 64, 64)
    classifier = Classifier(net)
    for ours, theirs in (
        (GuidedBackprop(), captum.attr.GuidedBackprop),
        (Deconvnet(), captum.attr.Deconvolution),
    ):
        classifier.differentiable(x)
        classifier._call.folds = {}  # Captum's hooks see a network without folds, and a kink may fall on either side
        with pytest.warns(UserWarning, match="backward hooks"):
            expected = theirs(net).attribute(x.clone().requires_grad_(), target=7)
        found = ours(classifier.explicand(x, 7))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("rectifier", "low", "high"),
    [
        (torch.relu, 0, torch.inf),
        (functional.relu6, 0, 6),
        (functional.hardtanh, -1, 1),
        (lambda x: functional.hardtanh(x, -2.0, 3.0), -2, 3),
    ],
    ids=["relu", "relu6", "hardtanh", "limits"],
)
def test_the_limits_of_functions(rectifier, low, high):
    inputs = torch.tensor([-4.0, -1.5, -0.5, 0.5, 2.0, 5.0, 8.0], requires_grad=True)
    for rule, passes in (("guided", (inputs > low) & (inputs < high)), ("deconvnet", torch.ones(7, dtype=torch.bool))):
        with Rectifiers(rule):
            result = rectifier(inputs)
        assert torch.equal(result, inputs.clamp(low, high))
        (gradient,) = torch.autograd.grad(result.sum(), inputs)
        assert torch.equal(gradient, passes.float())


def test_all_rectifiers_of_efficientnet_lite0_are_seen():
    net = seeded(lambda: timm.create_model("tf_efficientnet_lite0")).eval()
    assert sum(isinstance(part, nn.ReLU6) for part in net.modules()) == 33
    with Rectifiers("guided") as rectifiers:
        net(random(1, 3, 64, 64).requires_grad_())
    assert rectifiers.seen == 33


def test_the_forward_pass_stays_as_it_is():
    net, x = seeded(lambda: Net(nn.ReLU6(inplace=True))), 20 * random(5, 3, 2, 2)
    with Rectifiers("deconvnet"):
        found = net(x)
    torch.testing.assert_close(found, net(x), rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS.values())
def test_a_model_without_rectifiers_is_refused(method):
    explicand = Classifier(seeded(Smooth)).explicand(random(2, 3, 16, 16), 1)
    with pytest.raises(ValueError, match=r"Smooth calls no relu, relu6 or hardtanh, .* choose another method"):
        method(explicand)


def test_an_unknown_rule():
    with pytest.raises(ValueError, match="rule must be one of guided, deconvnet, got 'none'"):
        Rectifiers("none")


def test_both_are_made_once():
    explicand = Classifier(seeded(lambda: Net(torch.relu))).explicand(random(4, 3, 2, 2), 1)
    for _ in range(2):
        GuidedBackprop()(explicand)
    assert explicand.cost[:2] == (1, 1)
