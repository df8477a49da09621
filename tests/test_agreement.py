"""Hand tables of orders that agree and that do not."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from trial_frames import evidence, rows

from xaieval.agreement import ALL, agreement, removals
from xaieval.evidence import evidences

NAMES = ["a", "b", "c", "d"]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def scores(means, seed=0, noise=0.01, samples=12):
    """Scores of methods about these means, whose order is firm."""
    drawn = np.transpose(means) + noise * normal(seed, samples, len(means))
    return dict(zip(NAMES, drawn.T.tolist(), strict=False))


def board(**metrics):
    """The agreement of metrics given as (scores, options)."""
    frames = [rows(table, metric=name, **options) for name, (table, options) in metrics.items()]
    return agreement(evidences(pd.concat(frames)))


# Between metrics


def test_hand_orders_of_three_metrics():
    found = board(
        one=(scores([1, 2, 3, 4], 0), {}),
        two=(scores([2, 1, 3, 4], 1), {}),  # one of six pairs flipped
        other=(scores([4, 3, 2, 1], 2), {"category": "complexity"}),  # one against all six of `one`, five of `two`
    )
    assert found.tau.loc["one", "two"] == pytest.approx(4 / 6)
    assert found.tau.loc["one", "other"] == -1
    assert found.tau.loc["other", "two"] == pytest.approx(-4 / 6)
    assert found.flipped.loc["one", "two"] == pytest.approx(1 / 6)
    assert found.flipped.loc["other", "one"] == 1
    assert found.decided.loc["two", "other"] == pytest.approx(5 / 6)
    assert found.matches["two", "other"].pairs == 6
    for matrix, diagonal in ((found.tau, 1), (found.flipped, 0), (found.decided, 0)):
        np.testing.assert_array_equal(matrix, matrix.T)
        assert (np.diag(matrix) == diagonal).all()
        assert list(matrix.index) == list(matrix.columns) == ["one", "two", "other"]
    # Rank sums of one and two: 3, 3, 6, 8 about 5: S = 4 + 4 + 1 + 9 = 18, W = 12 * 18 / (4 * 60).
    assert found.concordance["faithfulness"] == pytest.approx(0.9)
    # With the third: 7, 6, 8, 9 about 7.5: S = 5, W = 12 * 5 / (9 * 60).
    assert found.concordance[ALL] == pytest.approx(1 / 9)
    assert np.isnan(found.concordance["complexity"])
    assert found.own == pytest.approx({"one": 4 / 6, "two": 4 / 6, "other": np.nan}, nan_ok=True)


def test_directions_are_taken_out():
    found = board(up=(scores([1, 2, 3, 4]), {"higher": True}), down=(scores([4, 3, 2, 1]), {"higher": False}))
    assert found.tau.loc["up", "down"] == 1
    assert (found.flipped.loc["up", "down"], found.decided.loc["up", "down"]) == (0, 0)
    inverted = board(up=(scores([1, 2, 3, 4]), {"higher": True}), down=(scores([4, 3, 2, 1]), {"higher": True}))
    assert inverted.tau.loc["up", "down"] == -1
    assert inverted.own == {"up": -1, "down": -1}


def test_tau_and_flips_by_enumeration():
    tables = [dict(zip(NAMES, normal(seed, 4, 6).tolist(), strict=True)) for seed in (1, 2)]
    found = board(one=(tables[0], {}), two=(tables[1], {}))
    first, second = ([np.mean(table[name]) for name in NAMES] for table in tables)
    assert found.tau.loc["one", "two"] == pytest.approx(kendalltau(first, second).statistic)
    flips = [(first[i] - first[j]) * (second[i] - second[j]) < 0 for i, j in itertools.combinations(range(4), 2)]
    assert found.flipped.loc["one", "two"] == pytest.approx(np.mean(flips))


def test_pairs_that_only_noise_orders_are_not_decided():
    # a, b and c are told apart by both metrics; d is c and noise, its places say nothing.
    noise = [0.5 * normal(seed, 16) for seed in (3, 4)]
    firm = [{"a": 1 + 0.01 * normal(5, 16), "b": np.full(16, place), "c": 5.0 - np.full(16, place)} for place in (2, 3)]
    tables = [{**table, "d": table["c"] + extra} for table, extra in zip(firm, noise, strict=True)]
    match = board(one=(tables[0], {}), two=(tables[1], {})).matches["one", "two"]
    assert match.pairs == 5  # all but c and d
    assert match.decided == pytest.approx(2 / 5)  # b against c and against d


def test_decisions_hold_for_all_pairs_at_once():
    # Twelve methods of noise: 66 pairs, of which about 3 have p < .05 without the correction.
    wrong = 0
    for seed in range(20):
        table = {f"m{number:02}": normal(100 * seed + number, 12) for number in range(12)}
        found = evidence(table, removals={"same": table})
        wrong += removals(found)["same"].pairs > 0
    assert wrong <= 4  # 1 of 20 is expected, and 5 or more have a chance of .3 %


def test_metrics_are_compared_on_the_methods_both_compare():
    few = {"a": [1.0, 1.1], "c": [3.0, 3.1], "b": ["units", "units"], "random": [0.0, 0.0]}
    found = board(all=(scores([1, 2, 3, 4]), {}), few=(few, {}), one=({"a": [1.0, 2.0]}, {}))
    assert found.tau.loc["all", "few"] == 1
    assert found.flipped.loc["all", "few"] == 0
    assert found.matches["all", "few"].pairs == 0  # two samples decide nothing
    assert np.isnan(found.decided.loc["all", "few"])
    assert np.isnan(found.tau.loc["all", "one"])
    assert np.isnan(found.flipped.loc["all", "one"])
    assert found.concordance[ALL] == 1  # of a and c, by the two metrics that order them
    assert found.own == pytest.approx({"all": 1, "few": 1, "one": np.nan}, nan_ok=True)


def test_a_metric_that_ignores_everything_orders_nothing():
    level = 1 + np.abs(normal(6, 12))
    blind = {name: level * (1 + 1e-7 * number) for number, name in enumerate(NAMES)}  # rounding, always in one order
    found = board(blind=(blind, {}), sees=(scores([1, 2, 3, 4]), {}))
    assert np.isnan(found.tau.loc["blind", "sees"])
    assert (found.flipped.loc["blind", "sees"], found.matches["blind", "sees"].pairs) == (0, 0)
    assert np.isnan(found.own["sees"])


def test_one_metric():
    found = board(one=(scores([1, 2]), {}))
    assert found.tau.to_numpy().tolist() == [[1.0]]
    assert np.isnan([*found.concordance.values(), *found.own.values()]).all()
    assert agreement([]).tau.shape == (0, 0)
    assert np.isnan(board(one=({"a": [1, 2]}, {}), two=({"a": [2, 2]}, {})).concordance[ALL])


def test_several_models_are_refused():
    one = evidence({"a": [1, 2]})
    with pytest.raises(ValueError, match="one dataset and model, got m, m"):
        agreement([one, replace(one, model="other")])


# Between removals


def test_removals_are_compared_on_the_same_samples():
    # The run orders a < b < c on its first two samples and c < b < a on all four.
    run = {"a": [1, 1, 9, 9], "b": [2, 2, 2, 2], "c": [3, 3, 0, 0], "random": [0, 0, 0, 0]}
    changed = {"same": {"a": [1, 1], "b": [2, 2], "c": [3, 3]}, "blur": {"a": [5, 6], "b": [4, 4], "c": [9, 9]}}
    found = removals(evidence(run, removals=changed))
    assert list(found) == ["blur", "same"]
    assert (found["same"].tau, found["same"].flipped) == (1, 0)
    assert found["blur"].tau == pytest.approx(1 / 3)
    assert found["blur"].flipped == pytest.approx(1 / 3)
    assert np.isnan(found["blur"].decided)
    lacking = {**run, "c": [3, "units", 0, 0]}
    first = removals(evidence(lacking, removals={"blur": {"a": [5, 1], "b": [4, 1], "c": [9, 0]}}))["blur"]
    assert first.tau == pytest.approx(1 / 3)  # on the first sample alone: a b c, then b a c


@pytest.mark.parametrize("higher", [True, False])
def test_decided_flips_between_removals(higher):
    found = removals(evidence(scores([1, 2, 3]), removals={"mean": scores([1, 3, 2], 7)}, higher=higher))["mean"]
    assert (found.pairs, found.decided, found.flipped) == pytest.approx((3, 1 / 3, 1 / 3))


def test_removals_without_a_common_method_or_sample():
    run = {"a": [1, 2], "b": [3, 4]}
    other = {"none": {"random": [1, 2]}, "one": {"a": [1, 2]}, "undefined": {"a": [1, "units"], "b": ["units", 1]}}
    for match in removals(evidence(run, removals=other)).values():
        assert np.isnan([match.tau, match.flipped, match.decided]).all()
        assert match.pairs == 0
    assert removals(evidence(run)) == {}


def test_sources_decide_together():
    table, other = scores([1, 2]), scores([1, 2], 8)
    assert removals(evidence(table, removals={"mean": other}))["mean"].pairs == 1
    sources = [("x",)] * 6 + [("y",)] * 6
    assert removals(evidence(table, removals={"mean": other}, sources=sources))["mean"].pairs == 0
