"""Methods on texts in closed form, and on a small BERT with random weights."""

import pytest
import torch
from known_answers import ids
from text_models import (
    LENGTH,
    MASK,
    PAD,
    WEIGHTS,
    WIDTH,
    WORDS,
    Attending,
    TextModel,
    additive,
    attended,
    bag,
    bent,
    embeddings,
    present,
    projected,
    text,
)

from xaieval.attributions.beam_search import BeamSearch
from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.gradient_l2 import GradientL2
from xaieval.attributions.infidelity_optimal import InfidelityOptimal
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.lime import LIME
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.classifier import Classifier
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.laws.toys import seeded
from xaieval.unsupported import UnsupportedError

SHOWN = present()
BASELINES = {"zero": MASK, "pad_token": PAD, "zero_embedding": torch.zeros(WIDTH)}


def worth(removal="zero"):
    """What each token adds to the additive model beyond the baseline's, `(N, T)`."""
    return (bent(projected(embeddings())) - bent(projected(BASELINES[removal][None, :, None]))) * SHOWN


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# -- closed forms --


def test_gradients():
    """f' = 1 + u, where it is; first order for input x gradient; noise averages a linear gradient's slope."""
    work = text(additive())
    slope = (1 + projected(embeddings())) * SHOWN
    close(GradientL2()(work)[:, 0] * SHOWN, slope.abs() * WEIGHTS.norm())
    close(GradientL2(1)(work)[:, 0] * SHOWN, slope.abs() * WEIGHTS.abs().sum())
    close(work.features(Gradient()(work)), slope.abs() * WEIGHTS.norm())
    first = projected(embeddings() - MASK[:, None]) * slope
    close(work.features(InputXGradient()(work)), first)
    flat = text(bag())
    close(SmoothGrad(samples=5, noise=0.3)(flat) * SHOWN[:, None], WEIGHTS[:, None] * SHOWN[:, None])


@pytest.mark.parametrize("removal", BASELINES)
def test_integrated_gradients_from_each_baseline(removal):
    """A token is worth what it is worth, and the sum is `f(x) - f(baseline)`; special tokens stay in both."""
    work = text(additive())
    found = work.features(IntegratedGradients(4, removal=removal)(work))
    close(found, worth(removal))
    close(found.sum(1), work.clean.logit - work.removed(removal).logit)
    assert not torch.allclose(worth(removal), worth("zero" if removal != "zero" else "pad_token"))


@pytest.mark.parametrize("removal", BASELINES)
def test_integrated_gradients_are_complete_where_tokens_interact(removal):
    """On a transformer, whose gradient is no polynomial along the way."""
    work = text(seeded(Attending), target=[0, 1, 2])
    total = work.features(IntegratedGradients(100, removal=removal)(work)).sum(1)
    change = work.clean.logit - work.removed(removal).logit
    assert float(change.abs().min()) > 1e-2
    close(total, change, 1e-4)


@pytest.mark.parametrize("groups", [None, WORDS])
def test_regressions_find_the_contributions_of_an_additive_model(groups):
    """Of tokens, or of words, shared among their tokens."""
    work = text(additive(), groups=groups, batch_size=64)
    pieces = work.patches(1)
    expected = pieces.share(pieces.sum(worth()))
    close(FeatureAblation()(work), expected)
    for method, tolerance in (
        (KernelSHAP(64), 1e-4),
        (LIME(400, ridge=1e-6), 1e-4),
        (InfidelityOptimal(400, ridge=1e-6, fraction=0.5), 1e-3),
    ):
        close(method(work), expected, tolerance)


def test_shapley_values_of_a_product():
    """The drop of `u v` is halved between its tokens, whatever each alone loses."""

    def function(x, there):
        u = projected(x - MASK[:, None])
        return u[:, 1] * u[:, 2] + 3 * u[:, 2]

    work = text(TextModel(function))
    u = projected(embeddings() - MASK[:, None])
    found, alone = KernelSHAP(64)(work)[:, 0], FeatureAblation()(work)[:, 0]
    product = u[:, 1] * u[:, 2]
    close(found[:, 1], product / 2, 1e-4)
    close(found[:, 2], product / 2 + 3 * u[:, 2], 1e-4)
    close(alone[:, 1], product)
    close(alone[:, 2], product + 3 * u[:, 2])


# -- Sobol, thresholded --


def steep():
    """Each token adds tanh(4 u), u its way from the mask token."""
    return TextModel(lambda x, there: (torch.tanh(4 * projected(x - MASK[:, None])) * there).sum(1))


def test_thresholded_tokens_are_coins():
    """Of an additive model the index is the squared worth as a part of all: nothing on the way to the mask is seen."""
    worths = torch.tanh(4 * projected(embeddings() - MASK[:, None])) * SHOWN
    for groups in (None, WORDS):
        work = text(steep(), groups=groups, batch_size=512)
        pieces = work.patches(1)
        squares = pieces.sum(worths) ** 2
        expected = pieces.spread(squares / squares.sum(1, keepdim=True))[:, 0]
        close(Sobol(designs=1024, threshold=True)(work)[:, 0], expected, 0.02)
        assert float((Sobol(designs=1024)(work)[:, 0] - expected).abs().max()) > 0.1


def test_thresholded_product_of_coins():
    """Of `m1 m2` the variance is 3/16, and a coin's total share of it 1/8."""

    def function(x, there):
        u = projected(x - MASK[:, None])
        return u[:, 1] * u[:, 2]

    found = Sobol(designs=1024, threshold=True)(text(TextModel(function), batch_size=512))[:, 0]
    expected = torch.zeros(3, LENGTH).index_fill(1, torch.tensor([1, 2]), 2 / 3)
    close(found, expected, 0.02)


def test_what_cannot_fade_is_thresholded_anyhow():
    """A token that is deleted is there or is not."""
    for order in ("total", "first"):
        coins, plain = (
            Sobol(designs=8, removal="deletion", order=order, threshold=threshold)(text(seeded(Attending)))
            for threshold in (True, False)
        )
        assert torch.equal(coins, plain)


# -- a small BERT --

SIZES, TOKENS = (9, 6, 4), 9
METHODS = dict(composed("method"))
NAMES = (
    "gradient",
    "gradient_l1",
    "gradient_l2",
    "input_x_gradient",
    "input_x_gradient_absolute",
    "integrated_gradients",
    "integrated_gradients_absolute",
    "leave_one_out",
    "leave_one_out_absolute",
    "beam_search",
    "kernel_shap",
    "lime",
    "infidelity_optimal",
    "guided_ig",
)
"""Methods of which padding may change nothing; those whose draws depend on the place of a token are elsewhere."""


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=TOKENS,
        num_labels=3,
    )

    def make():
        made = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return made

    return seeded(make)


def bound(rows, made, batch_size=4, **options):
    """Some of three texts of 9, 6 and 4 tokens, the first and last of which are special."""
    from xaieval.models.hf import Embedded

    wrapped, longest = Embedded(made), max(SIZES[row] for row in rows)
    tokens = torch.stack([torch.arange(longest) * (row + 3) % 25 + 5 for row in rows])
    place, sizes = torch.arange(longest), torch.tensor([SIZES[row] for row in rows])[:, None]
    classifier = Classifier(wrapped, modality=wrapped.modality(4, 1), batch_size=batch_size)
    return classifier.explicand(
        wrapped.embed(tokens),
        [row % 3 for row in rows],
        [ids(3)[row] for row in rows],
        present=(place > 0) & (place < sizes - 1),
        attended=place < sizes,
        **options,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_padded_text_has_the_map_of_the_text_alone(name):
    made, method = bert(), limited(METHODS[name], SMALL)
    work = bound((0, 1, 2), made)
    together = work.features(method(work), method.units)
    for row, size in enumerate(SIZES):
        one = bound((row,), made, batch_size=7)
        alone = one.features(method(one), method.units)[0]
        scale = float(alone.abs().max())
        torch.testing.assert_close(together[row, :size], alone, rtol=0, atol=1e-3 * scale)
        assert not together[row, size:].any()


def test_leaving_out_by_the_models_own_tokens():
    """The mask token's number in place, for a text without padding."""
    made = bert()
    work = bound((0,), made)
    found = METHODS["leave_one_out"](work)[0, 0]
    tokens = (torch.arange(TOKENS) * 3 % 25 + 5)[None]
    clean = made(input_ids=tokens).logits[0, 0]
    for place in range(1, TOKENS - 1):
        other = tokens.clone()
        other[0, place] = 4
        close(found[place], (clean - made(input_ids=other).logits[0, 0]).detach(), 1e-4)


def test_a_greedy_search_by_the_models_own_tokens():
    made = bert()
    importance = BeamSearch(1)(bound((0,), made))[0, 0]
    tokens, left = (torch.arange(TOKENS) * 3 % 25 + 5)[None], list(range(1, TOKENS - 1))
    order: list[int] = []
    while left:
        scores = []
        for place in left:
            other = tokens.clone()
            other[0, [*order, place]] = 4
            scores.append(float(made(input_ids=other).logits[0, 0].detach()))
        order.append(left[scores.index(min(scores))])
        left.remove(order[-1])
    assert importance.argsort(descending=True)[: len(order)].tolist() == order


@pytest.mark.parametrize("removal", ["zero", "pad_token", "zero_embedding"])
def test_integrated_gradients_of_a_transformer_are_complete(removal):
    work = bound((0, 1, 2), bert(), batch_size=64)
    total = work.features(IntegratedGradients(300, removal=removal)(work)).sum(1)
    close(total, work.clean.logit - work.removed(removal).logit, 2e-2)


def test_methods_of_other_kinds_of_inputs_refuse_in_a_sentence():
    for name in ("blur_ig", "guided_backprop"):
        with pytest.raises(UnsupportedError, match=r"means nothing for this kind of input|calls no relu"):
            METHODS[name](bound((0,), bert()))
    assert int(attended().sum()) > int(SHOWN.sum())
