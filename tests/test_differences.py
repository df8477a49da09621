"""Differences to a reference from rows with known means."""

import numpy as np
import pytest
from score_rows import cells, frame, noise, records

from xaieval import differences as tables
from xaieval.leaderboard import leaderboards
from xaieval.statistics import paired_difference


def differences(rows, **options):
    return tables.differences(leaderboards(rows), **options)


def test_differences_are_paired_and_marked_by_direction():
    reference, better, noisy = noise(5), (np.array(noise(5)) + 0.1).tolist(), noise(6)
    rows = frame(
        *(
            cells(*cell)
            for cell in (("random", "insertion", reference), ("a", "insertion", better), ("b", "insertion", noisy))
        ),
        cells("random", "deletion", reference),
        cells("a", "deletion", better),
        cells("b", "deletion", ["units"] * 30),
    )
    (found,) = differences(rows)
    assert found.reference == "random"
    assert [method.name for method in found.methods] == ["a", "b"]
    assert found.pairs["insertion", "b"].interval == paired_difference(noisy, reference)
    assert found.pairs["insertion", "a"].interval == pytest.approx((0.1, 0.1, 0.1, 30))
    lines = found.markdown().split("\n")
    assert lines[0] == "### photos, toy: every method minus random"
    low, high = (f"{value:+.3f}".replace("0.", ".") for value in paired_difference(noisy, reference)[1:3])
    mean = f"{np.mean(noisy) - np.mean(reference):+.3f}".replace("0.", ".")
    assert lines[4] == "| a | +.100 [+.100, +.100] sd .000 ▼ | +.100 [+.100, +.100] sd .000 ▲ |"
    gaps = np.array(noisy) - np.array(reference)
    spread = f"{np.sqrt(((gaps - gaps.mean()) ** 2).sum() / 29):.3f}".replace("0.", ".")
    assert lines[5] == f"| b | - | {mean} [{low}, {high}] sd {spread} |"
    assert lines[2] == "| method | deletion ↓ 0 to 1 n = 30 | insertion ↑ 0 to 1 n = 30 |"
    assert f"{mean} [{low}, {high}]\n" in found.text()
    assert "▲ better, ▼ worse" in found.text()


def test_differences_below_twenty_sources_carry_no_mark():
    (found,) = differences(frame(cells("random", "insertion", [0.1] * 19), cells("a", "insertion", [0.5] * 19)))
    assert "+.400 [+.400, +.400]" in found.text()
    assert not any(line.rstrip().endswith("▲") for line in found.text().split("\n"))


def test_a_cell_tells_its_number_of_samples_where_the_column_has_several():
    most = [0.5] * 25 + ["zero map"] * 5
    (found,) = differences(
        frame(
            cells("random", "insertion", [0.25] * 30), cells("a", "insertion", most), cells("b", "insertion", [1] * 30)
        )
    )
    lines = found.markdown().split("\n")
    assert lines[2] == "| method | insertion ↑ 0 to 1 n = 25 to 30 |"
    assert lines[4:6] == [
        "| b | +.750 [+.750, +.750] sd .000 n = 30 ▲ |",
        "| a | +.250 [+.250, +.250] sd .000 n = 25 ▲ |",
    ]
    (csv,) = (line for line in records([found]) if line["method"] == "a")
    assert {name: float(csv[name]) for name in ("mean", "sd", "n", "sources")} == {
        "mean": 0.25,
        "sd": 0.0,
        "n": 25,
        "sources": 25,
    }


def test_references_are_the_sentinels_there_are():
    methods = ("a", "centre_blob", "random_coarse", "random")
    rows = frame(*(cells(name, "insertion", noise(number)) for number, name in enumerate(methods)))
    assert [found.reference for found in differences(rows)] == ["random", "random_coarse", "centre_blob"]
    assert [found.reference for found in differences(rows, references=["a"])] == ["a"]
    assert [method.name for method in differences(rows)[0].methods] == ["a", "centre_blob", "random_coarse"]
    assert differences(rows, references=["none"]) == []
    found = next(
        record for record in records(differences(rows)) if (record["reference"], record["method"]) == ("random", "a")
    )
    expected = (*paired_difference(noise(0), noise(3)), 30)
    assert tuple(float(found[name]) for name in ("mean", "low", "high", "n", "sources")) == expected


def test_the_order_of_rows_changes_nothing():
    rows = frame(*(cells(name, "insertion", noise(number)) for number, name in enumerate(("a", "b", "random"))))
    assert differences(rows.iloc[::-1]) == differences(rows)
