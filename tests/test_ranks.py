"""Ranks of methods from rows with known scores."""

import re

import numpy as np
import pytest
from score_rows import cells, frame, noise, records

from xaieval.leaderboard import leaderboards
from xaieval.ranking import rank_stability
from xaieval.ranks import ranks


def table(*groups):
    (found,) = ranks(leaderboards(frame(*groups)))
    return found


def rows_of(metric, **scores):
    return [row for name, own in scores.items() for row in cells(name, metric, own)]


def test_mean_ranks_share_ties_and_follow_the_metric():
    """Sample by sample a, b, c are ranked (1, 2, 3), (1.5, 1.5, 3), (3, 2, 1), (1, 2.5, 2.5)."""
    scores = {"a": [0.9, 0.5, 0.1, 0.9], "b": [0.5, 0.5, 0.2, 0.1], "c": [0.1, 0.1, 0.3, 0.1]}
    found = table(rows_of("insertion", **scores), rows_of("deletion", **scores))
    order = found.orders["insertion"]
    means = dict(zip(order.names, order.means, strict=True))
    assert means == {"a": 6.5 / 4, "b": 8 / 4, "c": 9.5 / 4}
    ranks_of_a = np.array([1, 1.5, 3, 1])
    assert order.deviations[order.names.index("a")] == pytest.approx(np.sqrt(((ranks_of_a - 6.5 / 4) ** 2).sum() / 3))
    assert (order.n, order.sources) == (4, 4)
    other = found.orders["deletion"]
    assert dict(zip(other.names, other.means, strict=True)) == {"a": 4 - 6.5 / 4, "b": 2, "c": 4 - 9.5 / 4}


def test_places_are_those_of_resampled_orders():
    scores = {"a": noise(0), "b": noise(1), "c": noise(2)}
    found = table(rows_of("insertion", **scores))
    order = found.orders["insertion"]
    expected = rank_stability(np.array([scores[name] for name in order.names]).T, True, by="borda")
    assert all(
        np.array_equal(*pair) for pair in zip(vars(order.stability).values(), vars(expected).values(), strict=True)
    )
    place = order.names.index("b")
    low, high, first = (values[place] for values in (expected.low, expected.high, expected.first))
    own = f"{order.means[place]:.2f}"
    shown = f"{own}: {expected.ranks[place]:g} [{low:g}, {high:g}] {100 * first:.0f} %"
    assert re.search(rf"^b +{re.escape(shown)}", found.text(), re.M)
    assert f"{own} sd {order.deviations[place]:.2f}".replace("sd 0.", "sd .") in found.markdown()
    firm = f"insertion {expected.tau:.2f} and {100 * expected.top:.0f} %.".replace(" 0.", " .")
    assert found.text().rstrip().endswith(firm)


def test_a_method_that_always_wins_is_first_in_every_resample():
    found = table(rows_of("insertion", a=[0.25] * 20, b=[0.75] * 20, c=[0.5] * 20))
    lines = found.text().split("\n")
    assert found.names == ("b", "c", "a")
    assert [line.split() for line in lines if re.match("[abc] ", line)] == [
        ["b", "1.00:", "1", "[1,", "1]", "100", "%*", "1.00*"],
        ["c", "2.00:", "2", "[2,", "2]", "0", "%", "2.00"],
        ["a", "3.00:", "3", "[3,", "3]", "0", "%", "3.00"],
    ]
    assert "insertion 1.00 and 100 %." in lines[-2]


def test_equal_scores_share_all_places():
    found = table(rows_of("insertion", a=[0.5] * 20, b=[0.5] * 20))
    order = found.orders["insertion"]
    assert order.means == (1.5, 1.5)
    assert np.isnan(order.stability.tau)
    assert re.search(r"^a +1\.50: 1\.5 \[1\.5, 1\.5\] 50 %\* +1\.50\*$", found.text(), re.M)
    assert "insertion - and 100 %." in found.text()


def deciding():
    """Borda's order: deletion c, b, a; insertion a, b, c; pointing_game b, then a and c alike."""
    return (
        rows_of("deletion", a=[0.75] * 20, b=[0.5] * 20, c=[0.25] * 20),
        rows_of("insertion", a=[0.75] * 20, b=[0.5] * 20, c=[0.25] * 20),
        rows_of("pointing_game", a=[0.25] * 20, b=[0.5] * 20, c=[0.25] * 20),
    )


def test_the_last_column_is_the_mean_place_over_the_deciding_metrics():
    found = table(*deciding(), rows_of("sparseness", a=[0.25] * 20, b=[0.5] * 20, c=[0.75] * 20))
    assert found.joint.metrics == ("deletion", "insertion", "pointing_game")
    assert found.joint.means == pytest.approx({"a": 6.5 / 3, "b": 5 / 3, "c": 6.5 / 3})
    spread = np.sqrt(((np.array([3, 1, 2.5]) - 6.5 / 3) ** 2).sum() / 2)
    assert found.joint.deviations["a"] == pytest.approx(spread)
    assert re.search(r"^b .* 1\.67\*$", found.text(), re.M)
    assert found.markdown().split("\n")[2].endswith("| Borda over 3 metrics |")
    assert f"| 2.17 sd {spread:.2f} |" in found.markdown()
    assert "Borda: mean place over the metrics that decide, deletion, insertion, pointing_game." in found.text()


def test_a_metric_that_some_method_lacks_stays_out_of_the_last_column():
    few = rows_of("pointing_game", a=[0.5] * 20, b=[0.25] * 20, c=["no mask"] * 11 + [0.75] * 9)
    found = table(*deciding()[:2], few, rows_of("deletion", d=["unsupported layers: x"] * 20))
    assert set(found.names) == set("abc")  # d is compared nowhere
    assert (found.joint.metrics, found.joint.left_out) == (("deletion", "insertion"), ("pointing_game",))
    assert found.orders["pointing_game"].names == ("a", "b")
    assert "Not in Borda, as some of its methods are not compared there: pointing_game." in found.text()
    assert re.search(r"^c .* 0 %\*? +- +2\.00\*$", found.text(), re.M) or re.search(
        r"^c .* - +2\.00\*$", found.text(), re.M
    )
    apart = table(rows_of("insertion", a=[0.5] * 20, b=[0.25] * 20), rows_of("deletion", c=[0.5] * 20, a=[0.5] * 20))
    assert apart.joint.metrics == ()
    assert "Borda" not in apart.markdown().split("\n")[2]
    assert "Not in Borda, as some of its methods are not compared there: deletion, insertion." in apart.text()


def test_below_twenty_sources_nothing_stands_out():
    found = table(rows_of("insertion", a=[0.75] * 19, b=[0.25] * 19))
    assert "*" not in found.text()
    assert "Too few to rank: fewer than 20 independent sources." in found.text()
    assert re.search(r"^a +1\.00: 1 \[1, 1\] 100 %$", found.text(), re.M)
    one = table(rows_of("insertion", a=[0.75], b=[0.25]))
    assert re.search(r"^a +1\.00$", one.text(), re.M)
    assert "| a | 1.00 |" in one.markdown()
    assert "Kendall" not in one.text()


def test_samples_without_a_score_for_every_method_are_left_out():
    found = table(
        rows_of("insertion", a=[0.75] * 24, b=["zero map"] * 2 + [0.25] * 22, random=["units"] * 3 + [0.5] * 21)
    )
    assert (found.orders["insertion"].n, found.names) == (22, ("a", "b"))
    assert "insertion ↑ 0 to 1 n = 22" in found.markdown()


def test_one_method_has_no_rank():
    assert ranks(leaderboards(frame(rows_of("insertion", a=[0.5] * 20, random=[0.25] * 20)))) == []
    assert ranks(leaderboards(frame(rows_of("insertion", a=["units"] * 20, b=[0.5] * 20)))) == []


def test_csv_has_the_numbers_in_full():
    found = table(
        rows_of("insertion", a=noise(0), b=noise(1), c=[0.5 * value for value in noise(2)]),
        rows_of("sparseness", a=noise(3), b=noise(4)),
    )
    lines = {(line["metric"], line["method"]): line for line in records([found])}
    assert set(lines) == {("insertion", name) for name in "abc"} | {("sparseness", name) for name in "ab"} | {
        ("Borda", name) for name in "abc"
    }
    order = found.orders["insertion"]
    for place, name in enumerate(order.names):
        line, firm = lines["insertion", name], order.stability
        assert tuple(float(line[key]) for key in ("mean", "sd", "n")) == (
            order.means[place],
            order.deviations[place],
            30,
        )
        assert (line["n"], line["sources"]) == ("30", "30")
        places = [float(line[key]) for key in ("place", "low", "high", "first")]
        assert places == [values[place] for values in (firm.ranks, firm.low, firm.high, firm.first)]
        assert [float(line[key]) for key in ("tau", "best_stays")] == [firm.tau, firm.top]
        joint = lines["Borda", name]
        assert (float(joint["mean"]), joint["n"], joint["sd"]) == (found.joint.means[name], "1", "")
        assert float(joint["place"]) == sorted(found.joint.means.values()).index(found.joint.means[name]) + 1


def rows_from(sources, scores):
    """Rows of insertion whose samples are of these sources."""
    return [
        row | {"sources": own}
        for name, values in scores.items()
        for row, own in zip(cells(name, "insertion", values), sources, strict=True)
    ]


def test_sources_are_drawn_together():
    sources = [(f"source {number // 5}",) for number in range(20)]
    scores = {"a": noise(0, 20), "b": noise(1, 20)}
    order = table(rows_from(sources, scores)).orders["insertion"]
    values = np.array([scores[name] for name in order.names]).T
    assert order.stability.top == rank_stability(values, True, sources, by="borda").top
    assert order.sources == 4


def test_overlapping_mosaics_and_two_sources():
    ring = [(f"source {number}", f"source {(number + 1) % 24}") for number in range(24)]
    order = table(rows_from(ring, {"a": noise(0, 24), "b": noise(1, 24)})).orders["insertion"]
    assert (order.n, order.sources) == (24, 24)
    assert sum(order.stability.first) == pytest.approx(1)
    two = table(rows_of("insertion", a=[0.75, 0.25], b=[0.25, 0.75]))
    # both once: a tie; one of them twice: the order of that source
    assert two.orders["insertion"].stability.low.tolist() == [1, 1]
    assert two.orders["insertion"].stability.high.tolist() == [2, 2]
    assert two.orders["insertion"].stability.first == pytest.approx([0.5, 0.5], abs=0.02)
