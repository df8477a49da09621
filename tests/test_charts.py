"""Charts of results: what is drawn are the numbers of the tables."""

import numpy as np
import pytest
from PIL import Image
from score_rows import cells, frame, noise

from xaieval.agreement import agreement
from xaieval.charts import JOINS, agreement_heat_map, cost_quality, performance_profiles, rank_plot, save, svg
from xaieval.config import ConfigError
from xaieval.evidence import evidences
from xaieval.leaderboard import leaderboards
from xaieval.pairs import pairs
from xaieval.palette import GRAY, looks
from xaieval.profiles import profiles
from xaieval.ranking import instance_ranks
from xaieval.statistics import bootstrap_interval


def rows_of(metric, scores, **options):
    return [row for name, own in scores.items() for row in cells(name, metric, own, **options)]


def near(first, second, count=30):
    """Scores of three methods: two about alike, one far behind."""
    one = np.array(noise(first, count))
    return {
        "a": one.tolist(),
        "b": (one + 0.2 * (np.array(noise(second, count)) - 0.5)).tolist(),
        "c": (one - 2).tolist(),
    }


def panels(figure):
    """The panels by the metric they show."""
    found = [axes for part in figure.subfigs for axes in part.axes if axes.get_title()]
    return {axes.get_title().split("\n")[0].removeprefix("✗ "): axes for axes in found}


def points(axes):
    """Position and interval of each point: x, y, first and last end."""
    found = []
    for container in axes.containers:
        line, _, bars = container
        ends = [tuple(end) for bar in bars for segment in bar.get_segments() for end in segment]
        found.append((*line.get_xydata()[0], ends))
    return found


def joins(axes):
    return [tuple(line.get_ydata()) for line in axes.lines if line.get_gid() == JOINS]


def said(figure):
    return " ".join(" ".join(part.get_supxlabel().split()) for part in figure.subfigs)


# -- ranks --


def test_mean_ranks_stand_in_their_order_with_their_intervals():
    scores = near(0, 1)
    axes = panels(rank_plot(frame(rows_of("deletion", scores))))["deletion"]
    ranks = instance_ranks(np.array(list(scores.values())).T, higher_is_better=False)
    expected = sorted((bootstrap_interval(own), name) for own, name in zip(ranks.T, scores, strict=True))
    assert [label.get_text() for label in axes.get_yticklabels()] == [name for _, name in expected]
    assert expected[0][1] == "c"  # the least score is the best
    for line, (found, (interval, _)) in enumerate(zip(points(axes), expected, strict=True)):
        x, y, ends = found
        assert (x, y) == (interval.mean, line)
        np.testing.assert_allclose(ends, [(interval.low, line), (interval.high, line)], atol=1e-12)
    assert axes.yaxis_inverted()
    assert axes.containers[0][0].get_color() == looks("abc")["c"].color  # by name, not by place


def test_a_bar_joins_what_no_test_tells_apart():
    figure = rank_plot(frame(rows_of("insertion", near(0, 1))))
    assert joins(panels(figure)["insertion"]) == [(-0.25, 1.25)]
    assert "A bar joins methods that do not differ by more than chance" in said(figure)
    apart = {"a": noise(0), "b": (np.array(noise(0)) - 1).tolist(), "c": (np.array(noise(0)) - 2).tolist()}
    assert joins(panels(rank_plot(frame(rows_of("insertion", apart))))["insertion"]) == []


def test_one_bar_joins_the_longest_run_from_twenty_sources_on():
    scores = {"a": (np.array(noise(0, 20)) + 0.15).tolist(), "b": noise(1, 20), "c": noise(2, 20)}
    rows = frame(rows_of("insertion", scores))
    (tests,) = pairs(leaderboards(rows))
    assert 0.05 < min(one.adjusted for one in tests.tested["insertion"]) < 0.1
    figure = rank_plot(rows)
    assert joins(panels(figure)["insertion"]) == [(-0.25, 2.25)]
    assert "Too few" not in said(figure)


def test_bars_overlap_where_being_alike_does_not_carry_over():
    """a and b cannot be told apart, b and c neither, but a and c can."""
    step = np.where(np.arange(30) % 2, 0.30, -0.2)
    base = np.array(noise(0))
    scores = {"a": base + step, "b": base, "c": base - np.roll(step, 1)}
    axes = panels(rank_plot(frame(rows_of("insertion", {name: own.tolist() for name, own in scores.items()}))))
    found = joins(axes["insertion"])
    order = [label.get_text() for label in axes["insertion"].get_yticklabels()]
    assert set(found) == {(-0.25, 1.25), (0.75, 2.25)}
    assert order == ["a", "b", "c"]


def test_below_twenty_sources_nothing_is_joined_and_the_figure_says_why():
    figure = rank_plot(frame(rows_of("insertion", near(0, 1, 19))))
    assert joins(panels(figure)["insertion"]) == []
    assert "Too few sources to tell methods apart, 20 are needed: insertion." in said(figure)
    assert "A bar joins" not in said(figure)
    assert said(figure).startswith("mean rank on a sample with its 95 % interval by source; 1 is best")
    assert figure.subfigs[0].get_suptitle() == "photos, toy: 19 samples - too few to rank, 20 sources are needed"
    assert all(len(ends) == 2 for *_, ends in points(panels(figure)["insertion"]))


def test_what_no_test_compares_is_not_joined():
    rows = rows_of("insertion", near(0, 1))
    shared = [row | {"sources": ("all", row["sample"])} for row in rows]
    figure = rank_plot(frame(shared))
    assert joins(panels(figure)["insertion"]) == []
    assert said(figure).endswith("Not tested, as samples are connected through common sources: insertion.")
    assert "A bar joins" not in said(figure)
    apart = {"a": [0.1] * 12 + ["zero map"] * 12, "b": ["zero map"] * 12 + [0.9] * 12}
    with pytest.raises(ValueError, match="nothing to draw: no metric here compares two methods"):
        rank_plot(frame(rows_of("insertion", apart)))


def test_a_pair_that_is_not_tested_is_not_joined_where_others_are():
    """Photo 30 is of all sources, so that nothing can be said of methods with a score on it; c has none."""
    one = noise(0)
    near = (np.array(one) + 0.01 * (np.array(noise(1)) - 0.5)).tolist()
    rows = rows_of("insertion", {"a": [*one, 0.5], "b": [*near, 0.5], "c": [*noise(2), "zero map"]})
    everywhere = tuple(sorted({row["sample"] for row in rows}))
    shared = [row | {"sources": everywhere if row["sample"] == "photo 30" else (row["sample"],)} for row in rows]
    (tests,) = pairs(leaderboards(frame(shared)))
    unknown = [np.isnan(found.p) for found in tests.tested["insertion"]]
    assert unknown == [set(pair) == {"a", "b"} for pair in tests.names]
    axes = panels(rank_plot(frame(shared)))["insertion"]
    order = [label.get_text() for label in axes.get_yticklabels()]
    joined = [set(order[round(first + 0.25) : round(last + 0.75)]) for first, last in joins(axes)]
    assert joined
    assert not [names for names in joined if {"a", "b"} <= names]


def test_a_single_source_has_faint_points_without_intervals():
    figure = rank_plot(frame(rows_of("insertion", {"a": [0.1], "b": [0.2]})))
    axes = panels(figure)["insertion"]
    assert [found[:2] for found in points(axes)] == [(1.0, 0.0), (2.0, 1.0)]
    assert [container[0].get_alpha() for container in axes.containers] == [0.4, 0.4]


# -- which panels --


def test_the_deciding_metrics_are_drawn_unless_others_are_named():
    rows = frame(rows_of("insertion", near(0, 1)), rows_of("sparseness", near(2, 3)))
    assert list(panels(rank_plot(rows))) == ["insertion"]
    assert list(panels(rank_plot(rows, ["sparseness", "insertion"]))) == ["sparseness", "insertion"]
    few = frame(rows_of("insertion", near(0, 1, 3)), rows_of("sparseness", near(2, 3, 3)))
    assert list(panels(cost_quality(few))) == ["insertion", "sparseness"]


def test_each_dataset_and_model_has_a_part_and_leaderboards_do_as_well_as_rows():
    rows = frame(rows_of("insertion", near(0, 1)), rows_of("insertion", near(2, 3), model="other"))
    rows["key"] = [f"{key}{model}" for key, model in zip(rows["key"], rows["model"], strict=True)]
    for given in (rows, leaderboards(rows)):
        titles = [part.get_suptitle() for part in rank_plot(given).subfigs]
        assert titles == ["photos, other: 30 samples", "photos, toy: 30 samples"]


def test_what_cannot_be_drawn_is_told():
    rows = frame(rows_of("insertion", {"a": noise(0)}))
    with pytest.raises(ValueError, match="there is no metric insertoin in these results, only insertion"):
        rank_plot(rows, ["insertoin"])
    with pytest.raises(ValueError, match="nothing to draw: no metric here compares two methods"):
        rank_plot(rows)
    with pytest.raises(ValueError, match="cost must be 'evaluations' or 'seconds', got 'money'"):
        cost_quality(rows, cost="money")
    with pytest.raises(ValueError, match="needs two metrics that compare two methods or more"):
        agreement_heat_map(frame(rows_of("insertion", near(0, 1))))
    none = frame(rows_of("insertion", {"a": ["zero map"] * 3}))
    with pytest.raises(ValueError, match="no metric here has a score"):
        performance_profiles(none)
    with pytest.raises(ValueError, match="no method here has a cost and a score"):
        cost_quality(none)


# -- cost --


def test_means_stand_at_their_cost_with_their_intervals():
    few = [0.9] * 11 + ["zero map"] * 19
    rows = frame(
        cells("a", "insertion", noise(0), method_forwards=100.0, method_backwards=50.0, method_seconds=2.0),
        cells("b", "insertion", noise(1), method_forwards=0.0, method_backwards=0.0, method_seconds=0.5),
        cells("c", "insertion", few, method_forwards=7.0, method_backwards=0.0),
        cells("d", "insertion", noise(3), method_forwards=None, method_backwards=None, method_seconds=None),
    )
    figure = cost_quality(rows)
    axes = panels(figure)["insertion"]
    (first, second, third) = points(axes)
    for found, spent, scores in ((first, 150.0, noise(0)), (second, 0.0, noise(1))):
        interval = bootstrap_interval(scores)
        assert found[:2] == pytest.approx((spent, interval.mean))
        np.testing.assert_allclose(found[2], [(spent, interval.low), (spent, interval.high)])
    assert third[:2] == pytest.approx((7.0, 0.9))
    faces = [container[0].get_markerfacecolor() for container in axes.containers]
    assert [face == "white" for face in faces] == [False, False, True]
    assert "Hollow: valid on fewer than half" in said(figure)
    assert "Without a known cost: d." in said(figure)
    assert axes.get_xscale() == "symlog"
    low, high = axes.get_xlim()
    assert low < 0 < 150 < high
    ticks = {label.get_text() for label in axes.get_xticklabels()}
    assert {"0", "1", "10", "100"} <= ticks
    seconds = panels(cost_quality(rows, cost="seconds"))["insertion"]
    assert seconds.get_xscale() == "log"
    assert [found[0] for found in points(seconds)] == [2.0, 0.5, 0.5]


# -- profiles --


def test_profiles_are_those_of_the_table():
    rows = frame(rows_of("insertion", near(0, 1)), rows_of("insertion", {"random": noise(5)}))
    figure = performance_profiles(rows)
    axes = panels(figure)["insertion"]
    shares = profiles(leaderboards(rows))
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["a", "b", "c", "random"]
    assert lines["random"].get_color() == GRAY
    for (name, line), band in zip(lines.items(), axes.collections, strict=True):
        own = shares[shares["method"] == name]
        np.testing.assert_array_equal(line.get_xydata(), own[["threshold", "share"]])
        corners = band.get_paths()[0].vertices
        for ends in ("low", "high"):
            assert {tuple(corner) for corner in own[["threshold", ends]].to_numpy()} <= set(map(tuple, corners))
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c", "random"]


def test_a_profile_says_who_is_not_compared():
    few = [0.9] * 11 + ["zero map"] * 19
    both = rows_of("deletion", {"a": noise(1), "c": noise(2)})
    figure = performance_profiles(frame(rows_of("insertion", {"a": noise(0), "c": few}), both))
    assert said(figure).endswith("so over its own and not compared: c on insertion.")
    assert "not compared" not in said(performance_profiles(frame(both)))


# -- agreement --


def test_the_heat_map_shows_taus_and_how_many_decided_pairs_are_turned():
    apart = {name: (np.array(noise(7)) + place).tolist() for place, name in enumerate("abcd")}
    turned = {name: apart[other] for name, other in zip("abcd", "bacd", strict=True)}
    rows = frame(rows_of("insertion", apart), rows_of("pointing_game", turned))
    figure = agreement_heat_map(rows)
    axes = figure.subfigs[0].axes[0]
    tau = agreement(evidences(rows)).tau
    np.testing.assert_array_equal(axes.images[0].get_array(), tau)
    assert (axes.images[0].get_clim(), axes.images[0].get_cmap().name) == ((-1, 1), "RdBu")  # blue is agreement
    assert tau.loc["insertion", "pointing_game"] == pytest.approx(4 / 6)
    assert [text.get_text() for text in axes.texts] == ["1.00", ".67\n1 of 6", ".67\n1 of 6", "1.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["insertion", "pointing_game"]
    assert figure.subfigs[0].get_suptitle() == "photos, toy: agreement of metrics, 30 sources"
    few = rows[rows["sample"] < "photo 12"]
    figure = agreement_heat_map(few)
    assert figure.subfigs[0].get_suptitle().endswith("12 sources - too few to rank, 20 are needed")
    figure.draw_without_rendering()
    undecided = agreement_heat_map(
        frame(*(rows_of(metric, near(0, 1, 4)) for metric in ("insertion", "pointing_game")))
    )
    assert all("of" not in text.get_text() for text in undecided.subfigs[0].axes[0].texts)
    (title,) = (text for text in figure.subfigs[0].texts if "too few" in text.get_text())
    assert title.get_window_extent().x1 < figure.bbox.x1  # it is not cut


def test_what_no_chance_explains_counts_alone_in_the_heat_map():
    one = near(0, 1)  # a and b are about alike, c is far behind
    other = {"a": one["b"], "b": one["a"], "c": one["c"]}
    rows = frame(rows_of("insertion", one), rows_of("pointing_game", other))
    match = agreement(evidences(rows)).matches["insertion", "pointing_game"]
    assert (match.pairs, match.decided) == (2, 0)
    assert match.flipped == pytest.approx(1 / 3)
    texts = [text.get_text() for text in agreement_heat_map(rows).subfigs[0].axes[0].texts]
    assert texts[1].endswith("\n0 of 2")


def test_the_heat_map_counts_the_sources_of_its_poorest_metric_and_leaves_out_what_compares_nothing():
    scores = near(0, 1)
    short = {name: own[:12] for name, own in near(2, 3).items()}
    lonely = rows_of("sparseness", {"a": noise(4)})
    figure = agreement_heat_map(frame(rows_of("insertion", scores), rows_of("pointing_game", short), lonely))
    (part,) = figure.subfigs
    assert part.get_suptitle() == "photos, toy: agreement of metrics, 12 sources - too few to rank, 20 are needed"
    assert [label.get_text() for label in part.axes[0].get_yticklabels()] == ["insertion", "pointing_game"]
    with pytest.raises(ValueError, match="needs two metrics that compare two methods"):
        agreement_heat_map(frame(rows_of("insertion", scores), lonely))


# -- looks and files --


def test_no_two_of_forty_methods_look_alike_without_color():
    found = looks(map(str, range(40)))
    assert len({(look.marker, look.line) for look in found.values()}) == 40
    assert len({look.color for look in looks(map(str, range(7)), "s").values()}) == 8


def test_a_method_looks_the_same_in_every_chart():
    rows = frame(rows_of("insertion", near(0, 1)), rows_of("deletion", near(0, 1)))
    found = {axes.containers[0][0].get_color() for axes in panels(cost_quality(rows)).values()}
    assert len(found) == 1


def test_names_of_users_are_neither_formulas_nor_markup(tmp_path):
    names = ["<script>alert(1)</script>", r"$\bad{$"]
    rows = frame(rows_of("insertion", dict(zip(names, (noise(0), noise(1)), strict=True))))
    figure = rank_plot(rows)
    text = svg(figure)
    assert text.startswith("<svg")
    assert "<script" not in text
    other = performance_profiles(rows)
    assert "<script" not in svg(other)
    save(figure, tmp_path / "ranks.svg", tmp_path / "ranks.png")
    assert "<script" not in (tmp_path / "ranks.svg").read_text()
    with Image.open(tmp_path / "ranks.png") as picture:
        assert picture.width > 500
    with pytest.raises(ConfigError, match="does not end in the name of a kind of picture"):
        save(figure, tmp_path / "ranks.doc")
