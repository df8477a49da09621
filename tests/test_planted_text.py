"""The planted model of texts: what it says is the planted score, and leave-one-out finds exactly the marked words."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.random import Random
from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.datasets import reviews
from xaieval.datasets.planted_words import NEGATORS, effects, planted_score, words_in
from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.reviews import CATEGORIES, Reviews, valences
from xaieval.models import planted_text
from xaieval.models.loading import ModelError
from xaieval.models.planted_text import PlantedText, WordTokenizer
from xaieval.tokens import tokenize

pytestmark = pytest.mark.skipif(find_spec("vaderSentiment") is None, reason="vaderSentiment is not installed")
CONF = Path(__file__).parents[1] / "conf"
COUNT = 60
PARTS = [(split, opposing) for split in ("seen", "held_out") for opposing in (True, False)]


@cache
def texts(split="seen", opposing=True, negation=True):
    return tuple(Reviews(COUNT, split, opposing=opposing, negation=negation).texts())


def words(text):
    return [word.text for word in words_in(text)]


def bound(samples, negation=True, side="right", batch_size=64):
    """The reviews as the model takes them, with the words that support the label as ground truth."""
    classifier = planted_text.load(negation=negation, batch_size=batch_size)
    tokens = tokenize([sample.text for sample in samples], tokenizer(), 512, side)
    return classifier.explicand(
        classifier.module.get_submodule("table")(tokens.ids).detach().mT,
        [sample.target for sample in samples],
        [sample.id for sample in samples],
        mask=tokens.rationale([sample.supporting for sample in samples]),
        present=tokens.present,
        attended=tokens.attended,
    )


def tokenizer():
    return WordTokenizer(planted_text.vocabulary())


def average_precision(scores, relevant):
    """Of one text, by its definition: the precision at each relevant token, ties in the worst order."""
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], relevant[place]))
    hits = [relevant[place] for place in order]
    found = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
    return sum(found) / len(found)


def precisions(work, maps, sign=1):
    scores = sign * work.features(maps)
    return [
        average_precision(scores[row, there].tolist(), work.mask[row, there].tolist())
        for row, there in enumerate(work.present)
    ]


# -- the model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "opposing"), PARTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_logits_say_the_planted_score(split, opposing, side):
    samples = texts(split, opposing)
    work = bound(samples, side=side)
    scores = torch.tensor([planted_score(words(sample.text), valences()) for sample in samples])
    assert torch.allclose(work.logits, torch.stack((-scores / 2, scores / 2), 1), atol=1e-5)
    assert work.logits.argmax(1).tolist() == [sample.target for sample in samples]


@pytest.mark.parametrize("removal", ["zero", "pad_token", "zero_embedding", "deletion"])
@pytest.mark.parametrize(("split", "opposing"), PARTS)
def test_leave_one_out_is_half_of_the_planted_effect(split, opposing, removal):
    samples = texts(split, opposing)[:20]
    work = bound(samples)
    maps = FeatureAblation(removal=removal)(work)[:, 0]
    for row, sample in enumerate(samples):
        sign = 1 if CATEGORIES[sample.target] == "positive" else -1
        expected = torch.tensor(effects(words(sample.text), valences())) * sign / 2
        assert torch.allclose(maps[row, work.attended[row]], expected, atol=1e-5)


def test_without_negation_the_model_is_additive():
    samples = texts(negation=False)
    work = bound(samples, negation=False)
    for method in (FeatureAblation(), IntegratedGradients(steps=2)):
        maps = work.features(method(work))
        for row, sample in enumerate(samples):
            sign = 1 if CATEGORIES[sample.target] == "positive" else -1
            expected = [sign * valences().get(word, 0.0) / 2 for word in words(sample.text)]
            assert maps[row, work.attended[row]].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_word_that_fades_loses_its_meaning_by_degrees():
    samples = texts()[:12]
    work = bound(samples)
    removal, clean = work.removal("zero"), work.clean.logit
    for place in range(6):
        gone = torch.nn.functional.one_hot(torch.tensor(place), work.shape[2]).float().expand_as(work.inputs[:, :1])
        for batch in work.batches(1):
            half, whole = (clean - batch.scores(removal(batch, part * gone)).logit for part in (0.5, 1.0))
            assert torch.allclose(2 * half, whole, atol=1e-5)  # a word alone is linear


def test_it_reads_three_channels_of_attended_words():
    samples = texts()
    work = bound(samples)
    said = (work.gradient != 0).any(2)
    assert said[:, :3].any(0).all()
    assert not said[:, 3:].any()
    other = work.inputs.clone()
    other[:, 3:] = 7.0
    other.masked_fill_(~work.attended[:, None], -3.0)
    assert torch.equal(work.classifier.logits(other, work.attended), work.logits)


def test_a_sentence_can_be_deleted_as_a_whole():
    work = bound(texts()[:3])
    assert work.removed("deletion").logit.tolist() == [0.0] * 3


# -- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "opposing"), PARTS)
@pytest.mark.parametrize("removal", ["zero", "deletion"])
def test_leave_one_out_finds_exactly_the_marked_words(split, opposing, removal):
    work = bound(texts(split, opposing))
    assert precisions(work, FeatureAblation(removal=removal)(work)) == [1.0] * COUNT


@pytest.mark.parametrize(("split", "opposing"), PARTS)
def test_random_scores_are_at_chance(split, opposing):
    work = bound(texts(split, opposing))
    draws = torch.tensor([precisions(work, Random(seed=seed)(work)) for seed in range(20)]).mean(1)
    chance = torch.tensor([expected_precision(int(mask.sum()), int(there.sum())) for mask, there in both(work)]).mean()
    assert abs(draws.mean() - chance) < 4 * draws.std() / 20**0.5
    assert chance < 0.4


def both(work):
    return zip(work.mask, work.present, strict=True)


def expected_precision(relevant, count):
    """Mean average precision over all orders (Bestgen 2015)."""
    harmonic = sum(1 / rank for rank in range(1, count + 1))
    return (harmonic + (relevant - 1) / (count - 1) * (count - harmonic)) / count


@pytest.mark.parametrize("removal", ["zero", "deletion"])
def test_samples_of_the_dataset_are_those_tokens(removal):
    """What a run explains: the YAML's model, the dataset's samples."""
    tree = OmegaConf.merge(
        {"device": None, "precision": "float32", "batch_size": 16},
        OmegaConf.load(CONF / "model" / "planted_text.yaml"),
    )
    classifier = instantiate(tree)["planted_text"]
    samples = Reviews(4).load(classifier.preprocess)
    work = bound(texts()[:4])
    for row, sample in enumerate(samples):
        length = sample.input.shape[1]
        assert torch.equal(sample.input, work.inputs[row, :, :length])
        assert sample.mask is not None
        assert sample.reading is not None
        assert torch.equal(sample.mask, work.mask[row, :length])
        assert torch.equal(sample.reading.present, work.present[row, :length])
        assert list(map(str.lower, sample.reading.names)) == words(texts()[row].text)
        alone = classifier.explicand(target=sample.target, ids=[sample.id], **collate([sample]))
        assert precisions(alone, FeatureAblation(removal=removal)(alone)) == [1.0]


# -- the tokenizer ---------------------------------------------------------------------------------------------------


def test_every_word_of_the_reviews_is_known():
    for split in ("seen", "held_out", "train"):
        tokens = tokenize([sample.text for sample in texts(split)], tokenizer(), 512)
        assert not (tokens.ids == tokenizer().unk_token_id).any()
        assert not any(tokens.lost)
        for row, sample in enumerate(texts(split)):
            own = tokens.ids[row, tokens.attended[row]].tolist()
            assert tokenizer().convert_ids_to_tokens(own) == words(sample.text)
            spans = [
                sample.text[start:end].lower() for start, end in tokens.offsets[row, tokens.attended[row]].tolist()
            ]
            assert spans == words(sample.text)


def test_marks_that_end_a_clause_are_no_features():
    tokens = tokenize(["I have not read it, and it is dull - or not?"], tokenizer(), 512)
    names = tokenizer().convert_ids_to_tokens(tokens.ids[0].tolist())
    assert [name for name, there in zip(names, tokens.present[0], strict=True) if not there] == [",", "?"]
    with pytest.raises(ValueError, match="has no token"):
        tokenize(["good", "?!"], tokenizer(), 512)


def test_unknown_words_and_long_texts():
    tokens = tokenize(["A zyzzyva 👍 — never!", "good " * 30], tokenizer(), 8)
    names = tokenizer().convert_ids_to_tokens(tokens.ids[0].tolist())
    assert names == ["a", "[UNK]", "[UNK]", "[UNK]", "never", "!", "[PAD]", "[PAD]"]
    assert tokens.lost == (0, 22)


def test_pairs_are_refused():
    with pytest.raises(ValueError, match="planted_text reads single texts, got pairs"):
        tokenize([("one", "two")], tokenizer(), 8)


# -- the module ------------------------------------------------------------------------------------------------------


def test_weights_are_the_same_in_every_process_and_the_random_state_stays():
    before = torch.get_rng_state()
    first, second = (planted_text.load().module.state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_runs_on_the_meta_device_and_backward():
    module = PlantedText(("not", "good", "."), {"good": 2.0}).to("meta")
    x = torch.rand(2, planted_text.WIDTH, 5, device="meta", requires_grad=True)
    module(x, torch.ones(2, 5, dtype=torch.bool, device="meta")).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_gradients_know_the_sign_that_negation_gives():
    module = PlantedText((*NEGATORS, "good", "film", "."), {"good": 2.0})
    ids = torch.tensor([[len(NEGATORS) + place for place in (1, 0)] + [0, len(NEGATORS)]])  # film good NEGATOR good
    x = module.embed(ids)
    work = Classifier(module).explicand(x, 1, ["one"], attended=torch.ones(1, 4, dtype=torch.bool))
    assert Gradient()(work)[0, 0].tolist() == [0.5, 0.5, 0.5, -0.5]


def test_the_lexicon_is_asked_for(monkeypatch):
    def missing():
        raise DatasetError("install it")

    monkeypatch.setattr(reviews, "valences", missing)
    with pytest.raises(ModelError, match="install it"):
        planted_text.load()
