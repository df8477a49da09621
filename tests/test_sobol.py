"""Sobol indices of functions whose indices are known, with errors measured on replicated designs."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from known_answers import Model, bind, constant, linear, normal, random, spread
from networks import assert_close, explained, network
from scipy.stats import qmc, ttest_1samp

from xaieval.attributions.sobol import ESTIMATORS, SAMPLERS, Sobol
from xaieval.laws.guards import no_waiting

REPLICATES = 8


def recorded(function):
    """A model that keeps what it saw."""
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x.detach().clone())
        return function(x)

    return Model(record), seen


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
    "permuted": (lambda m: ishigami(m.flatten(1).flip(1)), [0, 0.2437, 0.4424, 0.5576], [0, 0, 0.4424, 0.3139]),
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
    model, seen = recorded(lambda m: m.flatten(1).sum(1))
    explicand = bind(model, torch.ones(1, 1, 2, 3), batch_size=7)
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
    if name in ("homma", "sobol2007"):
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
    elif estimator == "sobol2007":
        expected = [((b - a.mean()) * (c[:, i] - a)).mean() / a.var(correction=0) for i in range(4)]
    else:
        expected = [textbook(estimator, b, c[:, i], a) for i in range(4)]
    assert_close(values, torch.stack(expected), 1e-5)


def test_total_order_of_sobol_2007_is_that_of_homma_and_saltelli():
    """a (a - c), 1 - a c / V and Saltelli's (a a - a c) are one number after centering; the first orders differ."""
    homma, sobol = (indices(ishigami, Sobol(2, 8, estimator)) for estimator in ("homma", "sobol2007"))
    assert torch.equal(homma, sobol)
    homma, sobol = (indices(ishigami, Sobol(2, 8, estimator, "first")) for estimator in ("homma", "sobol2007"))
    assert float((homma - sobol).abs().min()) > 1e-3


def test_inert_cell_has_total_order_zero_exactly():
    values = indices(ishigami, Sobol(2, 32))
    assert float(values[0, 3]) == 0
    assert float(values[0, :3].min()) > 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("order", ["total", "first"])
def test_one_cell_has_the_whole_variance(estimator, order):
    """Then C is B, and a and c are independent: what is left is the error of a net of 1024 points, 2e-5."""
    value = indices(lambda m: m.flatten(1).exp().sum(1), Sobol(1, 1024, estimator, order), side=1)
    assert abs(float(value) - 1) < 1e-4


# -- samplers --


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("order", ["total", "first"])
def test_every_sampler_finds_the_known_indices(sampler, order):
    methods = [Sobol(2, 1024, order=order, sampler=sampler, seed=seed) for seed in range(REPLICATES)]
    found = torch.cat([indices(ishigami, method) for method in methods])
    error = found.std(0) / REPLICATES**0.5
    assert float(error.max()) < 0.03
    expected = torch.tensor(KNOWN["ishigami"][1 if order == "total" else 2])
    assert bool(((found.mean(0) - expected).abs() < 5 * error + 2 / 1024).all()), (found.mean(0), expected, error)


def test_samplers_are_those_of_scipy():
    """The points, of a generator with the seed; the first points of a Sobol sequence are a scrambled net."""
    for sampler, engine in (("halton", qmc.Halton), ("latin_hypercube", qmc.LatinHypercube)):
        points = Sobol(designs=16, sampler=sampler)._points(7, 10)
        expected = engine(10, rng=np.random.default_rng(7)).random(16)
        np.testing.assert_allclose(points.numpy(), expected, rtol=0, atol=1e-7)  # in float32
    points = Sobol(designs=16, sampler="monte_carlo")._points(7, 10)
    np.testing.assert_allclose(points.numpy(), np.random.default_rng(7).random((16, 10)), rtol=0, atol=1e-7)


def test_sobol_points_are_scipys_net_scrambled():
    """Scrambling maps leading digits one to one, so what points share in the plain net they share afterwards."""
    points = Sobol(designs=64)._points(7, 10).numpy()
    plain = qmc.Sobol(10, scramble=False).random(64)
    for digits in range(1, 7):
        ours, theirs = (np.floor(table * 2**digits).T for table in (points, plain))
        for one, other in zip(ours, theirs, strict=True):
            assert np.array_equal(one[:, None] == one, other[:, None] == other)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seed_decides_the_points(sampler):
    first, again, other = (Sobol(designs=16, sampler=sampler)._points(seed, 10) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    assert first.shape == (16, 10)
    assert 0 <= float(first.min()) < float(first.max()) <= 1


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


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
def test_a_cell_fades_to_each_removal(removal):
    """The inputs that the model saw lie on the way from the image to what replaces it, at the design's places."""
    inputs = random(1, 3, 8, 8)
    model, seen = recorded(lambda x: x.flatten(1).sum(1))
    explicand = bind(model, inputs, batch_size=64)
    seen.clear()
    method = Sobol(2, 8, removal=removal)
    method(explicand)
    kept = spread(explicand.design("sobol", 0, lambda seed: method._points(seed, 8))[0, :, :4].view(8, 2, 2), 8)
    other = explicand.removal(removal).values
    torch.testing.assert_close(torch.cat(seen)[::5], kept * inputs + (1 - kept) * other, rtol=0, atol=1e-6)


def test_amplitude_shifts_cells_by_up_to_half_of_it():
    """On a linear model the image is without effect, and an index is the square of the cell's summed weights."""
    inputs, weights = random(1, 3, 8, 8), normal(3, 8, 8)
    model, seen = recorded(lambda x: (x * weights).flatten(1).sum(1))
    explicand = bind(model, inputs, batch_size=4096)
    seen.clear()
    method = Sobol(2, 1024, amplitude=0.4)
    values = method(explicand)
    shift = torch.cat(seen) - inputs
    kept = explicand.design("sobol", 0, lambda seed: method._points(seed, 8))[0, :, :4]
    torch.testing.assert_close(
        shift[::5], (0.4 * (spread(kept.view(-1, 2, 2), 8) - 0.5)).expand(-1, 3, -1, -1), rtol=0, atol=1e-6
    )
    cells = weights.view(3, 2, 4, 2, 4).sum((0, 2, 4)) ** 2
    expected = explicand.upsample((cells / cells.sum())[None, None])
    assert float((values - expected).abs().max()) < 0.01  # as above
    assert float((method(bind(model, 1 - inputs, batch_size=4096)) - values).abs().max()) < 1e-4


def test_amplitude_leaves_absent_features_alone():
    present = torch.ones(1, 8, 8, dtype=torch.bool)
    present[:, :, 5:] = False
    inputs = random(1, 3, 8, 8)
    model, seen = recorded(lambda x: x.flatten(1).sum(1))
    explicand = bind(model, inputs, present=present)
    Sobol(2, 4, amplitude=1.0)(explicand)
    moved = (torch.cat(seen) != inputs).any(0).any(0)
    assert torch.equal(moved, present[0])


@pytest.mark.parametrize("order", ["total", "first"])
def test_signs_are_those_of_the_drop(order):
    """In f = m0 - 2 m1 + 3 m2 + 0.5 m3 removing the second cell raises the score."""

    def signed(function, on):
        return indices(function, Sobol(2, 64, order=order, signed=on))

    plain = signed(KNOWN["additive"][0], False)
    assert_close(signed(KNOWN["additive"][0], True), plain * WEIGHTS.sign(), 1e-6)
    assert_close(signed(lambda m: -KNOWN["additive"][0](m), True), -plain * WEIGHTS.sign(), 1e-6)
    # Removing a cell of sum (m - 1/2)^2 alone changes nothing: no sign, though the variance is there.
    still = signed(lambda m: 1 + 1e-7 * m[:, 0, 0, 0] + ((m.flatten(1) - 0.5) ** 2).sum(1), True)
    assert not still.any()
    assert bool((signed(lambda m: ((m.flatten(1) - 0.5) ** 2).sum(1), False) > 0.1).all())


def test_signs_cost_a_forward_for_each_cell_and_one_for_the_input():
    explicand = bind(Model(ishigami), torch.ones(1, 1, 2, 2))
    Sobol(2, 8, signed=True)(explicand)
    assert explicand.cost[:2] == (8 * 5 + 4 + 1, 0)
    Sobol(2, 8, signed=True, order="first")(explicand)  # the input's score is shared
    assert explicand.cost[:2] == (8 * 5 + 4 + 1 + 8 * 6 + 4, 0)


# -- both orders with intervals --


def intervals(function, method, scrambles=8, level=0.95, side=2, count=1):
    explicand = bind(Model(function), torch.ones(count, 1, side, side), batch_size=4096)
    return method.indices(explicand, scrambles, level), explicand


def test_indices_are_those_of_each_scramble_with_students_interval():
    method = Sobol(2, 32)
    single = {
        order: torch.stack([method._indices(table, 4, order) for table in tables(method, 5)])[:, 0].numpy()
        for order in ("first", "total")
    }
    found, _ = intervals(ishigami, method, 5, 0.9)
    for order, estimate in zip(("first", "total"), found, strict=True):
        expected = ttest_1samp(single[order][:, :3], 0).confidence_interval(0.9)
        for ours, theirs in zip(estimate, (single[order][:, :3].mean(0), *expected), strict=True):
            assert ours.shape == (1, 2, 2)
            np.testing.assert_allclose(ours.flatten()[:3].numpy(), theirs, rtol=0, atol=1e-5)
    assert found.total.low[0, 1, 1] == found.total.high[0, 1, 1] == 0  # the inert cell, in each scramble


def tables(method, scrambles):
    explicand = bind(Model(ishigami), torch.ones(1, 1, 2, 2), batch_size=4096)
    return [method._scores(explicand, "first", number) for number in range(scrambles)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_scramble_is_the_design_of_the_map_and_has_no_interval(estimator):
    found, explicand = intervals(ishigami, Sobol(2, 16, estimator), scrambles=1)
    assert explicand.cost[:2] == (16 * 6, 0)
    for order, estimate in zip(("first", "total"), found, strict=True):
        assert_close(estimate.value.flatten(1), indices(ishigami, Sobol(2, 16, estimator, order)), 1e-5)
        assert bool(estimate.low.isnan().all())
        assert bool(estimate.high.isnan().all())


def test_indices_cost_what_they_say_and_have_the_shape_of_the_cells():
    explicand = explained(network(), random(3, 3, 16, 20))
    found = Sobol(4, 8, signed=True).indices(explicand, 3)
    assert explicand.cost[:2] == (3 * 8 * 18, 0)
    assert all(ends.shape == (3, 4, 4) and ends.dtype == torch.float32 for estimate in found for ends in estimate)


@pytest.mark.parametrize("name", ["ishigami", "additive", "product"])
def test_intervals_cover_the_known_indices(name):
    """60 seeds of 8 scrambles at 95 %: fewer than 51 of 60 have a probability of .003 for each index.

    Of all indices together, which are not independent, between 91.5 and 98.5 % are covered.
    """
    function, total, first = KNOWN[name]
    runs = [intervals(function, Sobol(2, 64, seed=seed))[0] for seed in range(60)]
    covered = []
    for order, expected in (("first", first), ("total", total)):
        estimates, truth = [getattr(run, order) for run in runs], torch.tensor(expected).view(2, 2)
        inside = torch.cat([(one.low <= truth) & (truth <= one.high) for one in estimates])
        covered.append(inside.flatten(1)[:, :3].sum(0))  # the fourth cell of Ishigami's function is always covered
    counts = torch.cat(covered)
    assert int(counts.min()) >= 51, counts
    assert 0.915 < float(counts.float().mean()) / 60 < 0.985, counts


def test_first_order_is_not_above_total_order():
    found, _ = intervals(ishigami, Sobol(2, 256))
    assert bool((found.first.low <= found.total.high).all())
    assert bool((found.first.value <= found.total.value + 0.03).all())  # equal for the second cell, which is additive


def test_indices_make_no_device_wait_and_run_on_meta():
    explicand = explained(network())
    with no_waiting():
        Sobol(2, 4).indices(explicand, 3)
    module = network().to("meta")
    found = Sobol(2, 4, signed=True).indices(explained(module, torch.empty(2, 3, 8, 8, device="meta"), (0, 1)), 3)
    assert found.total.high.is_meta


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
    with pytest.raises(
        ValueError, match="estimator must be one of jansen, homma, sobol2007, janon, glen, got 'saltelli'"
    ):
        Sobol(estimator="saltelli")
    with pytest.raises(ValueError, match="order must be one of total, first, got 'second'"):
        Sobol(order="second")
    with pytest.raises(ValueError, match="designs >= 2, got 1"):
        Sobol(designs=1)
    with pytest.raises(
        ValueError, match="sampler must be one of sobol, halton, latin_hypercube, monte_carlo, got 'lhs'"
    ):
        Sobol(sampler="lhs")
    with pytest.raises(ValueError, match=r"amplitude must be 0 .* or positive, got -1"):
        Sobol(amplitude=-1.0)
    explicand = bind(Model(ishigami), torch.ones(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"scrambles >= 1 and 0 < level < 1, got scrambles=0, level=0\.95"):
        Sobol().indices(explicand, 0)
    with pytest.raises(ValueError, match="got scrambles=8, level=95"):
        Sobol().indices(explicand, level=95)
