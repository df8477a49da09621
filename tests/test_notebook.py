"""What objects show of themselves in a notebook; nothing that a user wrote becomes a part of the page."""

import base64
import io
import re
from dataclasses import dataclass, replace
from html import unescape
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from score_rows import cells, frame, noise
from test_plots import SIDE, explained
from trial_frames import rows as trial_rows

from xaieval.attributions.ground_truth import GroundTruth
from xaieval.attributions.random import Random
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.differences import differences
from xaieval.laws import text_toys
from xaieval.laws.toys import General, images, seeded
from xaieval.leaderboard import leaderboards
from xaieval.metrics.deletion import Deletion
from xaieval.notebook import paper
from xaieval.pairs import pairs
from xaieval.ranks import ranks
from xaieval.reliability import reliabilities
from xaieval.statistics import Interval
from xaieval.table import Entry, Table

SCRIPT = "<script>alert('x')</script>"


def shown(value):
    """As a notebook asks for it."""
    return value._repr_html_()


def words(page):
    """The text of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def lines(page):
    """The cells of each line of a table."""
    found = re.findall(r"<tr>(.*?)</tr>", page)
    return [[words(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)] for line in found]


def board(metric="insertion", **scores):
    (found,) = leaderboards(frame(*(cells(name, metric, own) for name, own in scores.items())))
    return found


def test_a_table_has_its_lines_its_rules_and_its_notes():
    sections = (((Entry("a"), Entry(".1", best=True)), (Entry("b"), Entry(".2"))), (), ((Entry("c"), Entry("-")),))
    page = Table("Title", ("method", "score\nn = 3"), sections, ("One.", "Two.")).html()
    assert lines(page) == [["method", "score n = 3"], ["a", ".1"], ["b", ".2"], ["c", "-"]]
    assert page.count("<tbody>") == 2
    assert page.count("<strong>.1</strong>") == 1
    assert re.findall("<li>(.*?)</li>", page) == ["One.", "Two."]


def test_a_leaderboard_shows_what_its_text_says():
    found = board(a=[0.75] * 20, b=noise(1, 20), random=noise(2, 20))
    page = shown(found)
    assert [line[0] for line in lines(page)] == ["method", "a", "b", "random"]
    for line in lines(page)[1:]:
        assert line[1] in found.text()
    assert "<strong>.750±.000</strong>" in page
    assert all(note in words(page) for note in found.notes())


@pytest.mark.parametrize("kind", [differences, pairs, ranks])
def test_other_tables_show_themselves_too(kind):
    (table,) = kind([board(a=noise(0), b=noise(1), random=noise(2))])
    page = shown(table)
    assert len(lines(page)) > 1
    for line in lines(page)[1:]:
        assert all(cell in table.text() for cell in line)


def test_verdicts_are_shown_with_their_sentences():
    scores = {name: noise(place, 24) for place, name in enumerate("abc")}
    (table,) = reliabilities(trial_rows(scores, metric="insertion"))
    page = words(shown(table))
    assert all(sentence in page for sentence in table.sentences())


def test_an_interval_shows_its_ends():
    assert words(shown(Interval(0.4123, 0.381, 0.44321, 35))) == ".412 [.381, .443] n = 35"
    assert words(shown(Interval(float("nan"), float("nan"), float("nan"), 0))) == "- [-, -] n = 0"


def test_methods_and_metrics_show_parameters_and_paper():
    page = shown(SmoothGrad(samples=7))
    assert lines(page) == [["samples", "7"], *[[name, repr(getattr(SmoothGrad(), name))] for name in _others()]]
    assert words(page).startswith(
        f"SmoothGrad method \N{MIDDLE DOT} units gradient \N{MIDDLE DOT} {SmoothGrad.reference}"
    )
    assert f'<a href="https://arxiv.org/abs/{SmoothGrad.reference.removeprefix("arXiv:")}">' in page
    said = words(shown(Deletion()))
    dot = "\N{MIDDLE DOT}"
    assert said.startswith(
        f"Deletion metric {dot} faithfulness {dot} lower is better {dot} 0 to 1 {dot} arXiv:1806.07421"
    )
    assert "Area below the score while the top patches are removed" in said


def test_kinds_needs_and_long_values_are_told():
    dot = "\N{MIDDLE DOT}"
    assert words(shown(Random())).startswith(f"Random sentinel {dot} ")
    truth = words(shown(GroundTruth()))
    assert truth.startswith(f"GroundTruth oracle {dot} ")
    assert f"{dot} needs mask {dot}" in truth
    long = shown(Planted(note="x" * 100))
    assert lines(long) == [["note", "'" + "x" * 76 + "..."]]
    assert "Planted(" not in words(long)  # no docstring, so no first sentence


def _others():
    return [name for name in SmoothGrad.__dataclass_fields__ if name not in ("samples", "units", "reference")]


def test_papers_are_links_where_they_can_be():
    assert (
        paper("doi:10.1371/journal.pone.1")
        == '<a href="https://doi.org/10.1371/journal.pone.1">doi:10.1371/journal.pone.1</a>'
    )
    assert paper("10.1016/j.patrec.1").startswith('<a href="https://doi.org/10.1016/j.patrec.1">')
    assert paper("") == ""
    assert paper(SCRIPT).startswith("&lt;script&gt;")
    assert '"' not in paper('arXiv:1" onclick="x').split("https://arxiv.org/abs/")[1].split('">')[0]


@dataclass(frozen=True)
class Planted(Method):
    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = f"arXiv:{SCRIPT}"
    note: str = SCRIPT


def test_an_explicand_shows_its_samples():
    explicand = explained(2, categories=["cat", "dog", "owl", "bee"])
    page = shown(explicand)
    assert words(page).startswith(f"Explicand 2 samples of 3 x {SIDE} x {SIDE}")
    assert "photo 0 cat photo 1 dog" in words(page)
    assert "0 forwards and 0 backwards per sample so far" in words(page)
    pictures = re.findall(r"base64,([^\"]*)", page)
    assert len(pictures) == 2
    with Image.open(io.BytesIO(base64.b64decode(pictures[1]))) as picture:
        expected = (explicand.inputs[1].movedim(0, -1) * 255).round().numpy()
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_an_explicand_says_what_it_has_and_shortens_long_ids():
    classifier, inputs = Classifier(seeded(General)), images(1, SIDE)
    plain = words(shown(classifier.explicand(inputs, 0, ["x" * 100])))
    assert plain.startswith(f"Explicand 1 sample of 3 x {SIDE} x {SIDE} ")
    assert plain.endswith(f"so far {'x' * 77}... class 0")
    masked = classifier.explicand(inputs, 0, mask=torch.ones(1, SIDE, SIDE, dtype=torch.bool))
    assert "so far \N{MIDDLE DOT} with mask" in words(shown(masked))


def test_many_large_photos_are_a_small_part_of_a_page():
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    page = shown(Classifier(module).explicand(images(10, 300), 0))
    assert len(re.findall("base64,", page)) == 8
    assert "and 2 more" in words(page)
    assert len(page) < 8 * 40_000


def test_texts_and_gray_photos_are_shown():
    texts = text_toys.explicand(seeded(text_toys.Reader))
    assert "<img" not in shown(texts)
    assert all(name in words(shown(texts)) for name in texts.ids)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 2))
    assert "<img" in shown(Classifier(module).explicand(images(2, SIDE)[:, :1], 0))


def test_planted_scripts_are_text():
    rows = frame(cells(SCRIPT, "insertion", noise(0)), cells("b", "insertion", [SCRIPT, *noise(1)[1:]]))
    found = leaderboards(rows.assign(dataset=SCRIPT, model=SCRIPT))
    explicand = Classifier(seeded(General), categories=[SCRIPT] * 4).explicand(images(1, SIDE), 0, [SCRIPT])
    pages = [shown(one) for one in (*found, *pairs(found), *ranks(found), Planted(), explicand)]
    pages.append(shown(replace(found[0], dataset='"><img src=x onerror=alert(1)>')))
    for page in pages:
        assert "<script" not in page.lower()
        assert "<img src=x" not in page
        assert "script" in words(page) or "onerror" in words(page)
