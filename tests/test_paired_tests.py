"""Sign flips against enumeration and SciPy, Holm against closed testing."""

import itertools
from time import perf_counter

import numpy as np
import pytest
from random_numbers import global_state, normal
from scipy import stats

from xaieval.paired_tests import decidable, holm, sign_flip


def enumerated(totals):
    """p by the definition, pattern by pattern."""
    sums = [abs(np.dot(signs, totals)) for signs in itertools.product((-1, 1), repeat=len(totals))]
    return np.mean([total >= abs(np.sum(totals)) - 1e-9 for total in sums])


# Sign flips


def test_by_hand():
    # Of the 8 sums of +-1 +-2 +-4, only 7 and -7 are as far from 0 as 7; of those of +-1 +-1 -+1, all eight as 1.
    assert sign_flip([1.0, 2.0, 4.0]) == pytest.approx([2 / 8])
    assert sign_flip([[1.0, 1.0], [2.0, 1.0], [4.0, -1.0]]) == pytest.approx([2 / 8, 1.0])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_all_flips(n):
    table = normal(n, n, 7).round(1)  # with ties
    assert sign_flip(table) == pytest.approx([enumerated(column) for column in table.T])


def test_the_same_as_scipy_with_all_flips():
    table = normal(0, 10, 4) + 0.3
    result = stats.permutation_test(
        (table,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2**10, axis=0
    )
    assert sign_flip(table) == pytest.approx(result.pvalue)


def test_the_same_as_scipy_with_random_flips():
    table = normal(1, 35, 5) + [0.0, 0.1, 0.3, 0.5, 2.0]
    result = stats.permutation_test(
        (table,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        axis=0,
        rng=np.random.default_rng(3),
    )
    # Each has a standard error of (p (1 - p) / 10,000)^.5; four of their difference.
    error = 4 * np.sqrt(2 * result.pvalue * (1 - result.pvalue) / 10_000)
    assert (np.abs(sign_flip(table) - result.pvalue) <= error + 1e-4).all()
    assert sign_flip(table)[-1] == pytest.approx(1 / 10_001)


def test_random_flips_approach_all_of_them():
    table = normal(2, 12, 6)
    exact, drawn = sign_flip(table, resamples=2**12), sign_flip(table, resamples=2**12 - 1)
    assert exact != pytest.approx(drawn)
    assert (np.abs(exact - drawn) <= 4 * np.sqrt(exact * (1 - exact) / 2**12) + 2**-12).all()


@pytest.mark.parametrize("n", [3, 5, 8])
def test_p_is_exact_under_the_null(n):
    # Where only signs are left to chance, each pattern is as likely: P(p <= a) <= a, equal without ties.
    patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=n))).T
    p = sign_flip(patterns * np.abs(normal(n, n, 1)))
    assert all(np.mean(p <= level) == pytest.approx(level) for level in p)
    tied = sign_flip(patterns * np.arange(n)[:, None])
    assert all(np.mean(tied <= level + 1e-12) <= level + 1e-12 for level in np.linspace(0, 1, 101))


def test_random_flips_are_valid_under_the_null():
    # 2000 pairs of 20 samples; four standard errors. p <= .05 with probability .05.
    p = sign_flip(normal(4, 20, 2000))
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 2000) ** 0.5)


def test_sources_are_flipped_together():
    values = normal(5, 9)
    sources = list("aabbbccdd")
    totals = [values[[number for number, name in enumerate(sources) if name == source]].sum() for source in "abcd"]
    assert sign_flip(values, sources) == pytest.approx([enumerated(totals)])
    assert sign_flip(values, [(source, source + "2") for source in sources]) == sign_flip(values, sources)
    assert sign_flip(values, sources) != pytest.approx(sign_flip(values))


def test_a_source_of_many_samples_weighs_more():
    # Whatever the signs of 3, 2 and 1 are, the sum stays 2 from 0 or more, so p = 1; of means it is less.
    values = [1.0] * 8 + [-3.0, -2.0, -1.0]
    sources = ["a"] * 8 + list("bcd")
    assert sign_flip(values, sources) == pytest.approx([enumerated([8, -3, -2, -1])])
    assert enumerated([8, -3, -2, -1]) != enumerated([1, -3, -2, -1])


def test_as_many_flips_as_there_are_patterns_are_all_of_them():
    values = normal(3, 8)
    assert sign_flip(values, resamples=2**8) == pytest.approx([enumerated(values)])


def test_random_flips_count_the_real_one():
    assert sign_flip(np.ones(40), resamples=999) == pytest.approx([1 / 1000])
    assert sign_flip(np.ones(40), resamples=10) == pytest.approx([1 / 201])


@pytest.mark.parametrize(("sources", "tests", "enough"), [(5, 1, False), (6, 1, True), (6, 2, False), (7, 2, True)])
def test_what_few_sources_can_decide(sources, tests, enough):
    groups = [source for source in range(sources) for _ in range(3)]
    best = sign_flip(np.ones((len(groups), tests)), groups)
    assert decidable(groups, tests, 0.05) == enough == bool((holm(best) < 0.05).all())


def test_nothing_and_what_is_connected_decide_nothing():
    assert not decidable([], 1, 0.05)
    assert not decidable([(place, place + 1) for place in range(30)], 1, 0.05)


def test_sources_that_mosaics_connect_are_flipped_together():
    values = normal(6, 6)
    assert sign_flip(values, ["a", ("a", "b"), "b", "c", "d", ("d", "e")]) == sign_flip(values, list("xxxyzz"))


def test_copies_of_a_source_are_no_evidence():
    values = normal(7, 8) + 1
    copies = np.repeat(values, 5)
    assert sign_flip(copies, np.repeat(np.arange(8), 5).tolist()) == pytest.approx(sign_flip(values))
    assert sign_flip(copies)[0] < sign_flip(values)[0] / 10


def test_missing_pairs_are_left_out_of_their_column():
    table, sources = normal(8, 9, 4), list("aabbccddd")
    table[[2, 3], 1], table[0, 2], table[5, 2] = np.nan, np.inf, np.nan
    for column, p in zip(table.T, sign_flip(table, sources), strict=True):
        kept = np.isfinite(column)
        names = [name for name, keep in zip(sources, kept, strict=True) if keep]
        assert sign_flip(column[kept], names) == pytest.approx([p])


def test_missing_pairs_connect_nothing():
    assert sign_flip([1.0, np.nan, 2.0], ["a", ("a", "b"), "b"]) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("differences", "groups", "expected"),
    [
        ([], None, [np.nan]),
        (np.zeros((0, 2)), None, [np.nan, np.nan]),
        (np.zeros((3, 0)), None, []),
        ([2.0], None, [np.nan]),
        ([np.nan, 1.0], None, [np.nan]),
        ([1.0, 2.0], ["a", "a"], [np.nan]),
        ([1.0, 2.0], None, [0.5]),
        ([0.0, 0.0, 0.0], None, [1.0]),
    ],
)
def test_few_or_equal_differences(differences, groups, expected):
    assert sign_flip(differences, groups) == pytest.approx(np.array(expected), nan_ok=True)


def test_rounding_hides_no_tie():
    # .1 + .2 - .3 is 0 but for rounding, and so are scores in single precision: each flip is as far from 0.
    assert sign_flip([0.1, 0.2, -0.3]) == pytest.approx([1.0])
    pairs = np.array([[0.3, 0.2], [0.7, 0.6], [0.9, 1.0]], dtype=np.float32).astype(float)
    assert sign_flip(pairs[:, 0] - pairs[:, 1]) == pytest.approx([1.0])


def test_units_and_direction_do_not_matter():
    values = normal(9, 35) + 0.4
    for scale in (1e-9, 1e9, -1.0):
        assert sign_flip(scale * values) == sign_flip(values)


def test_flips_grow_with_the_number_of_pairs():
    # Holm multiplies the smallest of 1225 p (50 methods) by 1225: 10,000 flips could never reach .05.
    table = normal(10, 35, 1225)
    table[:, 0] += 5
    p = sign_flip(table)
    assert p[0] == pytest.approx(1 / (200 * 1225 + 1))
    assert holm(p)[0] < 0.01


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"sign_flip: differences must be \(N,\) or \(N, M\), got \(1, 1, 1\)"):
        sign_flip([[[1.0]]])
    with pytest.raises(ValueError, match="sign_flip: groups must name the source of each of 2 samples, got 1"):
        sign_flip([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match=r"holm: p must be \(m,\), got \(1, 2\)"):
        holm([[0.1, 0.2]])


def test_the_seed_decides_and_the_global_state_stays():
    values, before = normal(11, 35), global_state()
    assert sign_flip(values, seed=1) == sign_flip(values, seed=1)
    assert sign_flip(values, seed=1) != sign_flip(values, seed=2)
    assert global_state() == before


def test_chunks_change_nothing(monkeypatch):
    tables = [normal(12, 12, 3), normal(13, 35, 3)]
    whole = [sign_flip(table) for table in tables]
    monkeypatch.setattr("xaieval.paired_tests.ELEMENTS", 35 * 7)
    assert [sign_flip(table).tolist() for table in tables] == [p.tolist() for p in whole]


def test_ten_methods_take_no_time():
    table = normal(14, 35, 45)
    started = perf_counter()
    sign_flip(table)
    assert perf_counter() - started < 0.5  # about .02 on a quiet machine


# Holm


def closed(p):
    """Each hypothesis' largest Bonferroni p over the intersections that hold it: closed testing, enumerated."""
    subsets = [subset for size in range(1, len(p) + 1) for subset in itertools.combinations(range(len(p)), size)]
    bonferroni = {subset: min(1, len(subset) * min(p[index] for index in subset)) for subset in subsets}
    return [max(value for subset, value in bonferroni.items() if index in subset) for index in range(len(p))]


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_holm_is_closed_testing_with_bonferroni(m):
    for seed in range(30):
        p = np.random.default_rng(seed).random(m).round(1) ** (1 + seed % 3)  # with ties and zeros
        assert holm(p) == pytest.approx(closed(p))


def test_holm_by_hand():
    # .005 * 4; .01 * 3; .03 * 2; .04 * 1, but at least the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])


def test_holm_does_not_count_what_is_missing():
    assert holm([0.01, np.nan, 0.04, np.nan]) == pytest.approx([0.02, np.nan, 0.04, np.nan], nan_ok=True)
    assert holm([np.nan]) == pytest.approx([np.nan], nan_ok=True)
    assert holm([]).shape == (0,)


def test_holm_follows_the_order_of_its_input():
    p = np.random.default_rng(0).random(9) * 0.1
    order = np.random.default_rng(1).permutation(9)
    assert holm(p[order]) == pytest.approx(holm(p)[order])
    assert (holm(p) >= p).all()


def test_holm_keeps_false_findings_rare():
    # 400 tables of 10 null pairs that share a reference, so depend on each other; 5 % + four standard errors.
    def found(seed):
        table = normal(seed, 25, 10) - normal(seed + 1000, 25, 1)
        return (holm(sign_flip(table, resamples=2000)) <= 0.05).any()

    assert np.mean([found(seed) for seed in range(400)]) <= 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5
