"""Average precision of the scores as a detector of a rationale, and its exact chance."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES
from rationales import orders, rationale, scored

from xaieval.attributions.constant import Constant
from xaieval.attributions.gradient import Gradient
from xaieval.metrics.token_auprc import TokenAuprc

RAW = TokenAuprc(above_chance=False)


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(TokenAuprc())


def precision(order, inside):
    """Average precision of one order, by its definition."""
    hits, shares = 0, []
    for place, token in enumerate(order, 1):
        hits += inside[token]
        if inside[token]:
            shares.append(hits / place)
    return float(np.mean(shares))


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def test_by_hand():
    """Of tokens in descending order the 1st, 3rd and 4th belong: (1 + 2/3 + 3/4) / 3."""
    where = rationale([[1, 0, 1, 1, 0]])
    found = TokenAuprc().raw(where, scored([[9, 7, 5, 3, -2]])).item()
    assert found == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    chance = TokenAuprc().chance(where).item()
    assert TokenAuprc()(where, scored([[9, 7, 5, 3, -2]])).item() == pytest.approx((found - chance) / (1 - chance))


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_chance_is_the_mean_over_all_orders(count):
    for size in range(1, count):
        inside = [1] * size + [0] * (count - size)
        expected = np.mean([precision(order, inside) for order in itertools.permutations(range(count))])
        where = rationale([inside])
        assert TokenAuprc().chance(where).item() == pytest.approx(expected, rel=1e-6)
        assert RAW(where, scored([[0.3] * count])).item() == pytest.approx(expected, rel=1e-6)
        assert TokenAuprc()(where, scored([[0.3] * count])).item() == pytest.approx(0, abs=1e-6)
        assert expected > size / count


def test_chance_of_one_in_ten_as_the_docstring_says():
    assert TokenAuprc().chance(rationale([[1] + [0] * 9])).item() == pytest.approx(0.29, abs=5e-3)


@pytest.mark.parametrize("scores", [[2, 1, 1, 1, 0, 0], [1, 1, 2, 2, 2, 2], [3, 1, 2, 1, 3, 1], [0, 0, 0, 0, 0, 5]])
@pytest.mark.parametrize("inside", [[1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [1, 1, 0, 1, 1, 1]])
def test_ties_count_with_the_mean_over_all_orders(scores, inside):
    expected = np.mean([precision(order, inside) for order in orders(scores)])
    assert TokenAuprc().raw(rationale([inside]), scored([scores])).item() == pytest.approx(expected, rel=1e-6)


def test_agrees_with_scikit_learn_where_nothing_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    attribution, mask, present = normal(5, 3, 8, 8), random(5, 8, 8, seed=2) > 0.8, random(5, 8, 8, seed=3) > 0.2
    expected = [
        metrics.average_precision_score(inside[exists], scores[exists])
        for scores, inside, exists in zip(attribution.sum(1), mask, present, strict=True)
    ]
    found = TokenAuprc().raw(explicand(mask, present=present), attribution)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_absent_tokens_and_padding_change_nothing():
    short = rationale([[0, 1, 0, 1]])
    long = rationale([[1, 0, 1, 0, 1, 1, 1]], present=[[0, 1, 1, 1, 1, 0, 0]])
    scores = [0.5, 2, 1, -3]
    for found in (TokenAuprc(), RAW):
        expected = found(short, scored([scores]))
        torch.testing.assert_close(found(long, scored([[99, *scores, 50, -9]])), expected)
    torch.testing.assert_close(TokenAuprc().chance(long), TokenAuprc().chance(short))


def test_a_word_is_found_once_by_the_sum_of_its_tokens():
    """Words (0, 1), 2, (3, 4), 5 with scores 3, 2, 1, 4; the rationale marks a part of the first, and the last."""
    where = rationale([[0, 1, 0, 0, 0, 1]], groups=[[0, 0, 1, 2, 2, 3]])
    attribution = scored([[5, -2, 2, 3, -2, 4]])
    words = rationale([[1, 0, 0, 1]])
    for metric in (TokenAuprc(), RAW):
        torch.testing.assert_close(
            metric(where, attribution, units="contribution"), metric(words, scored([[3, 2, 1, 4]]))
        )
    assert RAW(where, attribution, units="contribution").item() == pytest.approx(1)
    assert RAW(rationale([[0, 1, 0, 0, 0, 1]]), attribution).item() < 0.7


def test_the_rationale_itself_is_one_and_the_constant_sentinel_shows_chance():
    inside = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    where = rationale(inside)
    assert TokenAuprc()(where, scored(inside)).tolist() == [1, 1, 1]
    assert RAW(where, scored(inside)).tolist() == [1, 1, 1]
    torch.testing.assert_close(RAW(where, Constant()(where)), TokenAuprc().chance(where))
    mask = random(3, 8, 8, seed=2) > 0.7
    planted = bind(linear(mask[0] * (0.5 + random(3, 8, 8, seed=8))), random(3, 3, 8, 8), mask=mask[:1].expand(3, 8, 8))
    assert TokenAuprc()(planted, Gradient()(planted)).tolist() == [1, 1, 1]


def test_random_maps_have_mean_zero():
    where = explicand((random(1, 3, 4, seed=2) > 0.6).expand(900, 3, 4))
    values = TokenAuprc()(where, random(900, 1, 3, 4, seed=5))
    assert abs(values.mean()) < 4 * values.std() / 30  # four standard errors of 900 maps


def test_nothing_to_find_everything_and_one_token_are_undefined():
    where = rationale(
        [[0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], present=[[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]]
    )
    values, reasons = TokenAuprc().evaluate(where, scored([[1, 2, 3]] * 4))
    assert values.isnan().tolist() == [True, True, False, True]
    assert reasons["empty mask"].tolist() == [True, False, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False, True]


def test_bounds_are_those_of_what_is_shown():
    assert TokenAuprc().bounds == (-float("inf"), 1)
    assert RAW.bounds == (0, 1)
