"""Every trial of a frame lands in its table, under the leaderboard's names."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from trial_frames import evidence, rows

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.component import component_dict
from xaieval.config import default, names
from xaieval.evidence import ORACLES, evidences
from xaieval.leaderboard import leaderboards

SCORES = {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.5, 0.6, 0.7, 0.8], "random": [0.0, 0.1, 0.0, 0.1]}


def table(**columns):
    """Samples x methods, as the evidence holds them."""
    size = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"s{number:02}" for number in range(size)], dtype=float)


def same(found, **columns):
    assert list(found.columns) == list(columns)
    assert list(found.index) == list(table(**columns).index)
    np.testing.assert_array_equal(found.to_numpy(), table(**columns).to_numpy())


# Where each trial goes


def test_every_trial_lands_in_its_table():
    first = {"a": [0.15, 0.25], "b": [0.55, 0.65], "random": [0.05, 0.15]}
    perturbed = {"a": [0.9, 0.8]}
    kept = {"metric": "prediction_kept"}
    trials = pd.concat(
        [
            rows(SCORES, parameters={"removal": "zero", "seed": 0}),
            rows({"a": [0.0] * 4, "b": [0.1] * 4}, "shuffled"),
            rows({"a": [0.11, 0.21]}, "seed", "1"),
            *(rows(first, "draw", variant, parameters={"removal": "zero", "seed": 1}) for variant in ("10", "2", "1")),
            rows(first, "removal", "mean", parameters={"removal": "mean"}),
            rows({"greedy": [0.9, 1.0]}, "oracle"),
            rows(perturbed, "weights_noise", "1"),
            rows({"": [1, 0]}, "weights_noise", "0", **kept),
            rows({"": [1, 1]}, "weights_noise", "1", **kept),
        ]
    ).sample(frac=1, random_state=0)
    (found,) = evidences(trials)
    assert (found.dataset, found.model, found.metric, found.category) == ("sources", "toy", "m", "faithfulness")
    assert (found.higher_is_better, found.lowest, found.highest) == (True, 0.0, 1.0)
    same(found.scores, a=SCORES["a"], b=SCORES["b"])
    same(found.sentinels, random=SCORES["random"])
    same(found.shuffled, a=[0.0] * 4, b=[0.1] * 4)
    same(found.seeds[0], a=[0.11, 0.21])
    assert len(found.seeds) == 1
    assert len(found.draws) == 3
    same(found.draws[0], **first)
    assert found.own == "zero"
    assert list(found.removals) == ["mean"]
    same(found.removals["mean"], **first)
    same(found.oracles, greedy=[0.9, 1.0])
    assert list(found.perturbed) == list(found.kept) == ["weights_noise"]
    assert found.perturbed["weights_noise"][0].shape == (2, 0)  # the metric has no score of this perturbation
    same(found.perturbed["weights_noise"][1], **perturbed)
    assert [series.tolist() for series in found.kept["weights_noise"]] == [[1, 0], [1, 1]]


def test_variants_are_in_the_order_of_their_numbers():
    trials = pd.concat([rows(SCORES), *(rows({"a": [int(number)]}, "draw", number) for number in ("10", "2", "1"))])
    assert [draw.loc["s00", "a"] for draw in evidences(trials)[0].draws] == [1, 2, 10]


def test_rows_without_trials_are_the_run():
    plain = rows(SCORES).drop(columns=["trial", "variant"])
    (found,) = evidences(plain)
    same(found.scores, a=SCORES["a"], b=SCORES["b"])
    for empty in (found.shuffled, found.oracles):
        assert empty.shape[1] == 0
    assert (found.seeds, found.draws, found.own, found.removals, found.perturbed, found.kept) == (
        (),
        (),
        "",
        {},
        {},
        {},
    )


def test_no_run_is_no_evidence():
    assert evidences(rows(SCORES, "draw", "1")) == []
    assert evidences(rows(SCORES)[:0]) == []


def test_a_changed_input_frame_is_not_touched():
    trials = pd.concat([rows(SCORES), rows(SCORES, "draw", "1")])
    before = trials.copy()
    evidences(trials)
    pd.testing.assert_frame_equal(trials, before)


# Names, order and choice of the leaderboard


VARIANTS: list[dict[str, Any]] = [{"parameters": {"samples": 1}}, {"parameters": {"samples": 2}}, {"dataset": "other"}]


def test_names_and_order_are_the_leaderboards():
    metrics = {"sparse": "complexity", "deletion": "faithfulness", "aopc": "faithfulness", "pointing": "localization"}
    trials = pd.concat(
        [rows(SCORES, metric=name, category=kind, **extra) for name, kind in metrics.items() for extra in VARIANTS]
    )
    boards = leaderboards(trials)
    assert [(board.dataset, column.name) for board in boards for column in board.columns] == [
        (found.dataset, found.metric) for found in evidences(trials)
    ]
    assert [found.metric for found in evidences(trials)][3:6] == ["sparse", "aopc samples=1", "aopc samples=2"]


def test_trials_take_the_labels_of_the_run():
    # Rows of one name with two precisions: the leaderboard tells them apart, and a trial of either is not guessed.
    both = {"a": [0.1, 0.2]}
    trials = pd.concat(
        [rows(both), rows(both, precision="bfloat16"), rows({"b": [0.3, 0.4]}), rows(SCORES, "draw", "1")]
    )
    (found,) = evidences(trials)
    assert list(found.scores.columns) == ["a precision=bfloat16", "a precision=float32", "b"]
    assert set(found.draws[0].columns) == {"a", "b", "random"}
    one_name = pd.concat([rows(SCORES, metric="m"), rows(SCORES, "draw", "1", metric="m", parameters={"seed": 1})])
    assert len(evidences(one_name)[0].draws) == 1


def test_the_latest_row_counts():
    early = {"time": datetime(2024, 1, 1, tzinfo=UTC)}
    old = rows({"a": [9.0], "b": [9.0]}, "draw", "1", **early)
    trials = pd.concat([rows(SCORES), rows({"a": [0.1], "b": [0.2]}, "draw", "1"), old])
    same(evidences(trials)[0].draws[0], a=[0.1], b=[0.2])


def test_methods_with_few_scores_stand_apart_as_in_the_leaderboard():
    holes: dict[str, list[Any]] = {
        "whole": [1, 2, 3, 4],
        "half": [1, "zero map", "zero map", 4],
        "few": [1, "units", "units", "units"],
    }
    trials = rows({**holes, "none": ["units"] * 4, "random": ["units"] * 4})
    (board,), (found,) = leaderboards(trials), evidences(trials)
    compared = [name for name, score in board.columns[0].scores.items() if score.compared]
    assert list(found.scores.columns) == compared == ["half", "whole"]
    np.testing.assert_array_equal(found.scores["half"], [1, np.nan, np.nan, 4])
    assert list(found.sentinels.columns) == ["random"]


def test_sources_and_direction():
    found = evidence({"b": [1, 2], "a": [3, "zero map"]}, higher=False, sources=[("x",), ("x", "y")])
    assert found.sources_of(["s01", "s00"]) == [("x", "y"), ("x",)]
    same(found.oriented(found.scores), a=[-3, np.nan], b=[-1, -2])
    up = evidence({"a": [3, 4]})
    same(up.oriented(up.scores), a=[3, 4])


# A shuffled map among the methods of the run


def parameters_of(**components):
    return {name: component_dict(component) for name, component in components.items()}


def test_permuted_methods_of_the_run_are_their_shuffled_maps():
    methods = parameters_of(
        gradient=Gradient(), smoothgrad=SmoothGrad(samples=8), permuted=Permuted(SmoothGrad(samples=8))
    )
    scores = {"gradient": [1, 2], "smoothgrad": [3, 4], "permuted": [5, 6]}
    (found,) = evidences(rows(scores, methods=methods))
    same(found.shuffled, smoothgrad=[5, 6])
    same(found.sentinels, permuted=[5, 6])
    other = methods | parameters_of(permuted=Permuted(SmoothGrad(samples=9)))
    assert evidences(rows(scores, methods=other))[0].shuffled.shape == (2, 0)
    trials = pd.concat([rows(scores, methods=methods), rows({"gradient": [7, 8]}, "shuffled")])
    same(evidences(trials)[0].shuffled, gradient=[7, 8])


@pytest.mark.parametrize(
    ("parameters", "name"),
    [({"removal": "blur"}, "blur"), ({"removal": {"_target_": "xaieval.removal.Blur", "sigma": 2}}, "Blur"), ({}, "")],
)
def test_the_removal_of_the_run(parameters, name):
    assert evidence({"a": [1, 2]}, parameters=parameters).own == name


def test_every_bound_is_known_as_one():
    made = [default("method", name) for name in names("method")]
    bounds = {f"{type(method).__module__}.{type(method).__qualname__}" for method in made if method.oracle}
    assert bounds == set(ORACLES)
