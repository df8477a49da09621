"""From texts to an explicand: what the model reads, what is scored, and what is said where it does not fit."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from wordpiece import wordpiece

from xaieval.api import evaluate, explain
from xaieval.attributions.gradient import Gradient
from xaieval.classifier import Classifier
from xaieval.collate import collate, padded
from xaieval.config import ConfigError, load
from xaieval.datasets.base import Sample
from xaieval.datasets.encode import Encoder
from xaieval.datasets.photos import Photos
from xaieval.datasets.planted import Planted
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.datasets.reviews import Reviews
from xaieval.datasets.texts import TextSample, TextSamples
from xaieval.models import hf
from xaieval.models.loading import ModelError

transformers = pytest.importorskip("transformers")
NAMES = ("negative", "positive")


def bert(tokenizer, **options):
    options = {"num_labels": 2, "id2label": dict(enumerate(NAMES)), "vocab_size": len(tokenizer)} | options
    config = transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.5,  # else the logits hardly depend on the text
        **options,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer = wordpiece()
    bert(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def classifier(folder):
    return hf.load(str(folder))


def plain(classifier, texts):
    return [classifier.preprocess.sample(TextSample(str(row), text)) for row, text in enumerate(texts)]


def encoder(**options):
    return Encoder(wordpiece(), lambda ids: torch.stack((ids.float(), -ids.float()), 1), **{"longest": 12} | options)


def test_logits_are_those_of_transformers_for_texts_of_different_lengths(classifier, folder):
    texts = ["the film is good", "bad and unbelievably long film , not good", "bad"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    asked = wordpiece()(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**asked).logits
    found = classifier.explicand(**collate(plain(classifier, texts))).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)  # padding is summed in another order


def test_the_second_text_of_a_pair_is_told_from_the_first(classifier, folder):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    asked = wordpiece()(["the film is good"], ["bad film"], return_tensors="pt")
    with torch.no_grad():
        expected = model(**asked).logits
    sample = classifier.preprocess.sample(TextSample("pair", "the film is good", second="bad film"))
    assert sample.reading.attended.tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2]
    found = classifier.explicand(**collate([sample])).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    alone = replace(sample, reading=replace(sample.reading, attended=torch.ones(9, dtype=torch.bool)))
    assert (classifier.explicand(**collate([alone])).logits - expected).abs().max() > 1e-2


def test_what_is_scored_marked_and_protected():
    text = TextSample("s", "The unbelievable film, not good", 1, ((4, 16), (23, 31)), (1, -1), ((17, 21),))
    reading = (sample := encoder(pieces="word").sample(text)).reading
    assert reading.names == ("[CLS]", "The", "un", "believ", "able", "film", ",", "not", "good", "[SEP]")
    assert reading.present.tolist() == [False, *[True] * 8, False]
    assert sample.mask.tolist() == [place in (2, 3, 4) for place in range(10)]  # what opposes the label is no evidence
    assert reading.groups.tolist() == [-1, 0, 1, 1, 1, 2, 3, 4, 5, -1]
    assert reading.protected.tolist() == [place == 5 for place in range(10)]
    assert reading.note == ""
    assert encoder().sample(text).reading.groups is None
    assert encoder().sample(TextSample("s", "good")).mask is None


def test_a_batch_is_padded_and_what_is_padded_is_neither_read_nor_scored():
    texts = [TextSample("a", "good", 1, ((0, 4),)), TextSample("b", "not a good film", 0, (), protected=((0, 3),))]
    given = collate([encoder(pieces="word").sample(text) for text in texts])
    assert given["inputs"].shape == (2, 2, 6)
    assert given["inputs"][0, :, 3:].abs().max() == 0
    assert given["attended"].tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    assert given["present"].tolist() == [[False, True] + [False] * 4, [False] + [True] * 4 + [False]]
    assert given["groups"].tolist() == [[-1, 0, -1, -1, -1, -1], [-1, 0, 1, 2, 3, -1]]
    assert given["mask"].tolist() == [[False, True] + [False] * 4, [False] * 6]
    assert given["protected"].tolist() == [[False] * 6, [False, True] + [False] * 4]


def test_images_are_stacked_as_they_are():
    images = [Sample(str(row), torch.rand(3, 4, 4), 0, None, (str(row),)) for row in range(2)]
    given = collate(images)
    assert torch.equal(given["inputs"], torch.stack([image.input for image in images]))
    assert given["mask"] is None
    assert set(given) == {"inputs", "mask"}


def test_a_row_is_cut_and_filled():
    assert padded(torch.tensor([1, 2, 3]), 2).tolist() == [1, 2]
    assert padded(torch.tensor([True]), 3).tolist() == [True, False, False]


def test_a_text_that_is_cut_says_so():
    sample = encoder(longest=6).sample(TextSample("long", "good " * 40, 1, ((0, 4), (100, 104))))
    assert sample.input.shape == (2, 6)
    assert sample.reading.note == (
        "long: 36 of 40 tokens were cut, characters 0 to 19 are left; 1 of 2 spans of its rationale reach beyond"
    )


def test_emoji_and_combining_characters_keep_their_place():
    text = "good \N{FAMILY} cafe\N{COMBINING ACUTE ACCENT} film"
    reading = encoder().sample(TextSample("s", text)).reading
    assert "".join(reading.names[1:-1]) == text.replace(" ", "")


def test_labels_go_by_their_names():
    texts = TextSamples([TextSample("a", "bad", 1), TextSample("b", "good", 0)], ("Positive", "Negative"))
    samples = encoder(categories=NAMES).samples(texts)
    assert [entry.target for entry in samples.entries] == [samples[row].target for row in range(2)] == [0, 1]
    numbered = TextSamples(texts.samples, ("0", "1"))
    for one in (encoder().samples(texts), encoder(categories=NAMES).samples(numbered)):
        assert [entry.target for entry in one.entries] == [1, 0]
    with pytest.raises(DatasetError, match="the label 'Positive' is no class of the model, which has no, yes"):
        encoder(categories=("no", "yes")).samples(texts)


def test_texts_and_images_are_not_mixed_up(classifier):
    with pytest.raises(ConfigError, match=r"photos holds images, and the model .* takes texts: choose"):
        load(Photos(), classifier)
    with pytest.raises(ConfigError, match="holds images"):
        load(Planted(), classifier)
    with pytest.raises(DatasetError, match="holds texts, and the model takes images: choose a model of texts"):
        load(Reviews(), Classifier(torch.nn.Linear(1, 1), preprocess=Preprocess(8, 8)))


def test_reviews_are_read_by_a_model_that_knows_their_classes(classifier):
    samples = load(Reviews(count=6), classifier)
    assert len(samples) == 6
    assert all(sample.mask is not None for sample in samples)


def test_bad_options():
    with pytest.raises(ValueError, match="pieces must be one of token, word, got 'letter'"):
        encoder(pieces="letter")
    with pytest.raises(DatasetError, match=r"text 's': the text '\\u200b' has no token"):
        encoder().sample(TextSample("s", "\u200b"))


def test_models_that_cannot_be_had(tmp_path, folder):
    with pytest.raises(ModelError, match="the text classifier '/nowhere' could not be had"):
        hf.load("/nowhere")
    with pytest.raises(ModelError, match=re.escape("at most 16 tokens, got longest=17")):
        hf.load(str(folder), longest=17)
    tokenizer = wordpiece()
    bert(tokenizer).bert.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is no trained classifier, it has no weights for classifier.bias"):
        hf.load(str(tmp_path))
    bert(tokenizer).save_pretrained(tmp_path / "alone")
    with pytest.raises(ModelError, match=r"the tokenizer of .* knows \d+ tokens, the model \d+"):
        hf.load(str(tmp_path / "alone"))


def test_pickled_weights_are_read_when_asked_for(tmp_path):
    tokenizer = wordpiece()
    model = bert(tokenizer)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="files without safetensors are read with pickled=true only"):
        hf.load(str(tmp_path))
    assert hf.load(str(tmp_path), pickled=True).categories == NAMES


def test_names_that_transformers_made_up_are_none(tmp_path):
    tokenizer = wordpiece()
    bert(tokenizer, id2label=None, num_labels=3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert hf.load(str(tmp_path), label="mine", pieces="word").categories is None


def test_texts_in_a_line_for_notebooks(classifier):
    texts = ["the film is good", "bad"]
    found = explain(classifier, texts, "gradient", target=1)
    bound = classifier.explicand(target=1, **collate(plain(classifier, texts)))
    assert torch.equal(found, Gradient()(bound))
    rows = evaluate(classifier, texts, ["gradient"], ["deletion"], progress=False)
    assert rows["sample"].tolist() == ["text 0", "text 1"]
    marked = [TextSample("a", "good film", 1, ((0, 4),))]
    rows = evaluate(classifier, marked, ["feature_ablation"], ["roc_auc"], target="label", progress=False)
    assert rows["score"].abs().tolist() == [1.0]
    with pytest.raises(TypeError, match="takes no texts: give a Classifier that knows how they become its input"):
        explain(torch.nn.Linear(1, 1), texts)
    with pytest.raises(TypeError, match=r"texts are a list, got 'bad': write \['bad'\]"):
        explain(classifier, "bad")


def test_a_run_says_how_many_texts_were_cut(classifier, capsys):
    texts = [TextSample(name, "good film " * 20) for name in ("a", "b")]
    for count, said in ((1, "1 text is longer than the model takes: a: 26 of 40 tokens were cut"), (2, "2 texts are")):
        rows = evaluate(classifier, texts[:count], ["gradient"], ["deletion"])
        assert said in capsys.readouterr().err
        assert rows["error"].isna().all()


def test_what_is_kept_of_a_text_depends_on_all_that_is_read_of_it(folder, tmp_path):
    """Words are other pieces than tokens, and other words may be protected, though the embeddings are the same."""
    texts = [
        TextSample("a", "unbelievably good", 1, ((0, 12),)),
        TextSample("a", "unbelievably good", 1, ((0, 12),), None, ((13, 17),)),
    ]
    keys = []
    for pieces, text in (("token", texts[0]), ("word", texts[0]), ("token", texts[1])):
        classifier = hf.load(str(folder), pieces=pieces)
        rows = evaluate(classifier, [text], ["leave_one_out"], ["deletion"], store=tmp_path / "store", progress=False)
        keys += rows["key"].tolist()
    assert len(set(keys)) == 3


def test_maps_are_kept_at_the_length_of_their_own_text(classifier, tmp_path):
    evaluate(classifier, ["bad", "the film is good"], ["gradient"], ["deletion"], store=tmp_path, progress=False)
    found = [load_file(path)["attribution"].shape for path in (tmp_path / "attributions").iterdir()]
    assert sorted(shape[-1] for shape in found) == [3, 6]
