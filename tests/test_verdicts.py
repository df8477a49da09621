"""The first rule that holds decides; a metric is believed where none does. Tables are made to break one rule each."""

import numpy as np
import pandas as pd
import pytest
from trial_frames import evidence, rows

from xaieval.agreement import Match
from xaieval.metaquantus import BothSpaces, MetaConsistency
from xaieval.reliability import reliabilities
from xaieval.signal_to_noise import Retest, SignalToNoise
from xaieval.verdicts import Findings, findings, verdict

METHODS, SENTINELS = ("a", "b", "c", "d"), ("random", "random_coarse", "edge_detector", "centre_blob")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def tables(samples=24, *, spread=0.5, gain=1.0, noise=0.2):
    """Methods `spread` apart, the worst of them `gain` above all that knows nothing; and their shuffled maps."""
    draws = iter(noise * normal(0, 12, samples))
    methods = {name: gain + spread * place + next(draws) for place, name in enumerate(METHODS)}
    sentinels = {name: next(draws) for name in SENTINELS}
    return {**methods, **sentinels}, {name: next(draws) for name in METHODS}


def judged(scores, shuffled=None, **options):
    return verdict(Findings(evidence(scores, shuffled=shuffled, **options)))


def doubted(found, cause):
    return (found.belief, found.cause) == ("doubt", cause)


def test_a_metric_without_flaw_is_believed_and_says_why():
    found = judged(*tables())
    assert (found.belief, found.cause) == ("believe", "")
    assert found.sentence.startswith(
        "of 4 methods 4 beat their own shuffled map, 4 beat random, 4 beat random_coarse, 4 beat edge_detector and "
        "4 beat centre_blob; they differ "
    )


def test_lower_can_be_better():
    scores, shuffled = ({name: -values for name, values in table.items()} for table in tables())
    assert judged(scores, shuffled, higher=False).belief == "believe"
    assert doubted(judged(scores, shuffled, higher=True), "inverted")


@pytest.mark.parametrize(("samples", "cause"), [(24, "ignores the explanation"), (3, "too few sources")])
def test_one_score_for_all_maps(samples, cause):
    scores, shuffled = tables(samples)
    source = normal(1, samples)
    same = dict.fromkeys(scores, source), dict.fromkeys(shuffled, source)
    assert judged(*same).cause == cause


def test_scores_that_a_shuffled_map_has_too():
    scores, _ = tables(3)
    assert doubted(judged(scores, {name: scores[name] for name in METHODS}), "sees values alone")


def test_hits_and_misses_are_equal_by_accident():
    hits = {name: np.array([1.0, 0, 1, place > 2]) for place, name in enumerate(METHODS)}
    assert judged(hits, hits).cause == "too few sources"
    many = {name: np.tile(values, 6) for name, values in hits.items()}
    assert judged(many, many).cause == "sees values alone"


def test_scores_of_many_values_are_no_hits_and_misses():
    scores = {name: np.tile(values, 2) for name, values in tables(3)[0].items()}  # half as many values as cells
    assert judged(scores, {name: scores[name] for name in METHODS}).cause == "sees values alone"


def sound(**planted):
    """The verdict on a metric without flaw, but for what is planted."""
    scores, shuffled = tables()
    found = Findings(evidence(scores, shuffled=shuffled))
    vars(found).update(planted)
    return verdict(found)


@pytest.mark.parametrize(("planted", "cause"), [
    ({"ratios": {"subsets": 1.99, "draws": 9.0, "seeds": 9.0}}, "noise"),
    ({"ratios": {"subsets": 9.0, "draws": 1.99, "seeds": 9.0}}, "noise"),
    ({"ratios": {"subsets": 2.0, "draws": 2.0, "seeds": 0.1}}, ""),
    ({"ratios": {"subsets": 2.0, "draws": np.nan, "seeds": np.nan}}, ""),
    ({"retest": Retest(0.1, 0.9, 1.0)}, ""),
    ({"removals": {"blur": Match(1.0, 0.0, 0.11, 9), "mean": Match(0.0, 0.5, 0.0, 9)}}, "depends on the removal"),
    ({"removals": {"blur": Match(0.0, 0.5, 0.1, 10)}}, ""),
    ({"removals": {"blur": Match(0.0, 0.5, np.nan, 0)}}, ""),
])  # fmt: skip
def test_where_each_threshold_lies(planted, cause):
    if ratios := planted.get("ratios"):
        planted = {"ratios": {kind: SignalToNoise(ratio, 1.0, ratio, 24) for kind, ratio in ratios.items()}}
    found = sound(**planted)
    assert (found.cause, found.belief) == (cause, "doubt" if cause else "believe")


def test_the_removal_that_turns_most_pairs_is_named():
    matches = {"blur": Match(1.0, 0.0, 0.2, 9), "mean": Match(1.0, 0.0, 0.5, 8), "noise": Match(1.0, 0.0, 0.3, 9)}
    assert sound(removals=matches).sentence.startswith("with the removal mean 50% of the 8 pairs ")


@pytest.mark.parametrize(("score", "told"), [(0.5, " (MC .50)"), (0.51, ""), (np.nan, "")])
def test_a_metric_that_does_not_react_is_believed_with_a_but(score, told):
    found = sound(consistency=BothSpaces(MetaConsistency(), MetaConsistency(), score, ""))
    assert found.belief == "believe"
    assert found.sentence.endswith(told or " makes them")
    assert ("but it reacts to perturbed models and inputs no better" in found.sentence) == bool(told)


def test_two_equal_methods_are_no_flaw_of_a_metric():
    assert judged({"a": np.ones(24), "b": np.ones(24)}).cause == "too few methods"


def test_shuffled_maps_of_a_run_are_found_among_its_sentinels():
    scores, _ = tables(3)
    scores |= {"permuted": scores["b"]}
    kinds: dict[str, object] = {name: {"_target_": f"my.{name}"} for name in METHODS}
    kinds |= {"permuted": {"_target_": "xaieval.attributions.permuted.Permuted", "method": {"_target_": "my.b"}}}
    assert doubted(judged(scores, methods=kinds), "sees values alone")


@pytest.mark.parametrize("samples", [8, 24])
def test_a_sentinel_that_beats_every_method(samples):
    scores, shuffled = tables(samples)
    scores["centre_blob"] = scores["centre_blob"] + 5
    found = judged(scores, shuffled)
    assert doubted(found, "fooled")
    assert found.sentence == "centre_blob scores better than all 4 methods"
    scores["edge_detector"] = scores["edge_detector"] + 5
    assert judged(scores, shuffled).sentence == "edge_detector and centre_blob score better than all 4 methods"


def test_with_few_sources_a_sentinel_needs_every_method():
    scores, shuffled = tables(8)
    scores["centre_blob"] = scores["centre_blob"] + 2.25  # between c and d
    assert judged(scores, shuffled).cause == "too few sources"


def test_few_sources_and_few_methods_are_not_known():
    found = judged(*tables(19))
    assert (found.belief, found.cause) == ("unknown", "too few sources")
    assert found.sentence == "19 sources are too few, 20 are needed"
    scores, shuffled = tables()
    found = judged({name: scores[name] for name in ("a", "b", *SENTINELS)}, shuffled)
    assert (found.belief, found.sentence) == ("unknown", "2 methods with a score: too few for an order")


def test_mosaics_count_by_their_sources():
    scores, shuffled = tables()
    sources = [(f"source {number % 6}",) for number in range(24)]
    assert judged(scores, shuffled, sources=sources).sentence == "6 sources are too few, 20 are needed"


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        ([(f"{place}", f"{place + 1}") for place in range(24)], "samples share sources and fall into 1 separate group"),
        (
            [tuple(f"{place % 4} {source}" for source in range(6)) for place in range(24)],
            "samples share sources and fall into 4 separate groups",
        ),
    ],
)
def test_mosaics_in_too_few_groups_for_a_test_doubt_nothing(sources, sentence):
    found = judged(*tables(), sources=sources)
    assert (found.belief, found.sentence) == ("unknown", f"{sentence}, 20 are needed")


def test_one_source_and_none_are_told_as_such():
    assert judged(*tables(1)).sentence == "1 source is too few, 20 are needed"
    scores = {name: [1.0, 2.0, "why", "why"] for name in "ab"} | {name: ["why", "why", 3.0, 4.0] for name in "cd"}
    assert judged(scores).sentence == "no source has a score for all methods, 20 are needed"


def test_a_control_with_scores_on_few_sources_is_no_test():
    scores, shuffled = tables()
    few = {name: values[:5] for name, values in shuffled.items()}
    found = judged(scores, few)
    assert (found.belief, found.cause) == ("unknown", "not tested")
    assert found.sentence == "not tested against its methods' own shuffled maps: scored on too few sources"
    scores["random"] = [*scores["random"][:5], *["why"] * 19]
    assert judged(scores, shuffled).sentence == "not tested against random: scored on too few sources"


def test_a_map_is_better_than_all_methods_only_where_it_meets_all():
    scores, shuffled = tables()
    scores["centre_blob"] = [*scores["centre_blob"][:12] + 5, *["why"] * 12]
    assert judged(scores, shuffled).cause == "fooled"
    scores["a"] = [*["why"] * 12, *scores["a"][12:]]
    assert judged(scores, {name: shuffled[name] for name in "bcd"}).cause == "too few sources"


def test_oracles_of_the_run_are_no_methods():
    scores, shuffled = tables()
    scores["centre_blob"] = scores["centre_blob"] + 5
    scores["bound"], scores["mask"] = scores["centre_blob"] + 1, scores["centre_blob"] + 2
    own = {
        "bound": {"_target_": "xaieval.attributions.greedy_insertion.GreedyInsertion"},
        "mask": {"_target_": "xaieval.attributions.ground_truth.GroundTruth"},
    }
    found = judged(scores, shuffled, methods=own)
    assert found.sentence == "centre_blob scores better than all 4 methods"


def test_methods_that_are_constant_differ_whatever_the_sources():
    scores = {name: np.full(24, 1.0 + place) for place, name in enumerate(METHODS)}
    nothing = dict.fromkeys(SENTINELS, np.zeros(24))
    found = judged(scores | nothing, dict.fromkeys(METHODS, np.zeros(24)))
    assert found.sentence.endswith("4 beat centre_blob; the choice of sources changes nothing")


def test_one_method_that_beats_a_control_makes_no_order():
    scores, shuffled = tables()
    scores["edge_detector"] = scores["edge_detector"] + 1.75  # between b and c
    assert "4 beat random_coarse, 2 beat edge_detector and 4 beat centre_blob" in judged(scores, shuffled).sentence
    scores["edge_detector"] = scores["edge_detector"] + 0.5  # between c and d
    found = judged(scores, shuffled)
    assert doubted(found, "fooled")
    assert found.sentence == "only d scores reliably better than edge_detector"
    scores["centre_blob"] = scores["centre_blob"] + 2.5  # as d
    assert judged(scores, shuffled).sentence == (
        "no method scores reliably better than centre_blob; only d scores reliably better than edge_detector"
    )


def test_methods_that_differ_by_chance_alone():
    found = judged(*tables(spread=0.0))
    assert doubted(found, "noise")
    assert "as much as the choice of sources makes them" in found.sentence


def test_a_metric_whose_draws_move_it_as_much_as_methods_do():
    scores, shuffled = tables(spread=0.5)
    means = {name: scores[name] + 0.7 * number for number, name in enumerate("dcba")}
    found = judged(scores, shuffled, draws=[means])
    assert doubted(found, "noise")
    assert "as much as the metric's draws make them" in found.sentence


def test_a_metric_that_does_not_repeat_its_scores():
    scores, shuffled = tables(samples=400, spread=0.2, noise=1.0)
    again = {name: values.mean() + normal(number + 9, 400) for number, (name, values) in enumerate(scores.items())}
    found = judged(scores, shuffled, draws=[{name: again[name] for name in METHODS}])
    assert found.belief == "believe"  # a mean over 400 samples is firm all the same
    assert "; but another draw of the metric repeats single scores with a correlation of " in found.sentence


def test_no_method_beats_a_control():
    scores, shuffled = tables()
    scores["edge_detector"] = scores["edge_detector"] + 2.5  # as the best method
    found = judged(scores, shuffled)
    assert doubted(found, "fooled")
    assert found.sentence == "no method scores reliably better than edge_detector"


def test_an_oracle_and_methods_that_random_reaches():
    scores, shuffled = tables()
    scores["random"] = scores["random"] + 2.5  # as the best method
    oracle = {"greedy_insertion": scores["random"] + 0.1 * normal(3, 24)}
    found = judged(scores, shuffled, oracles=oracle)
    assert doubted(found, "no room")
    told = "neither greedy_insertion, made to score well, nor any method is reliably better than random"
    assert found.sentence == told
    (table,) = reliabilities(pd.concat([rows(scores), rows(shuffled, "shuffled"), rows(oracle, "oracle")]))
    assert table.text().count("no room") == 2  # in the table, and in the sentence below it
    assert judged(scores, shuffled, oracles={"greedy_insertion": scores["d"] + 1}).cause == "fooled"
    # On five sources nothing is better than random, p = 2 / 2^5: it says nothing about room.
    few = {"greedy_insertion": scores["random"][:5] + normal(3, 5)}
    assert judged(scores, shuffled, oracles=few).cause == "fooled"


@pytest.mark.parametrize("number", [5, 24])
def test_an_oracle_that_fails_where_methods_win_doubts_the_oracle_alone(number):
    scores, shuffled = tables()
    oracle = {"greedy_insertion": scores["random"][:number] + 0.1 * normal(3, number)}
    assert judged(scores, shuffled, oracles=oracle).belief == "believe"
    (table,) = reliabilities(pd.concat([rows(scores), rows(shuffled, "shuffled"), rows(oracle, "oracle")]))
    assert "no room" not in table.text()


def test_another_removal_that_turns_the_order_round():
    scores, shuffled = tables()
    methods = [scores[name] for name in METHODS]
    found = judged(scores, shuffled, removals={"blur": dict(zip(METHODS, reversed(methods), strict=True))})
    assert doubted(found, "depends on the removal")
    assert found.sentence == "with the removal blur 100% of the 6 pairs of methods that both decide turn round"
    assert judged(scores, shuffled, removals={"blur": dict(zip(METHODS, methods, strict=True))}).belief == "believe"
    found = judged(scores, shuffled, removals={"blur": {"a": scores["d"], "d": scores["a"]}})
    assert found.sentence == "with the removal blur the only pair of methods that both decide turns round"


def test_what_was_not_tested_is_said():
    scores, shuffled = tables()
    assert judged(scores).sentence == "not tested against its methods' own shuffled maps: `xaieval reliability` does it"
    del scores["random_coarse"]
    assert judged(scores, shuffled).sentence == "not tested against random_coarse: `xaieval reliability` does it"
    one = judged(scores, {"a": shuffled["a"]})
    assert one.sentence.startswith("not tested against its methods' own shuffled maps and random_coarse")


def test_one_shuffled_map_that_is_worse_inverts_nothing():
    scores, _ = tables()
    assert judged(scores, {"a": scores["a"] + 1}).cause == "not tested"
    assert judged(scores, {name: scores[name] + 1 for name in METHODS}).cause == "prefers shuffled maps"
    worse = {name: values + 9 * (name in SENTINELS) for name, values in scores.items()}
    assert judged(worse, {name: scores[name] + 1 for name in METHODS}).cause == "inverted"
    worse["random"] = scores["random"]  # one that is told from methods, as it should be
    assert judged(worse, {name: scores[name] + 1 for name in METHODS}).cause == "prefers shuffled maps"


def test_other_seeds_are_a_caveat():
    scores, shuffled = tables()
    seeds = [{name: scores[name] + (-1) ** number for number, name in enumerate(METHODS)}]
    found = judged(scores, shuffled, seeds=seeds)
    assert found.belief == "believe"
    assert "; but only " in found.sentence
    assert found.sentence.endswith(" times as much as the methods' own seeds do")


def test_a_table_for_each_dataset_and_model():
    scores, _ = tables()
    frame = pd.concat([rows(scores, model=model, metric=metric) for model in ("one", "two") for metric in ("m", "n")])
    found = reliabilities(frame)
    assert [[verdict.metric for verdict in table.verdicts] for table in found] == [["m", "n"], ["m", "n"]]
    assert [table.title for table in found] == [
        f"sources, {model}: which metrics deserve belief (24 sources)" for model in ("one", "two")
    ]
    assert len(findings(frame)) == 4


def test_concordance_tells_of_how_many_metrics_it_is():
    scores, _ = tables()
    frames = [rows(scores, metric=metric) for metric in "mno"] + [rows({"a": scores["a"]}, metric="alone")]
    (table,) = reliabilities(pd.concat(frames))
    assert "faithfulness 1.00 (3), all 1.00 (3)." in table.text()


def test_text_markdown_and_csv_tell_the_same():
    scores, shuffled = tables()
    frame = pd.concat([rows(scores, metric="good"), rows(shuffled, "shuffled", metric="good")])
    (table,) = reliabilities(pd.concat([frame, rows(dict.fromkeys(scores, scores["a"]), metric="idle")]))
    assert [line[:8] for line in table.sentences()] == ["✓ good: ", "✗ idle: "]
    for text in (table.text(), table.markdown()):
        assert all(sentence in text for sentence in table.sentences())
        assert "4 of 4" in text
    assert "- ✗ idle: do not rank by it, ignores the explanation: every map gets the same score." in table.markdown()
    one, other = table.pairs().to_dict("records")
    assert (one["metric"], one["other"], other["metric"]) == ("good", "idle", "idle")
    assert one["flipped"] == other["flipped"] == 0
    frame = table.frame().set_index("metric")
    assert frame["belief"].to_dict() == {"good": "believe", "idle": "doubt"}
    assert frame.loc["good", "own_shuffled_map.better"] == 4
    assert frame.loc["idle", "random.same"] == 4
    (good, _) = table.found
    assert frame.loc["good", "subsets.ratio"] == good.ratios["subsets"].ratio
