"""Hand tables, enumeration, simulation of pure noise, and metrics planted to fail in one way each."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from trial_frames import evidence

from xaieval.signal_to_noise import retest, signal_to_noise

EMPTY = evidence({"a": [1, 2], "b": [3, 4]})
KINDS = ["seeds", "draws", "subsets"]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def frame(values):
    """A table of samples x methods."""
    sizes = zip("sm", values.shape, strict=True)
    samples, methods = ([f"{letter}{number:02}" for number in range(size)] for letter, size in sizes)
    return pd.DataFrame(values, index=samples, columns=methods)


def found_in(run, *, draws=(), seeds=(), sources=None):
    """The evidence of tables, without the detour over rows."""
    table = frame(run)
    sources = dict(zip(table.index, sources or [(name,) for name in table.index], strict=True))
    draws, seeds = (tuple(map(frame, repeats)) for repeats in (draws, seeds))
    return replace(EMPTY, scores=table, sources=sources, draws=draws, seeds=seeds)


# Hand tables


def test_a_hand_table_of_draws():
    # Means 3 and 1, then 2 and 2: without the mean over methods 1, -1, 0, 0, each .5 from its mean over repeats.
    draws = signal_to_noise(evidence({"a": [2, 4], "b": [0, 2]}, draws=[{"a": [1, 3], "b": [3, 1]}]))["draws"]
    assert (draws.signal, draws.noise, draws.ratio) == pytest.approx((2**0.5, 1.0, 2**0.5))
    assert draws.samples == 2


def test_a_hand_table_of_one_method_with_a_seed():
    # a moves by 2 between the two repeats: standard deviation sqrt 2. b and c have no seed and repeat themselves.
    seeds = signal_to_noise(evidence({"a": [1, 5], "b": [0, 0], "c": [6, 0]}, seeds=[{"a": [3, 7]}]))["seeds"]
    assert (seeds.signal, seeds.noise) == pytest.approx((np.std([3, 0, 3], ddof=1), 2**0.5))


def test_a_hand_table_of_subsets():
    # Half the differences are 1, 0, 2 and -1, 0, -2: squares 0, 1 and 1 about their mean, twice, over 3^2.
    subsets = signal_to_noise(evidence({"a": [3, 5, 9], "b": [1, 5, 5]}))["subsets"]
    assert (subsets.signal, subsets.noise) == pytest.approx((2**0.5, (4 / 9) ** 0.5))


def test_noise_of_repeats_is_a_standard_deviation_over_repeats():
    run, draws = normal(0, 9, 4), normal(1, 3, 9, 4)
    means = np.array([table.mean(axis=0) for table in (run, *draws)])
    centered = means - means.mean(axis=1, keepdims=True)
    deviations = centered.std(axis=0, ddof=1)
    expected = np.sqrt((deviations**2).mean() * 4 / 3)  # one of four degrees of freedom went to the mean over methods
    assert signal_to_noise(found_in(run, draws=draws))["draws"].noise == pytest.approx(expected)
    assert signal_to_noise(found_in(run, seeds=draws))["seeds"].noise == pytest.approx(expected)


# Sources


def resampled_noise(values, blocks, weights):
    """From the means of resamples themselves; weights of resamples over blocks."""
    centered = values - values.mean(axis=1, keepdims=True)
    sums, counts = (
        np.array([table[block].sum(axis=0) for block in blocks]) for table in (centered, np.ones(len(values)))
    )
    means = weights @ sums / (weights @ counts)[:, None]
    return np.sqrt((means.var(axis=0)).sum() / (values.shape[1] - 1))


def test_subsets_are_all_resamples_of_sources():
    values, sources = normal(2, 8, 3), [("w",), ("x",), ("y",), ("z",)] * 2
    blocks = [[0, 4], [1, 5], [2, 6], [3, 7]]
    weights = np.array([np.bincount(drawn, minlength=4) for drawn in itertools.product(range(4), repeat=4)])
    subsets = signal_to_noise(found_in(values, sources=sources))["subsets"]
    assert subsets.noise == pytest.approx(resampled_noise(values, blocks, weights))
    alone = signal_to_noise(found_in(values))["subsets"]
    assert alone.noise != pytest.approx(subsets.noise)


def test_subsets_are_the_bootstrap_of_sources_of_many_sizes():
    sizes = np.random.default_rng(3).integers(1, 5, 60)
    owner = np.repeat(np.arange(60), sizes)
    values = normal(4, 60, 3)[owner] + 0.3 * normal(5, len(owner), 3)
    blocks = [np.flatnonzero(owner == source) for source in range(60)]
    weights = np.random.default_rng(6).multinomial(60, np.full(60, 1 / 60), size=20_000)
    subsets = signal_to_noise(found_in(values, sources=[(str(source),) for source in owner]))["subsets"]
    # The quotient of sums to first order: the next one is 1 / 60 of it; the draws have a standard error of .5 %.
    assert subsets.noise == pytest.approx(resampled_noise(values, blocks, weights), rel=0.03)


def test_sources_that_samples_share_in_part():
    values = normal(7, 3, 2)
    deviation = (values[:, 0] - values[:, 1]) / 2
    deviation -= deviation.mean()
    totals = np.array([deviation[0], deviation[0] + deviation[1], deviation[1], deviation[2]])  # w, x, y, z
    expected = np.sqrt(2 * ((totals - totals.mean()) ** 2).sum()) / 3
    sources = [("w", "x"), ("x", "y"), ("z",)]
    assert signal_to_noise(found_in(values, sources=sources))["subsets"].noise == pytest.approx(expected)


# Invariances


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_and_what_methods_share_change_no_ratio(kind):
    run, draws = normal(8, 6, 3), normal(9, 2, 6, 3)
    scaled = found_in(run * 1e-4, draws=draws * 1e-4, seeds=draws * 1e-4)
    shifted = found_in(run + normal(10, 6, 1), draws=draws + normal(11, 2, 6, 1), seeds=draws + normal(12, 2, 6, 1))
    plain = signal_to_noise(found_in(run, draws=draws, seeds=draws))[kind]
    assert signal_to_noise(scaled)[kind].ratio == pytest.approx(plain.ratio)
    assert signal_to_noise(scaled)[kind].noise == pytest.approx(plain.noise * 1e-4)
    assert signal_to_noise(shifted)[kind].ratio == pytest.approx(plain.ratio)
    assert signal_to_noise(shifted)[kind].signal == pytest.approx(plain.signal)


def test_direction_and_order_change_nothing():
    tables = {"a": normal(13, 5), "b": normal(14, 5), "c": normal(15, 5)}
    other = {"a": normal(16, 5), "b": normal(17, 5), "c": normal(18, 5)}
    first = evidence(tables, draws=[other], higher=True)
    second = evidence(dict(reversed(tables.items())), draws=[dict(reversed(other.items()))], higher=False)
    assert signal_to_noise(first)["draws"] == signal_to_noise(second)["draws"]
    assert retest(first) == retest(second)


# Pure noise


@pytest.mark.parametrize("methods", [2, 5, 12])
def test_noise_alone_has_a_ratio_of_one_whatever_the_number_of_methods(methods):
    squares = []
    for seed in range(400):
        tables = normal(seed, 4, 20, methods)
        found = signal_to_noise(found_in(tables[0], draws=tables[1:], seeds=tables[1:]))
        squares.append([(found[kind].signal ** 2, found[kind].noise ** 2) for kind in KINDS])
    signal, noise = np.mean(squares, axis=0).T
    # Relative standard errors over 400 tables: sqrt(2 / 400 (K - 1)) of the signal's square, a third or less of the
    # noise's square; subsets are 1 / 20 too small as any bootstrap is.
    error = 3 * np.sqrt(2 / (400 * (methods - 1)) * (1 + 1 / 3))
    assert signal / noise == pytest.approx([1, 1, 20 / 19], rel=error)


def test_the_largest_difference_grows_with_the_number_of_methods():
    # The expected range of K normal numbers, in standard deviations: 1.128 for 2 and 3.078 for 10.
    for methods, expected in ((2, 1.128), (10, 3.078)):
        means = normal(19, 2000, methods)
        assert np.ptp(means, axis=1).mean() == pytest.approx(expected, rel=0.05)


def test_a_difference_larger_than_noise():
    # Methods 0, 1 and 2 with noise 1 on 400 samples: signal 1, noise 1 / 20 to 3 times its standard error.
    tables = normal(20, 21, 400, 3) + np.arange(3)
    found = signal_to_noise(found_in(tables[0], draws=tables[1:]))
    assert found["draws"].ratio == pytest.approx(20, rel=3 / np.sqrt(2 * 20 * 2) + 0.1)
    assert found["subsets"].ratio == pytest.approx(20, rel=0.2)
    assert np.isnan(found["seeds"].ratio)


# Planted metrics


def test_a_metric_that_ignores_everything_has_no_signal():
    level = 100 + normal(21, 12, 1) + np.zeros((12, 3))
    for draw in (level, level * (1 + 1e-7 * normal(22, 12, 3)), level + normal(23, 12, 1)):
        found = found_in(level, draws=[draw], seeds=[draw])
        for kind in KINDS:
            assert (signal_to_noise(found)[kind].signal, signal_to_noise(found)[kind].ratio) == (0.0, 0.0)
        assert retest(found).correlation == 1.0
        assert np.isnan(retest(found).tau)


def test_a_metric_without_draws_is_not_measured():
    found = signal_to_noise(found_in(normal(24, 6, 3)))
    for kind in ("seeds", "draws"):
        assert np.isnan([found[kind].signal, found[kind].noise, found[kind].ratio]).all()
        assert found[kind].samples == 0
    assert found["subsets"].samples == 6
    assert np.isnan([*vars(retest(found_in(normal(24, 6, 3)))).values()]).all()


def test_a_metric_with_a_seed_and_the_same_numbers_is_without_noise():
    run = normal(25, 6, 3)
    found = found_in(run, draws=[run, run], seeds=[run])
    for kind in ("seeds", "draws"):
        assert (signal_to_noise(found)[kind].noise, signal_to_noise(found)[kind].ratio) == (0.0, np.inf)
    assert (retest(found).correlation, retest(found).noise, retest(found).tau) == pytest.approx((1, 0, 1))


def test_a_metric_of_noise_repeats_nothing():
    tables = normal(26, 3, 500, 6)
    again = retest(found_in(tables[0], draws=tables[1:]))
    # 500 x 5 free cells, two draws that share the run: a standard error below 1 / sqrt 2500 = .02.
    assert again.correlation == pytest.approx(0, abs=0.06)
    assert again.noise == 1 - again.correlation


# Test and retest


def test_retest_is_pearson_of_centered_cells():
    run, draws = normal(27, 7, 4), normal(28, 2, 7, 4) + normal(27, 7, 4) + 10 * normal(29, 2, 7, 1)
    cells = [(table - table.mean(axis=1, keepdims=True)).ravel() for table in (run, *draws)]
    expected = np.mean([np.corrcoef(cells[0], other)[0, 1] for other in cells[1:]])
    tau = np.mean([kendalltau(run.mean(axis=0), draw.mean(axis=0)).statistic for draw in draws])
    again = retest(found_in(run, draws=draws))
    assert (again.correlation, again.tau) == pytest.approx((expected, tau))


def test_the_share_of_noise():
    # Differences between methods of variance 3, noise of variance 1 in each draw: a quarter is noise. 2000 x 7 cells
    # have a standard error of (1 - .75^2) / sqrt 14000 = .004.
    truth, noise = 3**0.5 * normal(30, 2000, 8), normal(31, 2, 2000, 8)
    again = retest(found_in(truth + noise[0], draws=[truth + noise[1]]))
    assert again.noise == pytest.approx(0.25, abs=0.012)


def test_differences_in_one_draw_alone_repeat_nothing():
    run = normal(32, 6, 3)
    assert retest(found_in(run, draws=[np.ones((6, 3))])).correlation == 0.0
    assert retest(found_in(np.ones((6, 3)), draws=[run])).correlation == 0.0


# What is missing


def test_samples_and_methods_that_are_not_in_all_tables_are_left_out():
    run, draw = normal(33, 6, 3), normal(34, 4, 3)
    run[1, 0], draw[2, 1] = np.nan, np.inf
    holes = found_in(run, draws=[draw], seeds=[draw])
    kept = [0, 3]
    whole = found_in(run[kept], draws=[draw[kept]], seeds=[draw[kept]])
    for kind in ("seeds", "draws"):
        assert signal_to_noise(holes)[kind] == signal_to_noise(whole)[kind]
    assert retest(holes) == retest(whole)
    rows = [0, 2, 3, 4, 5]
    assert signal_to_noise(holes)["subsets"] == signal_to_noise(found_in(run[rows]))["subsets"]
    gone = draw.copy()
    gone[:3, 2] = np.nan  # scored on a quarter of the samples: as if it were not repeated, so it takes none away
    found = found_in(run, draws=[gone], seeds=[gone])
    assert signal_to_noise(found)["seeds"].samples == 2
    assert retest(found) == retest(replace(holes, draws=(holes.draws[0][["m00", "m01"]],)))


@pytest.mark.parametrize(
    "found",
    [
        found_in(normal(35, 6, 1), draws=[normal(36, 6, 1)], seeds=[normal(37, 6, 1)]),  # one method
        found_in(np.full((6, 3), np.nan), draws=[normal(36, 6, 3)], seeds=[normal(37, 6, 3)]),
        found_in(normal(38, 6, 3), draws=[np.full((6, 3), np.nan)], seeds=[np.full((6, 3), np.nan)], sources=["x"] * 6),
        evidence({"random": [1, 2]}, draws=[{"random": [1, 2]}]),  # no method
    ],
)
def test_what_cannot_be_measured(found):
    for kind in KINDS:
        assert np.isnan(signal_to_noise(found)[kind].ratio)
    assert np.isnan(retest(found).correlation)


def test_two_sources():
    found = signal_to_noise(found_in(np.array([[1.0, 0.0], [4.0, 1.0]])))["subsets"]
    assert (found.signal, found.noise) == pytest.approx((2 / 2**0.5, 0.5))
