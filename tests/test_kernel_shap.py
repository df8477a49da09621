"""KernelSHAP against Shapley values by their definition, Captum's, and constrained least squares with NumPy."""

import math

import captum.attr
import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, constant, linear, normal, random
from networks import TARGET, Normalized, assert_close, explained, network

from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.regression import shapley_kernel, shapley_subsets
from xaieval.segments import segments_of

REPLICATES = 8


def game(m):
    """Products, a threshold and a square of the first pixels; the others count a little, the last not at all."""
    z = m.flatten(1)
    slopes = torch.linspace(0.5, 0, z.shape[1]).to(z)
    return 3 * z[:, 0] * z[:, 1] * z[:, 2] - 2 * z[:, 1] * z[:, 3] + (z.sum(1) > 2.5).float() + (z @ slopes) ** 2


def shapley(function, count):
    """`sum_S s! (M - s - 1)! / M! (v(S + i) - v(S))` over the subsets without i, for masks of `count` pixels."""
    values = function(((torch.arange(2**count)[:, None] >> torch.arange(count)) & 1).double())
    sizes = torch.tensor([number.bit_count() for number in range(2**count)])
    weights = torch.tensor([math.factorial(s) * math.factorial(count - s - 1) for s in range(count)]).double()
    result = torch.zeros(count, dtype=torch.float64)
    for i in range(count):
        without = torch.arange(2**count)[(torch.arange(2**count) >> i) & 1 == 0]
        result[i] = (weights[sizes[without]] * (values[without + 2**i] - values[without])).sum()
    return result / math.factorial(count)


def values_of(function, method, side, count=1):
    """Values `(count, side * side)` for white images with one pixel a segment: the input is the set itself."""
    explicand = bind(Model(function), torch.ones(count, 1, side, side), batch_size=4096)
    return method(explicand).flatten(1)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_all_subsets_give_shapley_values(side):
    function = game if side > 1 else lambda m: 3 * m.flatten(1).sum(1) + 1
    found = values_of(function, KernelSHAP(510, "grid", side), side)
    assert_close(found[0], shapley(function, side**2), 1e-6)


def test_drawn_subsets_give_shapley_values_on_average():
    """16 segments, 65534 subsets: too many for 4000 draws."""
    methods = [KernelSHAP(4000, "grid", 4, seed=seed) for seed in range(REPLICATES)]
    found = torch.cat([values_of(game, method, 4) for method in methods])
    error = found.std(0) / REPLICATES**0.5
    assert float(error.max()) < 0.02  # the largest value is above 1
    expected = shapley(game, 16)
    assert float(expected.max()) > 1
    # 5 standard errors (t with 7 degrees of freedom: 1 in 600), and the bias of a ratio, of order 1 / samples.
    assert bool(((found.mean(0) - expected).abs() < 5 * error + 2 / 4000).all()), (found.mean(0), expected, error)


def recorded(side, method):
    """The sets `(S, side * side)` that a method asks for, in its order, and its values."""
    seen: list[torch.Tensor] = []

    def record(m):
        seen.append(m.flatten(1))
        return game(m)

    explicand = bind(Model(record), torch.ones(1, 1, side, side), batch_size=method.samples // 2)
    _ = explicand.clean, explicand.removed(method.removal)
    seen.clear()
    values = method(explicand).flatten()
    return torch.cat(seen), values


@pytest.mark.parametrize("samples", [10, 100, 400])
def test_solution_of_the_constrained_least_squares_on_the_same_draws(samples):
    """The equations with their multiplier, by NumPy; ten draws for 16 segments have a shortest solution."""
    sets, values = recorded(4, KernelSHAP(samples, "grid", 4))
    assert len(sets) == samples
    z, y = sets.double().numpy(), (game(sets.double()) - game(torch.zeros(1, 16))).numpy()
    change = float(game(torch.ones(1, 16)) - game(torch.zeros(1, 16)))
    system = np.block([[z.T @ z, np.ones((16, 1))], [np.ones((1, 16)), np.zeros((1, 1))]])
    expected = np.linalg.lstsq(system, np.append(z.T @ y, change), rcond=1e-10)[0][:16]
    assert_close(values, torch.from_numpy(expected), 1e-5)


def test_sets_come_in_pairs_with_the_kernel_sizes():
    sets, _ = recorded(4, KernelSHAP(8000, "grid", 4))
    first, second = sets.chunk(2)
    assert torch.equal(first, 1 - second)
    sizes = first.sum(1)
    chances = torch.tensor([1 / (k * (16 - k)) for k in range(1, 16)])
    chances = chances / chances.sum()
    found = torch.stack([(sizes == k).float().mean() for k in range(1, 16)])
    assert float(found.sum()) == pytest.approx(1)
    assert bool(((found - chances).abs() < 4 * (chances / 4000).sqrt()).all())
    each = first[sizes == 1].mean(0)  # the pixels are equal
    assert bool(((each - 1 / 16).abs() < 4 * (1 / 16 / (sizes == 1).sum()).sqrt()).all())


@pytest.mark.parametrize("total", [2, 3, 6])
def test_kernel_by_its_formula(total):
    sizes = torch.arange(total + 1)
    expected = [(total - 1) / (math.comb(total, k) * k * (total - k)) if 0 < k < total else 0 for k in range(total + 1)]
    found = shapley_kernel(sizes, torch.full_like(sizes, total))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_subsets_hold_present_segments_alone():
    present = torch.tensor([[True] * 3 + [False] * 4, [False] * 6 + [True], [True] * 7]).repeat_interleave(500, 0)
    subsets = shapley_subsets(random(1500, 8), present)
    assert not bool((subsets & ~present).any())
    sizes = subsets.sum(1).view(3, 500)
    assert [sorted(set(row.tolist())) for row in sizes] == [[1, 2], [1], [1, 2, 3, 4, 5, 6]]


def test_agrees_with_captum_on_all_permutations():
    module, inputs = network(), random(3, 3, 16, 20)
    explicand = explained(module, inputs)
    labels = torch.arange(4).view(2, 2).repeat_interleave(8, 0).repeat_interleave(10, 1)
    theirs = captum.attr.ShapleyValues(Normalized(module))
    expected = theirs.attribute(inputs, target=torch.tensor(TARGET), feature_mask=labels.repeat(1, 3, 1, 1))
    values = KernelSHAP(14, "grid", 2)(explicand)
    assert explicand.cost[:2] == (14 + 2, 0)
    assert_close(values * 80, expected[:, :1].detach())


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
@pytest.mark.parametrize("samples", [40, 126])
def test_superpixels_of_a_linear_model(removal, samples):
    """Exact with fewer draws than there are subsets, too: 9 superpixels at most, 40 or all of 2^9 - 2 sets."""
    weights, inputs = normal(3, 20, 20), random(2, 3, 20, 20)
    explicand = bind(linear(weights), inputs)
    segments = segments_of(explicand, "slic", 3)
    baseline = explicand.removal(removal).values
    expected = segments.share(segments.sum((weights * (inputs - baseline)).sum(1)))
    assert_close(KernelSHAP(samples, "slic", 3, removal)(explicand), expected, 1e-5)


def test_superpixels_of_a_network_by_the_definition():
    inputs = random(2, 3, 20, 20)
    explicand = bind(Smooth(), inputs, [1, 2])
    segments = segments_of(explicand, "slic", 2)
    values = KernelSHAP(14, "slic", 2)(explicand)
    for sample, target in enumerate((1, 2)):
        labels = segments.labels[sample]
        count = int(segments.present[sample].sum())

        def shown(sets, image=inputs[sample], labels=labels, target=target, count=count):
            kept = torch.nn.functional.pad(sets.float(), (0, 4 - count))[:, labels][:, None]
            with torch.no_grad():
                return Smooth()(image * kept)[:, target].double()

        expected = shapley(shown, count)
        found = segments.sum(values[:, 0])[sample, :count]
        assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("samples", [2, 6, 50])
def test_sums_to_the_change_whatever_the_draws(samples):
    explicand = bind(Smooth(), random(3, 3, 16, 20), [0, 1, 2])
    change = explicand.clean.logit - explicand.removed("mean").logit
    values = KernelSHAP(samples, removal="mean")(explicand)
    assert_close(values.flatten(1).sum(1), change, 1e-5)


@pytest.mark.parametrize("samples", [20, 510])
def test_absent_segments_count_as_if_they_were_not_there(samples):
    """Drawn and enumerated: a sample with padding, and one with a single segment left."""
    present = torch.ones(2, 9, 9, dtype=torch.bool)
    present[0, :, 6:] = False
    present[1, 3:] = present[1, :, 3:] = False
    inputs, weights = random(2, 1, 9, 9), normal(1, 9, 9)
    values = KernelSHAP(samples, "grid", 3)(bind(linear(weights), inputs, present=present))
    expected = (weights * inputs * present[:, None]).view(2, 3, 3, 3, 3).sum((2, 4))
    found = values.view(2, 3, 3, 3, 3).sum((2, 4))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not values[~present[:, None]].any()


def test_a_constant_has_no_values_and_a_broken_score_stays_broken():
    assert not KernelSHAP(20)(bind(constant(), random(2, 3, 16, 16))).any()
    assert bool(values_of(lambda m: m.flatten(1).sum(1) * torch.nan, KernelSHAP(6, "grid"), 4).isnan().all())


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    for method in (KernelSHAP(30), KernelSHAP(510, "grid", 3)):
        reference = method(explained(network(), inputs))
        assert_close(method(explained(network(), inputs, batch_size=size)), reference, 1e-4)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="KernelSHAP: segments must be one of slic, grid, got 'quickshift'"):
        KernelSHAP(segments="quickshift")
    for samples in (0, 25):
        with pytest.raises(ValueError, match=f"samples must be even and >= 2, got {samples}"):
            KernelSHAP(samples)
