"""MetaQuantus: hand tables, a slow re-derivation, and what is known of metrics that do nothing, draw, or invert."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from trial_frames import evidence, rows

from xaieval.before_after import EXACT, FEWEST, fallen, ranks_kept, signed_rank, unmoved
from xaieval.evidence import evidences
from xaieval.metaquantus import Used, consistency, meta_consistency

PARTS = ("iac_nr", "iec_nr", "iac_ar", "iec_ar")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def everywhere(tables):
    return [np.ones(len(table), dtype=bool) for table in tables]


def of(clean, resilient, reactive, *, higher=True, iterations=1, kept=None, changed=None):
    return meta_consistency(
        clean,
        resilient,
        reactive,
        kept=everywhere(resilient) if kept is None else kept,
        changed=everywhere(reactive) if changed is None else changed,
        higher_is_better=higher,
        iterations=iterations,
    )


def parts(found):
    return tuple(getattr(found, name) for name in PARTS)


# The test of a method's scores


def shared_ranks(sizes):
    return np.array([(sizes < size).sum() + ((sizes == size).sum() + 1) / 2 for size in sizes])


def slow_p(before, after):
    """All signs; with ties or zeros (or many) the normal approximation, whose variance is the sum of squared ranks."""
    differences = before - after
    ranks = shared_ranks(np.abs(differences))
    total = (np.sign(differences) * ranks).sum()
    if (differences != 0).all() and len(set(ranks)) == len(ranks) <= 14:
        signs = itertools.product((-1, 1), repeat=len(ranks))
        return np.mean([abs(np.dot(sign, ranks)) >= abs(total) for sign in signs])
    return 2 * norm.sf(abs(total) / math.sqrt((ranks**2).sum()))


@pytest.mark.parametrize("seed", range(5))
def test_p_counts_signs_where_there_are_no_ties(seed):
    before, after = normal(seed, 2, 9)
    assert signed_rank(before, after) == pytest.approx(slow_p(before, after), rel=1e-12)


def test_p_by_hand():
    """Six rises are two of 2^6 signs. One fall of rank 1 among five rises: 2 more signs of either end."""
    before = np.zeros(6)
    assert signed_rank(before, np.arange(1.0, 7)) == pytest.approx(2 / 64)
    assert signed_rank(before, np.array([-1.0, 2, 3, 4, 5, 6])) == pytest.approx(4 / 64)
    assert 2 / 2 ** (FEWEST - 1) > 0.05 > 2 / 2**FEWEST


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [6, 13, 40])
def test_p_of_ties_and_zeros_is_the_approximation(seed, size):
    """A zero has a rank like every size, half of it up and half down."""
    before, after = np.random.default_rng(seed).integers(0, 4, (2, size)).astype(float)
    assert signed_rank(before, after) == pytest.approx(slow_p(before, after), rel=1e-9)


def test_one_zero_is_no_sign():
    """It could not be told by going through signs."""
    before, after = np.zeros(7), np.array([0.0, 1, 2, -3, 4, 5, 6])
    assert signed_rank(before, after) == pytest.approx(slow_p(before, after), rel=1e-9)


def test_p_of_many_pairs_is_the_approximation():
    """At fifty pairs the exact p is still within a hundredth of it."""
    many, few = (normal(3, 2, size) + [[0], [0.2]] for size in (EXACT + 1, EXACT))
    assert signed_rank(*many) == pytest.approx(slow_p(*many), rel=1e-9)
    assert signed_rank(*few) == pytest.approx(slow_p(*few), abs=0.01)
    assert signed_rank(*few) != pytest.approx(slow_p(*few), rel=1e-6)


@pytest.mark.parametrize("size", [1, 6, 13, 14, 60])
def test_p_of_identical_scores_is_1(size):
    assert signed_rank(np.full(size, 0.3), np.full(size, 0.3)) == 1.0


def test_the_mean_is_over_methods_with_enough_pairs():
    before, after = normal(0, 2, 8, 3)
    pairs = np.ones((8, 3), dtype=bool)
    pairs[:3, 2] = False  # five are left
    expected = [signed_rank(before[:, method], after[:, method]) for method in range(2)]
    assert unmoved(before, after, pairs) == pytest.approx(np.mean(expected))
    pairs[:3] = False
    assert math.isnan(unmoved(before, after, pairs))


# Ranks and direction


def test_ranks_by_hand():
    before = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.1, 0.2, 0.3]])
    after = np.array([[1, 2, 3], [2, 1, 3], [7, 7, 2], [7, 8, 2], [np.nan, 5, 6]])
    pairs = np.isfinite(after)
    # all; the third; all, tied as before; the third, since a tie was broken; both of those that are left
    assert ranks_kept(before, after, pairs) == pytest.approx((3 + 1 + 3 + 1 + 2) / 14)
    assert math.isnan(ranks_kept(before[:, :1], after[:, :1], pairs[:, :1]))
    assert ranks_kept(before[:2], after[:2], np.array([[True, False, False], [True, True, True]])) == pytest.approx(
        1 / 3
    )


def test_ties_do_not_depend_on_the_order_of_methods():
    before, after = np.random.default_rng(0).integers(0, 3, (2, 40, 5)).astype(float)
    pairs = np.ones((40, 5), dtype=bool)
    share = ranks_kept(before, after, pairs)
    assert 0 < share < 1
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        assert ranks_kept(before[:, order], after[:, order], pairs) == share


def test_without_ties_ranks_kept_are_places_with_the_same_method():
    before, after = normal(1, 2, 50, 4)
    same = np.mean(np.argsort(before, axis=1) == np.argsort(after, axis=1))
    assert ranks_kept(before, after, np.ones((50, 4), dtype=bool)) == same


def test_equal_scores_have_not_fallen():
    before, after = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 1.0, 4.0]])
    assert fallen(before, after, np.ones((1, 3), dtype=bool)) == pytest.approx(1 / 3)
    assert math.isnan(fallen(before, after, np.zeros((1, 3), dtype=bool)))


# Metrics of which the answer is known


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("clean", [normal(0, 12, 5), np.full((12, 5), 0.7), np.round(normal(1, 12, 5))])
def test_doing_nothing_is_exactly_one_half(clean, higher):
    """The published `Estimator_Same`: perturbed scores are the unperturbed ones."""
    found = of(clean, [clean] * 2, [clean] * 2, higher=higher)
    assert parts(found) == (1, 1, 0, 0)
    assert (found.score, found.reason) == (0.5, "")


def test_far_apart_scores_are_resilient_in_nothing_and_reactive_in_all():
    """The published `Estimator_Different`: IAC of 12 samples reaches 2 / 2^12 of its end, IEC is 1 / M by chance."""
    methods, high, low = 5, 10 + normal(0, 12, 5), [normal(seed, 12, 5) for seed in range(1, 51)]
    found = of(high, low, low)
    end = 2 / 2**12
    assert parts(found) == pytest.approx((end, 1 / methods, 1 - end, 1), abs=0.03)  # four deviations of 3,000 places
    assert found.iac_nr == pytest.approx(end)
    assert of(high, low, low, higher=False).iec_ar == 0


def test_scores_drawn_anew():
    """p is uniform. What 240 perturbations share is the clean table, which moves p by some hundredths."""
    methods = 4
    drawn = [normal(seed, 400, methods) for seed in range(1, 241)]
    found = of(normal(0, 400, methods), drawn[:120], drawn[120:])
    assert parts(found) == pytest.approx((0.5, 1 / methods, 0.5, 0.5), abs=0.1)
    assert found.score == pytest.approx((1.5 + 1 / methods) / 4, abs=0.03)


def test_a_perfect_metric():
    """Scores of all methods fall, and the noise that is there changes no order and has no direction."""
    clean = np.arange(5.0) + normal(0, 12, 1)
    wobble = 1e-3 * np.array([1, -2, 3, -4, 5, -6, 6.5, -5.5, 4.5, -3.5, 2.5, -1.5])[:, None]
    found = of(clean, [clean + wobble], [clean - 1 - np.abs(normal(1, 12, 5))])
    assert found.iec_nr == found.iec_ar == 1
    assert found.iac_nr > 0.9
    assert found.iac_ar == pytest.approx(1 - 2 / 2**12)


def test_a_metric_of_the_other_direction_gets_the_complement_of_one_part():
    clean = normal(0, 12, 5)
    right, wrong = (of(clean, [clean], [clean - 1], higher=higher) for higher in (True, False))
    assert parts(right)[:3] == parts(wrong)[:3]
    assert (right.iec_ar, wrong.iec_ar) == (1, 0)


# All of it


def slow(clean, resilient, reactive, kept, changed, higher):
    """Loops over perturbations, methods and samples."""
    (samples, methods), sign = clean.shape, 1 if higher else -1
    found: list[list[float]] = [[], [], [], []]
    for mode, (tables, flags) in enumerate(((resilient, kept), (reactive, changed))):
        for table, flag in zip(tables, flags, strict=True):
            good = [
                [bool(flag[i]) and np.isfinite(clean[i, m] + table[i, m]) for m in range(methods)]
                for i in range(samples)
            ]
            values = []
            for method in range(methods):
                own = [i for i in range(samples) if good[i][method]]
                p = slow_p(clean[own, method], table[own, method])
                values.append(1 - p if mode else p)
            found[2 * mode].append(float(np.mean(values)))
            hits = []
            for i in range(samples):
                names = [m for m in range(methods) if good[i][m]]
                for m in names if mode or len(names) > 1 else ():
                    if mode:
                        hits.append(sign * table[i, m] < sign * clean[i, m])
                    else:
                        places = [sorted(scores[i, n] for n in names).index(scores[i, m]) for scores in (clean, table)]
                        hits.append(places[0] == places[1])
            found[2 * mode + 1].append(float(np.mean(hits)))
    return tuple(float(np.mean(values)) for values in found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("higher", [True, False])
def test_the_same_as_a_slow_loop(seed, higher):
    rng = np.random.default_rng(seed)
    clean = rng.normal(size=(12, 4))
    resilient = [clean + 0.5 * rng.normal(size=clean.shape) for _ in range(2)]
    reactive = [clean - 0.5 + rng.normal(size=clean.shape) for _ in range(3)]
    kept, changed = ([rng.random(12) < 0.9 for _ in tables] for tables in (resilient, reactive))
    clean[3, 1], resilient[0][5, 2], reactive[2][[0, 7], 0] = np.nan, np.inf, np.nan
    found = of(clean, resilient, reactive, higher=higher, kept=kept, changed=changed)
    assert parts(found) == pytest.approx(slow(clean, resilient, reactive, kept, changed, higher), rel=1e-9)
    assert found.score == pytest.approx(np.mean(parts(found)))
    assert found.used_nr == Used(min(flag.sum() for flag in kept), np.mean([flag.sum() for flag in kept]))
    assert found.used_ar == Used(min(flag.sum() for flag in changed), np.mean([flag.sum() for flag in changed]))


@pytest.mark.parametrize("rounded", [False, True])
def test_negated_scores_of_the_other_direction_are_the_same(rounded):
    tables = [normal(seed, 14, 4) for seed in range(5)]
    clean, *others = [np.round(table) for table in tables] if rounded else tables
    first = of(clean, others[:2], others[2:])
    negated = [-table for table in others]
    assert repr(of(-clean, negated[:2], negated[2:], higher=False)) == repr(first)  # NaN is NaN, in words


def test_the_order_of_samples_and_methods_means_nothing():
    clean, noisy, disrupted = (np.round(normal(seed, 14, 4)) for seed in range(3))
    first = of(clean, [noisy], [disrupted])
    rows_, columns = np.random.default_rng(0).permutation(14), [2, 0, 3, 1]
    clean, noisy, disrupted = (table[rows_][:, columns] for table in (clean, noisy, disrupted))
    other = of(clean, [noisy], [disrupted])
    assert parts(other) == pytest.approx(parts(first), rel=1e-12)


# Iterations


def test_iterations_are_averaged_and_their_deviation_is_shown():
    clean, tables = normal(0, 12, 4), [normal(seed, 12, 4) for seed in range(1, 13)]
    found = of(clean, tables[:6], tables[6:], iterations=3)
    single = [of(clean, tables[2 * i : 2 * i + 2], tables[6 + 2 * i : 8 + 2 * i]) for i in range(3)]
    assert parts(found) == pytest.approx(np.mean([parts(one) for one in single], axis=0))
    assert found.score == pytest.approx(np.mean([one.score for one in single]))
    assert found.sd == pytest.approx(np.std([one.score for one in single], ddof=1))
    assert math.isnan(single[0].sd)


def test_an_iteration_without_a_change_is_left_out():
    clean, tables = normal(0, 12, 4), [normal(seed, 12, 4) for seed in range(1, 4)]
    nowhere, all_ = np.zeros(12, dtype=bool), np.ones(12, dtype=bool)
    found = of(clean, [clean] * 3, tables, iterations=3, changed=[all_, nowhere, all_])
    single = [of(clean, [clean], [table]) for table in (tables[0], tables[2])]
    assert found.iec_ar == pytest.approx(np.mean([one.iec_ar for one in single]))
    assert found.sd == pytest.approx(np.std([one.score for one in single], ddof=1))
    assert (found.used_ar, found.reason) == (Used(0, 8.0), "")


# Undefined


@pytest.mark.parametrize(
    ("kept", "changed", "reason", "defined"),
    [
        (12, 12, "", PARTS),
        (12, 6, "", PARTS),
        (0, 12, "every prediction changes under noise", PARTS[2:]),
        (12, 0, "no prediction changes under disruption", PARTS[:2]),
        (5, 12, "5 predictions stay under noise, fewer than 6", PARTS[2:]),
        (12, 5, "5 predictions change under disruption, fewer than 6", PARTS[:2]),
        (0, 0, "every prediction changes under noise; no prediction changes under disruption", ()),
    ],
)
def test_too_few_predictions(kept, changed, reason, defined):
    clean, other = normal(0, 12, 4), normal(1, 12, 4)
    number = np.arange(12)
    found = of(clean, [other], [other], kept=[number < kept], changed=[number < changed])
    assert found.reason == reason
    assert tuple(name for name in PARTS if not math.isnan(getattr(found, name))) == defined
    assert math.isnan(found.score) == (len(defined) < 4)
    assert (found.used_nr, found.used_ar) == (Used(kept, kept), Used(changed, changed))


def test_only_the_predictions_that_did_as_they_have_to_count():
    """Whatever the scores of the others are."""
    clean, noisy, disrupted = (normal(seed, 12, 4) for seed in range(3))
    flags = np.arange(12) < 7
    first = of(clean[:7], [noisy[:7]], [disrupted[:7]])
    noisy[7:], disrupted[7:] = 100, -100
    assert parts(of(clean, [noisy], [disrupted], kept=[flags], changed=[flags])) == pytest.approx(parts(first))


def test_undefined_scores():
    clean, other = normal(0, 12, 4), normal(1, 12, 4)
    few = np.where(np.arange(12)[:, None] < 5, other, np.nan)
    found = of(clean, [few], [few])
    assert found.reason == (
        "too few scores where predictions stay under noise; too few scores where predictions change under disruption"
    )
    assert found.used_nr == Used(5, 5.0)
    just = np.arange(12) < 6  # as many as are needed: scores lack, not predictions
    assert of(clean, [few], [few], kept=[just], changed=[just]).reason == found.reason
    nothing = np.full((12, 4), np.nan)
    assert math.isnan(of(nothing, [other], [other]).score)


def test_one_method_has_no_order():
    clean, other = normal(0, 12, 1), normal(1, 12, 1)
    found = of(clean, [other], [other])
    assert (found.reason, math.isnan(found.iec_nr), math.isnan(found.iac_nr)) == ("fewer than two methods", True, False)


def test_nothing_to_compare():
    assert of(normal(0, 12, 4), [], []).reason == "not measured"
    assert of(np.zeros((0, 4)), [np.zeros((0, 4))], [np.zeros((0, 4))]).reason.startswith("every prediction changes")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: of(np.zeros((6, 2)), [], [], higher="lower"), TypeError, "must be True or False, got 'lower'"),
        (lambda: of(np.zeros(6), [], []), ValueError, r"samples x methods, got the shape \(6,\)"),
        (lambda: of(np.zeros((6, 2)), [np.zeros((6, 3))], []), ValueError, r"\(6, 2\) like the clean, got \(6, 3\)"),
        (
            lambda: of(np.zeros((6, 2)), [np.zeros((6, 2))], [], kept=[]),
            ValueError,
            r"each of 1 perturbations .* got the shapes \[\]",
        ),
        (lambda: of(np.zeros((6, 2)), [np.zeros((6, 2))], [], kept=[[True]]), ValueError, r"got the shapes \[\(1,\)\]"),
        (
            lambda: of(np.zeros((6, 2)), [np.zeros((6, 2))], [], iterations=2),
            ValueError,
            "2 iterations do not divide 1 ",
        ),
        (lambda: of(np.zeros((6, 2)), [], [], iterations=0), ValueError, "0 iterations do not divide 0 "),
    ],
)
def test_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


# From trials


def trials(clean, perturbed, kept, **options):
    """Rows of a run of methods m0, m1, ..., of the trials in `perturbed` and of what became of the predictions."""

    def named(table):
        return {f"m{number}": list(column) for number, column in enumerate(np.asarray(table).T)}

    return pd.concat(
        [
            rows({**named(clean), "dear": list(normal(9, len(clean)))}, **options),
            *(
                rows(named(table), trial, str(k), **options)
                for trial, all_ in perturbed.items()
                for k, table in enumerate(all_)
            ),
            *(
                rows({"": list(flags)}, trial, str(k), metric="prediction_kept")
                for trial, all_ in kept.items()
                for k, flags in enumerate(all_)
            ),
        ]
    )


TRIALS = ("weights_noise", "weights_disruption", "inputs_noise", "inputs_disruption")


@pytest.mark.parametrize("higher", [True, False])
def test_both_spaces_of_a_metric(higher):
    """The method that was too dear is left out; samples that were not perturbed as well."""
    clean = normal(0, 14, 3)
    perturbed = {trial: [normal(10 * i + k, 12, 3) for k in (1, 2)] for i, trial in enumerate(TRIALS)}
    rng = np.random.default_rng(0)
    chances = dict(zip(TRIALS, (0.9, 0.2, 0.8, 0.3), strict=True))
    kept = {trial: [(rng.random(12) < chance).astype(float) for _ in range(2)] for trial, chance in chances.items()}
    (found,) = evidences(trials(clean, perturbed, kept, higher=higher))
    both = consistency(found)
    for space in ("weights", "inputs"):
        noise, disruption = f"{space}_noise", f"{space}_disruption"
        expected = of(
            clean[:12],
            perturbed[noise],
            perturbed[disruption],
            higher=higher,
            kept=[flags == 1 for flags in kept[noise]],
            changed=[flags == 0 for flags in kept[disruption]],
        )
        assert repr(getattr(both, space)) == repr(expected)
    assert both.score == (both.weights.score + both.inputs.score) / 2
    assert both.reason == ""
    assert 0 < both.score < 1


def planted(**changed):
    """Evidence of 12 samples on which noise does nothing, and disruption lowers all scores and changes predictions."""
    clean = np.round(8 * normal(0, 12, 3)) / 8  # so that all fall by the same, to the last bit
    tables = {trial: [clean - trial.endswith("disruption")] * 2 for trial in TRIALS}
    kept = {trial: [[float(trial.endswith("noise"))] * 12] * 2 for trial in TRIALS}
    (found,) = evidences(trials(clean, tables, kept | changed))
    return found


def test_a_planted_metric():
    """All six numbers are known: identical scores, and 12 falls of one size, whose p is that of all signs alike."""
    both = consistency(planted())
    reactive = 1 - slow_p(np.ones(12), np.zeros(12))
    assert parts(both.weights) == parts(both.inputs) == pytest.approx((1, 1, reactive, 1))
    assert both.score == pytest.approx((3 + reactive) / 4)
    assert both.weights.used_nr == both.inputs.used_ar == Used(12, 12.0)


def test_iterations_of_trials():
    both = consistency(planted(), iterations=2)
    assert both.weights.sd == both.inputs.sd == 0
    with pytest.raises(ValueError, match="3 iterations do not divide 2 perturbations"):
        consistency(planted(), iterations=3)


def test_one_space_without_a_change():
    both = consistency(planted(weights_disruption=[[1.0] * 12] * 2))
    assert both.reason == "weights: no prediction changes under disruption"
    assert math.isnan(both.score)
    assert both.inputs.score > 0.9
    neither = consistency(planted(**{trial: [[1.0] * 12] * 2 for trial in TRIALS}))
    assert neither.reason == "no prediction changes under disruption"


def test_predictions_of_which_nothing_is_known_are_neither_kept_nor_changed():
    unknown = consistency(planted(weights_noise=[[math.nan] * 12] * 2, weights_disruption=[[math.nan] * 12] * 2))
    assert unknown.weights.used_nr == unknown.weights.used_ar == Used(0, 0.0)


def test_trials_that_are_not_there():
    nothing = consistency(evidence({"a": [0.1, 0.2], "b": [0.3, 0.4]}))
    assert nothing.reason == nothing.weights.reason == "not measured"
    assert math.isnan(nothing.score)
    found = planted()
    half = replace(found, kept={trial: flags for trial, flags in found.kept.items() if trial != "inputs_noise"})
    assert consistency(half).reason == "inputs: not measured"


def test_methods_that_were_all_too_dear():
    found = planted()
    empty = {trial: tuple(pd.DataFrame(index=found.scores.index) for _ in range(2)) for trial in TRIALS}
    for perturbed in ({}, empty):
        assert consistency(replace(found, perturbed=perturbed)).reason == "skipped: cost"
