"""Eigen-CAM against NumPy's singular value decomposition."""

import numpy as np
import pytest
import torch
from known_answers import bind, random
from networks import Normalized, assert_close, explained, network
from torch import nn
from torch.nn.functional import interpolate

from xaieval.attributions.eigen_cam import EigenCAM


def expected(module, inputs, layer):
    """Projections by NumPy, each with the sign that makes its sum positive, upsampled."""
    output = Normalized(module[: layer + 1])(inputs).detach()
    maps = []
    for channels in output.double().numpy():
        rows = channels.reshape(len(channels), -1).T
        _, _, right = np.linalg.svd(rows, full_matrices=False)
        projection = rows @ right[0]
        maps.append(projection * np.sign(projection.sum()))
    coarse = torch.tensor(np.stack(maps)).unflatten(1, output.shape[2:])[:, None]
    return interpolate(coarse, size=inputs.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])  # convolutions and rectifiers
@pytest.mark.parametrize("size", [(16, 20), (8, 8)])  # the last with fewer positions than channels behind layer 2
def test_agrees_with_numpy(layer, size):
    module, inputs = network(), random(3, 3, *size)
    maps = EigenCAM(str(layer))(explained(module, inputs))
    assert_close(maps, expected(module, inputs, layer), 1e-5)
    if layer in (1, 3):
        assert float(maps.min()) >= 0  # a rectified layer has a map without negative values


def test_the_class_has_no_part_in_it():
    one, two = (EigenCAM()(explained(network(), target=target)) for target in (0, 3))
    assert torch.equal(one, two)


@pytest.mark.parametrize("positions", [2, 5])
def test_the_map_s_sum_is_not_negative_also_where_its_first_value_is(positions):
    """One direction over the channels, times -1 at the first position and 3 and 0 at the others."""
    along = torch.tensor([-1.0, 3.0, 0, 0, 0])[:positions]
    inputs = -(along * torch.tensor([0.0, 0.6, 0.8])[:, None])[None, :, None]
    module = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(3 * positions, 2))
    assert_close(EigenCAM("0")(bind(module, inputs)), along[None, None, None], 1e-6)


def test_close_singular_values_are_told_apart():
    """A diagonal layer with singular values 1 and 1 - 1e-4: the map is the first channel alone."""
    inputs = torch.zeros(1, 3, 4, 4)
    inputs[0, 0, 0, 0], inputs[0, 1, 1, 1] = 1, 1 - 1e-4
    module = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(48, 2))
    assert_close(EigenCAM("0")(bind(module, inputs)), inputs[:, :1], 1e-5)


def test_equal_singular_values_give_the_projection_of_the_sum():
    inputs = torch.zeros(1, 3, 4, 4)
    for channel, (row, signs) in enumerate([(0, (1, 1)), (1, (1, 1)), (2, (1, -1))]):
        inputs[0, channel, row, :2] = torch.tensor(signs)
    module = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(48, 2))
    direction = torch.tensor([1.0, 1.0, 0.0]) / 2**0.5  # sums of the channels, to length 1
    projected = torch.einsum("nkhw,k->nhw", inputs, direction)[:, None]
    assert_close(EigenCAM("0")(bind(module, inputs)), projected, 1e-6)


def test_a_dead_layer_gives_zeros():
    module = network()
    module[2].weight.data.zero_()
    module[2].bias.data.fill_(-1)
    assert not EigenCAM()(explained(module)).any()
