"""Many columns resampled at once, against one column at a time."""

import numpy as np
import pytest

from xaieval.aggregates import interquartile_mean
from xaieval.column_intervals import interquartile_intervals, mean_intervals
from xaieval.statistics import bootstrap_interval

SOURCES = {
    "one source each": [f"source {number}" for number in range(30)],
    "three of a source": [f"source {number // 3}" for number in range(30)],
    "sources of several sizes": [f"source {int(number**0.5)}" for number in range(30)],
    "mosaics in groups": [(f"source {number // 5}", f"source {10 + number // 4}") for number in range(30)],
    "mosaics in a ring": [(f"source {number}", f"source {(number + 1) % 30}") for number in range(30)],
}


@pytest.fixture
def table():
    values = np.random.default_rng(0).normal(size=(30, 6)) * [1, 100, 1e-6, 1, 1, 1]
    values[3:8, 2] = np.nan
    values[[0, 29], 3] = [np.inf, np.nan]
    values[:, 4] = 0.1
    values[1:, 5] = np.nan
    return values


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(
    ("together", "alone"), [(mean_intervals, bootstrap_interval), (interquartile_intervals, interquartile_mean)]
)
def test_a_column_has_the_interval_that_it_has_alone(table, sources, together, alone):
    """The draws are the same, so that only rounding differs."""
    for column, interval in enumerate(together(table, sources)):
        expected = alone(table[:, column], sources)
        assert interval.n == expected.n
        assert interval[:3] == pytest.approx(expected[:3], rel=1e-10, abs=1e-16, nan_ok=True)


def test_columns_beyond_those_resampled_at_once(monkeypatch):
    values, sources = np.random.default_rng(1).normal(size=(12, 7)), list(range(12))
    whole = mean_intervals(values, sources)
    monkeypatch.setattr("xaieval.column_intervals.ELEMENTS", 30_000)
    assert np.array(mean_intervals(values, sources)) == pytest.approx(np.array(whole), rel=1e-12)


def test_no_sample_has_no_mean():
    assert mean_intervals(np.full((3, 2), np.nan), [1, 2, 3])[1] == (*[pytest.approx(np.nan, nan_ok=True)] * 3, 0)
    assert mean_intervals(np.empty((3, 0)), [1, 2, 3]) == []
    assert interquartile_intervals(np.empty((0, 1)), [])[0].n == 0
