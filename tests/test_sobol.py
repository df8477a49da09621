"""Sobol indices of functions whose indices are known, with errors measured on replicated designs."""

import math
from itertools import pairwise

import pytest
import torch
from known_answers import Model, bind, constant, linear, normal, random
from networks import assert_close, explained, network

from xaieval.attributions.sobol import ESTIMATORS, Sobol

REPLICATES = 8


def ishigami(m):
    """Of three of four cells, a = 7 and b = 0.1; the fourth does nothing."""
    z = 2 * math.pi * m.flatten(1) - math.pi
    return z[:, 0].sin() + 7 * z[:, 1].sin() ** 2 + 0.1 * z[:, 2] ** 4 * z[:, 0].sin()


def product(m):
    return m.flatten(1).prod(1)


WEIGHTS = torch.tensor([1.0, -2.0, 3.0, 0.5])
SHARES = (WEIGHTS**2 / (WEIGHTS**2).sum()).tolist()
PRODUCT_VARIANCE = 3**-4 - 4**-4
KNOWN = {
    "ishigami": (ishigami, [0.5576, 0.4424, 0.2437, 0], [0.3139, 0.4424, 0, 0]),
    "product": (product, [3**-3 / 12 / PRODUCT_VARIANCE] * 4, [4**-3 / 12 / PRODUCT_VARIANCE] * 4),
    "additive": (lambda m: m.flatten(1) @ WEIGHTS, SHARES, SHARES),
}


def indices(function, method, side=2, count=1):
    """Indices `(count, side * side)` for white images with one pixel a cell, so that the input is the mask itself."""
    explicand = bind(Model(function), torch.ones(count, 1, side, side), batch_size=4096)
    return method(explicand).flatten(1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("order", ["total", "first"])
@pytest.mark.parametrize("name", KNOWN)
def test_known_indices(name, order, estimator):
    function, total, first = KNOWN[name]
    designs = 2048 if order == "first" else 512  # first order is a difference of larger numbers
    methods = [Sobol(2, designs, estimator, order, seed=seed) for seed in range(REPLICATES)]
    found = torch.cat([indices(function, method) for method in methods])
    error = found.std(0) / REPLICATES**0.5
    assert float(error.max()) < 0.03  # a formula that is wrong is off by more than five of these
    expected = torch.tensor(total if order == "total" else first)
    # Beyond 5 standard errors (t with 7 degrees of freedom: 1 in 600) a bias of order 1 / designs, as in any ratio.
    assert bool(((found.mean(0) - expected).abs() < 5 * error + 2 / designs).all()), (found.mean(0), expected, error)


def test_default_design_gives_a_sum_of_one_on_an_additive_image():
    """64 cells and 32 rows: unscrambled, the first row is an empty image and the sum is .15."""
    methods = [Sobol(seed=seed) for seed in range(16)]
    sums = torch.cat([indices(lambda m: m.flatten(1).sum(1), method, side=8).sum(1) for method in methods])
    error = float(sums.std()) / 4
    assert error < 0.1
    assert abs(float(sums.mean()) - 1) < 4 * error


@pytest.mark.parametrize("order", ["total", "first"])
def test_design_replaces_one_column_at_a_time(order):
    seen: list[torch.Tensor] = []

    def record(m):
        seen.append(m.flatten(1))
        return m.flatten(1).sum(1)

    explicand = bind(Model(record), torch.ones(1, 1, 2, 3), batch_size=7)
    seen.clear()
    method = Sobol(3, 16, order=order)
    method(explicand)
    blocks = 7 if order == "total" else 8
    assert explicand.cost[:2] == (16 * blocks, 0)
    masks = torch.cat(seen).view(16, blocks, 6)
    a, c = masks[:, 0], masks[:, 1:7]
    changed = c != a[:, None]
    assert torch.equal(changed, torch.eye(6, dtype=torch.bool).expand_as(changed))
    b = c.diagonal(dim1=1, dim2=2)
    if order == "first":
        assert torch.equal(masks[:, 7], b)
    for column in torch.cat((a, b), 1).T:  # each column has one point in each sixteenth, as a Sobol sequence must
        assert torch.equal((column * 16).floor().sort().values, torch.arange(16.0))


def textbook(name, p, c, a):
    """What scores p `(n,)` and c `(n,)` share, in the published form with the same divisor n in all moments."""
    if name == "jansen":
        return 1 - ((p - c) ** 2).mean() / (2 * a.var(correction=0))
    if name == "homma":
        return ((p - a.mean()) * (c - a.mean())).mean() / a.var(correction=0)
    if name == "janon":
        square = ((p + c).mean() / 2) ** 2
        return ((p * c).mean() - square) / (((p**2 + c**2) / 2).mean() - square)
    return torch.corrcoef(torch.stack((p, c)))[0, 1]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("order", ["total", "first"])
def test_formula_of_each_estimator_on_a_small_design(estimator, order):
    """Eight rows, where corrections of order 1 / n are large."""
    scores: list[torch.Tensor] = []

    def record(m):
        scores.append(ishigami(m.double()))
        return scores[-1].float()

    explicand = bind(Model(record), torch.ones(1, 1, 2, 2))
    scores.clear()
    values = Sobol(2, 8, estimator, order)(explicand).flatten()
    y = torch.cat(scores).view(8, -1)
    a, c, b = y[:, 0], y[:, 1:5], y[:, -1]
    if order == "total":
        expected = [1 - textbook(estimator, a, c[:, i], a) for i in range(4)]
    else:
        expected = [textbook(estimator, b, c[:, i], a) for i in range(4)]
    assert_close(values, torch.stack(expected), 1e-5)


def test_inert_cell_has_total_order_zero_exactly():
    values = indices(ishigami, Sobol(2, 32))
    assert float(values[0, 3]) == 0
    assert float(values[0, :3].min()) > 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("order", ["total", "first"])
def test_shifting_and_scaling_the_score_changes_nothing(estimator, order):
    method = Sobol(2, 32, estimator, order)
    reference = indices(ishigami, method)
    assert_close(indices(lambda m: -3 * ishigami(m), method), reference, 1e-5)
    # Scores near 1000 are rounded to 6e-5 of a standard deviation of 4; a raw second moment would be off by thousands.
    assert_close(indices(lambda m: ishigami(m) + 1000, method), reference, 1e-3)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_score_that_hardly_moves_gets_zeros_and_a_broken_one_stays_broken(estimator):
    for order in ("total", "first"):
        method = Sobol(2, 8, estimator, order)
        assert not method(bind(constant(), random(2, 3, 8, 8))).any()
        assert not indices(lambda m: 1000 + 1e-4 * m.flatten(1).sum(1), method).any()  # one step of float32
        assert bool(indices(lambda m: m.flatten(1).sum(1) * torch.nan, method).isnan().all())


def test_cells_fade_to_the_removal_and_are_upsampled_bilinearly():
    inputs = random(2, 3, 16, 12)
    weights = normal(3, 16, 12)
    explicand = bind(linear(weights), inputs)
    method = Sobol(4, 1024, removal="mean")
    moved = (weights * (inputs - inputs.mean((2, 3), keepdim=True))).sum(1)
    cells = moved.view(2, 4, 4, 4, 3).sum((2, 4)) ** 2
    expected = torch.nn.functional.interpolate(
        (cells / cells.sum((1, 2), keepdim=True))[:, None], size=(16, 12), mode="bilinear"
    )
    # 1024 scrambled rows of an additive function: an error of .002 of 1 was measured over seeds.
    assert float((method(explicand) - expected).abs().max()) < 0.01


def test_a_grid_finer_than_the_image_has_one_cell_a_pixel():
    explicand = bind(linear(normal(1, 3, 2)), random(1, 1, 3, 2))
    values = Sobol(8, 4)(explicand)
    assert values.shape == (1, 1, 3, 2)
    assert explicand.cost.forwards == 4 * 7


def test_samples_share_the_design_and_copies_do_not():
    explicand = bind(Model(ishigami), torch.ones(2, 1, 2, 2))
    method = Sobol(2, 8)
    reference = method(explicand)
    assert torch.equal(reference[0], reference[1])
    (batch,) = explicand.batches(2)
    fresh, same = (method(batch.copies(batch.inputs, common_draws=common)) for common in (False, True))
    assert torch.equal(same, reference.repeat_interleave(2, 0))
    assert all(not torch.equal(one, two) for one, two in pairwise((reference[0], *fresh[:2])))
    assert not torch.equal(method(explicand), Sobol(2, 8, seed=1)(explicand))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    for method in (Sobol(3, 8), Sobol(3, 8, "janon", "first")):
        reference = method(explained(network(), inputs))
        assert_close(method(explained(network(), inputs, batch_size=size)), reference, 1e-4)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="estimator must be one of jansen, homma, janon, glen, got 'saltelli'"):
        Sobol(estimator="saltelli")
    with pytest.raises(ValueError, match="order must be one of total, first, got 'second'"):
        Sobol(order="second")
    with pytest.raises(ValueError, match="designs >= 2, got 1"):
        Sobol(designs=1)
