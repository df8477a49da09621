"""The methods that know nothing: random, random_coarse, permuted, constant, edge_detector, centre_blob."""

import math
import weakref

import pytest
import scipy.ndimage
import torch
from known_answers import ids, random
from networks import assert_close, explained, network

from xaieval.attributions.centre_blob import CentreBlob
from xaieval.attributions.constant import Constant
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.lrp import LRP
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.random import Random
from xaieval.attributions.random_coarse import RandomCoarse

DRAWN = [Random(), RandomCoarse(), Permuted()]
FREE = [Random(), RandomCoarse(), Constant(), EdgeDetector(), CentreBlob()]


@pytest.mark.parametrize("method", [*FREE, Permuted()], ids=str)
def test_declares_itself(method):
    assert method.sentinel


@pytest.mark.parametrize("method", FREE, ids=str)
def test_never_looks_at_the_model(method):
    inputs = random(3, 3, 16, 20)
    explicand = explained(network(seed=0), inputs)
    values = method(explicand)
    assert values.shape == (3, 1, 16, 20)
    assert explicand.cost[:2] == (0, 0)
    assert torch.equal(values, method(explained(network(seed=1), inputs)))


@pytest.mark.parametrize("method", DRAWN, ids=str)
def test_draws_depend_on_seed_id_and_copy_alone(method):
    inputs = random(3, 3, 16, 20)
    values = method(explained(network(), inputs, ids=ids(3)))
    assert torch.equal(values, method(explained(network(), inputs, ids=ids(3))))
    assert not torch.equal(values, type(method)(seed=1)(explained(network(), inputs, ids=ids(3))))
    alone = method(explained(network(), inputs[1:2], (0,), ids=ids(3)[1:2]))
    assert_close(alone, values[1:2], 1e-5)  # of a permuted gradient, which another batch rounds otherwise
    (batch,) = explained(network(), inputs, ids=ids(3)).batches(2)
    fresh, same = (method(batch.copies(batch.inputs, common_draws=common)) for common in (False, True))
    assert_close(same, values.repeat_interleave(2, 0), 1e-5)
    assert len({tuple(row.flatten().tolist()) for row in torch.cat((fresh, values))}) == 9


def test_random_is_uniform():
    values = Random()(explained(network(), random(2, 3, 64, 64), (0, 0))).flatten()
    count = len(values)
    assert float(values.min()) >= 0
    assert float(values.max()) < 1
    assert abs(float(values.mean()) - 1 / 2) < 4 * (1 / 12 / count) ** 0.5
    assert abs(float((values**2).mean()) - 1 / 3) < 4 * (4 / 45 / count) ** 0.5


def test_random_coarse_is_seven_by_seven_cells():
    values = RandomCoarse()(explained(network(), random(2, 3, 21, 28), (0, 0)))
    cells = values[:, 0, ::3, ::4]
    assert torch.equal(values[:, 0], cells.repeat_interleave(3, 1).repeat_interleave(4, 2))
    assert cells.flatten(1).unique(dim=1).shape == (2, 49)
    assert RandomCoarse(100)(explained(network())).flatten(1).unique(dim=1).shape == (3, 320)


@pytest.mark.parametrize("method", [Gradient(), GradCAM(relu=False)], ids=str)
def test_permuted_moves_whole_features_of_each_sample(method):
    explicand = explained(network())
    values, shuffled = method(explicand).flatten(2), Permuted(method)(explicand).flatten(2)
    assert Permuted(method).units == method.units
    for before, after in zip(values, shuffled, strict=True):
        rows, moved = sorted(before.T.tolist()), sorted(after.T.tolist())
        assert rows == moved
        assert (before != after).any(0).float().mean() > 0.9


def test_permuted_leaves_absent_features_where_they_are():
    present = random(3, 16, 20) < 0.6
    explicand = explained(network(), present=present)
    values, shuffled = Gradient()(explicand), Permuted()(explicand)
    for before, after, exists in zip(values, shuffled, present, strict=True):
        assert torch.equal(before[:, ~exists], after[:, ~exists])
        assert sorted(before[:, exists].T.tolist()) == sorted(after[:, exists].T.tolist())
        assert (before[:, exists] != after[:, exists]).any(0).float().mean() > 0.9


def test_constant_is_one():
    assert torch.equal(Constant()(explained(network())), torch.ones(3, 1, 16, 20))


def test_edges_are_the_sobel_magnitude_of_the_channel_mean():
    inputs = random(3, 3, 16, 20)
    along = [
        torch.stack([torch.tensor(scipy.ndimage.sobel(gray, axis, mode="nearest")) for gray in inputs.mean(1).numpy()])
        for axis in (0, 1)
    ]
    explicand = explained(network(), inputs)
    values = EdgeDetector()(explicand)
    assert_close(values[:, 0], torch.hypot(*along), 1e-5)
    values.zero_()
    assert EdgeDetector()(explicand).any()


def test_blob_is_a_gaussian_around_the_middle():
    values = CentreBlob(0.3)(explained(network()))
    for row, column in ((0, 0), (7, 9), (15, 19), (3, 12)):
        squares = ((row + 0.5) / 16 - 0.5) ** 2 + ((column + 0.5) / 20 - 0.5) ** 2
        expected = math.exp(-squares / (2 * 0.3**2))
        assert values[:, 0, row, column].tolist() == pytest.approx([expected] * 3, rel=1e-5)


def test_permuted_takes_the_map_that_is_there():
    explicand = explained(network())
    values = IntegratedGradients(5)(explicand)
    spent = explicand.cost[:2]
    shuffled = Permuted(IntegratedGradients(5))(explicand)
    assert explicand.cost[:2] == spent
    assert explicand.evaluations_of(shuffled) == 5  # what it costs where nothing is there
    assert_close(shuffled, Permuted(IntegratedGradients(5))(explained(network())), 1e-5)
    assert values is explicand.attribution(IntegratedGradients(5))


def test_permuted_makes_the_map_once_where_it_lives():
    explicand = explained(network())
    first = Permuted(IntegratedGradients(5))(explicand)
    second = Permuted(IntegratedGradients(5), seed=1)(explicand)  # the first took its own map along
    assert explicand.cost.forwards == 10
    assert [explicand.evaluations_of(values) for values in (first, second)] == [5, 5]


@pytest.mark.parametrize("change", ["other options", "changed in place", "gone", "a copy"])
def test_permuted_makes_a_map_that_is_not_there(change):
    explicand, method = explained(network()), IntegratedGradients(5)
    values = (IntegratedGradients(5, removal="mean") if change == "other options" else method)(explicand)
    if change == "changed in place":
        values.mul_(2)
    elif change == "gone":
        del values
    where = explicand if change != "a copy" else next(iter(explicand.batches(1))).copies(explicand.inputs)
    spent = explicand.meter.forwards
    shuffled = Permuted(method)(where)
    assert explicand.meter.forwards - spent == 5 * 3
    assert where.evaluations_of(shuffled) == 5


def test_permuted_keeps_no_map_alive():
    explicand = explained(network())
    values = weakref.ref(Gradient()(explicand))
    kept = Permuted()(explicand)
    assert values() is None
    assert len(explicand._notes) == 1  # that of the shuffled map
    del kept


def test_permuted_refuses_what_its_method_refuses():
    assert Permuted(LRP()).refuses == LRP().refuses
    assert Permuted().refuses == ""
