"""All pairs of methods from rows with known scores."""

import re

import numpy as np
import pytest
from score_rows import cells, frame, noise, records

from xaieval.aggregates import probability_of_improvement
from xaieval.leaderboard import leaderboards
from xaieval.paired_tests import holm
from xaieval.pairs import pairs
from xaieval.statistics import paired_difference


def table(*groups):
    (found,) = pairs(leaderboards(frame(*groups)))
    return found


def cell(lines, pair):
    return next(line for line in lines if line.startswith(f"| {pair} |")).split(" | ")[1].removesuffix(" |")


def test_signs_are_flipped_exactly_and_corrected_over_the_pairs_of_a_metric():
    """Of 2^4 flips of four equal differences two are as far from 0, so p = 2 / 16."""
    scores = {"a": [0.75] * 4, "b": [0.5] * 4, "c": [0.5, 0.25, 0.75, 0.5]}
    rows = [cells(name, metric, own) for name, own in scores.items() for metric in ("insertion", "sparseness")]
    found = table(*rows)
    assert found.names == (("a", "b"), ("a", "c"), ("b", "c"))
    first, second, third = found.tested["insertion"]
    assert (first.p, first.difference.interval) == (2 / 16, (0.25, 0.25, 0.25, 4))
    # a - c = .25, .5, 0, .25: with the signs of the four, only all + and all - reach 1, and the third is free
    assert second.p == 4 / 16
    # b - c = 0, .25, -.25, 0 sums to 0, which everything reaches
    assert third.p == 1
    assert [one.adjusted for one in (first, second, third)] == [3 * 2 / 16, 2 * 4 / 16, 1]
    assert [one.adjusted for one in found.tested["sparseness"]] == [3 * 2 / 16, 2 * 4 / 16, 1]
    assert [one.improvement.mean for one in (first, second, third)] == [1, 3.5 / 4, 0.5]
    assert second.difference.deviation == pytest.approx(np.sqrt((0 + 0.0625 + 0.0625 + 0) / 3))


@pytest.fixture
def noisy():
    """Three methods, one of them better, one with fewer scores; lower is better on deletion."""
    scores = {"a": noise(0), "b": (np.array(noise(0)) / 2).tolist(), "c": [*noise(1, 25), *["zero map"] * 5]}
    return scores, [cells(name, metric, own) for name, own in scores.items() for metric in ("insertion", "deletion")]


def test_a_pair_is_as_it_is_alone(noisy):
    scores, rows = noisy
    found = table(*rows, cells("random", "insertion", noise(7)))
    values = {name: np.array([s if isinstance(s, float) else np.nan for s in own]) for name, own in scores.items()}
    for metric, higher in (("insertion", True), ("deletion", False)):
        for (first, second), one in zip(found.names, found.tested[metric], strict=True):
            pair = values[first], values[second]
            expected = paired_difference(*pair)
            assert one.difference.interval == pytest.approx(expected, abs=1e-12)
            improved = probability_of_improvement(*pair, higher_is_better=higher)
            assert one.improvement == pytest.approx(improved, abs=1e-12)
            assert (one.difference.interval.n, one.difference.sources) == (
                (25, 25) if "c" in first + second else (30, 30)
            )


def test_marks_tell_which_method_is_better(noisy):
    found = table(*noisy[1])
    (better,) = (place for place, names in enumerate(found.names) if set(names) == {"a", "b"})
    tested = found.tested["insertion"][better]
    assert tested.p <= 2 / 10_000
    assert tested.adjusted == pytest.approx(holm([one.p for one in found.tested["insertion"]])[better])
    first, second = found.names[better]
    lines = found.markdown().split("\n")
    row = next(line for line in lines if line.startswith(f"| {first} - {second} |"))
    marks = {"a": "▼ | ", "b": "▲ | "}[first], {"a": "▲ |", "b": "▼ |"}[first]  # deletion, insertion
    assert re.search(rf"{marks[0].replace('|', '[|]')}.*{marks[1].replace('|', '[|]')}$", row)
    mean, low, high = (f"{value:+.3f}".replace("0.", ".") for value in tested.difference.interval[:3])
    sd = f"{tested.difference.deviation:.3f}".replace("0.", ".")
    assert f"{mean} [{low}, {high}] sd {sd} n = 30 " in row
    assert re.search(rf"^{first} - {second} .* \{mean} [▲▼]$", found.text(), re.M)
    assert "insertion ↑ 0 to 1 n = 25 to 30" in lines[2]
    assert "Holm's correction over all pairs of the metric" in found.text()


def test_an_interval_that_excludes_zero_is_not_enough():
    rng = np.random.default_rng(0)
    base = rng.uniform(size=30)
    rows = [cells(name, "insertion", (base + 0.1 * rng.normal(size=30)).tolist()) for name in "abc"]
    rows.append(cells("d", "insertion", (base + 0.06 + 0.1 * rng.normal(size=30)).tolist()))
    found = table(*rows)
    doubtful = [
        one for one in found.tested["insertion"] if one.difference.interval.excludes(0) and one.adjusted >= 0.05
    ]
    assert doubtful
    marks = sum(line.endswith(("▲", "▼")) for line in found.text().split("\n") if not line.startswith("Mean"))
    assert marks == sum(one.adjusted < 0.05 for one in found.tested["insertion"])


def test_below_twenty_sources_nothing_is_marked():
    scores = {"a": 0.75, "b": 0.25}
    few, enough = (
        table(*(cells(name, "insertion", [score] * sources) for name, score in scores.items())) for sources in (19, 20)
    )
    assert few.tested["insertion"][0].adjusted < 1e-3
    assert re.search(r"^a - b +\+\.500$", few.text(), re.M)
    assert re.search(r"^a - b +\+\.500 ▲$", enough.text(), re.M)
    two = table(*(cells(name, "insertion", [score] * 2) for name, score in scores.items()))
    assert two.tested["insertion"][0].p == 0.5  # two of four flips


def test_equal_methods_do_not_differ():
    found = table(*(cells(name, "insertion", [0.5] * 20) for name in "ab"))
    (one,) = found.tested["insertion"]
    assert (one.p, one.adjusted, one.improvement.mean) == (1, 1, 0.5)
    assert "| a - b | .000 [.000, .000] sd .000 |" in found.markdown()


def test_mosaics_that_are_all_connected_are_not_tested():
    sources = [(f"source {number}", f"source {(number + 1) % 24}") for number in range(24)]
    rows = [
        row | {"sources": own}
        for number, name in enumerate("ab")
        for row, own in zip(cells(name, "insertion", noise(number, 24)), sources, strict=True)
    ]
    found = table(rows)
    (one,) = found.tested["insertion"]
    assert np.isnan(one.p)
    first, second = (noise("ab".index(name), 24) for name in found.names[0])
    assert one.difference.interval == pytest.approx(paired_difference(first, second, sources), abs=1e-12)
    assert "Not tested, as all samples are connected through common sources: insertion." in found.text()
    assert not re.search(r"^. - . .*[▲▼]$", found.text(), re.M)
    (record,) = records([found])
    assert (record["p"], record["p_holm"]) == ("", "")
    assert float(record["low"]) < float(record["mean"]) < float(record["high"])


def test_samples_of_one_source_are_flipped_together():
    """Twelve samples of three sources: two of 2^3 flips reach the sum."""
    sources = [(f"source {number // 4}",) for number in range(12)]
    rows = [
        row | {"sources": own}
        for name, score in (("a", 0.75), ("b", 0.25))
        for row, own in zip(cells(name, "insertion", [score] * 12), sources, strict=True)
    ]
    (one,) = table(rows).tested["insertion"]
    assert (one.p, one.difference.sources, one.difference.interval.n) == (2 / 8, 3, 12)


def test_methods_without_scores_and_sentinels_are_in_no_pair():
    rows = [cells(name, "insertion", [0.5] * 3) for name in ("a", "b", "random")]
    rows += [cells("c", "insertion", ["units"] * 3), cells("d", "insertion", [""] * 3, error="RuntimeError: no")]
    rows.append(cells("e", "deletion", [0.5] * 3))
    found = table(*rows)
    assert {name for names in found.names for name in names} == {"a", "b", "e"}
    assert re.search(r"^(a - e|e - a) +- +-$", found.text(), re.M)
    assert cell(found.markdown().split("\n"), "a - b") == "-"  # on deletion neither has a score
    alone = leaderboards(frame(cells("a", "insertion", [0.5] * 3), cells("random", "insertion", [0.25] * 3)))
    assert pairs(alone) == []


def test_csv_has_the_numbers_in_full(noisy):
    found = table(*noisy[1])
    lines = {(line["metric"], line["first"], line["second"]): line for line in records([found])}
    assert len(lines) == 2 * 3
    for metric in ("insertion", "deletion"):
        for names, one in zip(found.names, found.tested[metric], strict=True):
            line = lines[metric, *names]
            assert tuple(float(line[key]) for key in ("mean", "low", "high", "n")) == one.difference.interval
            assert tuple(float(line[key]) for key in ("sd", "sources")) == one.difference[1:]
            assert tuple(float(line[key]) for key in ("p", "p_holm")) == (one.p, one.adjusted)
            improvement = tuple(float(line[f"improvement{end}"]) for end in ("", "_low", "_high"))
            assert improvement == one.improvement[:3]


def test_the_order_of_rows_changes_nothing(noisy):
    rows = frame(*noisy[1])
    assert pairs(leaderboards(rows.iloc[::-1])) == pairs(leaderboards(rows))
