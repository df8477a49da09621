"""Leaderboards from rows with known means."""

import io
import re
from datetime import timedelta

import numpy as np
import pytest
from rich.console import Console
from score_rows import COSTS, METRICS, NOON, cells, frame, noise, records

from xaieval.aggregates import interquartile_mean
from xaieval.kept_verdicts import Column as Judged
from xaieval.leaderboard import csv, leaderboards, show
from xaieval.statistics import bootstrap_interval
from xaieval.table import Entry, Table, decimals_for, figures, number
from xaieval.verdicts import Verdict


def board(*groups):
    (found,) = leaderboards(frame(*groups))
    return found


def column(found, name):
    return next(column for column in found.columns if column.name == name)


def names(found):
    return [method.name for method in found.methods]


# Numbers


def test_a_mean_has_the_bootstrap_interval_of_its_scores():
    scores = noise(0)
    found = column(board(cells("gradient", "insertion", scores)), "insertion").scores["gradient"]
    assert found.interval == bootstrap_interval(scores)
    assert (found.valid, found.compared, found.absent, found.reasons, found.errors) == (30, True, 0, {}, {})


def test_methods_are_compared_on_their_common_valid_samples():
    first, second = [0.1] * 20 + [0.9] * 4, [0.5] * 20 + ["zero map"] * 2 + [1.0, "units"]
    found = column(board(cells("a", "insertion", first), cells("b", "insertion", second)), "insertion")
    assert (found.samples, found.common, found.sources) == (24, 21, 21)
    assert found.scores["a"].interval.mean == pytest.approx((20 * 0.1 + 0.9) / 21)
    assert found.scores["b"].interval.mean == pytest.approx((20 * 0.5 + 1.0) / 21)
    assert [found.scores[name].interval.n for name in "ab"] == [21, 21]
    assert found.scores["b"].reasons == {"zero map": 2, "units": 1}


def test_a_method_with_few_scores_stands_apart():
    few = [0.9] * 11 + ["zero map"] * 13
    found = board(
        cells("a", "insertion", [0.1] * 24), cells("b", "insertion", few), cells("c", "insertion", [0.2] * 24)
    )
    scores = column(found, "insertion").scores
    assert column(found, "insertion").common == 24
    assert scores["b"].interval == (pytest.approx(0.9), pytest.approx(0.9), pytest.approx(0.9), 11)
    assert [scores[name].compared for name in "abc"] == [True, False, True]
    assert (
        "† Valid on fewer than half of the samples, so over its own and not compared: b on insertion (11 of 24)."
        in found.notes()
    )
    assert names(found) == ["c", "a", "b"]  # b is not ranked, so it comes last
    assert ".900±.000†" in found.text()
    half = [0.9] * 12 + ["zero map"] * 12
    assert column(board(cells("a", "insertion", [0.1] * 24), cells("b", "insertion", half)), "insertion").common == 12


def test_methods_without_a_common_sample_are_not_compared():
    first, second = [0.1] * 12 + ["zero map"] * 12, ["zero map"] * 12 + [0.9] * 12
    found = column(board(cells("a", "insertion", first), cells("b", "insertion", second)), "insertion")
    assert found.common == 0
    assert [(score.interval.mean, score.compared) for score in found.scores.values()] == [
        (pytest.approx(0.1), False),
        (pytest.approx(0.9), False),
    ]


def test_samples_of_one_source_are_resampled_together():
    scores, sources = noise(1, 60), [(f"source {number // 2}",) for number in range(60)]
    rows = [row | {"sources": source} for row, source in zip(cells("a", "insertion", scores), sources, strict=True)]
    found = board(rows)
    assert (found.samples, found.sources, column(found, "insertion").sources) == (60, 30, 30)
    assert column(found, "insertion").scores["a"].interval == bootstrap_interval(scores, sources)


def test_the_latest_of_equal_names_counts():
    later = cells("a", "insertion", [0.7] * 3, time=NOON + timedelta(hours=1))
    failed = cells("a", "insertion", ["", 0.1], time=NOON + timedelta(hours=2), error="RuntimeError: no")[:1]
    found = column(board(later, cells("a", "insertion", [0.1] * 4), failed), "insertion").scores["a"]
    assert found.interval.mean == pytest.approx((0.7 + 0.7 + 0.1) / 3)
    assert found.errors == {"RuntimeError: no": 1}


def test_cost_counts_once_per_sample():
    once = cells("a", "insertion", [0.5] * 4, method_forwards=10.0)
    twice = cells("a", "deletion", [0.5] * 2, method_forwards=10.0, method_seconds=1.5)
    unknown = cells("a", "sparseness", ["skipped: cost"] * 4, **dict.fromkeys(COSTS))
    (method,) = board(once, twice, unknown).methods
    assert (method.forwards, method.backwards) == (10.0, 25.0)
    assert method.cost[:2] == ("10", "25")


# Order


def three(metric, *means):
    return [row for name, mean in zip("abc", means, strict=True) for row in cells(name, metric, [mean] * 20)]


def test_methods_are_sorted_by_mean_rank_on_faithfulness_and_localization():
    deciding = (
        three("insertion", 0.3, 0.2, 0.1),
        three("deletion", 0.5, 0.1, 0.2),
        three("pointing_game", 0.1, 0.2, 0.3),
    )
    robust, sparse = three("max_sensitivity", 0.1, 9.0, 0.1), three("sparseness", 0.9, 0.1, 0.2)
    found = board(*deciding, robust, sparse)
    assert names(found) == ["b", "c", "a"]  # ranks a 1 + 3 + 3, b 2 + 1 + 2, c 3 + 2 + 1
    assert found.notes()[1] == (
        "Sorted by mean rank on deletion, insertion, pointing_game; bold (in text *) is the best mean."
    )
    expected = ["deletion", "insertion", "pointing_game", "max_sensitivity", "sparseness"]
    assert [column.name for column in found.columns] == expected
    assert names(board(robust)) == ["a", "c", "b"]  # there is nothing else to decide


def test_the_best_mean_of_a_column_stands_out_but_never_a_sentinel():
    rows = three("insertion", 0.3, 0.2, 0.1), three("deletion", 0.5, 0.1, 0.1)
    doubted = frame(*rows, cells("random", "insertion", [0.9] * 20), cells("random", "deletion", [0.0] * 20))
    (found,) = leaderboards(doubted, believing(doubted))
    assert column(found, "insertion").best(["a", "b", "c"]) == {"a"}
    assert column(found, "deletion").best(["a", "b", "c"]) == {"b", "c"}
    assert names(found)[-1] == "random"
    assert found.markdown().count("**") == 2 * 3
    assert "| random | .000 [.000, .000] sd .000 | .900 [.900, .900] sd .000 |" in found.markdown()
    assert "**" not in board(cells("a", "insertion", [0.3] * 20)).markdown()  # nothing to be better than


def believing(rows):
    """A verdict for each metric that its order is to be believed, as kept from `xaieval reliability`."""
    of = rows.drop_duplicates("metric")[["dataset", "model", "metric_parameters", "metric"]]
    return {Judged(*row[:3]): Verdict(row[3], "believe", "", "all is well") for row in of.itertuples(index=False)}


def test_a_metric_in_doubt_is_marked_and_decides_nothing():
    believed = three("insertion", 0.1, 0.2, 0.3)
    doubted = three("deletion", 0.1, 0.5, 0.5), cells("random", "deletion", [0.0] * 20)
    found = board(believed, *doubted, cells("random", "insertion", [0.0] * 20))
    sentence = "fooled: random scores better than all 3 methods"
    assert [(found.name, found.doubt) for found in found.columns] == [("deletion", sentence), ("insertion", "")]
    assert names(found) == ["c", "b", "a", "random"]  # by insertion alone
    assert column(found, "deletion").best(["a", "b", "c"]) == set()
    assert "✗ deletion" in found.text()
    assert "✗ insertion" not in found.text()
    assert f"✗ Not to be ranked by: deletion ({sentence})." in found.notes()
    assert any(note.startswith("Sorted by mean rank on insertion;") for note in found.notes())
    assert {(record["metric"], record["doubt"]) for record in records([found])} == {
        ("deletion", sentence),
        ("insertion", ""),
    }
    alone = board(*doubted)
    assert names(alone) == ["a", "b", "c", "random"]
    assert "No metric here tells an order that is to be believed; sorted by name." in alone.notes()


def test_a_kept_verdict_decides_unless_it_knows_nothing():
    rows = frame(three("insertion", 0.1, 0.2, 0.3), cells("random", "insertion", [0.9] * 20))
    (key,) = believing(rows)
    for belief, doubt in (
        ("believe", ""),
        ("doubt", "noise: it is"),
        ("unknown", "fooled: random scores better than all 3 methods"),
    ):
        (found,) = leaderboards(rows, {key: Verdict("insertion", belief, "noise", "it is")})
        assert found.columns[0].doubt == doubt
    other = leaderboards(rows, {key._replace(model="other"): Verdict("insertion", "believe", "", "")})
    assert other[0].columns[0].doubt.startswith("fooled")


def test_below_twenty_sources_nothing_is_ranked():
    few = board(*(cells(name, "insertion", [mean] * 19) for name, mean in (("b", 0.1), ("a", 0.2), ("c", 0.9))))
    assert few.title == "photos, toy: 19 samples - too few to rank, 20 sources are needed"
    assert names(few) == ["a", "b", "c"]
    assert "*" not in few.text()
    assert "Too few to rank: fewer than 20 independent sources; sorted by name." in few.notes()
    enough = board(*(cells(name, "insertion", [mean] * 20) for name, mean in (("b", 0.1), ("a", 0.2), ("c", 0.9))))
    assert enough.title == "photos, toy: 20 samples"
    assert names(enough) == ["c", "a", "b"]


def test_mosaics_count_by_their_sources():
    def mosaics(sources):
        sources = [tuple(f"source {(4 * number + tile) % sources}" for tile in range(4)) for number in range(24)]
        return [row | {"sources": own} for row, own in zip(cells("a", "insertion", noise(2, 24)), sources, strict=True)]

    few, many = board(mosaics(16)), board(mosaics(96))
    assert (few.sources, "too few to rank" in few.title) == (16, True)
    assert (many.sources, "too few to rank" in many.title) == (96, False)
    assert "±" in many.text().split("\n")[6]


def test_a_column_with_few_sources_does_not_rank():
    masked = [["no mask"] * 10 + [mean] * 15 for mean in (0.1, 0.9)]
    rows = [cells(name, "pointing_game", scores) for name, scores in zip("ab", masked, strict=True)]
    found = board(*rows, cells("a", "insertion", [0.9] * 25), cells("b", "insertion", [0.1] * 25))
    assert names(found) == ["a", "b"]
    assert column(found, "pointing_game").best(["a", "b"]) == set()
    assert found.notes()[1] == "Each metric is over the samples valid for all its methods: pointing_game 15 of 25."
    assert found.notes()[2].endswith("is the best mean. Too few sources to rank: pointing_game (15).")


def test_what_is_defined_for_no_method_is_named_below_the_table():
    def none(name, metric, reason):
        return cells(name, metric, [reason] * 25)

    good = [cells(name, "insertion", [mean] * 25) for name, mean in (("a", 0.9), ("b", 0.1))]
    lacking = [
        none("a", "pointing_game", "unsupported layers: the model has no concepts"),
        none("b", "pointing_game", "no parts"),
    ]
    more = [
        none("c", "pointing_game", "unsupported layers: the model has no concepts"),
        cells("c", "insertion", [0.5] * 25),
    ]
    found = board(*good, *lacking, *more)
    assert [shown.name for shown in found.shown] == ["insertion"]
    assert {shown.name for shown in found.columns} == {"insertion", "pointing_game"}
    assert "Defined for no method: pointing_game (the model has no concepts)." in found.notes()
    assert "pointing_game" not in found.text().split("\n")[2]
    assert set(found.frame()["metric"]) == {"insertion", "pointing_game"}
    assert "100" in found.text().split("\n")[6]  # of the cells that are defined
    assert [shown.name for shown in board(*lacking).shown] == ["pointing_game"]


def test_a_metric_at_which_all_methods_failed_keeps_its_column():
    failed = [cells(name, "deletion", [""] * 25, error="RuntimeError: no") for name in "ab"]
    found = board(cells("a", "insertion", [0.9] * 25), cells("b", "insertion", [0.1] * 25), *failed)
    assert [shown.name for shown in found.shown] == ["deletion", "insertion"]
    assert not any(note.startswith("Defined for no method") for note in found.notes())


# Names


def labels(*variants, **columns):
    rows = [cells("m", "insertion", [0.1], parameters=parameters, **own) for parameters, own in variants]
    return names(board(*rows))


def test_equal_names_are_told_apart_by_what_differs():
    a, b = {"samples": 10, "noise": 0.15}, {"samples": 50, "noise": 0.15}
    assert labels((a, {})) == ["m"]
    assert labels((a, {}), (b, {})) == ["m samples=10", "m samples=50"]
    assert labels((a, {}), ({}, {})) == ["m", "m samples=10 noise=0.15"]
    assert labels(({"layers": ["x", "y"]}, {}), ({"layers": []}, {})) == ["m layers=", "m layers=x,y"]
    assert labels((a, {}), (a, {"precision": "bfloat16"})) == ["m precision=bfloat16", "m precision=float32"]
    assert labels((a, {}), (a, {"target_rule": None})) == ["m target_rule=", "m target_rule=predicted"]


def test_inner_classes_are_named_shortly_unless_that_confuses():
    def inner(target):
        return {"_target_": "x.SmoothGrad", "method": {"_target_": target}}

    assert labels((inner("a.Gradient"), {}), (inner("b.Sobol"), {})) == ["m method=Gradient", "m method=Sobol"]
    assert labels((inner("a.Mine"), {}), (inner("b.Mine"), {})) == ["m method=a.Mine", "m method=b.Mine"]
    assert labels(({"_target_": "a.B"}, {}), ({"_target_": "a.C"}, {})) == ["m class=B", "m class=C"]


def test_metrics_of_one_name_get_columns():
    found = board(cells("a", "insertion@5", [0.1]), cells("a", "insertion@7", [0.2]), cells("a", "deletion", [0.3]))
    assert [column.name for column in found.columns] == ["deletion", "insertion samples=5", "insertion samples=7"]
    assert [column.scores["a"].interval.mean for column in found.columns] == [0.3, 0.1, 0.2]


def test_one_table_for_each_dataset_and_model():
    rows = [
        cells("a", "insertion", [0.1], dataset=dataset, model=model) for dataset in ("y", "x") for model in ("n", "m")
    ]
    assert [(found.dataset, found.model) for found in leaderboards(frame(*rows))] == [
        ("x", "m"),
        ("x", "n"),
        ("y", "m"),
        ("y", "n"),
    ]
    assert leaderboards(frame(*rows).iloc[:0]) == []


def test_models_of_one_name_with_other_weights_get_tables_of_their_own():
    before = cells("a", "insertion", [0.1, 0.2], weights="0123456789")
    after = cells("b", "insertion", [0.3, 0.4], weights="abcdef0123")
    alone = cells("a", "insertion", [0.5], model="other", weights="0123456789")
    unknown = cells("c", "insertion", [0.6])  # of a version that did not note them
    found = {one.model: names(one) for one in leaderboards(frame(before, after, alone, unknown))}
    assert found == {"toy": ["c"], "toy weights=01234567": ["a"], "toy weights=abcdef01": ["b"], "other": ["a"]}
    assert [one.model for one in leaderboards(frame(before, alone, unknown))] == ["other", "toy"]


# What is undefined or went wrong


def test_cells_without_any_score_say_why():
    found = board(
        cells("a", "insertion", [0.5] * 4),
        cells("b", "insertion", ["skipped: cost"] * 4),
        cells("c", "insertion", ["zero map", "units", "units", "units"]),
        cells("d", "insertion", [""] * 4, error="RuntimeError: no"),
        cells("e", "deletion", [0.5] * 4),
    )
    rows = {line.split("  ")[0]: line.split() for line in found.text().split("\n")}
    assert rows["b"][2:4] == ["skipped:", "cost"]
    assert rows["c"][2] == "units"
    assert rows["d"][2] == "error"
    assert (rows["e"][1], rows["e"][2]) == (".500±.000", "-")


def test_notes_count_reasons_errors_and_missing_cells():
    everywhere = ["empty mask", "empty mask"]
    found = board(
        cells("a", "pointing_game", [*everywhere, 0.5, "zero map", 0.5, 0.5]),
        cells("b", "pointing_game", [*everywhere, 0.5, 0.5, 0.5]),
        cells("c", "pointing_game", ["", "", "", ""], error="RuntimeError: at [0]\nTraceback"),
        cells("c", "insertion", [0.5]),
    )
    assert found.notes()[1:] == (
        "Each metric is over the samples valid for all its methods: pointing_game 2 of 6.",
        "Too few to rank: fewer than 20 independent sources; sorted by name.",
        "Undefined: pointing_game: empty mask 2 (every method), zero map (a 1).",
        "Not computed: insertion (a 1 of 1, b 1 of 1); pointing_game (b 1 of 6, c 2 of 6).",
        "Errors: pointing_game: RuntimeError: at [0] (c 4).",
    )


def test_an_unsupported_layer_is_named_once():
    why = "unsupported layers: blocks.0.norm1 (LayerNorm) calls layer_norm, for which LRP has no rule"
    rows = frame(
        cells("a", "insertion", [0.5] * 3),
        cells("lrp", "insertion", [why] * 3),
        cells("a", "deletion", [0.5] * 3),
        cells("lrp", "deletion", [0.5, why, why]),
        cells("sobol", "insertion", [why] * 3),
        cells("sobol", "deletion", [why] * 3),
    )
    (found,) = leaderboards(rows)
    row = next(line for line in found.text().splitlines() if line.startswith("lrp"))
    assert "unsupported layers" in row
    assert found.text().count("layer_norm") == 1
    assert found.notes()[-1] == (
        "Unsupported layers: blocks.0.norm1 (LayerNorm) calls layer_norm, for which LRP has no rule (lrp, sobol)."
    )
    assert not any(note.startswith("Undefined") for note in found.notes())


def test_markdown_tells_the_deviation_and_the_number_of_samples():
    few = [0.75, 0.25] * 2 + ["zero map"] * 16
    found = board(
        cells("a", "insertion", [0.25, 0.75] * 10), cells("b", "insertion", few), cells("c", "insertion", [1])
    )
    spread = {count: (count * 0.25**2 / (count - 1)) ** 0.5 for count in (4, 20)}
    lines = {line.split(" | ")[0][2:]: line.split(" | ")[1] for line in found.markdown().split("\n")[4:7]}
    assert [found.columns[0].scores[name].deviation for name in "ab"] == pytest.approx([spread[20], spread[4]])
    assert re.fullmatch(rf"\.500 \[\S+, \S+\] sd \{number(spread[20], 3)}", lines["a"])
    assert re.fullmatch(rf"\.500 \[\S+, \S+\] sd \{number(spread[4], 3)} n = 4†", lines["b"])
    assert lines["c"] == "1.000 n = 1†"
    assert "insertion ↑ 0 to 1 n = 20" in found.markdown()
    assert " sd " not in found.text()


# Renderings

SMALL = (
    cells("gradient", "insertion", [0.25] * 20),
    cells("sobol", "insertion", [0.5] * 20),
    cells("random", "insertion", [0.125] * 20),
    cells("gradient", "max_sensitivity", [12.0] * 20),
    cells("sobol", "max_sensitivity", ["skipped: cost"] * 20),
    cells("random", "max_sensitivity", [3.0] * 20),
)


def test_text():
    assert (
        board(*SMALL).text()
        == """\
photos, toy: 20 samples

           insertion  max_sensitivity
            ↑ 0 to 1            ↓ ≥ 0  valid
method        n = 20           n = 20      %  forwards  backwards  seconds
--------  ----------  ---------------  -----  --------  ---------  -------
sobol     .500±.000*    skipped: cost     50        50         25       .5
gradient   .250±.000          12.0±.0    100        50         25       .5
--------  ----------  ---------------  -----  --------  ---------  -------
random     .125±.000           3.0±.0    100        50         25       .5

Means with 95 % bootstrap intervals over n samples (± half the width), resampled by source.
Sorted by mean rank on insertion; bold (in text *) is the best mean.
Skipped for cost: the metric explains again and again, which would take more evaluations than its budget.
Valid: cells with a score. Forwards, backwards, seconds: per sample, as if the method ran alone.
"""
    )


def test_markdown():
    lines = board(*SMALL).markdown().split("\n")
    assert lines[:8] == [
        "### photos, toy: 20 samples",
        "",
        "| method | insertion ↑ 0 to 1 n = 20 | max_sensitivity ↓ ≥ 0 n = 20 | valid % "
        "| forwards | backwards | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| sobol | **.500 [.500, .500] sd .000** | skipped: cost | 50 | 50 | 25 | .5 |",
        "| gradient | .250 [.250, .250] sd .000 | 12.0 [12.0, 12.0] sd .0 | 100 | 50 | 25 | .5 |",
        "| — | — | — | — | — | — | — |",
        "| random | .125 [.125, .125] sd .000 | 3.0 [3.0, 3.0] sd .0 | 100 | 50 | 25 | .5 |",
    ]


def test_csv_has_the_numbers_in_full():
    scores, most = noise(3), [*noise(4, 20), *["zero map"] * 10]
    skipped = cells("a", "deletion", ["skipped: cost"] * 30)
    rows = frame(cells("a", "insertion", scores), cells("b", "insertion", most), skipped)
    found = {(record["metric"], record["method"]): record for record in records(leaderboards(rows))}
    assert set(found) == {(metric, method) for metric in ("deletion", "insertion") for method in "ab"}
    b, none = found["insertion", "b"], found["deletion", "a"]
    interval = bootstrap_interval(np.array(most[:20], dtype=float))
    assert tuple(float(b[name]) for name in ("mean", "low", "high", "n")) == tuple(interval)
    values = np.array(most[:20], dtype=float)
    spread = np.sqrt(((values - values.mean()) ** 2).sum() / 19)
    assert float(b["sd"]) == pytest.approx(spread, rel=1e-12)
    assert float(b["iqm"]) == pytest.approx(np.sort(values)[5:15].mean(), rel=1e-12)
    middle = interquartile_mean(values)
    assert [float(b[name]) for name in ("iqm_low", "iqm_high")] == pytest.approx(list(middle[1:3]), rel=1e-12)
    assert (float(b["valid"]), b["samples"], b["undefined"]) == (20 / 30, "30", "zero map 10")
    assert {name: float(b[name]) for name in COSTS} == COSTS
    assert (none["mean"], none["n"], none["undefined"]) == ("", "0", "skipped: cost 30")
    assert (none["sd"], none["iqm"], none["iqm_low"]) == ("", "", "")
    assert csv([]) == ""


def big():
    methods = ["gradient", "input_x_gradient", "integrated_gradients", "sobol", "rise", "grad_cam", "normgrad"]
    variants = [(name, None) for name in methods] + [("smoothgrad", {"samples": n}) for n in (10, 25, 50)]
    metrics = [
        *METRICS,
        *(f"{name}@{number}" for name, number in (("insertion", 14), ("deletion", 14), ("pointing_game", 5))),
    ]
    rows = [
        cells(name, metric, [0.1 * value + 0.8 - 0.05 * number for value in noise(number, 20)], parameters=parameters)
        for number, (name, parameters) in enumerate([*variants, ("random", None), ("random_coarse", None)])
        for metric in metrics
    ]
    return leaderboards(frame(*rows))


def printed(tables, **options):
    output = io.StringIO()
    show(tables, Console(file=output, **options))
    return output.getvalue()


def test_a_terminal_of_120_columns_shows_everything():
    tables = big()
    text = printed(tables, width=120, force_terminal=True, color_system="truecolor")
    plain = printed(tables, width=120, force_terminal=True, color_system=None)
    assert "\x1b[1;32m" in text
    lines = plain.split("\n")
    assert max(map(len, lines)) <= 120
    assert "…" not in plain
    for column in tables[0].columns:
        for name in names(tables[0]):
            interval = column.scores[name].interval
            assert f"{number(interval.mean, 3)}±{number((interval.high - interval.low) / 2, 3)}" in plain
    assert [line.split("  ")[0] for line in lines].index("random") > [line.split("  ")[0] for line in lines].index(
        "rise"
    )
    assert sum(line.startswith("──") for line in lines) == 2  # below the headings and above the sentinels


@pytest.mark.parametrize("options", [{"width": 40}, {"width": 60, "force_terminal": True, "color_system": "truecolor"}])
def test_no_terminal_or_a_narrow_one_gets_uncut_text(options):
    tables = big()
    assert printed(tables, **options) == tables[0].text() + "\n"


def test_the_order_of_rows_changes_nothing():
    rows = frame(*(cells(name, "insertion", noise(number)) for number, name in enumerate(("a", "b", "random"))))
    assert leaderboards(rows.iloc[::-1]) == leaderboards(rows)


# Tables


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.4123, 3, ".412"),
        (-0.4123, 2, "-.41"),
        (-0.0001, 3, ".000"),
        (0.9999, 3, "1.000"),
        (10.04, 1, "10.0"),
        (1234.5, 0, "1234"),
        (0.000041, 7, "4.1e-5"),
        (0.0, 7, ".000000"),
        (float("nan"), 3, "-"),
        (float("inf"), 3, "inf"),
    ],
)
def test_numbers(value, decimals, text):
    assert number(value, decimals) == text


def test_decimals_and_figures():
    assert [decimals_for([value]) for value in (0.5, 1.0, 56.0, 1234.0, 0.004, 0.0)] == [3, 2, 1, -1, 5, 3]
    assert decimals_for([float("nan"), 0.5, -20.0]) == 1
    assert [figures(value, 3) for value in (50.0, 50.5, 1568.0, 100.0, 0.0, 0.0341)] == [
        "50",
        "50.5",
        "1568",
        "100",
        "0",
        ".0341",
    ]


def test_a_table_escapes_markdown():
    table = Table("t", ("a\nb", "c|d"), ((), ((Entry("x*|\ny"), Entry("1", best=True)),)), ("<note>",))
    assert table.markdown() == "### t\n\n| a b | c\\|d |\n| --- | ---: |\n| x\\*\\| y | **1** |\n\n- \\<note>\n"
