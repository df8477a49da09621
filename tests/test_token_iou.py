"""F1 of the passages that the top tokens form, against the passages of a rationale."""

import itertools

import numpy as np
import pytest
import torch
from known_answers import normal, random
from metric_promises import PROMISES
from rationales import orders, rationale, scored

from xaieval.metrics.token_iou import TokenIou

METRICS = [TokenIou(), TokenIou(fraction=0.4), TokenIou(0.7)]


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(TokenIou())


def passages(tokens):
    """The runs of places among `tokens`."""
    found: list[set[int]] = []
    for token in sorted(tokens):
        if found and token - 1 in found[-1]:
            found[-1].add(token)
        else:
            found.append({token})
    return found


def f1(chosen, inside, threshold=0.5):
    """As DeYoung's code counts for one text: passages of the top that match some passage of the rationale."""
    top, truth = passages(chosen), passages(np.flatnonzero(inside).tolist())
    hits = sum(any(len(one & other) / len(one | other) >= threshold for other in truth) for one in top)
    precision, recall = hits / len(top), hits / len(truth)
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def test_by_hand():
    """Passages 0-1, 4-6 and 9 of ten tokens; of the top 0, 4-5, 7-8 and 9 the passages 0, 4-5 match, 7-9 does not."""
    where = rationale([[1, 1, 0, 0, 1, 1, 1, 0, 0, 1]])
    attribution = scored([[9, 1, 0, 0, 8, 7, 2, 6, 5, 4]])
    assert TokenIou().raw(where, attribution).item() == pytest.approx(2 * 2 / (3 + 3))
    assert TokenIou(0.6).raw(where, attribution).item() == pytest.approx(2 * 1 / (3 + 3))


@pytest.mark.parametrize("metric", METRICS, ids=["own size", "fraction", "threshold"])
@pytest.mark.parametrize(
    "inside", [[1, 1, 1, 0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 1, 1, 1, 1]]
)
def test_agrees_with_a_loop_over_all_choices(metric, inside):
    """All sets of the chosen size, each as the top of a map without ties there."""
    size = sum(inside) if metric.fraction is None else 4
    choices = list(itertools.combinations(range(9), size))
    scores = torch.stack([torch.zeros(9).index_fill(0, torch.tensor(choice), 1.0) for choice in choices])
    where = rationale([inside] * len(choices))
    found = metric.raw(where, scored(scores + 0.01 * random(len(choices), 9)))
    expected = [f1(choice, inside, metric.threshold) for choice in choices]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("scores", [[1, 1, 1, 1, 1, 1], [2, 1, 1, 1, 0, 0]])
@pytest.mark.parametrize("inside", [[1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]])
def test_chance_and_ties_draw_from_all_orders(scores, inside):
    """Within four standard errors of the draws of their exact means."""
    metric, size, where = TokenIou(draws=2000), sum(inside), rationale([inside])
    for found, ways in (
        (metric.raw(where, scored([scores])), orders(scores)),
        (metric.chance(where), list(itertools.permutations(range(6)))),
    ):
        exact = [f1(order[:size], inside) for order in ways]
        assert found.item() == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / 2000**0.5 + 1e-6)


def test_the_rationale_itself_is_one_and_a_constant_map_at_chance():
    inside = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    where = rationale(inside)
    assert TokenIou()(where, scored(inside)).tolist() == [1, 1, 1]
    for metric in METRICS:
        assert metric(where, scored([[0.3] * 5] * 3)).tolist() == [0, 0, 0]
    raw = TokenIou(above_chance=False)
    torch.testing.assert_close(raw(where, scored([[0.3] * 5] * 3)), TokenIou().chance(where))


def test_random_maps_have_mean_zero():
    where = rationale([[0, 1, 1, 1, 0, 0, 1, 0]] * 900)
    values = TokenIou()(where, normal(900, 1, 8, seed=5))
    assert abs(values.mean()) < 4 * values.std() / 30  # four standard errors of 900 maps


def test_passages_of_words_and_absent_tokens_that_end_one():
    """Words (0, 1), 2, (3, 4), 5; then the tokens alone, parted by an absent one."""
    where = rationale([[0, 1, 1, 0, 0, 0]], groups=[[0, 0, 1, 2, 2, 3]])
    attribution, words = scored([[5, -2, 2, 3, -2, 1]]), rationale([[1, 1, 0, 0]])
    assert TokenIou().raw(where, attribution).item() == TokenIou().raw(words, scored([[3, 2, 1, 1]])).item() == 1
    parted = rationale([[1, 1, 1, 0, 0]], present=[[1, 0, 1, 1, 1]])
    assert TokenIou().raw(parted, scored([[2, 9, -1, 1, 0]])).item() == pytest.approx(0.5)  # 0 is found, 2 is not


def test_nothing_to_find_everything_and_one_token_are_undefined():
    where = rationale(
        [[0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], present=[[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]]
    )
    values, reasons = TokenIou().evaluate(where, scored([[1, 2, 3]] * 4))
    assert values.isnan().tolist() == [True, True, False, True]
    assert reasons["empty mask"].tolist() == [True, False, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.3}, r"threshold must lie in \[.5, 1\], where matches are unique, got 0.3"),
        ({"fraction": 2}, r"fraction is a part of the features, in \(0, 1\), got 2"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"TokenIou: {message}"):
        TokenIou(**options)
