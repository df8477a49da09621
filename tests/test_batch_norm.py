"""Batch normalization made cheap: the same function to rounding, and left alone wherever it might not be."""

import pytest
import timm
import torch
import torch.nn.functional as functional
import torchvision
from known_answers import random
from torch import nn

from xaieval.batch_norm import Folded, Observed
from xaieval.classifier import Classifier
from xaieval.laws.toys import seeded


def with_statistics(make):
    """A network whose batch normalizations have statistics and weights of their own."""

    def made():
        module = make().eval().requires_grad_(False)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                if part.running_mean is not None and part.running_var is not None:
                    part.running_mean.normal_(0, 0.1)
                    part.running_var.uniform_(0.5, 1.5)
                if part.affine:
                    part.weight.uniform_(0.5, 1.5)
                    part.bias.normal_(0, 0.1)
        return module

    return seeded(made)


def bound(module, inputs):
    """A classifier that holds the module's weights, as any does after its inputs are bound."""
    classifier = Classifier(module, batch_size=8)
    classifier.explicand(inputs, [1] * len(inputs))
    return classifier


def answers(module, inputs):
    """Logits, and the gradient of one of them."""
    leaf = inputs.clone().requires_grad_()
    logits = module(leaf)
    return logits.detach(), torch.autograd.grad(logits[:, 1].sum(), leaf)[0]


@pytest.mark.parametrize(
    ("make", "folded"),
    [
        (lambda: timm.create_model("tf_efficientnet_lite0"), 49),
        (lambda: torchvision.models.resnet18(), 20),
        (lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False), 57),
        (lambda: torchvision.models.densenet121(), 59),  # of 121: the others come before a convolution
    ],
)
def test_real_networks_compute_the_same_in_float64(make, folded):
    """In float32 a rectifier's kink may fall on either side, so exactness is seen in float64 alone."""
    module, inputs = with_statistics(make).double(), random(2, 3, 64, 64).double()
    expected = answers(module, inputs)
    leaf = inputs.clone().requires_grad_()
    with Observed({**dict(module.named_parameters()), **dict(module.named_buffers())}) as observed:
        logits = module(leaf)
    folds = observed.folds(logits)
    assert len(folds) == folded
    with Folded(folds):
        found = answers(module, inputs)
    torch.testing.assert_close(logits.detach(), expected[0], rtol=0, atol=0)  # observing changes nothing
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11 * float(theirs.abs().max()))


class Block(nn.Module):
    """A convolution and a batch normalization, used in some way, then smooth pooling and a linear layer."""

    def __init__(self, **options):
        super().__init__()
        self.conv, self.bn, self.other = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, **options), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(functional.softplus(self.use(x)).mean((2, 3)))

    def use(self, x):
        return self.bn(self.conv(x))


class WithBias(Block):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class Bias(Block):
    def use(self, x):
        return self.bn(functional.conv2d(x, self.conv.weight, self.linear.weight[0], 1, 1))


class UsedTwice(Block):
    def use(self, x):
        y = self.conv(x)
        return self.bn(y) + y


class UsedLater(Block):
    def use(self, x):
        y = self.conv(x)
        z = self.bn(y)
        return z * y.mean((2, 3), keepdim=True)


class CalledTwice(Block):
    def use(self, x):
        return self.bn(self.conv(x)) + self.conv(x.flip(3))


class NormalizedTwice(Block):
    def use(self, x):
        return self.bn(self.conv(x)) + self.bn(self.conv(x) ** 2)


class TwoNormalizations(Block):
    def use(self, x):
        y = self.conv(x)
        return self.bn(y) + self.other(y)


class ChangedInPlace(Block):
    def use(self, x):
        return self.bn(self.conv(x).mul_(2))


class ComputedWeight(Block):
    def use(self, x):
        return self.bn(functional.conv2d(x, self.conv.weight / self.conv.weight.norm(), None))


class BatchStatistics(Block):
    def use(self, x):
        y = self.conv(x)
        return functional.batch_norm(y, None, None, self.bn.weight, self.bn.bias, True)


class Keywords(Block):
    def use(self, x):
        y = functional.conv2d(input=x, weight=self.conv.weight)
        return functional.batch_norm(y, self.bn.running_mean, self.bn.running_var, weight=self.bn.weight, eps=0.1)


class Alone(Block):
    def use(self, x):
        return self.conv(self.bn(torch.cat((x, x[:, :1]), 1))[:, :3])


@pytest.mark.parametrize(
    ("kind", "options", "folded"),
    [
        (Block, {}, 1),
        (Block, {"affine": False, "eps": 0.3}, 1),
        (Block, {"track_running_stats": False}, 0),
        (WithBias, {}, 1),  # the scale goes into its bias too
        (Bias, {}, 0),  # the bias is a row of another weight, made anew in each call
        (UsedTwice, {}, 0),
        (UsedLater, {}, 0),
        (CalledTwice, {}, 0),
        (NormalizedTwice, {}, 0),
        (TwoNormalizations, {}, 0),
        (ChangedInPlace, {}, 0),
        (ComputedWeight, {}, 0),
        (BatchStatistics, {}, 0),
        (Keywords, {}, 0),
        (Alone, {}, 0),
    ],
)
def test_only_safe_pairs_are_folded(kind, options, folded):
    module, inputs = with_statistics(lambda: kind(**options)), random(3, 3, 9, 8)
    expected = answers(module, inputs)
    classifier = bound(module, inputs)
    for _ in range(2):
        logits = classifier.logits(inputs)
        gradient = classifier.gradients(inputs, torch.ones(3, dtype=torch.long))[1]
        torch.testing.assert_close(logits, expected[0], rtol=1e-5, atol=1e-6)  # float32 in another order
        torch.testing.assert_close(gradient, expected[1], rtol=1e-4, atol=1e-6)
    assert len(classifier._call.folds) == folded


class Moody(Block):
    """Goes another way on dark images, which the first call does not see."""

    def __init__(self, other):
        super().__init__()
        self.path = other

    def use(self, x):
        y = self.conv(x)
        return self.bn(y) if x.mean() > 0 else self.path(self, y)


@pytest.mark.parametrize(
    "path",
    [
        lambda module, y: y.tanh(),
        lambda module, y: module.other(y),
        lambda module, y: torch.cat([y, y], 2),
        lambda module, y: y.chunk(2, 2)[0],
        lambda module, y: y,
    ],
)
def test_another_way_through_the_network_is_noticed(path):
    """The first call cannot know of it: the later one is made again without folds."""
    module, inputs = with_statistics(lambda: Moody(path)), random(3, 3, 9, 8)
    expected = answers(module, -1 - inputs)
    classifier = bound(module, inputs)
    classifier.logits(inputs.abs() + 1)
    assert len(classifier._call.folds) == 1
    torch.testing.assert_close(classifier.logits(-1 - inputs), expected[0])
    gradient = classifier.gradients(-1 - inputs, torch.ones(3, dtype=torch.long))[1]
    torch.testing.assert_close(gradient, expected[1])


class Returned(Block):
    """A network that ends in a convolution after it began with a pair."""

    def forward(self, x):
        return functional.softplus(self.bn(self.conv(x))).mean((2, 3)) if x.mean() > 0 else self.conv(x).mean((2, 3))


def test_a_convolution_at_the_end_is_noticed():
    module, inputs = with_statistics(Returned), random(3, 3, 9, 8)
    classifier = bound(module, inputs)
    classifier.logits(inputs.abs() + 1)
    torch.testing.assert_close(classifier.logits(-1 - inputs), module(-1 - inputs))


@pytest.mark.parametrize("kind", ["forward", "pre", "backward"])
def test_who_watches_a_convolution_sees_its_own_output(kind):
    module, inputs, seen = with_statistics(Block), random(3, 3, 9, 8), []
    classifier = bound(module, inputs)
    classifier.logits(inputs)
    if kind == "forward":
        module.conv.register_forward_hook(lambda part, arguments, output: seen.append(output))
    elif kind == "pre":
        module.bn.register_forward_pre_hook(lambda part, arguments: seen.append(arguments[0]))
    else:
        module.bn.register_full_backward_hook(lambda part, gradient, output: seen.append(module.conv(inputs)))
    found = classifier.gradients(inputs, torch.ones(3, dtype=torch.long))[1]
    torch.testing.assert_close(seen[0], module.conv(inputs))
    torch.testing.assert_close(found, answers(module, inputs)[1])


def test_activations_of_a_convolution_are_its_own():
    module, inputs = with_statistics(Block), random(3, 3, 9, 8)
    explicand = Classifier(module).explicand(inputs, 1)
    assert explicand.clean is not None
    torch.testing.assert_close(explicand.activations(("conv",))["conv"][0], module.conv(inputs))


def test_changed_weights_are_folded_anew():
    module, inputs = with_statistics(Block), random(3, 3, 9, 8)
    classifier = bound(module, inputs)
    classifier.logits(inputs)
    with torch.no_grad():
        module.bn.running_var.mul_(3)
        module.conv.weight.mul_(-1)
    for _ in range(2):
        torch.testing.assert_close(classifier.explicand(inputs, 1).clean.logit, module(inputs)[:, 1])
    assert len(classifier._call.folds) == 1


def test_finding_the_pairs_is_no_extra_call():
    calls = []

    class Counted(Block):
        def use(self, x):
            calls.append(len(x))
            return super().use(x)

    inputs = random(20, 3, 9, 8)
    classifier = bound(with_statistics(Counted), inputs)
    calls.clear()
    classifier.logits(inputs)
    assert calls == [8, 8, 4]
    assert len(classifier._call.folds) == 1


def test_pairs_found_in_inference_mode_serve_gradients():
    module, inputs = with_statistics(Block), random(3, 3, 9, 8)
    classifier = bound(module, inputs)
    with torch.inference_mode():
        classifier.logits(inputs)
    gradient = classifier.gradients(inputs, torch.ones(3, dtype=torch.long))[1]
    torch.testing.assert_close(gradient, answers(module, inputs)[1])


def test_scores_that_fit_without_a_graph_stay_in_full_batches():
    """A graph of gradients needs more memory than scores: finding pairs must not make later batches smaller."""

    class Greedy(Block):
        def use(self, x):
            if torch.is_grad_enabled() and len(x) > 2:
                raise torch.OutOfMemoryError("too many")
            return super().use(x)

    module, inputs = with_statistics(Greedy), random(8, 3, 9, 8)
    classifier = bound(module, inputs)
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(inputs), module(inputs))
    assert classifier.size("scores") == 8
