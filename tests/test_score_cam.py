"""Score-CAM against a loop over channels with plain calls of the module."""

import pytest
import torch
from known_answers import random
from networks import TARGET, assert_close, explained, network
from torch.nn.functional import interpolate

from xaieval.attributions.score_cam import ScoreCAM
from xaieval.classifier import Classifier
from xaieval.laws.guards import Planes

SIZE = (16, 20)


def upsampled(maps):
    return interpolate(maps, size=SIZE, mode="bilinear", align_corners=False)


def plain(module, inputs, batch_size=7):
    """Without normalization, so that the module's parts can be called by hand."""
    return Classifier(module, batch_size=batch_size).explicand(inputs, TARGET)


@torch.no_grad()
def slow(module, inputs, layer, *, removed=0.0, logits=False, softmax=False):
    """One sample and one channel at a time; `removed` is what stands in for hidden pixels, for each sample."""
    maps = []
    for image, target, hidden in zip(inputs, TARGET, removed * torch.ones_like(inputs), strict=True):

        def score(masked, target=target):
            output = module(masked[None])[0]
            return float(output[target] if logits else output.softmax(0)[target])

        output = module[: layer + 1](image[None])[0]
        weights = []
        for channel in output:
            mask = upsampled(channel[None, None])[0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            weights.append(score(image * mask + hidden * (1 - mask)) - score(hidden))
        factors = torch.tensor(weights).softmax(0) if softmax else torch.tensor(weights)
        maps.append(torch.einsum("k,khw->hw", factors, output).clamp(min=0))
    return upsampled(torch.stack(maps)[:, None])


@pytest.mark.parametrize("layer", [0, 1, 2])  # layers without a channel that is dead everywhere
@pytest.mark.parametrize("inplace", [False, True])
def test_agrees_with_a_loop_over_channels(layer, inplace):
    inputs = random(3, 3, *SIZE)
    explicand = plain(network(inplace=inplace), inputs)
    channels = 6 if layer < 2 else 8
    assert_close(ScoreCAM(str(layer))(explicand), slow(network(), inputs, layer), 1e-4)
    assert explicand.cost[:2] == (channels + 2, 0)


def test_other_weighting_score_and_removal():
    module, inputs = network(), random(3, 3, *SIZE)
    expected = slow(module, inputs, 2, logits=True, softmax=True)
    assert_close(ScoreCAM("2", "softmax", score="logit")(plain(module, inputs)), expected, 1e-4)
    mean = inputs.mean((2, 3), keepdim=True)
    assert_close(ScoreCAM("2", removal="mean")(plain(module, inputs)), slow(module, inputs, 2, removed=mean), 1e-4)


def test_a_channel_without_contrast_has_no_part():
    """A constant channel: were its rounding scaled to [0, 1], or its mask taken as 1, it would lift the whole map."""
    module, inputs = network(), random(3, 3, *SIZE)
    for number, value in enumerate((3.7, 1e4)):
        module[2].weight.data[number] = 0
        module[2].bias.data[number] = value
        module[6].weight.data[:, number] = 0
    short = network()
    short[2].weight.data, short[2].bias.data = module[2].weight.data[2:], module[2].bias.data[2:]
    short[6].weight.data = module[6].weight.data[:, 2:]
    explicand, shorter = plain(module, inputs), plain(short, inputs)
    # A weight of rounding, 1e-7, times the constant 1e4 is 1e-3; the mask of the whole image would weigh about 0.1.
    difference = ScoreCAM("2")(explicand) - ScoreCAM("2")(shorter)
    assert float(difference.abs().max()) < 5e-3


def test_memory_does_not_grow_with_the_channels():
    peaks = []
    for channels in (8, 64):
        explicand = explained(network(channels=(3, 6, channels)), random(2, 3, *SIZE), (0, 1), batch_size=2)
        ScoreCAM()(explicand)  # finds the layer
        fresh = explicand.classifier.explicand(random(2, 3, *SIZE, seed=1), (0, 1))
        with Planes(SIZE) as planes:
            ScoreCAM()(fresh)
        peaks.append(planes.largest)
    assert peaks[0] == peaks[1]


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="ScoreCAM: weighting must be one of increase, softmax, got 'paper'"):
        ScoreCAM(weighting="paper")
    with pytest.raises(ValueError, match=r"ScoreCAM: score must be one of logit, .*, got 'loss'"):
        ScoreCAM(score="loss")
    with pytest.raises(ValueError, match=r"removal must be one of zero, .* got 'grey'"):
        ScoreCAM(removal="grey")(explained(network()))
