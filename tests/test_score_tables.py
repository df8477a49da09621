"""Hand tables of scores."""

import numpy as np
import pandas as pd
import pytest

from xaieval.score_tables import alike, common, often, order_of, scale_of


def scores(**columns):
    size = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"s{number:02}" for number in range(size)], dtype=float)


def test_scale_is_the_largest_score_of_a_sample_and_at_least_a_usual_one():
    values = np.array([[0.0, 0.0], [1.0, -2.0], [3.0, np.nan], [1e9, 1.0]])
    assert scale_of(values).tolist() == [2.5, 2.5, 3.0, 1e9]
    assert scale_of(np.zeros((0, 3))).tolist() == []


def test_alike_is_equal_to_rounding_sample_by_sample():
    equal = scores(a=[1.0, 100.0, 0.0], b=[1.0 + 9e-6, 100.0 - 9e-4, 9e-6], c=[np.nan, 100.0, np.nan])
    assert alike(equal)
    assert not alike(equal.assign(b=equal["b"] + [3e-5, 0, 0]))
    assert alike(equal * 1e-9)
    assert not alike(equal[["a"]])
    assert not alike(scores(a=[1.0, np.nan], b=[np.nan, 1.0]))
    assert not alike(scores(a=[0.1, 0.1, 1e9], b=[0.2, 0.2, 1e9]))  # one huge sample hides nothing


def test_common_samples_have_every_score():
    first, second = scores(a=[1, 2, np.nan, 4], b=[1, 2, 3, np.inf]), scores(c=[np.nan, 2, 3])
    assert common([first]) == ["s00", "s01"]
    assert common([first, second]) == ["s01"]
    assert common([first, first[[]]]) == ["s00", "s01"]
    assert common([]) == []


def test_order_of_means_on_common_samples():
    table = scores(b=[1, 2, 9], a=[5, 4, np.nan], c=[0, 1, 0])
    assert order_of(table).to_dict() == {"b": 1, "a": 2, "c": 0}
    assert list(order_of(table).index) == ["b", "a", "c"]
    assert order_of(-table).to_dict() == {"b": 1, "a": 0, "c": 2}
    assert order_of(table.iloc[2:]).isna().all()
    assert order_of(table[[]]).empty


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_means_equal_to_rounding_share_a_place(scale):
    table = scale * scores(a=[1.0, 3.0], b=[3.0, 1.0 + 1e-6], c=[2.1, 2.0], d=[2.0, 2.0 - 1e-6])
    assert order_of(table).to_dict() == {"a": 0, "b": 0, "c": 1, "d": 0}


def test_often_is_half_of_the_samples():
    table = scores(a=[1, np.nan, np.nan], b=[1, np.nan, 2], c=[np.inf, np.nan, np.nan], d=[1, 2, 3])
    assert list(often(table).columns) == ["b", "d"]
    assert list(often(table.iloc[:2]).columns) == ["a", "b", "d"]
    assert often(table.iloc[:0]).shape == (0, 0)
