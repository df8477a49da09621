"""Verdicts in a store: the latest for each metric, and what cannot be read is missing."""

from trial_frames import evidence

from xaieval.kept_verdicts import FOLDER, Column, by_column, keep_verdicts, kept_verdicts
from xaieval.verdicts import Findings, Verdict


def found(metric="m", **options):
    return Findings(evidence({"a": [0.1], "b": [0.2]}, metric=metric, **options))


def test_the_latest_verdict_on_a_metric_is_kept(tmp_path):
    first, later = Verdict("m", "doubt", "noise", "it is"), Verdict("m", "believe", "", "all is well")
    other = Verdict("m", "unknown", "too few sources", "3 sources are too few")
    keep_verdicts(tmp_path, by_column([(found(), first)]))
    others = (found(parameters={"samples": 5}), other), (found(model="two"), other)
    keep_verdicts(tmp_path, by_column([(found(), later), *others]))
    assert kept_verdicts(tmp_path) == {
        Column("sources", "toy", "{}"): later,
        Column("sources", "toy", '{"samples": 5}'): other,
        Column("sources", "two", "{}"): other,
    }
    assert {path.suffix for path in (tmp_path / FOLDER).iterdir()} == {".json"}


def test_without_a_store_or_verdicts_there_are_none(tmp_path):
    assert kept_verdicts(None) == {}
    assert kept_verdicts(tmp_path) == {}


def test_a_damaged_file_is_missing(tmp_path):
    keep_verdicts(tmp_path, by_column([(found(), Verdict("m", "believe", "", "all is well"))]))
    for number, text in enumerate(
        ["", "[]", "{}", '{"dataset": "sources", "model": "toy", "parameters": "{}"}', "\x00"]
    ):
        (tmp_path / FOLDER / f"{number}.json").write_text(text)
    assert len(kept_verdicts(tmp_path)) == 1
