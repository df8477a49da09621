"""Absolute values of scores, and the presets that leave one piece out."""

import pytest
import torch
from known_answers import bind, linear, normal, random
from text_models import MASK, SIZES, WORDS, additive, bag, bent, embeddings, present, projected, text

from xaieval.attributions.absolute import Absolute
from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.laws import composed

METHODS = dict(composed("method"))
SHOWN = present()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_channels_are_summed_first():
    """What they say against each other cancels."""
    inputs, weights = random(2, 3, 4, 5), normal(3, 4, 5)
    found = Absolute(InputXGradient())(bind(linear(weights), inputs))
    close(found, (weights * inputs).sum(1, keepdim=True).abs())
    assert bool((found < (weights * inputs).abs().sum(1, keepdim=True)).any())


def test_the_map_of_the_method_is_not_made_again():
    work = bind(linear(normal(3, 4, 5)), random(2, 3, 4, 5))
    first = work.attribution(IntegratedGradients(4))
    spent = work.cost[:2]
    found = Absolute(IntegratedGradients(4))(work)
    assert work.cost[:2] == spent
    assert torch.equal(found, first.sum(1, keepdim=True).abs())
    assert work.units_of(found) == "importance"


def test_on_a_linear_bag():
    work, expected = text(bag()), (projected(embeddings() - MASK[:, None]) * SHOWN).abs()
    for name in ("input_x_gradient_absolute", "integrated_gradients_absolute", "leave_one_out_absolute"):
        close(METHODS[name](work)[:, 0], expected)
    close(Absolute(Gradient())(work), METHODS["gradient_l2"](work) * SHOWN[:, None])


@pytest.mark.parametrize("groups", [None, WORDS])
def test_leaving_one_out(groups):
    """`f(x) - f(x without a piece)`, in logits: a token's effect, and a word's shared among its tokens."""
    work = text(additive(), groups=groups)
    effects = (bent(projected(embeddings())) - bent(projected(MASK[None, :, None]))) * SHOWN
    pieces = work.patches(7)
    found = METHODS["leave_one_out"](work)
    close(found, pieces.share(pieces.sum(effects)))
    close(pieces.sum(found[:, 0]), pieces.sum(effects))
    assert work.units_of(found) == "contribution"
    assert torch.equal(METHODS["leave_one_out_absolute"](work), found.abs())
    assert bool((found < 0).any())


def test_the_cost_of_leaving_one_out():
    """A forward for each token of the text that is neither special nor padding, and one for the text."""
    work = text(additive())
    METHODS["leave_one_out"](work)
    assert work.cost[:2] == pytest.approx((sum(size - 2 for size in SIZES) / len(SIZES) + 1, 0))


def test_presets():
    assert METHODS["leave_one_out"] == FeatureAblation(grid=7)
    assert METHODS["leave_one_out_absolute"] == Absolute(FeatureAblation(grid=7))
    assert [METHODS[name].signed for name in ("leave_one_out", "leave_one_out_absolute")] == [True, False]


def test_what_the_method_needs_is_needed():
    method = METHODS["ground_truth"]
    assert Absolute(method).needs == method.needs
    assert Absolute(METHODS["kernel_shap"]).syncs == METHODS["kernel_shap"].syncs != ""
