"""Attribution by part: evidence per part against the true effect, and the map that is made of it."""

from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
import torch
from part_worlds import CORNERS, SIDE, Squares, Use, bound, part_map, parts_of, shown, square
from scipy.stats import spearmanr
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.part_effects import PartEffects
from xaieval.classifier import Classifier
from xaieval.intervention import effects
from xaieval.metrics.part_agreement import PartAgreement
from xaieval.metrics.part_precision import PartPrecision, chosen
from xaieval.metrics.single_deletion import SingleDeletion
from xaieval.part_metric import evidence

WEIGHTS = (3.0, -2.5, 2.0, 1.5, 0.7, 0.1)
METRICS = (PartAgreement(), PartPrecision(), PartPrecision(k=1), SingleDeletion())


def scenes():
    return [shown(0), shown(1, drawn=(0, 1, 2, 3)), shown(2, under=(2,)), shown(3), shown(0, drawn=(0, 2, 4, 5))]


TARGETS = [0, 1, 2, 3, 3]


def maps(seed=0):
    return torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def slow(network, worlds, targets, attribution, units="importance"):
    """Evidence and effect of the seen parts of each scene, one by one."""

    def evidence(world, given, part):
        if units == "gradient":
            return ((world.image() - world.image(without=[part])).double() * given).sum().item()
        return given.double().sum(0)[square(CORNERS[part])].sum().item()

    found = []
    for world, target, given in zip(worlds, targets, attribution, strict=True):
        seen = [part for part in world.drawn if part not in world.under]
        with torch.no_grad():
            whole = network(world.image()[None])[0, target]
            effect = [(whole - network(world.image(without=[part])[None])[0, target]).item() for part in seen]
        said = [evidence(world, given, part) for part in seen]
        found.append((np.array(said), np.array(effect).round(4)))
    return found


@pytest.mark.parametrize("units", ["gradient", "contribution"])
def test_agreement_is_spearman(units):
    network = Use(WEIGHTS, power=1.4, bias=0.2)
    for seed in range(3):
        expected = [spearmanr(*pair).statistic for pair in slow(network, scenes(), TARGETS, maps(seed), units)]
        found = PartAgreement()(bound(network, scenes(), TARGETS), maps(seed), units=units)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_the_gradient_of_a_linear_model_tells_the_effects_of_parts():
    torch.manual_seed(0)
    where = bound(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4)), scenes(), TARGETS)
    gradient = Gradient()(where)
    torch.testing.assert_close(evidence(where, gradient, None), effects(where).double(), rtol=1e-4, atol=1e-5)
    assert PartAgreement()(where, gradient).tolist() == pytest.approx([1.0] * 5)
    assert PartPrecision()(where, gradient).tolist() == pytest.approx([1.0] * 5)
    assert PartAgreement()(where, gradient, units="importance").min() < 0.9


def test_scenes_are_drawn_for_a_gradient_once_for_all_metrics():
    where = bound(Use(WEIGHTS), scenes(), TARGETS)
    gradient = maps()
    PartAgreement()(where, gradient)
    drawn = Squares.images
    PartPrecision()(where, gradient)
    assert Squares.images == drawn
    PartPrecision()(where, gradient.clone())
    assert Squares.images == drawn + sum(len(set(world.drawn) - set(world.under)) for world in scenes())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_precision_is_the_mean_over_all_ways_to_break_ties(k):
    network = Use((3.0, 2.0, 2.0, 1.0, 0.0, 0.0))
    sums = torch.tensor([[5.0, 1, 1, 2, 1, 0], [1.0, 1, 1, 0, 0, 0], [1.0, 2, 3, 4, 5, 6], [2.0, 2, 2, 2, 2, 9]])
    worlds, targets = scenes()[:4], TARGETS[:4]
    raw, chance = [], []
    for said, effect in slow(network, worlds, targets, part_map(sums)):
        said, places = said.round(4), range(len(effect))
        tops = [
            Counter(frozenset(sorted(order, key=lambda place: -values[place])[:k]) for order in permutations(places))
            for values in (said, effect)
        ]
        hits = sum(n * m * len(one & two) for (one, n), (two, m) in product(*(top.items() for top in tops)))
        raw.append(hits / k / tops[0].total() / tops[1].total())
        chance.append(k / len(effect))
    where, made = bound(network, worlds, targets), PartPrecision(k)
    np.testing.assert_allclose(made.raw(where, part_map(sums)).numpy(), raw, rtol=1e-5)
    np.testing.assert_allclose(made.chance(where).numpy(), chance, rtol=1e-6)
    expected = (np.array(raw) - chance) / (1 - np.array(chance))
    np.testing.assert_allclose(made(where, part_map(sums)).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_chosen_adds_up_to_k():
    order = torch.tensor([[3.0, 1.5, 1.5, 0.0], [1.5, 1.5, 1.5, 1.5]])
    assert chosen(order, 2).tolist() == [[1.0, 0.5, 0.5, 0.0], [0.5] * 4]
    assert chosen(order, 9).tolist() == [[1.0] * 4] * 2


def test_random_orders_are_at_chance():
    network, count = Use(WEIGHTS), 400
    where = bound(network, [shown(0)] * count, [0] * count, batch_size=64, ids=[str(row) for row in range(count)])
    attribution = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    for metric, chance in zip(METRICS, (0.0, 0.0, 0.0, 0.5), strict=True):
        values = metric(where, attribution)
        assert abs(values.mean() - chance) < 4 * values.std() / count**0.5


def test_the_oracle_gets_one_and_a_nuisance_part_less_than_chance():
    network = Use(WEIGHTS, power=1.4)
    where = bound(network, scenes(), TARGETS)
    oracle = PartEffects()(where)
    for metric, chance in zip(METRICS, (0.0, 0.0, 0.0, 0.5), strict=True):
        assert metric(where, oracle).tolist() == pytest.approx([1.0] * 5)
        if metric != PartPrecision(k=1):
            assert (metric(where, -oracle) < chance).all()
    whole = bound(Use((3.0, 2.5, 2.0, 1.5, 0.7, 0.0)), [shown(0)], 0)
    nuisance = part_map([[0.0, 0, 0, 0, 0, 1]])
    for metric, chance in zip(METRICS, (0.0, 0.0, 0.0, 0.5), strict=True):
        assert metric(whole, nuisance).item() < chance
    nothing = part_map([[0.0] * 6], back=1.0) + part_map([[0.0] * 6], (1.0, 1.0))
    found = [metric(whole, nothing).item() for metric in METRICS]
    assert found == pytest.approx([0.0, 0.0, 0.0, 0.5])  # what says nothing of any part is at chance


def test_the_map_of_effects_adds_up_in_each_part():
    worlds, weights = scenes(), [abs(weight) for weight in WEIGHTS]
    where = bound(Use(weights, bias=9.0), worlds, [0, 1, 2, 3, 0])
    found = PartEffects()(where)
    assert found.shape == (5, 1, SIDE, SIDE)
    for row, world in enumerate(worlds):
        for part, weight in enumerate(weights):
            seen = part in world.drawn and part not in world.under
            pixels = found[row, 0][square(CORNERS[part])]
            assert pixels.sum().item() == pytest.approx(weight if seen else 0.0, abs=1e-4)
            assert pixels.min() == pixels.max()
    assert found[0].sum().item() == pytest.approx(where.clean.logit[0].item() - 9, abs=1e-4)
    assert PartEffects().oracle


def test_no_map_without_parts_to_remove():
    world = shown(0)
    parts, classifier = parts_of([world]), Classifier(Use(WEIGHTS))
    points = type(parts)(parts.scheme, parts.centers, parts.visible, parts.concepts)
    for given in ({}, {"parts": parts}, {"parts": points, "worlds": [world]}):
        assert PartEffects()(classifier.explicand(world.image()[None], 0, **given)).isnan().all()


@pytest.mark.parametrize("metric", METRICS)
def test_undefined_with_a_reason(metric):
    few = bound(Use(WEIGHTS), [shown(0, drawn=(0, 1))], 0)
    found = metric.evaluate(few, part_map([[1.0, 2, 3, 4, 5, 6]]))[1]
    assert found["fewer than 3 parts seen"].tolist() == [True]
    flat = bound(Use((0.0,) * 6), [shown(0)], 0)
    values, found = metric.evaluate(flat, part_map([[1.0, 2, 3, 4, 5, 6]]))
    assert found["constant effects"].tolist() == values.isnan().tolist() == [True]


def test_no_precision_where_all_are_chosen():
    where = bound(Use(WEIGHTS), [shown(0), shown(0, drawn=(0, 1, 2))], 0)
    values, found = PartPrecision(k=3).evaluate(where, part_map([[1.0, 2, 3, 4, 5, 6]] * 2))
    assert found["no more parts seen than chosen"].tolist() == values.isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="PartPrecision: k is a number of parts, at least 1, got 0"):
        PartPrecision(k=0)


@pytest.mark.parametrize("metric", METRICS)
def test_hidden_parts_do_not_count(metric):
    where = bound(Use(WEIGHTS), [shown(2, under=(2,))], 2)
    one, two = part_map([[1.0, 5, 3, 4, 2, 6]]), part_map([[1.0, 5, -99, 4, 2, 6]])
    assert metric(where, one).item() == metric(where, two).item()
