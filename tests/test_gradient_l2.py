"""Norms of the gradient: closed forms, and over the vocabulary by gradients at one-hot codes."""

import pytest
import torch
from known_answers import bind, ids, linear, normal, random
from text_models import (
    LENGTH,
    MASK,
    PAD,
    WEIGHTS,
    WIDTH,
    Attending,
    attended,
    bag,
    embeddings,
    present,
    text,
)

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.gradient_l2 import GradientL2
from xaieval.classifier import Classifier
from xaieval.laws.guards import no_waiting
from xaieval.laws.toys import seeded
from xaieval.modalities import texts
from xaieval.modalities.texts import Texts
from xaieval.unsupported import UnsupportedError

SIZE = 23


def vocabulary():
    return normal(SIZE, WIDTH, seed=8)


def worded(**options):
    return Texts(mask=MASK, padding=PAD, vocabulary=vocabulary(), **options)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_on_images_it_is_the_norm_over_channels():
    weights = normal(3, 5, 6)
    work = bind(linear(weights), random(2, 3, 5, 6))
    for order in (1, 2):
        expected = weights.abs().pow(order).sum(0).pow(1 / order)
        close(GradientL2(order)(work), expected.expand(2, 1, -1, -1))
    assert work.cost[:2] == (1, 1)
    assert work.units_of(GradientL2()(work)) == "importance"


def test_on_a_linear_bag():
    work = text(bag(), modality=worded())
    for order in (1, 2):
        embedded, over = (GradientL2(order, space)(work)[:, 0] for space in ("features", "vocabulary"))
        close(embedded, torch.linalg.vector_norm(WEIGHTS, order) * attended())
        close(over, torch.linalg.vector_norm(vocabulary() @ WEIGHTS, order) * attended())
    close(GradientL2()(work)[:, 0] * present(), work.features(Gradient()(work)))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_over_the_vocabulary_it_is_the_gradient_at_one_hot_codes(order, block, monkeypatch):
    """Whatever is computed at once."""
    monkeypatch.setattr(texts, "BLOCK", block)
    module, tokens = seeded(Attending).eval(), torch.randint(SIZE, (3, LENGTH), generator=torch.Generator())
    codes = torch.nn.functional.one_hot(tokens, SIZE).float().requires_grad_()
    score = module((codes @ vocabulary()).mT, attended())[range(3), [0, 1, 2]]
    (gradient,) = torch.autograd.grad(score.sum(), codes)
    expected = torch.linalg.vector_norm(gradient, order, dim=2)[:, None]
    assert float(expected.max()) > 0.1
    work = text(module, vocabulary()[tokens].mT.contiguous(), modality=worded(), target=[0, 1, 2])
    with no_waiting():
        found = GradientL2(order, "vocabulary")(work)
    close(found, expected)


def test_nothing_is_lost_along_a_direction_that_the_vocabulary_hardly_has():
    """`|W g|` where g is nearly in the null space of W: single precision would give its rounding alone."""
    narrow = torch.cat((normal(SIZE, WIDTH - 1, seed=8) * 100, normal(SIZE, 1, seed=9) * 1e-3), 1)
    gradient = torch.zeros(1, WIDTH, 2)
    gradient[:, -1] = torch.tensor([1.0, -2.0])
    gradient[:, 0] = 1e-7
    found = Texts(vocabulary=narrow).norm(gradient, 2, "vocabulary")
    expected = torch.linalg.vector_norm(narrow.double() @ gradient.double(), dim=1, keepdim=True).float()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_the_embedding_of_a_model_is_its_vocabulary():
    transformers = pytest.importorskip("transformers")
    from xaieval.models.hf import Embedded

    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    made = seeded(lambda: transformers.AutoModelForSequenceClassification.from_config(config).eval())
    wrapped = Embedded(made)
    tokens, there = torch.tensor([[5, 9, 3, 7]]), torch.ones(1, 4, dtype=torch.bool)
    classifier = Classifier(wrapped, modality=wrapped.modality(4, 1))
    work = classifier.explicand(wrapped.embed(tokens), 1, ids(1), present=there, attended=there)
    codes = torch.nn.functional.one_hot(tokens, 30).float().requires_grad_()
    logits = made(inputs_embeds=codes @ made.get_input_embeddings().weight).logits
    (gradient,) = torch.autograd.grad(logits[0, 1], codes)
    for order in (1, 2):
        expected = torch.linalg.vector_norm(gradient, order, dim=2)[:, None]
        torch.testing.assert_close(GradientL2(order, "vocabulary")(work), expected, rtol=1e-4, atol=1e-7)


def test_what_there_is_no_vocabulary_for_is_refused():
    with pytest.raises(UnsupportedError, match=r"a vocabulary means nothing for this kind of input \(image\)"):
        GradientL2(space="vocabulary")(bind(linear(torch.ones(3, 4, 4)), random(1, 3, 4, 4)))
    with pytest.raises(UnsupportedError, match="the model's vocabulary is not known; choose the space `features`"):
        GradientL2(space="vocabulary")(text(bag()))


def test_the_vocabulary_is_no_part_of_a_key():
    """It is among the weights of the model, which are."""
    assert repr(worded()) == repr(Texts(mask=MASK, padding=PAD))


def test_runs_on_meta():
    with torch.device("meta"):
        module = Attending()
    modality = Texts(vocabulary=vocabulary().to("meta"))
    work = Classifier(module, device="meta", modality=modality).explicand(
        embeddings().to("meta"), 0, attended=attended().to("meta")
    )
    for order in (1, 2):
        assert GradientL2(order, "vocabulary")(work).shape == (3, 1, LENGTH)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="GradientL2: order must be 1 or 2, got 3"):
        GradientL2(3)
    with pytest.raises(ValueError, match="GradientL2: space must be one of features, vocabulary, got 'words'"):
        GradientL2(space="words")
