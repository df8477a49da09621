"""Orders against brute force: Kemeny's consensus over all permutations, stability over all resamples."""

import itertools
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from random_numbers import global_state, normal
from scipy import stats

from xaieval.ranking import borda, borda_of, flipped_pairs, instance_ranks, kendall_tau, kendall_w, rank_stability
from xaieval.statistics import bootstrap_interval, resampled_weights


def orders(seed, n, methods):
    """Random strict orders as scores, lower is better."""
    return np.array([np.random.default_rng([seed, row]).permutation(methods) for row in range(n)], dtype=float)


def preferences(table):
    """How many samples rank method b before method a, `[a, b]`."""
    return (table[:, None, :] < table[:, :, None]).sum(axis=0)


def distance(order, table):
    """Sum of the Kendall distances of strict orders `(..., K)`, best method first, to those of the samples."""
    order = np.asarray(order)
    first, second = np.triu_indices(table.shape[1], 1)
    return preferences(table)[order[..., first], order[..., second]].sum(axis=-1)


def kemeny(table):
    """The orders with the least distance of all, and the distance."""
    every = np.array(list(itertools.permutations(range(table.shape[1]))))
    distances = distance(every, table)
    return every[distances == distances.min()].tolist(), distances.min()


def test_the_oracle_by_hand():
    table = np.array([[1.0, 2, 3], [1.0, 3, 2], [3.0, 2, 1]])  # abc, acb, cba
    assert [distance(order, table) for order in ([0, 1, 2], [0, 2, 1], [2, 0, 1])] == [4, 3, 4]
    assert kemeny(table) == ([[0, 2, 1]], 3)


# Ranks and Borda's count


def test_ranks_by_hand():
    table = [[0.3, 0.1, 0.2], [0.5, 0.5, 0.1], [np.nan, 1.0, 2.0], [7.0, 7.0, 7.0], [1.0, np.inf, 2.0]]
    assert instance_ranks(table, True).tolist() == [[1, 3, 2], [1.5, 1.5, 3], [2, 2, 2]]
    assert instance_ranks(table, False).tolist() == [[3, 1, 2], [2.5, 2.5, 1], [2, 2, 2]]
    assert borda(table, True) == pytest.approx([1.5, 6.5 / 3, 7 / 3])


def test_no_common_sample_gives_no_order():
    table = [[np.nan, 1.0], [1.0, np.nan]]
    assert instance_ranks(table, True).shape == (0, 2)
    assert np.isnan(borda(table, True)).all()
    assert np.isnan(borda_of([(table, True)])).all()
    assert borda_of([(table, True), ([[1.0, 2.0]], True)]).tolist() == [2.0, 1.0]


@pytest.mark.parametrize("methods", [2, 3, 5, 8])
def test_a_unanimous_order_is_returned(methods):
    order = np.random.default_rng(methods).permutation(methods)
    scores = np.cumsum(np.random.default_rng(1).random((6, methods)) + 0.1, axis=1)[:, order]
    assert borda(scores, False).tolist() == (order + 1).tolist()
    assert borda(scores, True).tolist() == (methods - order).tolist()
    assert kemeny(scores)[0] == [np.argsort(order).tolist()]
    assert borda_of([(scores, False), (-scores, True)]).tolist() == (order + 1).tolist()


@pytest.mark.parametrize("methods", [3, 5, 7, 8])
def test_borda_is_kemeny_where_nearly_all_agree(methods):
    # n - 2 equal orders and any other two: neighbors' rank sums differ by n - 2 - 2 (K - 1) > 0 at least.
    for seed in range(5):
        table = orders(seed, 20, methods)
        table[2:] = table[2]
        assert kemeny(table)[0] == [np.argsort(borda(table, False)).tolist()] == [np.argsort(table[2]).tolist()]


@pytest.mark.parametrize("methods", [3, 4, 6, 8])
def test_borda_is_at_most_five_times_as_far_as_kemeny(methods):
    ratios = []
    for seed in range(20):
        table = orders(seed, 3 + seed % 5, methods)
        least = kemeny(table)[1]
        far = distance(np.argsort(borda(table, False), kind="stable"), table)
        assert least <= far <= 5 * least
        ratios.append(far / least)
    assert np.mean(ratios) < 1.1  # an inverted order would be much farther than the proven bound


def test_borda_can_pass_over_the_method_that_beats_all_others():
    # Three samples rank a, b, c and two b, c, a: a beats b and c by 3 to 2, but b has fewer ranks in sum, 8 and 9.
    table = np.array([[1.0, 2, 3]] * 3 + [[3.0, 1, 2]] * 2)
    assert borda(table, False).tolist() == [9 / 5, 8 / 5, 13 / 5]
    assert kemeny(table) == ([[0, 1, 2]], 4)
    assert distance([1, 0, 2], table) == 5


def rescaled(table):
    return [np.exp(table), table**3 + 1, 1e-6 * table]


def test_monotone_rescaling_changes_no_rank():
    table = normal(0, 12, 5).round(1)
    for other in rescaled(table):
        assert instance_ranks(other, True).tolist() == instance_ranks(table, True).tolist()
        assert borda_of([(other, True), (table, False)]).tolist() == borda_of([(table, True), (table, False)]).tolist()
    assert instance_ranks(-table, False).tolist() == instance_ranks(table, True).tolist()


def test_neither_the_order_of_methods_nor_of_metrics_nor_of_samples_matters():
    tables = [(normal(seed, 9 + seed, 5).round(1), bool(seed % 2)) for seed in range(4)]
    methods = np.random.default_rng(0).permutation(5)
    expected = borda_of(tables)
    assert borda_of(tables[::-1]) == pytest.approx(expected)
    assert borda_of([(table[:, methods], higher) for table, higher in tables]) == pytest.approx(expected[methods])
    assert borda_of([(table[::-1], higher) for table, higher in tables]) == pytest.approx(expected)


def test_two_levels_give_each_metric_one_vote():
    many = [[3.0, 2.0, 1.0]] * 50  # one metric with 50 samples, two with one
    few = [[1.0, 2.0, 3.0]]
    assert borda_of([(many, True)]).tolist() == [1, 2, 3]
    assert borda_of([(many, True), (few, True), (few, True)]) == pytest.approx([7 / 3, 2, 5 / 3])


def test_ties_of_counts_share_their_rank():
    table = [[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]]
    assert borda_of([(table, True)]).tolist() == [2.5, 2.5, 1.0]


# Stability


def every_resample(table, higher, by, sources):
    """Ranks in all resamples of the sources, and their tau with the ranks on all samples, each by the definition."""
    names = sorted(set(sources))
    values = instance_ranks(table, higher) if by == "borda" else -table if higher else table
    full = stats.rankdata(values.mean(axis=0))
    found = []
    for drawn in itertools.product(names, repeat=len(names)):
        rows = [index for name in drawn for index, source in enumerate(sources) if source == name]
        found.append(stats.rankdata(values[rows].mean(axis=0)))
    return full, np.array(found), [stats.kendalltau(row, full).statistic for row in found]


@pytest.mark.parametrize("by", ["mean", "borda"])
@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("sources", ["abcd", "aabccc"])
def test_all_resamples(by, higher, sources):
    # Within four standard errors of 10,000 resamples.
    for seed in range(4):
        table = (4 * normal(seed, len(sources), 4)).round() / 4  # with ties, whose sums are exact
        stability = rank_stability(table, higher, list(sources), by=by, level=0.9)
        full, found, taus = every_resample(table, higher, by, sources)
        assert stability.ranks == pytest.approx(full)
        best = found == found.min(axis=1, keepdims=True)
        shares = best / best.sum(axis=1, keepdims=True)
        assert (np.abs(stability.first - shares.mean(axis=0)) <= 0.04 * shares.std(axis=0)).all()
        assert stability.top == pytest.approx(stability.first[full == full.min()].sum())
        assert stability.tau == pytest.approx(np.nanmean(taus), abs=0.04 * np.nanstd(taus))
        for ends, level in ((stability.low, 0.05), (stability.high, 0.95)):
            below, upto = (found < ends).mean(axis=0), (found <= ends).mean(axis=0)
            assert (below - 0.04 * 0.22 <= level).all()
            assert (level <= upto + 0.04 * 0.22).all()


def test_two_methods_by_normal_theory():
    # The best stays the best where the resampled mean difference is above 0: Phi(mean / standard error).
    table = normal(5, 400, 2)
    table[:, 0] += 0.05 - (table[:, 0] - table[:, 1]).mean()
    stability = rank_stability(table, True)
    expected = stats.norm.cdf(0.05 / ((table[:, 0] - table[:, 1]).std() / 20))
    assert 0.7 < expected < 0.8
    assert stability.top == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 10_000) ** 0.5)
    assert stability.first == pytest.approx([stability.top, 1 - stability.top])
    assert stability.tau == pytest.approx(2 * stability.top - 1)


@pytest.mark.parametrize("by", ["mean", "borda"])
def test_a_unanimous_table_is_certain(by):
    table = normal(6, 20, 1) * 10 + [0.3, 0.1, 0.4, 0.2]
    stability = rank_stability(table, True, by=by)
    for ranks in (stability.ranks, stability.low, stability.high):
        assert ranks.tolist() == [2, 4, 1, 3]
    assert stability.first.tolist() == [0, 0, 1, 0]
    assert (stability.tau, stability.top) == pytest.approx((1, 1))


@pytest.mark.parametrize("by", ["mean", "borda"])
def test_identical_methods_share_the_first_place(by):
    column = normal(7, 35, 1)
    table = np.concatenate([column, column - 1, column, column], axis=1)[:, [1, 0, 2, 3]]
    stability = rank_stability(table, True, by=by)
    assert stability.first == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    for ranks in (stability.ranks, stability.low, stability.high):
        assert ranks.tolist() == [4, 2, 2, 2]
    assert (stability.tau, stability.top) == pytest.approx((1, 1))


def test_methods_that_are_all_alike_have_no_order():
    stability = rank_stability(np.repeat(normal(8, 9, 1), 3, axis=1), True)
    assert stability.ranks.tolist() == [2, 2, 2]
    assert stability.first == pytest.approx(np.full(3, 1 / 3))
    assert stability.top == pytest.approx(1)
    assert np.isnan(stability.tau)


def test_equal_means_tie_in_any_order_of_terms():
    values = np.array([0.1, 0.2, 0.3, 0.7])
    table = np.stack([values, values[[2, 0, 3, 1]], values[::-1]], axis=1)
    assert rank_stability(table, True).ranks.tolist() == [2, 2, 2]
    for seed in range(20):  # at least one of twenty sums is another from its other end
        values = normal(seed, 11)
        assert rank_stability(np.stack([values, values[::-1]], axis=1), True, resamples=1).ranks.tolist() == [1.5, 1.5]


def test_ends_are_ranks_that_were_drawn():
    for seed in range(20):
        stability = rank_stability(normal(seed, 6, 3), True, resamples=30)
        assert {*stability.low, *stability.high} <= {1, 2, 3}


def test_noise_is_uncertain():
    stability = rank_stability(normal(9, 35, 10), True)
    assert stability.top < 0.7
    assert (stability.high - stability.low).mean() > 5


def test_sources_are_drawn_not_samples():
    table = normal(10, 12, 4) + [0.0, 0.1, 0.2, 0.3]
    copies, sources = np.repeat(table, 5, axis=0), np.repeat(np.arange(12), 5).tolist()
    whole, together, alone = (
        rank_stability(*given) for given in ((table, True), (copies, True, sources), (copies, True))
    )
    assert together.first == pytest.approx(whole.first)
    assert together.tau == pytest.approx(whole.tau)
    assert alone.tau > whole.tau + 0.1  # five times the evidence


def mosaics(n):
    """Each of two sources that it shares with its neighbors."""
    return [(f"source {number}", f"source {(number + 1) % n}") for number in range(n)]


def test_weights_of_sources():
    weights = resampled_weights(["a", "a", "b", ("c", "d")], 5000, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 1:].sum(axis=1) == 3).all()  # three blocks are drawn three times
    assert weights.var(axis=0) == pytest.approx(np.full(4, 2 / 3), abs=0.05)  # binomial
    assert weights.mean(axis=0) == pytest.approx(np.ones(4), abs=0.05)


def test_weights_of_mosaics_are_the_sums_of_their_sources_counts():
    groups = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "b", "d"), *"abcd"]
    weights = resampled_weights(groups, 200, np.random.default_rng(3))
    a, b, c, d = counts = weights[:, 4:].T
    assert (counts.sum(axis=0) == 4).all()
    assert counts.min() == 0
    expected = np.stack([a + b - 1, b + c - 1, c + d - 1, a + b + d - 2], axis=1)
    assert (weights[:, :4] == expected).all()


def test_mosaics_that_share_sources_vary_as_in_their_interval():
    values, groups = normal(11, 60, 1), mosaics(60)
    weights = resampled_weights(groups, 10_000, np.random.default_rng(0))
    low, high = np.percentile(weights @ values[:, 0] / weights.sum(axis=1), [2.5, 97.5])
    interval = bootstrap_interval(values[:, 0], groups)
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.05 * (interval.high - interval.low))


@pytest.mark.parametrize("by", ["mean", "borda"])
def test_a_unanimous_table_of_mosaics_is_certain(by):
    table = normal(12, 30, 1) * 10 + [0.3, 0.1, 0.4]
    stability = rank_stability(table, True, mosaics(30), by=by)
    assert stability.first.tolist() == [0, 0, 1]
    assert (stability.tau, stability.top) == pytest.approx((1, 1))


def test_samples_without_every_score_are_left_out():
    table, sources = normal(13, 12, 3), [number // 2 for number in range(12)]
    table[3, 1], table[7, 0] = np.nan, np.inf
    kept = [number for number in range(12) if number not in (3, 7)]
    part = rank_stability(table[kept], True, [sources[number] for number in kept])
    assert_same(rank_stability(table, True, sources), part)


@pytest.mark.parametrize(
    ("table", "groups", "ranks"),
    [
        (np.zeros((0, 3)), None, [np.nan] * 3),
        ([[np.nan, 1.0]], None, [np.nan] * 2),
        ([[2.0, 1.0]], None, [1, 2]),
        ([[2.0, 1.0], [0.0, 3.0]], ["a", "a"], [2, 1]),
        ([[2.0, 1.0], [0.0, 3.0]], [("a", "b"), ("a", "b")], [2, 1]),
    ],
)
def test_one_source_shows_no_stability(table, groups, ranks):
    stability = rank_stability(table, True, groups)
    assert stability.ranks == pytest.approx(np.array(ranks), nan_ok=True)
    assert np.isnan([stability.low, stability.high, stability.first]).all()
    assert np.isnan([stability.tau, stability.top]).all()


def assert_same(one, other):
    for field in ("ranks", "low", "high", "first", "tau", "top"):
        assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-12)


def test_units_do_not_matter():
    table = normal(14, 20, 5)
    for scale in (2.0**-60, 2.0**60):  # powers of two, so that no score is rounded
        assert_same(rank_stability(scale * table, True), rank_stability(table, True))
    assert_same(rank_stability(-table, False), rank_stability(table, True))


def test_the_seed_decides_and_the_global_state_stays():
    table, before = normal(15, 20, 5), global_state()
    assert_same(rank_stability(table, True, seed=1), rank_stability(table, True, seed=1))
    assert rank_stability(table, True, seed=1).tau != rank_stability(table, True, seed=2).tau
    assert global_state() == before


def test_chunks_change_nothing(monkeypatch):
    table = normal(16, 20, 5)
    whole = rank_stability(table, True, resamples=1000)
    monkeypatch.setattr("xaieval.ranking.ELEMENTS", 25 * 7)
    assert_same(rank_stability(table, True, resamples=1000), whole)


@pytest.mark.parametrize("by", ["mean", "borda"])
def test_fifteen_methods_take_no_time(by):
    table = normal(17, 35, 15)
    rank_stability(table, True, by=by)
    started = perf_counter()
    rank_stability(table, True, by=by)
    assert perf_counter() - started < 1  # about .04 on a quiet machine


# Agreement


def test_kendall_tau():
    first, second = normal(18, 9).round(1), normal(19, 9).round(1)
    assert kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(kendall_tau([1, 2, 3], [1, 1, 1]))
    assert (kendall_tau([1, 2], [5, 9]), kendall_tau([1, 2], [9, 5])) == pytest.approx((1, -1))
    # Of three pairs two agree and one ties in the second: 2 / sqrt(3 * 2).
    assert kendall_tau([1, 2, 3, np.nan], [1, 1, 2, 0]) == pytest.approx(2 / 6**0.5)
    assert np.isnan(kendall_tau([1, np.nan], [1, 2]))


def test_flipped_pairs_by_hand():
    assert flipped_pairs([1, 2, 3], [3, 2, 1]) == 1
    assert flipped_pairs([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert flipped_pairs([1, 2, 3], [2, 2, 1]) == pytest.approx(2 / 3)  # the first two tie
    assert flipped_pairs([1, 2, 3, np.nan], [1, 3, 2, 0]) == pytest.approx(1 / 3)
    assert np.isnan(flipped_pairs([1, 2], [np.nan, 2]))


def test_flipped_pairs_by_enumeration():
    first, second = normal(20, 7).round(1), normal(21, 7).round(1)
    pairs = list(itertools.combinations(range(7), 2))
    flips = [
        (first[a] < first[b] and second[a] > second[b]) or (first[a] > first[b] and second[a] < second[b])
        for a, b in pairs
    ]
    assert flipped_pairs(first, second) == pytest.approx(sum(flips) / len(pairs))
    for order in itertools.permutations(range(4)):  # without ties tau = 1 - 2 flips
        assert kendall_tau(range(4), order) == pytest.approx(1 - 2 * flipped_pairs(range(4), order))


def test_kendall_w_of_unanimous_and_opposite_orders():
    assert kendall_w([[1, 2, 3, 4]] * 5) == pytest.approx(1)
    assert kendall_w([[1, 2, 2, 4]] * 5) == pytest.approx(1)  # also with ties
    assert kendall_w([[1, 2, 3, 4], [4, 3, 2, 1]]) == pytest.approx(0)


@pytest.mark.parametrize(("m", "methods"), [(2, 4), (3, 3), (4, 3)])
def test_random_orders_have_one_over_m(m, methods):
    rankings = list(itertools.permutations(range(methods)))
    every = [kendall_w(np.array(rows)) for rows in itertools.product(rankings, repeat=m)]
    assert np.mean(every) == pytest.approx(1 / m)


@pytest.mark.parametrize("decimals", [6, 0])
def test_kendall_w_is_friedmans_statistic(decimals):
    # chi^2 = m (K - 1) W, with SciPy's own correction for ties.
    for seed in range(10):
        table = (2 * normal(seed, 6, 5)).round(decimals)
        assert kendall_w(table) == pytest.approx(stats.friedmanchisquare(*table.T).statistic / (6 * 4))


def test_the_correction_for_ties_by_hand():
    # Rank sums 2.5, 3.5, 6: S = 6.5; one pair of ties: T = 6. 12 * 6.5 / (4 * 24 - 2 * 6) = 78 / 84.
    assert kendall_w([[1.0, 2.0, 3.0], [1.5, 1.5, 3.0]]) == pytest.approx(78 / 84)


def test_kendall_w_and_mean_spearman():
    table = normal(22, 5, 8)
    pairs = itertools.combinations(table, 2)
    mean = np.mean([stats.spearmanr(one, other).statistic for one, other in pairs])
    assert mean == pytest.approx((5 * kendall_w(table) - 1) / 4)


def test_kendall_w_leaves_out_what_some_order_lacks():
    table = normal(23, 4, 6)
    missing = np.insert(table, 2, [0.0, np.nan, 1.0, 2.0], axis=1)
    assert kendall_w(missing) == pytest.approx(kendall_w(table))
    nothings: list[Any] = [table[:1], table[:, :1], np.ones((3, 4)), np.full((3, 4), np.nan)]
    for nothing in nothings:
        assert np.isnan(kendall_w(nothing))


# Bad input

MEDIAN: Any = "median"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: instance_ranks([1.0, 2.0], True), r"at least 2 methods, got \(2,\)"),
        (lambda: borda([[1.0], [2.0]], True), r"at least 2 methods, got \(2, 1\)"),
        (lambda: borda_of([]), r"borda_of: needs tables of the same methods, got \[\]"),
        (lambda: borda_of([([[1, 2]], True), ([[1, 2, 3]], True)]), r"same methods, got \[2, 3\] methods"),
        (lambda: rank_stability([[1.0, 2.0]], True, by=MEDIAN), "by must be 'mean' or 'borda', got 'median'"),
        (lambda: rank_stability([[1.0, 2.0]], True, ["a", "b"]), "source of each of the 1 samples, got 2"),
        (lambda: kendall_tau([1, 2], [1, 2, 3]), r"same methods \(K,\), got \(2,\) and \(3,\)"),
        (lambda: flipped_pairs([[1, 2]], [[1, 2]]), r"got \(1, 2\) and \(1, 2\)"),
        (lambda: kendall_w([1, 2]), r"kendall_w: needs a table \(m, K\) of orders, got \(2,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
