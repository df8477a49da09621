"""Sparseness: the Gini index."""

import pytest
import torch
from known_answers import bind, constant, normal, random
from metric_promises import PROMISES

from xaieval.metrics.sparseness import Sparseness


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(Sparseness())


def sparseness(attribution, **options):
    return Sparseness()(bind(constant(), random(len(attribution), 3, *attribution.shape[2:]), **options), attribution)


def gini(scores):
    """Half the relative mean absolute difference, an independent form of the same index."""
    size = scores.abs().double()
    return (size[:, None] - size).abs().mean() / (2 * size.mean())


@pytest.mark.parametrize("side", [1, 7, 8, 224])
@pytest.mark.parametrize("value", [1.0, -0.1, 1e-30])
def test_one_hot_and_constant_are_exact(side, value):
    single = torch.zeros(1, 1, side, side)
    single[..., side // 2, 0] = value
    features = side * side
    assert sparseness(single).item() == torch.tensor((features - 1) / features).item()
    assert sparseness(torch.full((1, 1, side, side), value)).item() == 0


def test_agrees_with_mean_absolute_difference():
    attribution = normal(4, 3, 9, 7)
    expected = torch.stack([gini(scores) for scores in attribution.sum(1).flatten(1)])
    torch.testing.assert_close(sparseness(attribution), expected.float(), rtol=1e-6, atol=0)


def test_absent_features_are_left_out():
    attribution, present = normal(3, 1, 8, 8), random(3, 8, 8, seed=1) > 0.4
    expected = torch.stack([gini(scores[exists]) for scores, exists in zip(attribution[:, 0], present, strict=True)])
    torch.testing.assert_close(sparseness(attribution, present=present), expected.float(), rtol=1e-6, atol=0)


def test_sign_and_order_do_not_count():
    attribution = normal(2, 1, 8, 8)
    shuffled = attribution.flatten(1)[:, torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(sparseness(attribution), sparseness(-attribution))
    assert torch.equal(sparseness(attribution), sparseness(shuffled.view_as(attribution)))


def test_sentinels_stand_where_expected():
    side = torch.arange(32) - 15.5
    blob = torch.exp(-(side[:, None] ** 2 + side**2) / 50)
    single = torch.zeros(32, 32)
    single[3, 4] = 1
    one_hot, blob_value, uniform, flat = sparseness(
        torch.stack((single, blob, random(32, 32), torch.ones(32, 32)))[:, None]
    )
    assert one_hot > blob_value > uniform > flat
    # iid uniform scores: exactly 1/3 for many features; sd of the index is about .4 / 32 for 1024 of them.
    assert abs(uniform - 1 / 3) < 0.04


def test_channels_are_summed_with_their_signs():
    attribution = torch.zeros(1, 3, 2, 2)
    attribution[0, :, 0, 0] = torch.tensor([1.0, -1.0, 0.0])
    attribution[0, 0, 1, 1] = 2.0
    assert sparseness(attribution).item() == 0.75
