"""Attention relevance against loops with gradients by finite differences, and what it depends on."""

from functools import cache

import pytest
import torch
from attending import FORMS, GRID, HEADS, LAYERS, READS, Transformer, slow, slow_gradient
from known_answers import random
from torch import nn
from torch.nn.functional import interpolate

from xaieval.attributions.attention_relevance import AttentionRelevance
from xaieval.classifier import Classifier
from xaieval.unsupported import UnsupportedError

SIZE = (8, 12)
TOKENS = 1 + GRID[0] * GRID[1]
ROWS = {"class": [0], "patches": list(range(1, TOKENS)), "both": [0, 1]}
INPUTS = random(2, 3, *SIZE)
TARGET = (2, 0)


@cache
def gathered(read):
    """The maps `(N, 1, h, w)` by loops over layers, heads and tokens, in float64."""
    module, maps = Transformer("fused", read), []
    for x, target in zip(INPUTS, TARGET, strict=True):
        _, weights = slow(module, x, target)
        relevance = torch.eye(TOKENS, dtype=torch.float64)
        for layer in range(LAYERS):
            positive = torch.zeros(TOKENS, TOKENS, dtype=torch.float64)
            for head in range(HEADS):
                for i in range(TOKENS):
                    for j in range(TOKENS):
                        slope = slow_gradient(module, x, target, layer, head, i, j)
                        positive[i, j] += max(slope * weights[layer][head][i][j], 0.0) / HEADS
            relevance = relevance + positive @ relevance
        maps.append(torch.stack([relevance[i, 1:] for i in ROWS[read]]).mean(0))
    return torch.stack(maps).view(2, 1, *GRID)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_loops_and_finite_differences_however_attention_is_written(form, read):
    """To 2e-5 of the largest value, as the model computes in float32; differences in float64 are good to 1e-8."""
    found = AttentionRelevance()(Classifier(Transformer(form, read), batch_size=1).explicand(INPUTS, TARGET))
    expected = interpolate(gathered(read), size=SIZE, mode="bilinear", align_corners=False).float()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.max()))


def test_it_depends_on_the_class():
    classifier = Classifier(Transformer())
    one, other = (AttentionRelevance()(classifier.explicand(INPUTS, target)) for target in (0, 1))
    assert float((one - other).abs().max()) > 0.1 * float(one.max())


def test_a_class_that_no_attention_speaks_for_has_an_empty_map():
    """Its logit falls with every value that is attended to: no product with a gradient is positive."""
    module = Transformer()
    with torch.no_grad():
        for weight in module.parameters():
            weight.abs_()  # values, and what becomes of them, are positive
        module.head.weight[1] *= -1
    classifier = Classifier(module)
    assert float(AttentionRelevance()(classifier.explicand(INPUTS, 0)).min()) > 0
    assert not AttentionRelevance()(classifier.explicand(INPUTS, 1)).any()


def test_it_costs_one_forward_and_one_backward_and_is_made_once():
    explicand = Classifier(Transformer()).explicand(INPUTS, TARGET)
    for _ in range(2):
        AttentionRelevance()(explicand)
    assert explicand.cost[:2] == (1, 1)


def test_a_model_without_attention_is_refused():
    explicand = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), name="flat").explicand(random(1, 3, 4, 4), 0)
    with pytest.raises(UnsupportedError, match="unsupported layers: flat computes no attention over tokens; choose"):
        AttentionRelevance()(explicand)
