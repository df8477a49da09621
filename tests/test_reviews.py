"""The generated reviews: their evidence is exactly what the planted rule reads, and nothing else gives them away."""

import re
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from xaieval.datasets import reviews as reviews_module
from xaieval.datasets.planted_words import NEGATORS, effects, planted_score, words_in
from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.reviews import SPLITS, Reviews, is_held_out, lexicon, valences

CONF = Path(__file__).parents[1] / "conf"
needs_lexicon = pytest.mark.skipif(find_spec("vaderSentiment") is None, reason="vaderSentiment is not installed")
COUNT = 800


# -- the planted rule ------------------------------------------------------------------------------------------------


RATED = {"good": 2.0, "great": 3.0, "dull": -1.5}


def texts_of(text):
    return [word.text for word in words_in(text)]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("a film", 0),
        ("A GREAT film", 3),
        ("good, but dull", 0.5),
        ("not good", -2),
        ("not very good and great", 1),  # flips the next one only
        ("not good, not dull", -0.5),
        ("not in Rome, and good", 2),  # nothing to flip in its clause
        ("never not good", 2),
        ("good, not", 2),
        ("without, good", 2),
        ("goodness", 0),
    ],
)
def test_planted_scores(text, score):
    assert planted_score(texts_of(text), RATED) == score


def test_what_each_word_does():
    assert effects(texts_of("not good, but great"), RATED) == (-4, -2, 0, 0, 3)
    assert effects(texts_of("I have not read it, and it is dull."), RATED) == (0,) * 9 + (-1.5, 0)
    assert effects(texts_of("not good great"), RATED) == (-4, 4, 3)  # without "good", "great" is negated


def test_words_and_their_places():
    text = "Don't stop; GOOD."
    assert [(word.text, text[word.start : word.end]) for word in words_in(text)] == [
        ("don't", "Don't"),
        ("stop", "stop"),
        (";", ";"),
        ("good", "GOOD"),
        (".", "."),
    ]


# -- the sentences ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SPLITS)
def split(request):
    if find_spec("vaderSentiment") is None:
        pytest.skip("vaderSentiment is not installed")
    return request.param


@pytest.fixture(scope="module")
def samples(split):
    return Reviews(COUNT, split).texts()


def slow_score(text):
    """The rule once more, clause by clause, with all words of the lexicon."""
    rated, total = lexicon(), 0.0
    for clause in re.split(r"[.,;:]", text.lower()):
        words = clause.split()
        last = 0
        for place, word in enumerate(words):
            if word in rated:
                total += rated[word] * (-1) ** sum(before in NEGATORS for before in words[last:place])
                last = place
    return total


def test_classes_are_balanced_and_clear(samples):
    assert sum(sample.target or 0 for sample in samples) == COUNT // 2
    for sample in samples:
        score = slow_score(sample.text) * (1 if sample.target else -1)
        assert score >= 1


def test_the_rationale_is_what_changes_the_score(samples):
    for sample in samples:
        whole, label = slow_score(sample.text), 1 if sample.target else -1
        spans = dict(zip(sample.rationale or (), sample.signs or (), strict=True))
        for found in re.finditer(r"\w+", sample.text):
            start, end = found.span()
            loss = label * (whole - slow_score(sample.text[:start] + sample.text[end:]))
            assert spans.pop((start, end), 0) == (loss > 1e-9) - (loss < -1e-9)
        assert not spans


def test_the_rationale_is_the_sentiment_words_and_the_negators_before_them(samples):
    known = valences()
    idle = 0
    for sample in samples:
        marked = [sample.text[start:end].lower() for start, end in sample.rationale or ()]
        words = texts_of(sample.text)
        assert [word for word in marked if word not in NEGATORS] == [word for word in words if word in known]
        assert set(marked) <= set(known) | NEGATORS
        idle += sum(word in NEGATORS for word in words) - sum(word in NEGATORS for word in marked)
        assert 1 <= len([word for word in marked if word in known]) <= 2
    assert idle > COUNT / 50  # negators that negate nothing occur


def test_no_other_word_is_rated(samples):
    rated, known = lexicon(), valences()
    others = {word for sample in samples for word in texts_of(sample.text)} - set(known)
    assert not {word for word in others if word in rated}
    assert all(known[word] == rated[word] for word in known)


def test_words_are_of_their_split(split, samples):
    used = {word for sample in samples for word in texts_of(sample.text) if word in valences()}
    assert {is_held_out(word) for word in used} == {split == "held_out"}
    all_of_it = {word for word in valences() if is_held_out(word) == (split == "held_out")}
    assert len(used) > 0.8 * len(all_of_it)


def test_opposing_and_negated_clauses_occur(samples):
    opposing = sum(-1 in (sample.signs or ()) for sample in samples) / COUNT
    assert opposing == pytest.approx(1 / 3, abs=0.05)
    negated = [
        any(sample.text[start:end].lower() in NEGATORS for start, end in sample.rationale or ()) for sample in samples
    ]
    assert sum(negated) / COUNT == pytest.approx(0.47, abs=0.06)


def test_sentences_look_like_sentences(samples):
    for sample in samples:
        assert re.fullmatch(r"[A-Z][A-Za-z ,;:]*[a-z]\.", sample.text)
        assert "  " not in sample.text
        assert " ," not in sample.text


def test_no_sentence_twice(samples):
    assert max(Counter(sample.text for sample in samples).values()) == 1


def test_a_larger_count_keeps_the_first(split, samples):
    assert Reviews(50, split).texts().samples == samples.samples[:50]
    assert Reviews(50, split, seed=1).texts()[0].text != samples[0].text
    assert samples.ids[7] == f"reviews_{split}_0_7"
    assert samples.categories == ("negative", "positive")


@needs_lexicon
def test_train_and_seen_share_words_but_no_sentence():
    """Whatever the seeds: a hash of the sentence decides."""
    train = {sample.text for seed in range(2) for sample in Reviews(400, "train", seed).texts()}
    seen = {sample.text for seed in range(2, 4) for sample in Reviews(400, "seen", seed).texts()}
    assert not train & seen
    rated = [{word for text in texts for word in texts_of(text) if word in valences()} for texts in (train, seen)]
    assert len(rated[0] & rated[1]) > 0.8 * len(rated[0] | rated[1])


@needs_lexicon
def test_what_is_left_out():
    unopposed, unnegated = Reviews(400, opposing=False).texts(), Reviews(400, negation=False).texts()
    assert not any(-1 in (sample.signs or ()) for sample in unopposed)
    assert not any(NEGATORS & set(texts_of(sample.text)) for sample in unnegated)
    assert sum(-1 in (sample.signs or ()) for sample in unnegated) / 400 == pytest.approx(1 / 3, abs=0.07)
    neither = Reviews(2, opposing=False, negation=False)
    assert neither.name == "reviews_seen_unopposed_unnegated"
    assert unopposed.ids[0] == "reviews_seen_unopposed_0_0"


@needs_lexicon
def test_words_of_every_kind_on_both_sides():
    """Families of words are never divided, and each kind and sign has words in each split."""
    words = reviews_module._parts()["words"]
    for held_out in (False, True):
        kinds = reviews_module._by_kind_and_sign(valences(), held_out)
        assert min(len(own) for kind in kinds.values() for own in kind.values()) >= 8
    for one, other in (("love", "lovely"), ("pleasant", "unpleasant"), ("boring", "bored"), ("horror", "horrible")):
        assert is_held_out(one) == is_held_out(other)
    assert sum(map(is_held_out, valences())) / len(valences()) == pytest.approx(0.27, abs=0.01)
    assert all(abs(valence) >= 1 for valence in valences().values())
    assert all(kind == sorted(set(kind)) for kind in words.values())


@needs_lexicon
def test_templates_words_and_split_are_fixed():
    """Numbers that were published stay those of the same sentences; a change here is a new dataset."""
    assert [sample.text for sample in Reviews(4, "train").texts()] == FIRST_OF_TRAIN
    assert [sample.text for sample in Reviews(4, "held_out").texts()] == FIRST_OF_HELD_OUT


FIRST_OF_TRAIN = [
    "Nobody found peace in the direction; they showed it in a small hall.",
    "The performance is full of fatigue, but the plot is full of cheer.",
    "There is rejection in the remake; the second half never shows any romance.",
    "The ignorant camera work stays with you, yet the set design is full of elegance.",
]
FIRST_OF_HELD_OUT = [
    "I found the script innovative, but the remake was sinister throughout.",
    "I could hardly find any amusement in the screenplay, yet I did not find the final scene unlovable.",
    "They showed it in a small hall: the screenplay is charmless, and the foolish cast stays with you.",
    "You can sense the freedom in the pacing, even though the remake comes without dignity.",
]


# -- what a bag of words makes of them -------------------------------------------------------------------------------


def bag(samples, vocabulary, marked):
    """Counts `(N, words)`; marked: a word after a negator in its clause is another word, as in Pang et al. (2002)."""
    counts = torch.zeros(len(samples), len(vocabulary))
    for row, sample in enumerate(samples):
        negated = False
        for word in texts_of(sample.text):
            negated = (negated or word in NEGATORS) and word not in ".,;:"
            name = f"not_{word}" if marked and negated else word
            if name in vocabulary:
                counts[row, vocabulary[name]] += 1
    return counts


@cache
def generated(count, split, negation):
    return Reviews(count, split, negation=negation).texts()


def accuracy(split, marked, negation=True):
    """Of ridge regression on the words of 1500 sentences of `train`."""
    train, test = generated(1500, "train", negation), generated(400, split, negation)
    words = {word for sample in train for word in texts_of(sample.text)}
    names = sorted(words | {f"not_{word}" for word in words})
    vocabulary = {name: place for place, name in enumerate(names)}
    inputs = bag(train, vocabulary, marked)
    labels = torch.tensor([2.0 * (sample.target or 0) - 1 for sample in train])
    weights = torch.linalg.solve(inputs.T @ inputs + torch.eye(len(names)), inputs.T @ labels)
    said = bag(test, vocabulary, marked) @ weights > 0
    return float((said == torch.tensor([sample.target == 1 for sample in test])).float().mean())


@needs_lexicon
def test_a_bag_of_words_knows_seen_words_and_no_others():
    assert accuracy("seen", marked=False, negation=False) > 0.9
    assert accuracy("held_out", marked=False, negation=False) == pytest.approx(0.5, abs=0.08)


@needs_lexicon
def test_negation_takes_more_than_single_words():
    assert accuracy("seen", marked=True) > 0.9
    assert accuracy("seen", marked=False) < 0.8


# -- options ---------------------------------------------------------------------------------------------------------


def test_bad_options():
    with pytest.raises(ValueError, match="Reviews expected count to be at least 1, got 0"):
        Reviews(0)
    with pytest.raises(ValueError, match="Reviews expected the split train, seen, held_out, got 'test'"):
        Reviews(split="test")


@pytest.fixture
def no_cache():
    lexicon.cache_clear()
    valences.cache_clear()
    yield
    lexicon.cache_clear()
    valences.cache_clear()


def test_without_the_lexicon(monkeypatch, no_cache):
    monkeypatch.setattr(reviews_module, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"vaderSentiment, which is not installed: pip install 'xaieval\[text\]'"):
        Reviews().texts()


def test_with_a_lexicon_of_another_version(monkeypatch, no_cache, tmp_path):
    (tmp_path / "vader_lexicon.txt").write_text("good\t1.9\t0.9\t[2]\n\nadmiration\t2.5\t0.5\t[2]\n", encoding="utf-8")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(reviews_module, "find_spec", lambda name: spec)
    assert lexicon() == {"good": 1.9, "admiration": 2.5}
    with pytest.raises(DatasetError, match=r"expected 'abhorrent' and \d+ other words in the lexicon"):
        Reviews().texts()


def test_yaml():
    root = OmegaConf.merge(OmegaConf.create({"seed": 3}), OmegaConf.load(CONF / "dataset" / "reviews.yaml"))
    assert isinstance(root, DictConfig)
    assert instantiate(root["reviews"], _convert_="all") == Reviews(seed=3)
