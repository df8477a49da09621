"""Performance profiles from rows with known scores."""

import numpy as np
import pytest
from score_rows import cells, frame, noise

from xaieval.aggregates import performance_profile
from xaieval.leaderboard import leaderboards
from xaieval.profiles import THRESHOLDS, profiles


def profile(*groups):
    found = profiles(leaderboards(frame(*groups)))
    return {key: own.reset_index(drop=True) for key, own in found.groupby(["metric", "method"])}


def test_shares_are_those_of_scores_above_each_threshold():
    scores = {"a": [0.0, 0.25, 0.5, 1.0], "b": [0.5, 0.5, 0.5, 0.5]}
    found = profile(*(cells(name, "insertion", own) for name, own in scores.items()))
    a = found["insertion", "a"]
    assert a["threshold"].tolist() == pytest.approx(np.arange(THRESHOLDS) / 40)
    assert a["share"].tolist() == [0.75] * 10 + [0.5] * 10 + [0.25] * 20 + [0.0]
    assert found["insertion", "b"]["share"].tolist() == [1.0] * 20 + [0.0] * 21
    assert set(a["n"]) == {4}


def test_a_share_has_the_interval_that_it_has_alone():
    scores = {"a": noise(0), "b": [*noise(1, 25), *["zero map"] * 5], "c": [*noise(2, 5), *["zero map"] * 25]}
    found = profile(*(cells(name, "deletion", own) for name, own in scores.items()))
    for name, count in (("a", 25), ("b", 25), ("c", 5)):  # c stands apart, on its own samples
        own = found["deletion", name]
        expected = performance_profile(scores[name][:count], own["threshold"].tolist())
        assert own[["share", "low", "high", "n"]].to_numpy() == pytest.approx(np.array(expected), abs=1e-12)


def test_equal_scores_have_one_threshold():
    found = profile(*(cells(name, "insertion", [0.5] * 3) for name in "ab"), cells("c", "insertion", ["units"] * 3))
    assert set(found) == {("insertion", "a"), ("insertion", "b")}
    assert found["insertion", "a"][["threshold", "share", "low", "high"]].to_numpy().tolist() == [[0.5, 0, 0, 0]]
    assert profiles(leaderboards(frame(cells("a", "insertion", ["units"] * 3)))).empty
