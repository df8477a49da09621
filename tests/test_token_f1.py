"""F1 of the top tokens against a rationale, and its exact chance."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import normal
from metric_promises import PROMISES
from rationales import orders, rationale, scored

from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.token_f1 import TokenF1

METRICS = [TokenF1(), TokenF1(fraction=0.3)]


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(TokenF1())


def f1(order, inside, size):
    hits = sum(inside[token] for token in order[:size])
    precision, recall = hits / size, hits / sum(inside)
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def size_of(metric, inside):
    return sum(inside) if metric.fraction is None else int(np.ceil(metric.fraction * len(inside)))


def test_by_hand():
    """Of six tokens the top 30 % are two, one of which is among three: precision 1/2, recall 1/3."""
    where, attribution = rationale([[1, 0, 1, 1, 0, 0]]), scored([[5, 4, 3, 2, 1, 0]])
    assert TokenF1(0.3).raw(where, attribution).item() == pytest.approx(2 / 5)
    assert TokenF1().raw(where, attribution).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", METRICS, ids=["own size", "fraction"])
@pytest.mark.parametrize("scores", [[1, 1, 1, 1, 1, 1], [2, 1, 1, 1, 0, 0], [3, 1, 2, 1, 3, 1]])
@pytest.mark.parametrize("inside", [[1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [1, 1, 0, 1, 1, 1]])
def test_ties_and_chance_are_means_over_all_orders(metric, scores, inside):
    size, where = size_of(metric, inside), rationale([inside])
    found = np.mean([f1(order, inside, size) for order in orders(scores)])
    chance = np.mean([f1(order, inside, size) for order in itertools.permutations(range(6))])
    assert metric.raw(where, scored([scores])).item() == pytest.approx(found, rel=1e-6)
    assert metric.chance(where).item() == pytest.approx(chance, rel=1e-6)
    assert metric(where, scored([scores])).item() == pytest.approx((found - chance) / (1 - chance), abs=1e-6)
    raw = TokenF1(metric.fraction, above_chance=False)
    assert raw(where, scored([scores])).item() == pytest.approx(found, rel=1e-6)


def test_of_its_own_size_it_is_the_relevance_rank():
    where, attribution = rationale([[1, 0, 1, 1, 0, 0, 0]] * 5), normal(5, 1, 7)
    torch.testing.assert_close(TokenF1().raw(where, attribution), RelevanceRank().raw(where, attribution))
    torch.testing.assert_close(TokenF1()(where, attribution), RelevanceRank()(where, attribution))


def test_a_word_is_found_once_and_absent_tokens_change_nothing():
    where = rationale(
        [[1, 0, 1, 0, 0, 0, 1, 1]], groups=[[-1, 0, 0, 1, 2, 2, 3, -1]], present=[[0, 1, 1, 1, 1, 1, 1, 0]]
    )
    attribution, words = scored([[99, 5, -2, 2, 3, -2, 4, 99]]), rationale([[1, 0, 0, 1]])
    for metric in METRICS:
        torch.testing.assert_close(
            metric(where, attribution, units="contribution"), metric(words, scored([[3, 2, 1, 4]]))
        )
        torch.testing.assert_close(metric.chance(where), metric.chance(words))


def test_the_rationale_itself_is_one_and_a_constant_map_at_chance():
    inside = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    where = rationale(inside)
    assert TokenF1()(where, scored(inside)).tolist() == [1, 1, 1]
    for metric in METRICS:
        torch.testing.assert_close(metric(where, scored([[0.3] * 5] * 3)), torch.zeros(3), rtol=0, atol=1e-6)


def test_nothing_to_find_everything_and_one_token_are_undefined():
    where = rationale(
        [[0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], present=[[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]]
    )
    for metric in METRICS:
        values, reasons = metric.evaluate(where, scored([[1, 2, 3]] * 4))
        assert values.isnan().tolist() == [True, True, False, True]
        assert reasons["empty mask"].tolist() == [True, False, False, False]
        assert reasons["mask covers everything"].tolist() == [False, True, False, True]


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 7])
def test_wrong_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match=rf"TokenF1: fraction is a part of the features, in \(0, 1\), got {fraction}"):
        TokenF1(fraction)
