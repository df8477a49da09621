"""Where one method stands, from rows with known scores."""

import numpy as np
import pytest
from score_rows import cells, frame, noise

from xaieval.family_ranks import family_ranks
from xaieval.leaderboard import leaderboards
from xaieval.ranking import instance_ranks, rank_stability
from xaieval.standing import standing


def board_of(*groups):
    (found,) = leaderboards(frame(*groups))
    return found


def shifted(seed, shift, count=30):
    return (np.array(noise(seed, count)) / 2 + shift).tolist()


@pytest.fixture
def scores():
    """Four methods on three metrics; `mine` is the second on insertion and the best on deletion."""
    return {
        "insertion": {"a": shifted(0, 0.4), "mine": shifted(1, 0.3), "b": shifted(2, 0.2), "c": shifted(3, 0.0)},
        "deletion": {"a": shifted(4, 0.3), "mine": shifted(5, 0.0), "b": shifted(6, 0.2), "c": shifted(7, 0.4)},
        "sparseness": {name: noise(seed) for seed, name in enumerate(("a", "mine", "b", "c"), start=10)},
    }


@pytest.fixture
def rows(scores):
    return [cells(name, metric, own) for metric, methods in scores.items() for name, own in methods.items()]


def test_a_family_is_ranked_by_the_mean_rank_over_metrics_and_samples(scores, rows):
    names = ["a", "b", "c", "mine"]
    faithfulness, complexity = family_ranks(board_of(*rows), names, "mine")
    tables = [np.array([scores[metric][name] for name in names]).T for metric in ("deletion", "insertion")]
    costs = (instance_ranks(tables[0], False) + instance_ranks(tables[1], True)) / 2
    expected = rank_stability(costs, False)
    assert (faithfulness.category, faithfulness.metrics) == ("faithfulness", ("deletion", "insertion"))
    for name in ("ranks", "low", "high", "first"):
        assert getattr(faithfulness.stability, name).tolist() == getattr(expected, name).tolist()
    assert complexity.metrics == ("sparseness",)
    place = names.index("mine")
    ends = [f"{float(getattr(expected, end)[place]):g}" for end in ("ranks", "low", "high")]
    assert faithfulness.place("mine") == f"{ends[0]} [{ends[1]}, {ends[2]}]"
    assert [faithfulness.first(name) for name in names] == (expected.ranks == 1).tolist()


def test_a_family_is_ranked_on_the_samples_that_all_have():
    rows = [cells("a", "insertion", noise(0)), cells("mine", "insertion", [*noise(1)[:25], *["zero map"] * 5])]
    (family,) = family_ranks(board_of(*rows), ["a", "mine"], "mine")
    assert family.sources == 25


def test_a_familys_places_are_drawn_by_source():
    rows = frame(cells("a", "insertion", noise(0)), cells("mine", "insertion", noise(1)))
    sources = [(f"mosaic {place // 3}",) for place in range(30)]
    (board,) = leaderboards(rows.assign(sources=[sources[int(name.split()[-1])] for name in rows["sample"]]))
    (family,) = family_ranks(board, ["a", "mine"], "mine")
    expected = rank_stability(instance_ranks(np.array([noise(0), noise(1)]).T, True), False, sources)
    assert family.stability.first.tolist() == expected.first.tolist()


def test_a_metric_without_the_method_does_not_count_and_a_method_without_a_metric_has_no_place(rows):
    lacking = [cells("mine", "max_sensitivity", ["skipped: cost"] * 30), cells("a", "max_sensitivity", noise(20))]
    apart = cells("d", "insertion", noise(21))
    found = standing(board_of(*rows, *lacking, apart), "mine")
    faithfulness = next(family for family in found.families if family.category == "faithfulness")
    assert faithfulness.place("d") == "-"
    assert "robustness" not in [family.category for family in found.families]
    assert "mine is not compared on max_sensitivity (skipped: cost)." in found.text()


def test_the_rivals_are_the_best_others_and_wins_are_counted_by_sample(scores, rows):
    board = board_of(*rows, cells("random", "insertion", [0.0] * 30))
    assert "random" in [line.name for line in standing(board, "random").order]
    found = standing(board, "mine")
    assert sorted(line.name for line in found.order) == ["a", "b", "c", "mine"]
    assert found.rivals == ("a", "b", "c")
    own, other = (np.array(scores["deletion"][name]) for name in ("mine", "a"))
    text = found.text()
    told = next(line for line in text.splitlines() if line.startswith("deletion"))
    assert f" {(own < other).sum()}-{(own > other).sum()}  -" in told
    assert told.count("▲") == 3  # lower is better, and the means differ by .2 to .4
    order = [row.removeprefix("> ").split()[0] for row in text.splitlines()[5:9]]
    assert sorted(order) == ["a", "b", "c", "mine"]
    assert "\n> mine " in text


def test_ties_are_told(rows):
    same = [cells("same", metric, noise(30)) for metric in ("insertion", "deletion")]
    own = [cells("mine", metric, [*noise(30, 10), *[0.0] * 20]) for metric in ("insertion", "deletion")]
    text = standing(board_of(*same, *own), "mine").text()
    won = sum(value == 0 for value in noise(30)[10:])
    behind = 20 - won
    assert f"0-{behind}-10 " in next(part for part in text.splitlines() if part.startswith("insertion"))


@pytest.mark.parametrize(("metric", "sign"), [("deletion", -1), ("insertion", 1)])
def test_the_samples_that_tell_most_have_both_scores(scores, rows, metric, sign):
    text = standing(board_of(*rows), "mine").text()
    own, other = (np.array(scores[metric][name]) for name in ("mine", "a"))
    gaps = sign * (own - other)
    ahead, behind = np.argmax(gaps), np.argmin(gaps)
    assert gaps[ahead] > 0
    assert gaps[behind] < 0 or metric == "deletion"
    told = [part for part in text.splitlines() if part.startswith(metric)][-1]
    for sample in (ahead, behind)[: 1 + (gaps[behind] < 0)]:
        numbers = [f"{values[sample]:.3f}".lstrip("0") for values in (own, other)]
        assert " ".join([f"photo {sample:02}", *numbers]) in " ".join(told.split())
    assert told.count("photo") == 1 + (gaps[behind] < 0)


def test_a_method_that_is_never_ahead_has_no_sample_ahead():
    ahead = noise(30)
    rows = [cells("a", "insertion", ahead), cells("mine", "insertion", [score - 0.1 for score in ahead])]
    told = [part for part in standing(board_of(*rows), "mine").text().splitlines() if part.startswith("insertion")][-1]
    assert told.count("photo") == 1
    assert told.split()[:6] == ["insertion", "↑", "0", "to", "1", "-"]


def test_a_metric_of_few_sources_orders_nobody_beside_one_of_enough(rows):
    scores = {"a": 0.1, "b": 0.3, "c": 0.9, "mine": 0.2}
    few = [cells(name, "pointing_game", [score] * 8) for name, score in scores.items()]
    assert standing(board_of(*rows, *few), "mine").rivals == ("a", "b", "c")


def test_few_sources_rank_all_the_same_and_the_title_says_so():
    rows = [
        cells(name, "insertion", shifted(seed, shift, 8))
        for seed, (name, shift) in enumerate([("a", 0.0), ("best", 0.5), ("mine", 0.2), ("z", 0.1)])
    ]
    found = standing(board_of(*rows), "mine")
    assert found.rivals == ("best", "z", "a")
    assert not any(family.first(name) for family in found.families for name in family.names)
    assert "too few to rank, 20 sources are needed" in found.text()
    assert "▲" not in found.text().partition("Samples won")[0]


def test_sentinels_that_score_better_are_named(rows):
    """Random is better than c alone, so nothing speaks against the metric."""
    board = board_of(*rows, cells("random", "insertion", [0.35] * 30), cells("random", "deletion", [1.0] * 30))
    text = standing(board, "c").text()
    assert "Sentinels, which know nothing of the model, have a better mean on insertion (random)." in text
    text = standing(board, "a").text()
    assert "a has a better mean than every sentinel on deletion, insertion." in text


def test_a_metric_in_doubt_is_marked_and_ranks_nobody(rows):
    found = standing(board_of(*rows, cells("random", "deletion", [0.0] * 30)), "mine")
    faithfulness = next(family for family in found.families if family.category == "faithfulness")
    assert faithfulness.metrics == ("insertion",)
    assert found.rivals == ("a", "b", "c")
    assert "✗ Not to be ranked by: deletion (fooled)" in found.text()
    assert "better mean" not in found.text()  # what is in doubt says nothing of sentinels either
    assert len([line for line in found.text().splitlines() if line.startswith("✗ deletion")]) == 1  # not its samples


def test_a_method_without_any_score_is_shown_without_a_place(rows):
    nothing = [cells("lost", metric, ["zero map"] * 30) for metric in ("insertion", "deletion")]
    found = standing(board_of(*rows, *nothing, cells("random", "insertion", [0.0] * 30)), "lost")
    assert "lost is not compared on deletion (zero map), insertion (zero map)" in found.text()
    assert "better mean" not in found.text()
    assert len(list(found.tables())) == 1


def test_a_method_that_is_not_there_is_refused(rows):
    with pytest.raises(ValueError, match="no method 'other', only mine, a, b, c"):
        standing(board_of(*rows), "other")
