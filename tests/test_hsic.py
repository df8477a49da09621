"""HSIC by its defining matrices, in closed form where one cell acts, and where nothing does."""

from itertools import combinations
from math import exp

import numpy as np
import pytest
import torch
from known_answers import Model, bind, constant, linear, normal, random, spread
from networks import assert_close, explained, network
from scipy.stats import qmc
from sklearn.metrics.pairwise import rbf_kernel

from xaieval.attributions.hsic import HSIC, SAMPLERS, _dependence


def wave(m):
    """Of four cells or more; the last one does nothing."""
    z = m.flatten(1)
    return 3 * z[:, 0] * z[:, 1] + (2 * z[:, 1] + z[:, 2]).sin()


def values_of(function, method, side=2, count=1):
    """Indices `(count, side * side)` for white images with one pixel a cell, so that the input is the mask itself."""
    explicand = bind(Model(function), torch.ones(count, 1, side, side), batch_size=4096)
    return method(explicand).flatten(1)


def masks_of(method, cells, explicand):
    return explicand.design("hsic", method.seed, lambda seed: method._masks(seed, cells))[0]


def slow(masks, y):
    """tr(K H L H) / (n - 1)^2 of each column of masks `(n, d)`, every matrix written out."""
    n = len(y)
    center = np.eye(n) - np.ones((n, n)) / n
    output = rbf_kernel(y[:, None], gamma=1 / (2 * np.var(y)))
    found = []
    for column in masks.T:
        inner = np.array([[1 + (0.5 - (one - other) ** 2) for other in column] for one in column])
        found.append(np.trace(inner @ center @ output @ center) / (n - 1) ** 2)
    return np.array(found)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("samples", [2, 9, 40])
def test_indices_are_the_trace_of_the_centered_kernels(sampler, samples):
    """Also where the masks of a cell are not balanced, 9 of them."""
    method = HSIC(samples, 2, sampler, seed=1)
    explicand = bind(Model(wave), torch.ones(1, 1, 2, 2), batch_size=7)
    masks = masks_of(method, 4, explicand)
    expected = slow(masks.double().numpy(), wave(masks).double().numpy())
    assert_close(method(explicand).flatten(), torch.from_numpy(expected), 1e-5)


def test_each_sample_has_its_own_bandwidth():
    """Inputs that make the score ten times as large have the same indices."""
    inputs = torch.ones(2, 1, 2, 2) * torch.tensor([1.0, 10.0])[:, None, None, None]
    explicand = bind(linear(normal(1, 2, 2)), inputs)
    first, second = HSIC(50, 2)(explicand)
    assert_close(first, second, 1e-6)


@pytest.mark.parametrize("samples", [10, 200])
def test_one_cell_that_acts_alone_in_closed_form(samples):
    """Scores are 0 and w in equal numbers, s = w / 2, so that l = exp(-2) between them and 1 otherwise.

    The mean embeddings with and without the cell are 2 - 2 l apart, squared, and (2 n1 n0 / n)^2 / 2 = n^2 / 8.
    """
    values = values_of(lambda m: -3 * m.flatten(1)[:, 1], HSIC(samples, 2))
    expected = samples**2 / 8 * (2 - 2 * exp(-2)) / (samples - 1) ** 2
    assert abs(float(values[0, 1]) - expected) < 1e-6


def test_a_cell_that_changes_only_the_spread_is_seen():
    """y = m0 (2 m1 - 1) has mean 0 given m0, so that its first-order Sobol index is 0.

    Given m0 = 1 scores are -1 and 1, else 0; given m1 = 1 they are 0 and 1, else 0 and -1; s^2 = 1 / 2. An index is an
    eighth of the squared distance of the mean embeddings, the mean kernels within less twice that between.
    """
    values = values_of(lambda m: m.flatten(1)[:, 0] * (2 * m.flatten(1)[:, 1] - 1), HSIC(1500, 2))[0]
    near, far = exp(-1), exp(-4)
    spread_alone = (1 + far) / 2 + 1 - 2 * near
    same, other = (1 + near) / 2, (1 + 2 * near + far) / 4  # mean kernel within m1 = 0 or 1, and between
    expected = torch.tensor([spread_alone, 2 * same - 2 * other]) / 8
    # How often both cells are visible is left to chance, 1 / 4 +- .0065: indices move by .0004 at most over seeds.
    assert float((values[:2] - expected).abs().max()) < 0.001
    assert float(values[:2].min()) > 10 * float(values[2:].max())


# -- independence --


@pytest.mark.parametrize("half", [2, 3, 4])
def test_mean_over_all_ways_to_draw_the_masks_in_closed_form(half):
    """What a cell has that does nothing: (1 - mean l) n / (2 (n - 1)^2), exactly, over all columns with n / 2 ones."""
    n = 2 * half
    y = normal(n).double()
    columns = [[float(row in shown) for row in range(n)] for shown in combinations(range(n), half)]
    mean = _dependence(torch.tensor(columns, dtype=torch.float64).T, y).mean()
    kernel = rbf_kernel(y[:, None].numpy(), gamma=1 / (2 * np.var(y.numpy())))
    between = (kernel.sum() - n) / (n * (n - 1))
    assert abs(float(mean) - (1 - between) * n / (2 * (n - 1) ** 2)) < 1e-12


def test_inert_cells_have_what_chance_gives_and_others_far_more():
    """16 cells, of which 3 act."""
    method = HSIC(400, 4)
    explicand = bind(Model(wave), torch.ones(1, 1, 4, 4), batch_size=4096)
    values = method(explicand).flatten()
    y = wave(masks_of(method, 16, explicand)).double().numpy()
    kernel = rbf_kernel(y[:, None], gamma=1 / (2 * np.var(y)))
    chance = (1 - (kernel.sum() - 400) / (400 * 399)) * 400 / (2 * 399**2)
    inert = values[3:]
    assert abs(float(inert.mean()) - chance) < 4 * float(inert.std()) / 13**0.5
    assert 0 < chance < 1 / 800
    assert float(values[:3].min()) > 5 * chance
    assert float(inert.min()) >= 0


def test_a_score_that_hardly_moves_gets_zeros_and_a_broken_one_stays_broken():
    assert not HSIC(8, 2)(bind(constant(), random(2, 3, 8, 8))).any()
    assert not values_of(lambda m: 1000 + 1e-4 * m.flatten(1).sum(1), HSIC(8, 2)).any()  # one step of float32
    assert bool(values_of(lambda m: m.flatten(1).sum(1) * torch.nan, HSIC(8, 2)).isnan().all())


# -- invariances --


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_shifting_and_scaling_the_score_changes_nothing(sampler):
    method = HSIC(64, 2, sampler)
    reference = values_of(wave, method)
    assert_close(values_of(lambda m: -5 * wave(m), method), reference, 1e-5)
    # Scores near 1000 are rounded to 6e-5; the median of the scores in place of s would make all kernels 1.
    assert_close(values_of(lambda m: wave(m) + 1000, method), reference, 1e-3)


def test_permuting_masks_and_cells_permutes_indices():
    masks, y = (random(30, 5) < 0.5).double(), normal(30).double()
    reference = _dependence(masks, y)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(_dependence(masks[:, order], y), reference[order], rtol=0, atol=1e-14)
    rows = normal(30, seed=2).argsort()
    torch.testing.assert_close(_dependence(masks[rows], y[rows]), reference, rtol=0, atol=1e-14)
    torch.testing.assert_close(_dependence(1 - masks, y), reference, rtol=0, atol=1e-14)  # hidden is as good as shown


# -- masks --


def test_latin_hypercube_shows_each_cell_in_half_of_the_masks():
    masks = HSIC(100)._masks(3, 49)
    assert torch.equal(masks.sum(0), torch.full((49,), 50.0))
    points = qmc.LatinHypercube(49, rng=np.random.default_rng(3)).random(100)
    assert np.array_equal(masks.numpy(), points >= 0.5)
    shared = masks.T @ masks  # masks that show two cells: hypergeometric, 25 +- 2.5
    assert float((shared - torch.diag(shared.diag()) - 25 * (1 - torch.eye(49))).abs().max()) < 5 * 2.5


@pytest.mark.parametrize("grid", [7, 8])
def test_sobol_masks_tell_cells_apart_from_256_samples(grid):
    for samples in (256, 512):
        signs = 2 * HSIC(samples, grid, "sobol")._masks(0, grid**2) - 1
        torch.testing.assert_close(signs.T @ signs / samples, torch.eye(grid**2), rtol=0, atol=0)
    few = HSIC(64, grid, "sobol")._masks(0, grid**2)
    assert len(torch.cat((few, 1 - few), 1).unique(dim=1).T) <= 2 * 32


def test_model_sees_cells_as_they_are_or_replaced():
    inputs = random(1, 3, 8, 8)
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x.detach().clone())
        return x.flatten(1).sum(1)

    explicand = bind(Model(record), inputs)
    seen.clear()
    method = HSIC(12, 2, removal="mean")
    method(explicand)
    assert explicand.cost[:2] == (12, 0)
    shown = spread(masks_of(method, 4, explicand).view(-1, 2, 2), 8)
    expected = torch.where(shown == 1, inputs, inputs.mean((2, 3), keepdim=True))
    torch.testing.assert_close(torch.cat(seen), expected, rtol=0, atol=1e-6)


def test_samples_share_the_masks_and_copies_do_not():
    explicand = bind(Model(wave), torch.ones(2, 1, 2, 2))
    method = HSIC(10, 2)
    reference = method(explicand)
    assert torch.equal(reference[0], reference[1])
    (batch,) = explicand.batches(2)
    fresh, same = (method(batch.copies(batch.inputs, common_draws=common)) for common in (False, True))
    assert torch.equal(same, reference.repeat_interleave(2, 0))
    copy = batch.copies(batch.inputs)
    masks = copy.design("hsic", 0, lambda seed: method._masks(seed, 4))[1]  # those of every second copy
    expected = torch.from_numpy(slow(masks.double().numpy(), wave(masks).double().numpy()))
    assert_close(fresh[1].flatten(), expected, 1e-5)
    assert not torch.equal(fresh[0], fresh[1])
    assert not torch.equal(method(explicand), HSIC(10, 2, seed=1)(explicand))


def test_indices_are_upsampled_bilinearly():
    explicand = bind(linear(normal(3, 16, 12)), random(2, 3, 16, 12))
    method = HSIC(20, 4)
    masks = masks_of(method, 16, explicand)
    pixels = torch.nn.functional.interpolate(masks.view(20, 1, 4, 4), size=(16, 12), mode="nearest")
    for image, values in zip(explicand.inputs, method(explicand), strict=True):
        y = (image * pixels * normal(3, 16, 12)).flatten(1).sum(1).double().numpy()
        cells = torch.from_numpy(slow(masks.double().numpy(), y)).float().view(1, 1, 4, 4)
        assert_close(values[None], torch.nn.functional.interpolate(cells, size=(16, 12), mode="bilinear"), 1e-4)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = HSIC(50, 3)(explained(network(), inputs))
    assert_close(HSIC(50, 3)(explained(network(), inputs, batch_size=size)), reference, 1e-4)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="HSIC: sampler must be one of latin_hypercube, sobol, got 'halton'"):
        HSIC(sampler="halton")
    with pytest.raises(ValueError, match="HSIC: a dependence needs samples >= 2, got 1"):
        HSIC(samples=1)
