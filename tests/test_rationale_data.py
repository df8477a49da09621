"""The evidence that people marked in 286 passages of movie reviews, from characters to tokens and words and back."""

import os

import pytest
import torch
from text_models import MASK, PAD, WIDTH, bag
from wordpiece import minilm

from xaieval.attributions.constant import Constant
from xaieval.attributions.random import Random
from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.datasets.encode import Encoder
from xaieval.datasets.text_file import TextFile
from xaieval.metrics.token_auprc import TokenAuprc
from xaieval.modalities.texts import Texts

DATA = os.environ.get("XAIEVAL_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="XAIEVAL_TEST_DATA is unset")
RAW = TokenAuprc(above_chance=False)


def passages():
    return TextFile(f"{DATA}/rationales/movie_reviews.jsonl").texts()


def encoder(pieces):
    return Encoder(minilm(), lambda ids: torch.zeros(len(ids), WIDTH, ids.shape[1]), 512, pieces)


@needs_data
def test_tokens_of_the_evidence_spell_it_and_all_tokens_the_passage():
    """286 of 286, each character once, blanks and all."""
    texts, samples = passages(), encoder("token").samples(passages())
    assert len(texts) == 286
    for text, sample in zip(texts, samples, strict=True):
        ((start, end),) = text.rationale
        shown = sample.reading.spelled
        assert "".join(shown[1:-1]) == text.text.rstrip()
        marked = "".join(name for name, inside in zip(shown, sample.mask.tolist(), strict=True) if inside)
        assert marked.lstrip() == text.text[start:end].strip()
        assert sample.reading.note == ""


@needs_data
def test_evidence_of_words_is_that_of_their_tokens():
    for sample in encoder("word").samples(passages()):
        words, present = sample.reading.groups, sample.reading.present
        inside = {int(word) for word in words[sample.mask]}
        assert all(
            bool(sample.mask[place]) for place in range(len(words)) if present[place] and int(words[place]) in inside
        )


@needs_data
@pytest.mark.parametrize("pieces", ["token", "word"])
def test_chance_of_every_passage(pieces):
    """A constant map stands at chance, random ones on average; seven passages are evidence from end to end."""
    classifier = Classifier(bag(), modality=Texts(mask=MASK, padding=PAD))
    samples = list(encoder(pieces).samples(passages()))
    given = collate(samples)
    work = classifier.explicand(target=0, ids=[sample.id for sample in samples], **given)
    values, reasons = RAW.evaluate(work, Constant()(work))
    assert int(values.isnan().sum()) == int(reasons["mask covers everything"].sum()) == 7
    chance = TokenAuprc().chance(work)
    defined = ~values.isnan()
    torch.testing.assert_close(values[defined], chance[defined])
    random = torch.stack([RAW(work, Random(seed)(work))[defined] for seed in range(5)])
    assert abs(random.mean() - chance[defined].mean()) < 4 * (random.std() / random.numel() ** 0.5)
    assert work.mask is not None
    perfect = TokenAuprc()(work, work.mask[:, None].float())
    assert torch.equal(perfect[defined], torch.ones(279))
