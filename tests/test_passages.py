"""The chain of layers on networks whose chain is known."""

import pytest
import torch
from known_answers import Smooth as Functional
from known_answers import random
from networks import network
from torch import nn
from torch.nn.functional import relu

from xaieval.classifier import Classifier
from xaieval.laws.toys import Counting
from xaieval.models import efficientnet_lite0, torchvision
from xaieval.passages import Link


class Block(nn.Module):
    """A residual block, or the same without its shortcut."""

    def __init__(self, channels, shortcut=True):
        super().__init__()
        self.first, self.last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.shortcut = shortcut

    def forward(self, x):
        hidden = self.last(relu(self.first(x)))
        return relu(x + hidden if self.shortcut else hidden)


class Residual(nn.Module):
    """A stem, two blocks, pooling by a function, a linear layer."""

    def __init__(self, shortcuts=(True, True), channels=6, classes=4):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Block(channels, shortcut) for shortcut in shortcuts))
        self.spare = nn.Conv2d(channels, channels, 1)  # never called
        self.head = nn.Linear(channels, classes)
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.2, generator=generator)

    def forward(self, x):
        return self.head(self.blocks(relu(self.stem(x), inplace=True)).mean((2, 3)))


class Odd(nn.Module):
    """Two convolutions; what happens after them is chosen."""

    def __init__(self, after):
        super().__init__()
        self.first, self.last, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.after = after

    def forward(self, x):
        return self.after(self, self.first(x))


def chain(module):
    return Classifier(module).structure.chain(random(1, 3, 16, 16))


def names(module):
    return [link.name for link in chain(module).found()]


def test_a_sequential_network_is_the_chain_of_its_convolutions_and_linear_layers():
    pooled = nn.Sequential(*network()[:4], nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))
    assert chain(pooled).found() == (Link("0", 3, 6, True), Link("2", 6, 8, True), Link("6", 8, 5, False))
    assert names(Counting(pooled)) == ["module.0", "module.2", "module.6"]


def test_a_residual_network_is_a_chain_of_blocks():
    blocks = (Link("blocks.0", 6, 6, True), Link("blocks.1", 6, 6, True))
    expected = (Link("stem", 3, 6, True), *blocks, Link("head", 6, 4, False))
    assert chain(Residual()).found() == expected
    assert chain(Residual((True, False))).found() == expected  # of one class: both are blocks
    assert names(Residual((False, False)))[1:3] == ["blocks.0.first", "blocks.0.last"]


def test_known_networks():
    resnet = torchvision.load("resnet18", weights=None).structure.chain(random(1, 3, 64, 64)).found()
    assert [link.name for link in resnet] == ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)), "fc"]
    lite = efficientnet_lite0.load().structure.chain(random(1, 3, 64, 64)).found()
    assert [link.name for link in lite[-3:]] == ["blocks.6.0", "conv_head", "classifier"]
    assert (lite[-1].channels, lite[-1].gives) == (1280, 1000)


def test_the_chain_starts_after_what_cannot_be_followed():
    branched = Odd(lambda net, x: net.head((x + net.last(x)).mean((2, 3))))
    assert names(branched) == ["head"]
    twice = Odd(lambda net, x: net.head(net.last(net.last(x)).mean((2, 3))))
    assert names(twice) == ["head"]
    with pytest.raises(ValueError, match="Smooth has no layer that gives the logits"):
        chain(Functional()).found()


def test_named_layers_must_be_a_chain():
    found = chain(Residual())
    assert [link.name for link in found.named(("blocks.1", "head"))] == ["blocks.1", "head"]
    cases = {
        ("blocks.1.first", "head"): "layer 'blocks.1.first' is no part of the chain: something goes around it",
        ("blocks.0", "head"): "layer 'blocks.0' is not followed by layer 'head' .'blocks.1.first' lies between.",
        ("blocks.1",): "layer 'blocks.1' is not followed by the logits .'head' lies between.",
        ("head", "blocks.1"): "layer 'head' is not followed by layer 'blocks.1' .their order is another one.",
        ("stem", "tail"): "Residual has no layer 'tail'",
    }
    for layers, sentence in cases.items():
        with pytest.raises(ValueError, match=sentence):
            found.named(layers)


def test_channels_must_go_over_one_by_one():
    joined = Odd(lambda net, x: net.head(torch.stack((x, x), 1).flatten(1, 2)[:, :4].mean((2, 3))))
    joined.first = nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match=r"layer 'first' takes \(1, 3, 16, 16\) to .* layer 'head' takes \(1, 4\)"):
        chain(joined).named(("first", "head"))


def test_it_is_found_once_for_each_shape_and_keeps_no_graph():
    classifier = Classifier(Residual())
    found = classifier.structure.chain(random(2, 3, 16, 16))
    assert classifier.structure.chain(random(5, 3, 16, 16)) is found
    assert classifier.structure.chain(random(5, 3, 20, 16)) is not found
    assert all(passage.before is passage.after is None for passage in found._passed.values())
