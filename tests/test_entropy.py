"""Entropy of the absolute scores."""

import math

import numpy as np
import pytest
import torch
from known_answers import bind, constant, normal, random
from metric_promises import PROMISES
from scipy.stats import entropy as scipy_entropy

from xaieval.metrics.entropy import Entropy


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(Entropy())


def entropy(attribution, **options):
    return Entropy()(bind(constant(), random(len(attribution), 3, *attribution.shape[2:]), **options), attribution)


@pytest.mark.parametrize("side", [1, 7, 8, 224])
@pytest.mark.parametrize("value", [1.0, -0.1, 1e-30])
def test_one_hot_and_constant_are_exact(side, value):
    single = torch.zeros(1, 1, side, side)
    single[..., side // 2, 0] = value
    assert entropy(single).item() == 0
    flat = entropy(torch.full((1, 1, side, side), value)).item()
    assert flat == pytest.approx(2 * math.log(side), rel=1e-6)


def test_even_scores_count_themselves():
    attribution = torch.zeros(1, 1, 8, 8)
    attribution[0, 0, 3] = torch.tensor([2.0, -2.0, 2.0, 0.0, -2.0, 2.0, 0.0, 0.0])
    assert entropy(attribution).exp().item() == pytest.approx(5)


def test_agrees_with_scipy_and_leaves_out_absent_features():
    attribution, present = normal(4, 3, 9, 7), random(4, 9, 7, seed=1) > 0.4
    scores = attribution.sum(1).abs().double().numpy()
    everywhere = [scipy_entropy(sample.ravel()) for sample in scores]
    np.testing.assert_allclose(entropy(attribution), everywhere, rtol=1e-6)
    partly = [scipy_entropy(sample[exists]) for sample, exists in zip(scores, present.numpy(), strict=True)]
    np.testing.assert_allclose(entropy(attribution, present=present), partly, rtol=1e-6)


def test_sign_scale_and_order_do_not_count():
    attribution = normal(2, 1, 8, 8)
    shuffled = attribution.flatten(1)[:, torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(entropy(attribution), entropy(-4 * attribution))
    torch.testing.assert_close(entropy(attribution), entropy(shuffled.view_as(attribution)))


def test_sentinels_stand_where_expected():
    """Uniform scores lie ln 2 - 1/2 below a constant map."""
    side = torch.arange(64) - 31.5
    blob = torch.exp(-(side[:, None] ** 2 + side**2) / 200)
    single = torch.zeros(64, 64)
    single[3, 4] = 1
    one_hot, middle, uniform, flat = entropy(torch.stack((single, blob, random(64, 64), torch.ones(64, 64)))[:, None])
    assert one_hot < middle < uniform < flat
    assert middle.item() == pytest.approx(math.log(2 * math.pi * math.e * 100), abs=0.02)  # of a normal, cut off
    assert (flat - uniform).item() == pytest.approx(math.log(2) - 0.5, abs=0.02)  # sd of 4096 draws about .006


def test_channels_are_summed_with_their_signs():
    attribution = torch.zeros(1, 3, 2, 2)
    attribution[0, :, 0, 0] = torch.tensor([1.0, -1.0, 0.0])
    attribution[0, 0, 1, 1] = 2.0
    assert entropy(attribution).item() == 0
