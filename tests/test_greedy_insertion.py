"""Greedy insertion: the optimum where scores are additive, plain loops elsewhere, and an order that beats it."""

from fractions import Fraction
from itertools import combinations, permutations
from math import floor

import pytest
import torch
from known_answers import Model, Smooth, bind, ids, linear, normal, random
from networks import assert_close, explained, network

from xaieval.attributions.greedy_insertion import GreedyInsertion
from xaieval.attributions.infidelity_optimal import InfidelityOptimal
from xaieval.attributions.random import Random
from xaieval.attributions.rise import RISE
from xaieval.attributions.sobol import Sobol
from xaieval.curve import Order
from xaieval.laws.guards import Planes
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.insertion import Insertion

METRICS = {"insertion": Insertion, "deletion": Deletion}


def order_of(explicand, values, method, seed=0):
    """The patches in the order of a curve on the method's grid, and how many have gone at each point."""
    patches = explicand.patches(method.grid)
    order = Order.of(explicand, patches.sum(explicand.features(values)), patches.present, method.steps, seed)
    return order.rank.argsort(1), order.number


def every_order(count):
    """Maps `(count!, count)` whose orders are all that there are."""
    places = torch.tensor(list(permutations(range(count))))
    return (count - places.argsort(1)).float()


# -- where nothing beats it --


@pytest.mark.parametrize("direction", METRICS)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("score", ["probability", "logit", "log_probability", "margin"])
def test_of_all_orders_none_is_better_on_an_additive_model(direction, score, backward):
    """Two rows of three pixels, in as many steps: 720 orders."""
    weights, inputs = normal(3, 2, 3), random(1, 3, 2, 3)
    method = GreedyInsertion(3, 6, score=score, direction=direction, backward=backward)
    metric = METRICS[direction](3, 6, score)
    explicand = bind(linear(weights, -0.5), inputs)
    values = method(explicand)
    assert (
        order_of(explicand, values, method)[0][0].tolist()
        == (weights * inputs).sum(1).flatten().argsort(descending=True).tolist()
    )
    maps = every_order(6).view(720, 1, 2, 3)
    others = metric(bind(linear(weights, -0.5), inputs.expand(720, -1, -1, -1), ids=ids(720), batch_size=512), maps)
    best, found = others.max() if direction == "insertion" else others.min(), metric(explicand, values)
    torch.testing.assert_close(found[0], best, rtol=0, atol=1e-6)  # rounding; the next order differs by more
    assert int((others - found).abs().lt(1e-6).sum()) == 1


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
def test_fewer_steps_are_as_good_at_the_points_of_the_curve(steps):
    """Among all orders of an additive model; within a step any order is the same to the curve."""
    weights, inputs = normal(3, 2, 3), random(1, 3, 2, 3)
    metric = Insertion(3, steps)
    explicand = bind(linear(weights), inputs)
    maps = every_order(6).view(720, 1, 2, 3)
    others = metric(bind(linear(weights), inputs.expand(720, -1, -1, -1), ids=ids(720), batch_size=512), maps)
    values = GreedyInsertion(3, steps)(explicand)
    torch.testing.assert_close(metric(explicand, values)[0], others.max(), rtol=0, atol=1e-6)
    contributions = (weights * inputs).sum(1).flatten()  # single gains also rank patches within a step
    assert values.flatten().argsort().tolist() == contributions.argsort().tolist()


def coverage(x):
    """How much of 20 places the pixels cover: monotone and submodular."""
    reach = (normal(9, 20, seed=4) > 0.8).to(x)
    return 1 - (1 - x[:, 0].flatten(1)[:, :, None] * reach).prod(1).mean(1)


def test_a_submodular_score_is_at_least_1_minus_1_over_e_of_the_best_at_every_size():
    """All 512 subsets of 3 x 3 pixels; and it is not the best everywhere."""
    explicand = bind(Model(coverage), torch.ones(1, 1, 3, 3), batch_size=64)
    values = GreedyInsertion(3, 9, score="logit")(explicand)
    curve = explicand.curve(values, 3, 9, direction="insertion").scores.logit[0]
    shares = []
    for size in range(1, 10):
        chosen = torch.stack(
            [torch.zeros(9).index_fill(0, torch.tensor(one), 1) for one in combinations(range(9), size)]
        )
        shares.append(float((curve[size] - curve[0]) / coverage(chosen.view(-1, 1, 3, 3)).max()))
    assert all(1 - torch.e**-1 < share < 1 + 1e-5 for share in shares)
    assert min(shares) == pytest.approx(13 / 15)  # with three pixels, where another choice covers 15 places


# -- where something does --


def pair_and_one(x):
    """f = m1 m2 + m3 / 10 of three pixels."""
    z = x[:, 0].flatten(1)
    return z[:, 0] * z[:, 1] + z[:, 2] / 10


def test_it_takes_the_small_gain_before_the_pair_that_is_worth_more():
    explicand = bind(Model(pair_and_one), torch.ones(1, 1, 1, 3))
    metric = Insertion(3, 3, "logit")
    values = GreedyInsertion(3, 3, score="logit")(explicand)
    assert int(values.argmax()) == 2
    assert float(metric(explicand, values)) == pytest.approx((0.1 + 0.1 + 1.1 / 2) / 3)
    best = max(float(metric(explicand, order.view(1, 1, 1, 3))) for order in every_order(3))
    assert best == pytest.approx((0 + 1 + 1.1 / 2) / 3)
    backward = GreedyInsertion(3, 3, score="logit", backward=True)(explicand)
    assert float(metric(explicand, backward)) == pytest.approx(best)


def test_ties_of_a_product_are_broken_at_random_for_each_sample():
    """No patch but the last one changes a product of all: every order is as likely."""
    inputs = torch.ones(600, 1, 1, 3)

    def places(method, count=600):
        explicand = bind(Model(lambda x: x.flatten(1).prod(1)), inputs[:count], ids=ids(count), batch_size=512)
        return [tuple(row) for row in method(explicand).flatten(1).tolist()]

    first = places(GreedyInsertion(3, 3))
    assert all(sorted(row) == [1, 2, 3] for row in first)
    assert all(first.count(row) == pytest.approx(100, abs=4 * (600 * 5 / 36) ** 0.5) for row in set(first))
    assert len(set(first)) == 6
    assert first == places(GreedyInsertion(3, 3))
    assert first[:7] == places(GreedyInsertion(3, 3), 7)
    assert first != places(GreedyInsertion(3, 3, seed=1))


# -- plain loops --


def by_loops(module, image, target, grid, steps, direction, replacement, backward):
    """The order, with nothing but the module."""
    height, width = image.shape[1:]
    rows, columns = min(grid, height), min(grid, width)
    count = rows * columns

    def probability(shown):
        mixed = image.clone()
        for y in range(height):
            for x in range(width):
                if (y * rows // height) * columns + x * columns // width not in shown:
                    mixed[:, y, x] = replacement[:, y, x]
        with torch.no_grad():
            return float(module(mixed[None]).softmax(1)[0, target])

    order: list[int] = []
    for step in range(1, steps + 1):
        left, scores = [patch for patch in range(count) if patch not in order], {}
        for patch in left:
            taken = {*order, patch}
            restored = (direction == "insertion") != backward
            scores[patch] = probability(taken if restored else set(range(count)) - taken)
        ranked = sorted(left, key=lambda patch: scores[patch], reverse=direction == "insertion")
        size = count - round((steps - step) * count / steps) if backward else round(step * count / steps)
        order += ranked[: size - len(order)]
    return order[::-1] if backward else order


@pytest.mark.parametrize("direction", METRICS)
@pytest.mark.parametrize(("grid", "steps"), [(3, 4), (4, 16), (2, 1)])
@pytest.mark.parametrize(("removal", "backward"), [("zero", False), ("mean", False), ("zero", True)])
def test_agrees_with_plain_loops(direction, grid, steps, removal, backward):
    """Sides of 9 and 11 pixels, which no grid here divides; 4, a half of 9 rounded, 7 and 9 of 9 patches."""
    inputs, targets = random(2, 3, 9, 11), [2, 0]
    explicand = bind(network(), inputs, targets)
    method = GreedyInsertion(grid, steps, removal, direction=direction, backward=backward)
    values = method(explicand)
    order, number = order_of(explicand, values, method)
    for sample, target in enumerate(targets):
        image = inputs[sample]
        other = torch.zeros_like(image) if removal == "zero" else image.mean((1, 2), keepdim=True).expand_as(image)
        expected = by_loops(network(), image, target, grid, steps, direction, other, backward)
        assert order[sample].tolist() == expected
    assert number[0].tolist() == [round(step * grid**2 / steps) for step in range(steps + 1)]
    sums = explicand.patches(grid).sum(explicand.features(values))
    torch.testing.assert_close(sums.sort(1).values, torch.arange(1.0, grid**2 + 1).expand(2, -1))


# -- against other methods --


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("direction", METRICS)
def test_it_beats_other_methods_on_a_small_network(direction, backward):
    """Each on every sample; and the best of 200 random orders."""
    explicand = explained(network(), random(3, 3, 28, 28))
    metric, method = METRICS[direction](7), GreedyInsertion(7, direction=direction, backward=backward)
    sign = 1 if direction == "insertion" else -1
    found = sign * metric(explicand, method(explicand))
    orders = torch.stack([metric(explicand, Random(seed=seed)(explicand)) for seed in range(200)])
    assert bool((found > (sign * orders).amax(0)).all())
    for rival in (Sobol(7), RISE(400), InfidelityOptimal(400, grid=7)):
        assert bool((found > sign * metric(explicand, rival(explicand))).all()), rival
    other = GreedyInsertion(7, direction="deletion" if direction == "insertion" else "insertion")
    assert bool((found >= sign * metric(explicand, other(explicand))).all())


# -- costs, batches, absent features --


def expected_cost(count, steps):
    """The patches left before each step, rounded, a half up."""
    steps = min(steps, count)
    return sum(floor(Fraction(count * (steps - step), steps) + Fraction(1, 2)) for step in range(steps))


@pytest.mark.parametrize(
    ("grid", "steps", "known"), [(4, 4, 40), (4, 16, 136), (3, 4, 23), (4, 100, 136), (5, 1, 25), (14, 14, 1470)]
)
def test_costs_the_patches_left_in_each_step(grid, steps, known):
    present = torch.ones(2, 28, 28, dtype=torch.bool)
    present[1, 9:] = False
    assert expected_cost(grid**2, steps) == known
    if grid**2 % min(steps, grid**2) == 0:
        assert known == grid**2 * (min(steps, grid**2) + 1) / 2
    for options, backward in (({}, False), ({"present": present}, False), ({"present": present}, True)):
        explicand = explained(network(), random(2, 3, 28, 28), (0, 1), 64, **options)
        GreedyInsertion(grid, steps, backward=backward)(explicand)
        assert explicand.cost[:2] == (known, 0)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("removal", ["zero", "blur", "noise", "noisy_linear"])
def test_batch_size_changes_nothing(size, removal):
    inputs = random(3, 3, 16, 20)
    method = GreedyInsertion(4, 3, removal)
    assert_close(method(explained(network(), inputs, batch_size=size)), method(explained(network(), inputs)))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("direction", METRICS)
def test_absent_patches_come_last_and_the_others_in_order(direction, backward):
    """A sample with three of nine patches takes them in three steps, beside one that has all of them."""
    weights, inputs = normal(3, 9, 12), random(2, 3, 9, 12)
    present = torch.ones(2, 9, 12, dtype=torch.bool)
    present[0, :, 3:] = False  # of the patches four columns wide the first ones are left, one column less
    explicand = bind(linear(weights), inputs, present=present)
    method = GreedyInsertion(3, 3, score="logit", direction=direction, backward=backward)
    values = method(explicand)
    assert not values[~present[:, None]].any()
    patches = explicand.patches(3)
    contributions = patches.sum((weights * inputs).sum(1) * present)
    order, number = order_of(explicand, values, method)
    assert number.tolist() == [[0, 1, 2, 3], [0, 3, 6, 9]]
    first = [0, 3, 6]
    assert order[0, :3].tolist() == sorted(first, key=lambda patch: -contributions[0, patch])
    assert order[1].tolist() == contributions[1].argsort(descending=True).tolist()
    for seed in range(3):
        assert torch.equal(order_of(explicand, values, method, seed)[0][0, :3], order[0, :3])  # no tie is left


def test_memory_does_not_grow_with_the_candidates():
    peaks = []
    for grid in (3, 9):  # 9 and 81 patches, odd, so that some calls take pairs of two samples
        explicand = bind(Smooth(), random(2, 3, 18, 18), [0, 1], batch_size=2)
        with Planes((18, 18)) as planes:
            GreedyInsertion(grid, 5)(explicand)
        peaks.append(planes.largest)
    assert peaks[1] <= peaks[0] <= 60


def test_an_image_of_one_pixel():
    explicand = bind(Smooth(), random(2, 3, 1, 1))
    assert GreedyInsertion()(explicand).flatten().tolist() == [1, 1]
    assert explicand.cost.forwards == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"score": "loss"}, "score must be one of logit, log_probability, probability, margin, got 'loss'"),
        ({"direction": "both"}, "direction must be one of insertion, deletion, got 'both'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_told(options, sentence):
    with pytest.raises(ValueError, match=f"GreedyInsertion: {sentence}"):
        GreedyInsertion(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"grid": 0}, "grid must be at least 1 patch per side, got 0"),
        ({"removal": "black"}, "removal must be one of zero"),
    ],
)
def test_wrong_cuts_are_told_when_they_are_made(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        GreedyInsertion(**options)(bind(Smooth(), random(1, 3, 4, 4)))
