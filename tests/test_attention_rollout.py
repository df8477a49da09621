"""Attention rollout against products of matrices by loops, and where its value is known."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from attending import FORMS, GRID, HEADS, LAYERS, READS, Transformer, slow
from known_answers import random
from torch import nn
from torch.nn.functional import interpolate

from xaieval.attributions.attention_rollout import AttentionRollout
from xaieval.classifier import Classifier
from xaieval.laws.toys import seeded
from xaieval.unsupported import UnsupportedError

SIZE = (8, 12)
TOKENS = 1 + GRID[0] * GRID[1]
ROWS = {"class": [0], "patches": list(range(1, TOKENS)), "both": [0, 1]}
FUSE: dict[str, Any] = {"mean": lambda values: sum(values) / len(values), "max": max, "min": min}


def rolled_out(weights, heads, rows):
    """The map `(h, w)` by loops over layers, tokens and heads, in float64."""
    total = [[float(i == j) for j in range(TOKENS)] for i in range(TOKENS)]
    for layer in range(LAYERS):
        passed = []
        for i in range(TOKENS):
            row = [FUSE[heads]([weights[layer][head][i][j] for head in range(HEADS)]) for j in range(TOKENS)]
            row = [0.5 * weight + 0.5 * (i == j) for j, weight in enumerate(row)]
            passed.append([weight / sum(row) for weight in row])
        total = [[sum(passed[i][k] * total[k][j] for k in range(TOKENS)) for j in range(TOKENS)] for i in range(TOKENS)]
    mean = [sum(total[i][j] for i in rows) / len(rows) for j in range(TOKENS)]
    return torch.tensor(mean[1:]).view(GRID)


def upsampled(maps):
    return interpolate(maps, size=SIZE, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("heads", FUSE)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_loops_however_attention_is_written(form, read, heads):
    """To 1e-5, as the model computes in float32."""
    module, inputs = Transformer(form, read), random(3, 3, *SIZE)
    found = AttentionRollout(heads)(Classifier(module, batch_size=2).explicand(inputs, [0, 1, 2]))
    coarse = torch.stack([rolled_out(slow(module, x, 0)[1], heads, ROWS[read]) for x in inputs])[:, None]
    torch.testing.assert_close(found, upsampled(coarse), rtol=0, atol=1e-5)


def test_uniform_attention_gives_a_uniform_map_of_known_value():
    """`M = (U + I) / 2` has `M^L = (1 - 2^-L) U + 2^-L I`, U with 1 / T everywhere."""
    module: Any = Transformer()
    for block in module.blocks:
        for part in (block.attention.in_proj_weight, block.attention.in_proj_bias):
            part.data[: 2 * part.shape[0] // 3] = 0  # no queries and no keys
    found = AttentionRollout()(Classifier(module).explicand(random(2, 3, *SIZE), 0))
    torch.testing.assert_close(found, torch.full((2, 1, *SIZE), (1 - 0.5**LAYERS) / TOKENS))


VISION: dict[str, tuple[str, Any, dict[str, Any], slice]] = {
    "class token": ("vit_tiny_patch16_224", 48, {}, slice(0, 1)),
    "not square": ("vit_tiny_patch16_224", (32, 64), {}, slice(0, 1)),
    "distilled": ("deit_tiny_distilled_patch16_224", 48, {}, slice(0, 2)),
    "registers": ("vit_small_patch14_reg4_dinov2", 42, {}, slice(0, 1)),
    "averaged": ("vit_tiny_patch16_224", 48, {"global_pool": "avg"}, slice(1, None)),
    "no class token": ("vit_base_patch16_siglip_gap_224", 48, {}, slice(0, None)),
}


@pytest.mark.parametrize("kind", VISION)
def test_agrees_with_products_of_timm_s_explicit_weights(kind):
    name, size, options, read = VISION[kind]
    module: Any = seeded(lambda: timm.create_model(name, img_size=size, num_classes=5, depth=2, **options)).eval()
    inputs = random(2, 3, *(size if isinstance(size, tuple) else (size, size)))
    found = AttentionRollout()(Classifier(module).explicand(inputs, 0))
    weights: list[Any] = []
    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *given: weights.append(given[2].detach().double()))
    module(inputs)
    first, last = ((one.mean(1) + torch.eye(one.shape[-1])) / 2 for one in weights)
    rows = (last @ first)[:, read].mean(1)
    torch.testing.assert_close(rows.sum(1), torch.ones(2, dtype=torch.float64))  # with what other tokens keep
    coarse = rows[:, module.num_prefix_tokens :].view(2, 1, *module.patch_embed.grid_size).float()
    expected = interpolate(coarse, size=inputs.shape[2:], mode="bilinear")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_agrees_with_products_of_torchvision_s_weights():
    module: Any = seeded(lambda: torchvision.models.VisionTransformer(48, 16, 2, 2, 16, 32, num_classes=5)).eval()
    nn.init.normal_(module.heads.head.weight, generator=torch.Generator().manual_seed(0))  # zeros read nothing
    inputs, weights = random(2, 3, 48, 48), []
    found = AttentionRollout()(Classifier(module).explicand(inputs, 0))
    for layer in module.encoder.layers:
        layer.self_attention.register_forward_hook(
            lambda part, given, _: weights.append(type(part).forward(part, *given)[1].detach().double())
        )
    module(inputs)
    first, last = ((one + torch.eye(10)) / 2 for one in weights)
    expected = interpolate((last @ first)[:, 0, 1:].view(2, 1, 3, 3).float(), size=(48, 48), mode="bilinear")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_the_class_has_no_part_in_it():
    classifier, inputs = Classifier(Transformer()), random(2, 3, *SIZE)
    one, other = (AttentionRollout()(classifier.explicand(inputs, target)) for target in (0, 2))
    assert torch.equal(one, other)


def test_it_costs_one_forward_and_is_made_once():
    explicand = Classifier(Transformer()).explicand(random(4, 3, *SIZE), 1)
    for _ in range(2):
        AttentionRollout()(explicand)
    assert explicand.cost[:2] == (1, 0)
    assert not torch.equal(AttentionRollout()(explicand), AttentionRollout("max")(explicand))
    assert explicand.cost[:2] == (2, 0)


def test_a_model_without_attention_is_refused():
    explicand = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), name="flat").explicand(random(1, 3, 4, 4), 0)
    with pytest.raises(UnsupportedError, match="unsupported layers: flat computes no attention over tokens; choose"):
        AttentionRollout()(explicand)


def test_unknown_heads():
    with pytest.raises(ValueError, match="AttentionRollout: heads must be one of mean, max, min, got 'median'"):
        AttentionRollout("median")
