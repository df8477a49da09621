"""Attention in the open: its weights are those of the model's own explicit form, and everything is put back."""

import contextlib
from typing import Any

import pytest
import timm
import torch
import torchvision
from attending import FORMS, GRID, HEADS, READS, Transformer, slow
from known_answers import random
from torch import nn
from torch.nn import functional

from xaieval.attention import Attentions, _check_values, carried, matrices, reading
from xaieval.classifier import Classifier
from xaieval.laws.guards import untouched
from xaieval.laws.toys import Counting, seeded
from xaieval.token_grid import natural
from xaieval.unsupported import UnsupportedError

FUSED: Any = functional.scaled_dot_product_attention
SIZE = (8, 12)


def itself(attention):
    return attention


def seen(module, x):
    """What is kept of a call, and its logits."""
    with torch.no_grad(), Attentions(module, itself) as attentions:
        logits = module(x)
    return attentions.kept, logits


def looked_up(module, x):
    """How much each token is read, as a list."""
    return reading("Model", module, x[:1], module)[0, 0].tolist()


def vit(name="vit_tiny_patch16_224", size=48, **options):
    return seeded(lambda: timm.create_model(name, img_size=size, num_classes=5, depth=2, **options)).eval()


def torchvision_vit():
    module = seeded(lambda: torchvision.models.VisionTransformer(48, 16, 2, 2, 16, 32, num_classes=5)).eval()
    nn.init.normal_(module.heads.head.weight, generator=torch.Generator().manual_seed(0))  # zeros read nothing
    return module


# -- the weights --


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_are_those_of_loops(form):
    module, x = Transformer(form).eval(), random(2, 3, *SIZE)
    kept, _ = seen(module, x)
    for sample in range(2):
        expected = torch.tensor(slow(module, x[sample], 0)[1])
        found = torch.stack([attention.heads[sample] for attention in kept])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # the model computes in float32


TIMM = {
    "plain": lambda: vit(),
    "distilled": lambda: vit("deit_tiny_distilled_patch16_224"),
    "registers": lambda: vit("vit_small_patch14_reg4_dinov2", 56),
    "averaged": lambda: vit(global_pool="avg"),
    "relative positions": lambda: vit("beit_base_patch16_224"),
    "rotated": lambda: vit("eva02_tiny_patch14_224", 56),
}
PREFIX = {"plain": 1, "distilled": 2, "registers": 5, "averaged": 1, "relative positions": 1, "rotated": 1}
READ = {"plain": 1, "distilled": 2, "registers": 1, "averaged": 9, "relative positions": 9, "rotated": 16}


@pytest.mark.parametrize("name", TIMM)
def test_the_weights_are_those_of_timm_without_fused_attention(name):
    module, x = TIMM[name](), random(2, 3, *([56] * 2 if name in ("registers", "rotated") else [48] * 2))
    plain = module(x).detach()
    kept, logits = seen(module, x)
    torch.testing.assert_close(logits, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))
    own = []
    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *given: own.append(given[2]))
    module(x)
    assert len(kept) == len(own) == 2
    for attention, weights in zip(kept, own, strict=True):
        torch.testing.assert_close(attention.heads, weights.detach(), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(attention.heads.sum(-1), torch.ones_like(weights[..., 0]))
    explicit, _ = seen(module, x)  # the module's own softmax and product are seen as well
    for attention, weights in zip(explicit, own[2:], strict=True):
        assert torch.equal(attention.heads, weights.detach())


def test_the_weights_are_those_of_torchvision():
    module, x = torchvision_vit(), random(2, 3, 48, 48)
    own: list[Any] = []
    forward: Any = nn.MultiheadAttention.forward
    plain = module(x).detach()
    kept, logits = seen(module, x)
    torch.testing.assert_close(logits, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))

    def ask(layer, given, output):
        own.append(forward(layer, *given, average_attn_weights=False)[1])

    for layer in module.encoder.layers:
        layer.self_attention.register_forward_hook(ask)
    module(x)
    assert len(kept) == len(own) == 2
    for attention, weights in zip(kept, own, strict=True):
        torch.testing.assert_close(attention.heads, weights.detach(), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(attention.heads.sum(-1), torch.ones_like(weights[..., 0]))


def test_the_fast_path_of_torch_s_encoder_is_avoided():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    kept, output = seen(layer, random(3, 5, 8))
    with torch.no_grad():
        torch.testing.assert_close(output, layer(random(3, 5, 8)))
    assert [tuple(attention.heads.shape) for attention in kept] == [(3, 2, 5, 5)]


ROWS = random(2, 4, 6, 8) - 0.5  # queries of 4 heads, 6 tokens
MASK = torch.rand(6, 6, generator=torch.Generator().manual_seed(1))
FUSED_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.9},
    "causal": {"is_causal": True},
    "bool mask": {"attn_mask": (MASK > 0.5) | torch.eye(6, dtype=torch.bool)},
    "float mask": {"attn_mask": 3 * MASK, "dropout_p": 0.0},
}


@pytest.mark.parametrize("option", FUSED_OPTIONS)
def test_every_option_of_fused_attention(option):
    options, (key, value) = FUSED_OPTIONS[option], (random(2, 4, 6, 8, seed=seed) for seed in (1, 2))
    with Attentions(nn.Identity(), itself) as attentions:
        found = functional.scaled_dot_product_attention(ROWS, key, value, **options)
    torch.testing.assert_close(found, FUSED(ROWS, key, value, **options))
    torch.testing.assert_close(attentions.kept[0].heads @ value, found)


def test_heads_of_queries_that_share_keys_and_values():
    key, value = (random(2, 2, 6, 8, seed=seed) for seed in (1, 2))
    with Attentions(nn.Identity(), itself) as attentions:
        found = functional.scaled_dot_product_attention(ROWS, key, value, enable_gqa=True)
    torch.testing.assert_close(found, FUSED(ROWS, key, value, enable_gqa=True))
    assert attentions.kept[0].heads.shape == (2, 4, 6, 6)


MODULE_OPTIONS: dict[str, dict[str, Any]] = {
    "averaged weights": {},
    "weights of heads": {"average_attn_weights": False},
    "no weights": {"need_weights": False},
    "mask": {"attn_mask": MASK > 0.8},
    "padding": {"key_padding_mask": torch.tensor([[False] * 6, [False] * 5 + [True]]), "need_weights": False},
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("option", MODULE_OPTIONS)
def test_every_option_of_multi_head_attention(option, batch_first):
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    x = random(2, 6, 8) if batch_first else random(6, 2, 8)
    expected = module(x, x, x, **MODULE_OPTIONS[option])
    with Attentions(module, itself) as attentions:
        found = module(x, x, x, **MODULE_OPTIONS[option])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)
    assert attentions.kept[0].heads.shape == (2, 2, 6, 6)


# -- the tokens that are read --


@pytest.mark.parametrize("name", TIMM)
def test_which_tokens_the_logits_of_timm_read(name):
    x = random(1, 3, *([56] * 2 if name in ("registers", "rotated") else [48] * 2))
    read, number = looked_up(TIMM[name](), x), READ[name]
    expected = [1 / number] * number + [0.0] * (len(read) - number)
    assert read == pytest.approx(expected if number < 3 else expected[::-1])
    assert len(read) == PREFIX[name] + (9 if x.shape[-1] == 48 else 16)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", READS)
def test_which_tokens_are_read(form, read):
    expected = {"class": [1] + [0] * 6, "patches": [0] + [1 / 6] * 6, "both": [0.5, 0.5] + [0] * 5}[read]
    assert looked_up(Transformer(form, read).eval(), random(1, 3, *SIZE)) == pytest.approx(expected)


# -- what stays as it was --


class Failing(nn.Module):
    """Raises behind its attention."""

    def __init__(self):
        super().__init__()
        self.inner = Transformer()

    def forward(self, x):
        self.inner(x)
        raise RuntimeError("it fails here")


def test_everything_is_put_back_also_after_an_exception():
    failing, x = Failing().eval(), random(2, 3, *SIZE)
    modes = torch._C._len_torch_function_stack()
    for named in (True, False):
        with untouched(failing), pytest.raises(RuntimeError), Attentions(failing, itself, named):
            failing(x)
    with untouched(failing.inner):
        Classifier(failing.inner).explicand(x, 0).attentions("sum", lambda weights: weights.mean(1))
    assert functional.scaled_dot_product_attention is FUSED
    assert torch._C._len_torch_function_stack() == modes


def test_only_the_last_call_of_the_model_is_kept():
    """A call that did not fit the memory, or the layout of its weights, is made again."""
    module = Transformer().eval()
    with torch.no_grad(), Attentions(module, itself) as attentions:
        module(random(2, 3, *SIZE))
        module(random(1, 3, *SIZE))
    assert [attention.inputs for attention in attentions.kept] == [1, 1]


def test_the_look_up_is_made_once_for_a_shape_and_not_counted():
    counting = Counting(Transformer().eval())
    classifier = Classifier(counting, batch_size=2)
    first = classifier.explicand(random(3, 3, *SIZE), 0)
    first.attentions("sum", lambda weights: weights.mean(1))
    assert first.cost[:2] == (1, 0)
    counting.calls = counting.forwards = counting.backwards = 0
    second = classifier.explicand(random(3, 3, *SIZE, seed=1), 0)
    for _ in range(2):
        second.attentions("product", lambda weights, gradient: (weights * gradient).mean(1), gradients=True)
    assert (counting.calls, counting.forwards, counting.backwards) == (2, 3, 3)
    assert second.cost[:2] == (1, 1)


def test_a_refusal_costs_nothing():
    explicand = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2))).explicand(random(2, 3, 4, 4), 0)
    with pytest.raises(UnsupportedError, match="Sequential computes no attention over tokens"):
        explicand.attentions("sum", lambda weights: weights.mean(1))
    assert explicand.cost[:2] == (0, 0)


# -- what is made of them --


@pytest.mark.parametrize("gradients", [True, False])
def test_matrices_are_in_the_order_of_the_layers(gradients):
    module, x = Transformer().eval(), random(2, 3, *SIZE).requires_grad_()

    def mix(weights, gradient=None):
        return weights.mean(1) if gradient is None else gradient.mean(1)

    found = matrices(module, mix, lambda: module(x)[:, 0], gradients)
    with torch.enable_grad(), Attentions(module, itself) as attentions:
        score = module(x)[:, 0].sum()
    for ours, attention in zip(found, attentions.kept, strict=True):
        expected = torch.autograd.grad(score, attention.weights, retain_graph=True)[0] if gradients else attention.heads
        torch.testing.assert_close(ours, expected.mean(1).detach())
        assert not ours.requires_grad


def test_rows_are_carried_from_the_last_layer_to_the_first():
    first, last = random(3, 7, 7), random(3, 7, 7, seed=1)
    read = torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0])[None, None]
    found = carried(read, [first, last], natural(7, GRID, first.device))
    expected = (last @ first)[:, :2].mean(1)[:, 1:].view(3, 1, *GRID)
    torch.testing.assert_close(found, expected)
    with pytest.raises(UnsupportedError, match="attention is over 7 tokens, but the grid of places was found among 6"):
        carried(read, [first], natural(6, GRID, first.device))


# -- refusals --


class Attending(nn.Module):
    """Logits of what some attention makes of tokens of 3 channels."""

    def __init__(self, attend):
        super().__init__()
        self.attend = attend
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.attend(x.flatten(2).mT).mean(1))


class Drift(nn.Module):
    """Gives other logits in each call."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        self.calls += 1
        x = x.flatten(2).mT
        return self.calls * self.head(FUSED(x, x, x).mean(1))


def softmaxed(x):
    return (x @ x.mT).softmax(-1)


def weighted(x):
    return (2 * softmaxed(x[:, None])) @ x[:, None]


REFUSED = {
    "a convolutional network": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "no attention over tokens"),
    "changed weights": (lambda: Attending(lambda x: weighted(x)[:, 0]), "weighs no values with its softmax"),
    "a softmax over queries": (
        lambda: Attending(lambda x: ((x @ x.mT)[:, None].softmax(2) @ x[:, None])[:, 0]),
        "has attention weights whose rows do not sum to 1",
    ),
    "no heads": (lambda: Attending(lambda x: softmaxed(x) @ x), "weighs no values with its softmax"),
    "windows": (
        lambda: Attending(lambda x: FUSED(*[x.reshape(-1, 4, 3)] * 3).view_as(x)),
        "attends in windows, not over all tokens of an input",
    ),
    "windows of a module": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=56, window_size=7),
        "layer 'layers.0.blocks.0.attn' attends in windows",
    ),
    "fewer keys": (lambda: Attending(lambda x: FUSED(x, x[:, ::2], x[:, ::2])), "attends from 16 tokens to 8"),
    "a pyramid": (
        lambda: Attending(lambda x: FUSED(*[FUSED(x, x, x)[:, ::2]] * 3)),
        "attends over 8 tokens, layer '' over 16",
    ),
    "dropout": (lambda: Attending(lambda x: FUSED(x, x, x, dropout_p=0.1)), "drops attention weights at random"),
    "no batch": (
        lambda: Attending(lambda x: functional.multi_head_attention_forward(*_unbatched(x))[0][None]),
        "attends over one input at a time",
    ),
    "other logits": (Drift, "the logits of Model are others with attention in the open, by "),
    "a head of zeros": (
        lambda: torchvision.models.VisionTransformer(4, 2, 1, 1, 4, 4, num_classes=2),
        "the logits of Model do not depend on what its last attention gives",
    ),
}


def _unbatched(x):
    eye = torch.eye(3)
    return (*[x[0]] * 3, 3, 1, eye.repeat(3, 1), torch.zeros(9), None, None, False, 0.0, eye, torch.zeros(3))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_self_attention_is_refused_in_a_sentence(kind):
    make, sentence = REFUSED[kind]
    module, side = seeded(make).eval(), 56 if kind == "windows of a module" else 4
    with untouched(module), pytest.raises(UnsupportedError, match=sentence):
        looked_up(module, random(1, 3, side, side))


@pytest.mark.parametrize(
    ("largest", "gap", "kept"), [(0.1, 5e-6, True), (0.1, 2e-5, False), (100.0, 5e-4, True), (100.0, 2e-3, False)]
)
def test_logits_near_zero_may_differ_by_the_rounding_of_larger_ones(largest, gap, kept):
    plain, read = torch.tensor([[largest, -largest / 2]]), torch.ones(3)
    with contextlib.nullcontext() if kept else pytest.raises(UnsupportedError, match="are others with attention"):
        _check_values("Model", plain + gap, plain, read)


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("pvt_v2_b0", 32, "layer 'stages.0.blocks.0.attn' attends from 64 tokens to 1"),
        ("vit_base_patch16_siglip_224", 48, "layer 'attn_pool' attends from 1 tokens to 9"),
        ("cait_xxs24_224", 48, "layer 'blocks.0.attn' weighs no values with its softmax"),
        ("mobilevit_xxs", 64, r"layer 'stages.2.1.transformer.0.attn' attends in windows"),
        ("mixer_s32_224", 224, "Model computes no attention over tokens"),
        ("resnet18", 32, "Model computes no attention over tokens"),
    ],
)
def test_timm_s_other_architectures_are_refused_with_the_layer(name, size, sentence):
    options: dict[str, Any] = {"img_size": 48} if size == 48 else {}
    if name.startswith("vit"):
        options["depth"] = 2
    module = seeded(lambda: timm.create_model(name, num_classes=5, **options)).eval()
    with pytest.raises(UnsupportedError, match=sentence):
        looked_up(module, random(1, 3, size, size))


def test_heads_are_as_many_as_the_module_has():
    kept, _ = seen(Transformer("module").eval(), random(3, 3, *SIZE))
    assert kept[0].heads.shape == (3, HEADS, 7, 7)
