"""Aggregates against enumeration, SciPy, binomial theory and their invariances."""

import itertools
from functools import partial
from time import perf_counter

import numpy as np
import pytest
from random_numbers import global_state, normal
from scipy import stats

from xaieval.aggregates import interquartile_mean, performance_profile, probability_of_improvement
from xaieval.statistics import bootstrap_interval


def trimmed(values):
    """By the definition: floor(n / 4) cut on each side."""
    cut = len(values) // 4
    kept = sorted(values)[cut : len(values) - cut]
    return sum(kept) / len(kept)


def binomial_ends(n, count):
    """Of the interval of a share; 10,000 resamples find them where no cumulated probability is near .025 or .975."""
    cumulated = np.asarray(stats.binom.cdf(np.arange(n + 1), n, count / n))
    assert np.abs(cumulated[:, None] - [0.025, 0.975]).min() > 0.004
    return [np.searchsorted(cumulated, end) / n for end in (0.025, 0.975)]


# Interquartile mean


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 5.0),
        ([0.0, 1.0, 8.0], 3.0),  # cuts nothing
        ([0.0, 1.0, 2.0, 100.0], 1.5),  # one each
        ([0.0, 1.0, 2.0, 3.0, 100.0, 200.0, 300.0], 306 / 5),
        ([-9.0, -8.0, 1.0, 2.0, 3.0, 6.0, 50.0, 60.0], 3.0),  # two each
    ],
)
def test_the_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(values).mean == pytest.approx(expected)


def test_the_interquartile_mean_is_scipys():
    for n in range(1, 41):
        assert interquartile_mean(normal(n, n), resamples=2).mean == pytest.approx(stats.trim_mean(normal(n, n), 0.25))


def test_its_interval_from_all_resamples_of_five():
    values = np.array([1.0, 2.0, 4.0, 8.0, 64.0])
    means = [trimmed(resample) for resample in itertools.product(values, repeat=5)]
    low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert interquartile_mean(values) == pytest.approx((14 / 3, low, high, 5))


@pytest.mark.parametrize("groups", [list("aabbccdd"), list("aaabccdd")])
def test_its_interval_resamples_sources(groups):
    values = 2.0 ** np.arange(8)
    own = {name: values[np.array(groups) == name] for name in "abcd"}
    means = [trimmed(np.concatenate([own[name] for name in names])) for names in itertools.product("abcd", repeat=4)]
    low, high = np.quantile(means, [0.1, 0.9], method="inverted_cdf")
    assert interquartile_mean(values, groups, level=0.8) == pytest.approx((trimmed(values), low, high, 8))


def test_all_resamples_at_once_are_the_same_resamples():
    values, groups = normal(0, 24), [number // 2 for number in range(24)]

    def both(table):
        return np.sort(table, axis=-1)[..., 3]

    for sources in (None, groups, [*groups[:-1], 99]):
        interval = partial(bootstrap_interval, values, sources, aggregate=both, resamples=500, seed=2)
        assert interval(vectorized=True) == interval()


def test_outliers_and_missing_scores_leave_it_alone():
    values = normal(1, 20)
    wild = values.copy()
    wild[values.argmax()] = 1e12
    assert interquartile_mean(wild).mean == interquartile_mean(values).mean
    missing = np.concatenate([values, [np.nan, np.inf]])
    assert interquartile_mean(missing) == interquartile_mean(values)


def test_few_values_have_no_interval():
    assert interquartile_mean([]) == pytest.approx((np.nan, np.nan, np.nan, 0), nan_ok=True)
    assert interquartile_mean([1.0, 2.0], ["a", "a"]) == pytest.approx((1.5, np.nan, np.nan, 2), nan_ok=True)


def test_it_takes_no_time():
    values = normal(2, 35)
    interquartile_mean(values)
    started = perf_counter()
    interquartile_mean(values)
    assert perf_counter() - started < 0.2  # about .01 on a quiet machine


# Probability of improvement


def test_the_probability_of_improvement_by_hand():
    first, second = [3.0, 1.0, 2.0, 5.0], [1.0, 1.0, 4.0, 4.0]  # better, equal, worse, better
    assert probability_of_improvement(first, second).mean == 2.5 / 4
    assert probability_of_improvement(first, second, higher_is_better=False).mean == 1.5 / 4


def test_identical_methods_improve_by_half():
    values = normal(3, 12)
    assert probability_of_improvement(values, values) == (0.5, 0.5, 0.5, 12)


def test_it_is_mann_whitney_with_one_run_a_task():
    first, second = (normal(seed, 30).round() for seed in (4, 5))
    pairs = [stats.mannwhitneyu([one], [other]).statistic for one, other in zip(first, second, strict=True)]
    assert 0.5 in pairs
    assert probability_of_improvement(first, second).mean == pytest.approx(np.mean(pairs))


def test_its_complement():
    first, second = normal(6, 25).round(1), normal(7, 25).round(1)
    p, q = probability_of_improvement(first, second), probability_of_improvement(second, first)
    assert (p.mean + q.mean, p.low + q.high, p.high + q.low) == pytest.approx((1, 1, 1))
    assert probability_of_improvement(first, second, higher_is_better=False) == q


@pytest.mark.parametrize("rescale", [np.exp, lambda x: x**3 - 5, lambda x: 1e-6 * x])
def test_monotone_rescaling_changes_nothing(rescale):
    first, second = normal(8, 25).round(1), normal(9, 25).round(1)
    expected = probability_of_improvement(first, second)
    assert probability_of_improvement(rescale(first), rescale(second)) == expected


def test_its_interval_is_binomial_without_ties():
    first = np.where(np.arange(40) < 24, 1.0, -1.0)
    assert probability_of_improvement(first, np.zeros(40)) == pytest.approx((0.6, *binomial_ends(40, 24), 40))


def test_the_interval_of_an_improvement_resamples_sources():
    first = np.where(np.arange(40) < 24, 1.0, -1.0)
    sources = np.repeat(np.arange(40), 3).tolist()
    copies = probability_of_improvement(np.repeat(first, 3), np.zeros(120), sources)
    assert copies == pytest.approx((*probability_of_improvement(first, np.zeros(40))[:3], 120))


def test_missing_pairs_are_left_out():
    first, second = [1.0, np.nan, 3.0, 2.0, np.inf], [0.0, 0.0, np.nan, 4.0, 1.0]
    assert probability_of_improvement(first, second)[::3] == (0.5, 2)


# Performance profiles


def test_a_profile_by_hand():
    profile = performance_profile([0.0, 0.5, 0.5, 1.0, np.nan], [-1.0, 0.0, 0.25, 0.5, 1.0])
    assert [point.mean for point in profile] == [1.0, 0.75, 0.75, 0.25, 0.0]  # strictly above
    assert {point.n for point in profile} == {4}


def test_the_band_is_binomial():
    values = np.arange(40) / 40
    thresholds = [0.16, 0.36, 0.61]
    for point, above in zip(performance_profile(values, thresholds), [33, 25, 15], strict=True):
        assert point == pytest.approx((above / 40, *binomial_ends(40, above), 40))


def test_the_band_of_sources_is_wider():
    values, sources = np.repeat(normal(10, 20), 4), [sample // 4 for sample in range(80)]
    alone, together = (performance_profile(values, [0.0], groups)[0] for groups in (None, sources))
    assert together.high - together.low == pytest.approx(2 * (alone.high - alone.low), rel=0.1)


def test_a_profile_falls_and_its_area_is_the_mean():
    values = np.random.default_rng(11).random(30)
    thresholds = np.linspace(0, 1, 1001).tolist()
    shares = np.array([point.mean for point in performance_profile(values, thresholds, resamples=2)])
    assert (np.diff(shares) <= 0).all()
    assert shares[:-1].mean() == pytest.approx(values.mean(), abs=1e-3)  # the step


# All


def test_the_seed_decides_and_the_global_state_stays():
    first, second, before = normal(12, 25), normal(13, 25), global_state()

    def intervals(seed):
        return [
            interquartile_mean(first, seed=seed),
            probability_of_improvement(first, second, seed=seed, resamples=21),
            *performance_profile(first, [0.1], seed=seed, resamples=21),
        ]

    assert intervals(1) == intervals(1)
    assert all(one != other for one, other in zip(intervals(1), intervals(2), strict=True))
    assert global_state() == before


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"probability_of_improvement: both .* got \(1,\) and \(2,\)"):
        probability_of_improvement([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="each of the 2 samples, got 1"):
        interquartile_mean([1.0, 2.0], ["a"])
