"""Intervals against enumeration, normal theory, simulation and SciPy."""

import itertools
from statistics import NormalDist
from time import perf_counter

import numpy as np
import pytest
from random_numbers import global_state, normal
from scipy import stats

from xaieval.statistics import ELEMENTS, Interval, bootstrap_interval, independent, paired_difference

# Known answers


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_all_resamples_of_four(level):
    values = np.array([1.0, 2.0, 4.0, 8.0])
    means = [np.mean(resample) for resample in itertools.product(values, repeat=4)]  # all 4^4
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    assert bootstrap_interval(values, level=level) == pytest.approx((3.75, low, high, 4))


def test_all_resamples_of_four_with_another_aggregate():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    medians = [np.median(resample) for resample in itertools.product(values, repeat=4)]
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    assert bootstrap_interval(values, aggregate=np.median) == pytest.approx((3.0, low, high, 4))


def test_all_resamples_of_three_clusters():
    values, groups = np.array([0.0, 1.0, 10.0, 5.0, 6.0, 7.0]), ["a", "a", "b", "c", "c", "c"]
    sources = {"a": [0.0, 1.0], "b": [10.0], "c": [5.0, 6.0, 7.0]}
    means = [
        np.mean([value for name in names for value in sources[name]]) for names in itertools.product("abc", repeat=3)
    ]
    low, high = np.quantile(means, [0.1, 0.9], method="inverted_cdf")
    expected = pytest.approx((29 / 6, low, high, 6))
    assert bootstrap_interval(values, groups, level=0.8) == expected
    assert bootstrap_interval(values, groups, level=0.8, aggregate=np.mean) == expected
    assert bootstrap_interval(values, [(name,) for name in groups], level=0.8) == expected


def test_normal_theory_on_many_samples():
    values = normal(0, 4000) * 3 + 1
    interval = bootstrap_interval(values)
    half = NormalDist().inv_cdf(0.975) * values.std() / len(values) ** 0.5
    # The ends are quantiles of 10,000 resamples: 2.7 standard errors are 5 % of the half width.
    assert interval == pytest.approx((values.mean(), values.mean() - half, values.mean() + half, 4000), abs=0.05 * half)


def test_the_same_as_scipy():
    values = normal(1, 37)
    for level in (0.9, 0.95):
        result = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=2000,
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(5),
        )
        ours = bootstrap_interval(values, level=level, resamples=2000, seed=5)
        assert ours == pytest.approx((values.mean(), *result.confidence_interval, 37), rel=1e-12)


def covered(count, draw, **options):
    """How often the interval of a simulated data set with mean 0 holds 0."""
    hits = 0
    for seed in range(count):
        values, groups = draw(seed)
        interval = bootstrap_interval(values, groups, resamples=1000, seed=seed, **options)
        hits += interval.low <= 0 <= interval.high
    return hits / count


def test_coverage_of_independent_samples():
    # Percentile intervals of 40 samples fall short of 95 % by 1 %; 400 simulations have a standard error of 1.1 %.
    assert covered(400, lambda seed: (normal(seed, 40), None)) == pytest.approx(0.94, abs=0.03)


def test_coverage_of_clusters():
    def sources(seed):
        rng = np.random.default_rng(seed)
        return np.repeat(rng.normal(size=40), 4) + 0.5 * rng.normal(size=160), np.repeat(np.arange(40), 4).tolist()

    assert covered(400, sources) == pytest.approx(0.94, abs=0.03)
    # Taken as independent, the standard error is 1.84 times too small: 95 % become 2 Phi(1.96 / 1.84) - 1 = 71 %.
    assert covered(400, lambda seed: (sources(seed)[0], None)) == pytest.approx(0.71, abs=0.06)


# Pairs


def test_a_paired_difference_is_the_interval_of_differences():
    first, second = normal(2, 30), normal(3, 30)
    first[4], second[[5, 6]] = np.nan, np.inf
    keep = np.isfinite(first) & np.isfinite(second)
    groups = [f"source {number // 2}" for number in range(30)]
    kept_groups = [group for group, kept in zip(groups, keep, strict=True) if kept]
    expected = bootstrap_interval((first - second)[keep], kept_groups, seed=3, resamples=500)
    assert paired_difference(first, second, groups, seed=3, resamples=500) == expected
    assert expected.n == 27


def test_a_constant_advantage_is_certain():
    values = normal(4, 20).round(2)
    assert paired_difference(values + 1, values) == pytest.approx((1.0, 1.0, 1.0, 20))


def test_a_paired_difference_of_other_aggregates():
    first, second = normal(5, 12, 3), normal(6, 12, 3)

    def widest(table):
        return float(table.mean(axis=0).max())

    interval = paired_difference(first, second, aggregate=widest, resamples=300, seed=1)
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, 12, 12) for _ in range(300)]
    differences = [widest(first[drawn]) - widest(second[drawn]) for drawn in draws]
    expected = (widest(first) - widest(second), *np.percentile(differences, [2.5, 97.5]), 12)
    assert interval == pytest.approx(expected)
    flat = paired_difference(first[:, 0], second[:, 0], aggregate=np.mean, resamples=300, seed=1)
    assert flat == pytest.approx(paired_difference(first[:, 0], second[:, 0], resamples=300, seed=1))


# Few values


@pytest.mark.parametrize(
    ("values", "groups", "expected"),
    [
        ([], None, (np.nan, np.nan, np.nan, 0)),
        ([np.nan, np.inf], None, (np.nan, np.nan, np.nan, 0)),
        ([0.3], None, (0.3, np.nan, np.nan, 1)),
        ([0.3, np.nan], None, (0.3, np.nan, np.nan, 1)),
        ([1.0, 2.0, 3.0], ["a", "a", "a"], (2.0, np.nan, np.nan, 3)),
        ([0.1] * 7, None, (0.1, 0.1, 0.1, 7)),
        ([0.1] * 3, ["a", "b", "b"], (0.1, 0.1, 0.1, 3)),
    ],
)
def test_few_or_equal_values(values, groups, expected):
    assert bootstrap_interval(values, groups) == pytest.approx(expected, nan_ok=True, rel=1e-15)
    assert bootstrap_interval(values, groups, aggregate=np.mean) == pytest.approx(expected, nan_ok=True, rel=1e-15)


def test_what_an_interval_excludes():
    interval = Interval(0.5, 0.1, 0.9, 10)
    assert [interval.excludes(value) for value in (0.0, 0.1, 0.5, 0.9, 1.0)] == [True, False, False, False, True]
    assert not Interval(0.5, np.nan, np.nan, 1).excludes(0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([[1.0, 2.0]]), r"must be \(N,\), or \(N, K\) with an aggregate, got \(1, 2\)"),
        (lambda: bootstrap_interval([1.0, 2.0], ["a"]), "each of the 2 samples, got 1"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), r"same shape, got \(1,\) and \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Sources


def test_sources_are_counted_once():
    groups = ["a", "b", ("c", "a"), ("d", "e"), "e", ("c", "f")]
    assert independent(groups) == 6
    assert independent([]) == 0


def test_mosaics_without_a_common_source_are_clusters():
    values, whole = normal(10, 24), [number // 2 for number in range(24)]
    groups = [(f"{number}a", f"{number}b") for number in whole]
    assert bootstrap_interval(values, groups) == bootstrap_interval(values, whole)
    assert bootstrap_interval(values, groups, aggregate=np.mean) == bootstrap_interval(values, whole, aggregate=np.mean)


def test_sources_of_overlapping_mosaics_are_resampled():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    groups = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
    incidence = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]])
    means = []
    for drawn in itertools.product(range(4), repeat=4):
        counts = np.bincount(drawn, minlength=4)
        weights = 1 + incidence @ (counts - 1)
        means.append(np.sum(weights * values) / 4)
    low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert bootstrap_interval(values, groups) == pytest.approx((4.0, low, high, 4))
    # Without weights they are one cluster.
    assert bootstrap_interval(values, groups, aggregate=np.mean) == pytest.approx((4.0, np.nan, np.nan, 4), nan_ok=True)


@pytest.mark.parametrize("kind", ["source", "mosaic", "cell"])
def test_coverage_of_overlapping_mosaics(kind):
    # 25 mosaics of 4 of 24 sources, explained for each tile; what varies is a tile's source, the mosaic or the cell.
    def mosaics(seed):
        rng = np.random.default_rng(seed)
        effects, values, groups = rng.normal(size=24), [], []
        for _ in range(25):
            sources, common = rng.choice(24, 4, replace=False), rng.normal()
            values += {"source": effects[sources], "mosaic": np.full(4, common), "cell": rng.normal(size=4)}[
                kind
            ].tolist()
            groups += [tuple(sources.tolist())] * 4
        return values, groups

    # .93, .99 and 1.00: too wide where sources have no effect of their own, hardly too narrow where they have.
    assert covered(200, mosaics) >= 0.91


def test_samples_that_connect_are_drawn_together_for_other_aggregates():
    values, groups = normal(11, 7), ["a", "b", ("c", "a"), ("d", "e"), "e", ("c", "f"), "g"]
    components = ["ac", "b", "ac", "de", "de", "ac", "g"]
    assert bootstrap_interval(values, groups, aggregate=np.mean) == bootstrap_interval(
        values, components, aggregate=np.mean
    )


def test_invalid_samples_connect_nothing():
    values, groups = [1.0, np.nan, 2.0], ["a", ("a", "b"), "b"]
    assert bootstrap_interval(values, groups) == bootstrap_interval([1.0, 2.0])


# Determinism and cost


def test_the_seed_decides_and_the_global_state_stays():
    values, before = normal(7, 25), global_state()
    first = bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) == first
    assert bootstrap_interval(values, seed=2) != first
    assert bootstrap_interval(values, list(range(25)), seed=1) == first
    assert global_state() == before


def test_chunks_change_nothing(monkeypatch):
    values = normal(8, 50)
    whole = bootstrap_interval(values)
    assert ELEMENTS >= 50 * 1000
    monkeypatch.setattr("xaieval.statistics.ELEMENTS", 50 * 7)
    assert bootstrap_interval(values) == pytest.approx(whole, rel=1e-12)


def test_fifty_samples_take_no_time():
    values = normal(9, 50)
    groups = [number // 2 for number in range(50)]
    bootstrap_interval(values, groups)
    started = perf_counter()
    for _ in range(5):
        bootstrap_interval(values, groups)
    assert (perf_counter() - started) / 5 < 0.2  # about .01 on a quiet machine
