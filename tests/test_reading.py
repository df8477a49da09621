"""Hand tables of columns between random and an oracle."""

import itertools

import numpy as np
import pandas as pd
import pytest
from trial_frames import evidence

from xaieval.reading import Reading, reading


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def read(column) -> Reading:
    found = reading(column)
    assert found is not None
    return found


def column(samples=30, seed=0, **options):
    """A column with a method at three tenths of the way, one at random and one beyond the oracle."""
    random, noise = normal(seed, samples), 0.1 * normal(seed + 1, 3, samples)
    oracle = random + 2 + 0.5 * normal(seed + 2, samples)
    way = zip("abc", (0.3, 0.0, 1.2), noise, strict=True)
    methods = {name: random + share * (oracle - random) + error for name, share, error in way}
    return evidence({**methods, "random": random}, oracles={"greedy": oracle, "poor": random + 0.1}, **options)


def test_a_hand_table():
    run = {"a": [2] * 7, "b": [0] * 7, "random": [1] * 7}
    found = read(evidence(run, oracles={"greedy": [4, 6] * 3 + [5]}))
    assert (found.oracle, found.oracle_beats_random) == ("greedy", True)
    assert found.shares["a"][0] == 1 / 4  # (2 - 1) / (5 - 1)
    assert found.shares["b"][0] == -1 / 4
    assert found.shares["a"].n == 7


def test_the_interval_is_that_of_all_resamples():
    gains, bound = np.array([0.0, 3, 1, 2, 2, 4]), np.array([5.0, 4, 6, 5, 9, 8])
    found = read(evidence({"a": gains, "random": [0] * 6}, oracles={"greedy": bound})).shares["a"]
    drawn = np.array(list(itertools.product(range(6), repeat=6)))  # all 6^6
    ratios = gains[drawn].sum(axis=1) / bound[drawn].sum(axis=1)
    assert found.mean == pytest.approx(gains.sum() / bound.sum())
    # An end is a quantile of 10,000 draws: its part is .025 to 3 times sqrt(.025 * .975 / 10000) = .0016, below .005.
    for end, part in ((found.low, 0.025), (found.high, 0.975)):
        assert np.quantile(ratios, part - 0.005) <= end <= np.quantile(ratios, part + 0.005)


def test_a_method_that_is_a_share_of_the_way_has_that_share():
    found = read(column())
    assert found.oracle == "greedy"
    for name, share in (("a", 0.3), ("b", 0.0), ("c", 1.2)):
        interval = found.shares[name]
        assert interval.mean == pytest.approx(share, abs=0.03)  # noise .1 / sqrt 30 over a way of 2: .01
        assert interval.low < share < interval.high
        assert interval.high - interval.low < 0.06


def test_random_is_0_and_the_oracle_1():
    random, oracle = normal(3, 10), 3 + normal(4, 10)
    shares = read(evidence({"a": random, "b": oracle, "random": random}, oracles={"greedy": oracle})).shares
    assert shares["a"] == pytest.approx((0, 0, 0, 10))
    assert shares["b"] == pytest.approx((1, 1, 1, 10))


@pytest.mark.parametrize("factor", [1e-3, -5.0])
def test_affine_changes_of_the_score_change_nothing(factor):
    plain, shift = column(), normal(5, 30)
    run = pd.concat([plain.scores, plain.sentinels], axis=1)
    scores, oracles = ({name: factor * table[name] + shift for name in table} for table in (run, plain.oracles))
    other = read(evidence(scores, oracles=oracles, higher=factor > 0))
    assert other.oracle == "greedy"
    for name, interval in read(plain).shares.items():
        assert other.shares[name] == pytest.approx(interval)


def test_an_oracle_that_does_not_beat_random_bounds_nothing():
    noise = normal(6, 12)
    for oracle in (noise, noise + 1e-7, -1 - np.abs(noise)):
        found = read(evidence({"a": noise + 1, "random": noise + 0.0}, oracles={"greedy": oracle}))
        assert found.oracle_beats_random is False
        assert np.isnan(found.shares["a"][:3]).all()
        assert found.shares["a"].n == 12
    inverted = read(column(higher=False))
    assert not inverted.oracle_beats_random


def test_copies_of_five_sources_prove_nothing():
    scores, sources = {"a": [1] * 10, "random": [0] * 10}, [(f"p{number // 2}",) for number in range(10)]
    assert read(evidence(scores, oracles={"greedy": [2] * 10})).oracle_beats_random
    found = read(evidence(scores, oracles={"greedy": [2] * 10}, sources=sources))
    assert (found.oracle_beats_random, found.decidable) == (False, False)  # p = 2 / 2^5


def test_several_oracles_need_more_evidence():
    oracle = {"greedy": [1, 2, 3, 4, 5, 6]}
    scores = {"a": [1] * 6, "random": [0] * 6}
    assert read(evidence(scores, oracles=oracle)).oracle_beats_random  # p = 2 / 2^6 = .031
    two = oracle | {"second": [1, 1, 1, 1, 1, 1]}
    assert not read(evidence(scores, oracles=two)).oracle_beats_random  # .0625 by Holm


def test_resamples_in_which_the_oracle_loses_bound_nothing():
    # The oracle is below random in 1.1 % of resamples, where a ratio would be a large negative number for either end.
    bound = np.array([2.0, 3, -2, 4, 2, -3, 3, 4, 1, 0, 2, 3])
    interval = read(evidence({"a": [1] * 12, "random": [0] * 12}, oracles={"greedy": bound})).shares["a"]
    sums = np.random.default_rng(1).choice(bound, (200_000, 12)).sum(axis=1)
    for end, part, unbounded in ((interval.low, 0.025, -np.inf), (interval.high, 0.975, np.inf)):
        ratios = np.where(sums > 0, 12 / np.where(sums > 0, sums, 1), unbounded)
        low, high = np.quantile(ratios, [part - 0.005, part + 0.005], method="inverted_cdf")
        assert low <= end <= high


def test_sources_are_resampled_together():
    gains, sources = normal(7, 12), [(f"p{number}",) for number in range(12)]
    scores = {"a": np.tile(gains, 2), "random": [0] * 24}
    oracles = {"greedy": np.tile(5 + normal(8, 12), 2)}
    twice = read(evidence(scores, oracles=oracles, sources=sources * 2)).shares["a"]
    once = read(
        evidence({"a": gains, "random": [0] * 12}, oracles={"greedy": 5 + normal(8, 12)}, sources=sources)
    ).shares["a"]
    assert twice[:3] == pytest.approx(once[:3])
    assert read(evidence(scores, oracles=oracles)).shares["a"].low > twice.low


def test_samples_that_not_all_have_are_left_out():
    scores = {"a": [1, 1, 1, 1, 1, 1, 5, 5], "b": [0, 0, 0, 0, 0, 0, "units", 9], "random": [0] * 8}
    found = read(evidence(scores, oracles={"greedy": [2] * 7, "gone": ["units"] * 7}))
    assert found.shares["a"] == (0.5, 0.5, 0.5, 6)
    assert found.shares["b"].n == 6


@pytest.mark.parametrize(
    "found",
    [
        evidence({"a": [1, 2], "random": [0, 0]}),
        evidence({"a": [1, 2]}, oracles={"greedy": [3, 4]}),
        evidence({"a": [1, 2], "random": [0, 0]}, oracles={"greedy": ["units", "units"]}),
        evidence({"a": [1, "units"], "random": [0, 0]}, oracles={"greedy": ["units", 3]}),
    ],
)
def test_nothing_to_read_against(found):
    assert reading(found) is None


def test_one_source_and_no_method():
    one = read(evidence({"a": [1, 2], "random": [0, 0]}, oracles={"greedy": [3, 4]}, sources=[("x",)] * 2))
    assert not one.oracle_beats_random
    assert np.isnan(one.shares["a"].mean)
    assert read(evidence({"random": [0] * 6}, oracles={"greedy": [3] * 6})).shares == {}
