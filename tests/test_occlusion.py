"""Occlusion: additive where it should be, and Captum's elsewhere."""

import captum.attr
import pytest
import torch
from known_answers import Smooth, bind, linear, normal, random
from networks import TARGET, Normalized, assert_close, explained, network

from xaieval.attributions.occlusion import Occlusion


@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_single_pixels_of_a_linear_model(removal):
    weights, inputs = normal(3, 5, 6), random(2, 3, 5, 6)
    explicand = bind(linear(weights), inputs)
    baseline = 0 if removal == "zero" else inputs.mean((2, 3), keepdim=True)
    values = Occlusion(1, 1, removal)(explicand)
    assert_close(values, (weights * (inputs - baseline)).sum(1, keepdim=True), 1e-5)
    assert explicand.units_of(values) == "contribution"
    assert explicand.cost[:2] == (31, 0)


def test_windows_of_a_linear_model_share_nothing():
    """Windows that do not overlap: each pixel has its window's drop."""
    weights, inputs = normal(3, 6, 8), random(2, 3, 6, 8)
    drops = (weights * inputs).sum(1).view(2, 3, 2, 4, 2).sum((2, 4))
    expected = drops.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    explicand = bind(linear(weights), inputs)
    values = Occlusion(2, 2)(explicand)
    assert_close(values, expected, 1e-5)
    assert explicand.units_of(values) == "importance"


@pytest.mark.parametrize(("window", "stride", "places"), [(5, 3, 5 * 6), (4, 4, 4 * 5), (6, 5, 3 * 4), (15, 8, 2 * 2)])
def test_agrees_with_captum_also_where_windows_reach_over_the_border(window, stride, places):
    module, inputs = network(), random(3, 3, 16, 20)
    theirs = captum.attr.Occlusion(Normalized(module))
    expected = theirs.attribute(inputs, (3, window, window), (3, stride, stride), target=torch.tensor(TARGET))
    explicand = explained(module, inputs)
    assert_close(Occlusion(window, stride)(explicand), expected[:, :1].detach())
    assert explicand.cost[:2] == (places + 1, 0)


def test_agrees_with_captum_for_another_baseline():
    inputs = random(2, 3, 9, 9)
    mean = inputs.mean((2, 3), keepdim=True).expand_as(inputs)
    theirs = captum.attr.Occlusion(Smooth())
    expected = theirs.attribute(inputs, (3, 4, 4), (3, 2, 2), baselines=mean, target=torch.tensor([2, 0]))
    assert_close(Occlusion(4, 2, "mean")(bind(Smooth(), inputs, [2, 0])), expected[:, :1].detach())


def test_a_window_larger_than_the_image_removes_all_of_it():
    explicand = explained(network(), random(2, 3, 8, 8), (0, 1))
    drop = explicand.clean.logit - explicand.removed("zero").logit
    values = Occlusion()(explicand)
    assert_close(values, drop[:, None, None, None].expand(-1, 1, 8, 8), 1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = Occlusion(5, 3)(explained(network(), inputs))
    assert_close(Occlusion(5, 3)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


@pytest.mark.parametrize("stride", [0, 5])
def test_a_stride_that_leaves_gaps_is_told(stride):
    with pytest.raises(ValueError, match=f"stride must lie between 1 and window=4.* got {stride}"):
        Occlusion(4, stride)
