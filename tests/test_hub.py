"""Datasets by the name that Hugging Face `datasets` knows; here folders, as there may be no network."""

import json
import sys

import pytest

from xaieval.datasets.hub import Hub
from xaieval.datasets.preprocess import DatasetError

ROWS = [
    {"sentence": "a fine film", "label": "positive", "other": "it is good"},
    {"sentence": "a dull film", "label": "negative", "other": "it is good"},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(rows=ROWS):
        (tmp_path / "films").mkdir()
        (tmp_path / "films" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / "films")

    return write


def test_texts_of_a_split(folder):
    dataset = Hub(folder(), split="train", text="sentence")
    samples = dataset.texts()
    assert dataset.name == "films_train"
    assert samples.categories == ("negative", "positive")
    assert [(one.id, one.text, one.target) for one in samples] == [
        ("films_train_0", "a fine film", 1),
        ("films_train_1", "a dull film", 0),
    ]


def test_pairs_and_integer_labels_of_which_some_are_missing(folder):
    rows = [row | {"label": label} for row, label in zip(ROWS, (1, -1), strict=True)]
    samples = Hub(folder(rows), split="train", text="sentence", second="other").texts()
    assert [(one.second, one.target) for one in samples] == [("it is good", 1), ("it is good", None)]


def test_what_is_not_there(folder, monkeypatch):
    path = folder()
    with pytest.raises(DatasetError, match="has no column 'text'; it has sentence, label, other: name them with text="):
        Hub(path, split="train").texts()
    with pytest.raises(DatasetError, match="could not be had"):
        Hub(path, split="test").texts()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=r"needs the package datasets: pip install 'xaieval\[hub\]'"):
        Hub(path).texts()
