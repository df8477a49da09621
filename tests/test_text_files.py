"""Texts from files become the samples that they should be, spans lie on the evidence, bad lines become a sentence."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xaieval.datasets.base import Dataset
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.datasets.text_file import TextFile
from xaieval.datasets.texts import TextSample, TextSamples

CONF = Path(__file__).parents[1] / "conf"
DATA = os.environ.get("XAIEVAL_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="XAIEVAL_TEST_DATA is unset")


# -- samples ---------------------------------------------------------------------------------------------------------


def test_spans_are_kept_as_tuples_with_their_signs():
    sample = TextSample("s", "not a bad film", 1, [[6, 9], [0, 3]], [-1, 1])  # type: ignore[arg-type]
    assert sample.rationale == ((6, 9), (0, 3))
    assert sample.signs == (-1, 1)
    assert (sample.opposing, sample.supporting) == (((6, 9),), ((0, 3),))
    assert sample.sources == ("s",)
    assert hash(sample) == hash(replace(sample))


def test_without_signs_all_spans_support():
    assert TextSample("s", "good", 0, ((0, 4),)).supporting == ((0, 4),)
    assert TextSample("s", "good", 0, ((0, 4),)).opposing == ()
    assert TextSample("s", "good").supporting == TextSample("s", "good", 0, ()).supporting == ()


def test_spans_that_touch_do_not_overlap():
    assert TextSample("s", "goodness", 0, ((4, 8), (0, 4))).rationale == ((4, 8), (0, 4))


def test_characters_are_code_points():
    family = "👩\u200d👩\u200d👧"  # five code points, eight UTF-16 units
    assert TextSample("s", f"{family}!", 0, ((5, 6),)).text[5:6] == "!"
    with pytest.raises(DatasetError, match="no part of the text, which has 6 characters"):
        TextSample("s", f"{family}!", 0, ((8, 9),))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": ""}, "text 's': the text is empty; expected at least one word"),
        ({"text": " \r\n\u3000"}, "text 's': the text is empty"),
        ({"text": 5}, "the text is 5, expected a string"),
        ({"text": "a\ud83d"}, "half of a surrogate pair"),
        ({"second": ""}, "the second text is empty"),
        ({"rationale": ((0, 5),)}, r"rationale \[0, 5\) is no part of the text, which has 4 characters"),
        ({"rationale": ((-1, 2),)}, r"rationale \[-1, 2\) is no part"),
        ({"rationale": ((2, 2),)}, r"rationale \[2, 2\) is no part.*start < end"),
        ({"rationale": ((3, 1),)}, r"rationale \[3, 1\) is no part"),
        ({"rationale": ((2, 4), (0, 3))}, r"rationale \[0, 3\) and \[2, 4\) overlap; make them one"),
        ({"rationale": ((0, 2), (0, 2))}, r"\[0, 2\) and \[0, 2\) overlap"),
        ({"rationale": ((0, 1.0),)}, r"rationale holds \(0, 1.0\), expected two integers"),
        ({"rationale": ((False, True),)}, r"rationale holds \(False, True\), expected two integers"),
        ({"rationale": ((0, 1, 2),)}, r"rationale holds \(0, 1, 2\), expected two integers"),
        ({"rationale": (3,)}, "rationale holds 3, expected two integers"),
        ({"protected": ((0, 9),)}, r"protected \[0, 9\) is no part"),
        ({"rationale": ((0, 1),), "signs": (0,)}, r"signs are \(0,\), expected \+1 or -1 for each of 1 spans"),
        ({"rationale": ((0, 1),), "signs": (1, -1)}, "for each of 1 spans"),
        ({"signs": (1,)}, "for each of 0 spans"),
    ],
)
def test_bad_samples(options, words):
    with pytest.raises(DatasetError, match=words):
        TextSample(**({"id": "s", "text": "good"} | options))


def test_slices_keep_the_categories():
    samples = TextSamples([TextSample(str(i), "a", i % 2) for i in range(5)], ("no", "yes"))
    assert samples[1::2].ids == ("1", "3")
    assert samples[1::2].categories == ("no", "yes")
    assert samples[-1].id == "4"
    with pytest.raises(DatasetError, match="1 texts occur twice, the first is 'a'"):
        TextSamples([TextSample("a", "x"), TextSample("a", "y")])


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path) -> Callable[..., TextFile]:
    """Writes a file and opens it as a dataset."""

    def write(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return TextFile(str(path), **options)

    return write


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_json_lines(written):
    rows = (
        {"text": "bad é\u2028film", "label": "neg", "id": 7, "rationale": [[0, 3], [6, 10]], "note": "x"},
        {"text": "good", "label": "pos", "rationale": [0, 4], "protected": [[1, 2]], "second": "better"},
        {"text": "plain", "label": "neg", "rationale": None},
        {"text": "none", "label": "neg", "rationale": []},
        {"text": "not bad", "label": "pos", "rationale": [[0, 3, 1], [4, 7, -1]]},
    )
    first, second, third, fourth, fifth = samples = written("f.jsonl", "\ufeff\n" + lines(*rows) + " \n").texts()
    assert samples.categories == ("neg", "pos")
    assert samples.ids == ("7", "f_3", "f_4", "f_5", "f_6")
    assert [sample.target for sample in samples] == [0, 1, 0, 0, 1]
    assert first.text == "bad é\u2028film"
    assert [first.text[start:end] for start, end in first.rationale or ()] == ["bad", "film"]
    assert (second.rationale, second.protected, second.second) == (((0, 4),), ((1, 2),), "better")
    assert (third.rationale, fourth.rationale) == (None, ())
    assert (fifth.supporting, fifth.opposing) == (((0, 3),), ((4, 7),))


def test_raw_unicode_and_crlf_in_json_lines(written):
    rows = [json.dumps({"text": text, "label": 0}, ensure_ascii=False) for text in ("a\x85b\u2028c", "d")]
    samples = written("f.jsonl", "\r\n".join(rows)).texts()
    assert [sample.text for sample in samples] == ["a\x85b\u2028c", "d"]


def test_csv(written):
    content = '\ufefflabel,text,id,rationale,note\r\n1,"one, ""two""\r\nthree",a,"[[0,3],[5,10]]",x\r\n0,four,,,\r\n'
    first, second = written("f.csv", content).texts()
    assert (first.id, first.target, first.text) == ("a", 1, 'one, "two"\r\nthree')
    assert [first.text[start:end] for start, end in first.rationale or ()] == ["one", '"two"']
    assert (second.id, second.target, second.text, second.rationale) == ("f_4", 0, "four", None)


def test_tsv_takes_quotation_marks_as_they_are(written):
    first, second = written("dev.tsv", 'a "quoted film\t0\r\n"\u2028\x1c"\t1').texts()
    assert (first.text, first.target, first.id) == ('a "quoted film', 0, "dev_1")
    assert (second.text, second.target) == ('"\u2028\x1c"', 1)


def test_a_header_of_a_tsv_is_no_sample(written):
    samples = written("dev.tsv", "sentence\tlabel\nfine\tgood\n").texts()
    assert [sample.text for sample in samples] == ["fine"]
    assert samples.categories == ("good",)


@pytest.mark.parametrize(
    ("labels", "given", "targets", "categories"),
    [
        (["b", "a", "b"], (), [1, 0, 1], ("a", "b")),
        (["b", "a", "b"], ("b", "c", "a"), [0, 2, 0], ("b", "c", "a")),
        ([2, 0, 2], (), [2, 0, 2], ("0", "1", "2")),
        ([1, 0, 1], ("bad", "good"), [1, 0, 1], ("bad", "good")),
        ([1, 0, 1], (1, 0), [0, 1, 0], ("1", "0")),
        (["1", "0"], (), [1, 0], ("0", "1")),
    ],
)
def test_labels(written, labels, given, targets, categories):
    dataset = written("f.jsonl", lines(*({"text": "x", "label": label} for label in labels)), labels=given)
    samples = dataset.texts()
    assert [sample.target for sample in samples] == targets
    assert samples.categories == categories


GOOD = '{"text": "x", "label": "a"}\n'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.jsonl", "", "f.jsonl holds no text; expected at least one line of jsonl"),
        ("f.jsonl", "\n \n", "holds no text"),
        ("f.jsonl", GOOD + '{"text": "y"', r"line 2: this is no JSON \(.*expected an object"),
        ("f.jsonl", GOOD + "[" * 100_000, "line 2: this is no JSON"),
        ("f.jsonl", GOOD + "9" * 5000, "line 2: this is no JSON"),
        ("f.jsonl", GOOD + '["y", 1]', "line 2: expected an object with `text` and `label`, got '.\"y\", 1.'"),
        ("f.jsonl", '{"sentence": "y", "label": 1}', "line 1: the columns are 'sentence', 'label'; expected `text`"),
        ("f.jsonl", GOOD + "\n" + '{"text": "y"}', "line 3: the columns are 'text'; expected"),
        ("f.jsonl", GOOD + '{"text": "y", "label": null}', "line 2: the label is missing; expected a string, or the"),
        ("f.jsonl", GOOD + '{"text": "y", "label": ""}', "line 2: the label is missing"),
        ("f.jsonl", GOOD + '{"text": "y", "label": true}', "line 2: the label is True, expected a string"),
        ("f.jsonl", GOOD + '{"text": "y", "label": 0.5}', "line 2: the label is 0.5"),
        ("f.jsonl", GOOD + '{"text": "y", "label": 1}', "line 2: the label is 1, but 'a' in line 1; expected"),
        ("f.jsonl", '{"text": "y", "label": -1}', "line 1: the label is -1, expected an index from 0 to 9999"),
        ("f.jsonl", '{"text": "y", "label": 1000000000000}', "line 1: the label is 1000000000000, expected an index"),
        ("f.jsonl", GOOD + '{"text": "", "label": "a"}', "line 2: text 'f_2': the text is empty"),
        ("f.jsonl", GOOD + '{"text": 3, "label": "a"}', "line 2: text 'f_2': the text is 3, expected a string"),
        ("f.jsonl", GOOD + '{"text": null, "label": "a"}', "line 2: text 'f_2': the text is None, expected a string"),
        ("f.jsonl", GOOD + '{"text": "\\ud83d", "label": "a"}', "line 2: .*half of a surrogate pair"),
        ("f.jsonl", GOOD + '{"text": "y", "label": "a", "rationale": [[0, 2]]}', r"line 2: .*\[0, 2\) is no part"),
        ("f.jsonl", GOOD + '{"text": "y", "label": "a", "rationale": [[0, 1, 2]]}', r"line 2: .*signs are \(2,\)"),
        ("f.jsonl", GOOD + '{"text": "yy", "label": "a", "rationale": [[0, 1, 1], [1, 2]]}', "expected two integers"),
        ("f.jsonl", GOOD + '{"text": "y", "label": "a", "rationale": "y"}', "line 2: .*holds 'y', expected two"),
        ("f.jsonl", GOOD + '{"text": "y", "label": "a", "rationale": {"y": 1}}', "line 2: .*expected two integers"),
        ("f.jsonl", GOOD + '{"text": "y", "label": "a", "id": [1]}', r"line 2: the id is \[1\], expected a string"),
        ("f.jsonl", '{"text": "y", "label": 1, "id": 1}\n' * 2, "1 texts occur twice, the first is '1'"),
        ("f.csv", "", "line 1: the columns are those of an empty file; expected `text` and `label`"),
        ("f.csv", "text,label\n", "holds no text; expected at least one line of csv"),
        ("f.csv", "text;label\ny;1\n", "line 1: the columns are 'text;label'; expected `text` and `label`"),
        ("f.csv", "text,label\ny\n", "line 2: the label is missing"),
        ("f.csv", "text,label\n,1\n", "line 2: text 'f_2': the text is empty"),
        ("f.csv", "text,label\none, two,1\n", "line 2: 1 cells more than the header has.*quotation marks"),
        ("f.csv", 'text,label\n"y,1\n', "line 2: this is no CSV"),
        ("f.csv", "text,label,rationale\nabc,1,0-3\n", "line 2: rationale is '0-3', expected spans as JSON"),
        ("f.tsv", "", "holds no text"),
        ("f.tsv", "sentence\tlabel\n", "holds no text"),
        ("f.tsv", "y\t1\nz\n", "line 2: 1 cells, expected two: text TAB label"),
        ("f.tsv", "y\t1\nz\t1\tq\n", "line 2: 3 cells, expected two"),
        ("f.tsv", "y\t1\nz\t\n", "line 2: the label is missing"),
        ("f.tsv", "y\t1\n\t1\n", "line 2: text 'f_2': the text is empty"),
        ("f.tsv", "ü\t1\n".encode("latin-1"), r"f.tsv cannot be read \(.*\); expected tsv in UTF-8"),
        ("f.csv", "text,label\nü,1\n".encode("latin-1"), "expected csv in UTF-8"),
    ],
)
def test_bad_files(written, name, content, words):
    with pytest.raises(DatasetError, match=words):
        written(name, content).texts()


def test_labels_that_the_model_does_not_have(written):
    content = lines({"text": "x", "label": "good"}, {"text": "y", "label": "fine"})
    with pytest.raises(DatasetError, match="line 2: the label is 'fine', expected one of 'bad', 'good', or its index"):
        written("f.jsonl", content, labels=("bad", "good")).texts()
    with pytest.raises(DatasetError, match="line 1: the label is 2, expected one of 'bad', 'good', or its index"):
        written("f.tsv", "x\t2\n", labels=("bad", "good")).texts()


def test_formats_and_names(tmp_path):
    assert TextFile("some/dev.TSV").format == "tsv"
    assert TextFile("dev.data", format="csv").name == "dev"
    with pytest.raises(ValueError, match=r"expected the format jsonl or csv or tsv, got 'txt' for dev.txt"):
        TextFile("dev.txt")
    with pytest.raises(DatasetError, match=r"expected a file of texts at .*no.csv, which is not there"):
        TextFile(str(tmp_path / "no.csv")).texts()


def test_a_model_of_images_gets_no_text(written):
    with pytest.raises(DatasetError, match="f holds texts, and the model takes images: choose a model of texts"):
        written("f.jsonl", GOOD).load(Preprocess(8, 8))


@pytest.mark.parametrize("stem", ["csv", "jsonl", "tsv"])
def test_yaml(stem):
    root = OmegaConf.load(CONF / "dataset" / f"{stem}.yaml")
    dataset = instantiate(OmegaConf.merge(root, {stem: {"path": "x.file"}})[stem], _convert_="all")
    assert dataset == TextFile("x.file", format=stem)
    assert isinstance(dataset, Dataset)


# -- real files ------------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(("part", "count", "positive"), [("train", 6920, 3610), ("dev", 872, 444)])
def test_sst2(part, count, positive):
    path = Path(f"{DATA}/sst2/{part}.tsv")
    samples = TextFile(str(path), labels=("negative", "positive")).texts()
    assert len(samples) == count
    assert sum(sample.target or 0 for sample in samples) == positive
    assert [f"{sample.text}\t{sample.target}" for sample in samples] == path.read_text().strip("\n").split("\n")


@needs_data
def test_the_passages_of_movie_reviews_and_their_evidence():
    """Spans are what the file's own numbers cut out of its own text, and whole words."""
    path = Path(f"{DATA}/rationales/movie_reviews.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    samples = TextFile(str(path)).texts()
    assert len(samples) == 286
    for row, sample in zip(rows, samples, strict=True):
        assert sample.id == str(row["id"])
        ((start, end),) = sample.rationale or ()
        evidence = sample.text[start:end]
        assert evidence == row["text"][row["rationale"][0] : row["rationale"][1]] == evidence.strip()
        before = sample.text[:start].split(" ")[:-1]
        words = evidence.split(" ")
        assert words == sample.text.split(" ")[len(before) : len(before) + len(words)]
    assert samples[0].text[61:107] == "plot holes you could drive a winnebago through"
    assert samples[3].text[49:59] == "amateurish"
