"""Tokens and channels-last activations as grids of places: found by themselves, read, and edited."""

from functools import partial

import pytest
import timm
import torch
import torchvision
from known_answers import random
from networks import assert_close
from torch import nn

from xaieval.attributions.ablation_cam import AblationCAM
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.hires_cam import HiResCAM
from xaieval.attributions.normgrad import NormGrad
from xaieval.classifier import Classifier
from xaieval.laws.guards import no_waiting, state_of
from xaieval.laws.toys import seeded
from xaieval.token_grid import ChannelsLast, Tokens
from xaieval.unsupported import UnsupportedError

WIDTH = 3  # channels of a patch; two more tell the class token and the patch that is read


class Embedding(nn.Module):
    """Patches of 4 x 4 pixels as tokens, with others inserted where `prefix` says."""

    flags: torch.Tensor

    def __init__(self, places, prefix, read):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, stride=4)
        count = places + len(prefix)
        self.number = [number for number in range(count) if number not in prefix]
        flags = torch.zeros(count, 2)
        flags[prefix[0], 0] = flags[self.number[read], 1] = 1
        self.register_buffer("flags", flags)

    def forward(self, x):
        patches = self.proj(x).flatten(2).mT
        tokens = patches.new_zeros(len(x), len(self.flags), WIDTH)
        tokens[:, self.number] = patches
        return torch.cat((tokens, self.flags.expand(len(x), -1, -1)), 2)


class Attention(nn.Module):
    """The class token attends to the patch that is read alone, all others to everything alike."""

    def forward(self, x):
        attention = (200 * x[:, :, None, WIDTH] * x[:, None, :, WIDTH + 1]).softmax(2)  # exp(-200) is 0
        return attention @ torch.cat((x[..., :WIDTH], torch.zeros_like(x[..., WIDTH:])), 2)


class Block(nn.Module):
    def __init__(self, mixing):
        super().__init__()
        self.attention, self.mixing = Attention(), mixing

    def forward(self, x):
        return x + self.mixing * self.attention(x)


class Reader(nn.Module):
    """A transformer whose head reads one patch of a grid through the class token."""

    def __init__(self, places=24, prefix=(0,), read=15, mixing=0.3):
        super().__init__()
        self.embedding = Embedding(places, prefix, read)
        self.blocks = nn.Sequential(Block(mixing), Block(1.0))
        self.head = nn.Linear(WIDTH, 3)
        self.cls = prefix[0]

    def forward(self, x):
        return self.head(self.blocks(self.embedding(x))[:, self.cls, :WIDTH])


@pytest.mark.parametrize("prefix", [(0,), (24,), (11,), (0, 1), (25, 3)])
def test_a_head_that_reads_one_patch_is_explained_by_that_patch(prefix):
    """On a grid of 4 x 6, whatever the numbers of the other tokens; the block before shares places among all."""
    module = seeded(lambda: Reader(prefix=prefix))
    explicand = Classifier(module).explicand(random(3, 3, 16, 24), (0, 1, 2))
    tokens = explicand.classifier.structure.tokens(explicand.inputs)
    assert (tokens.grid, tokens.count, tokens.prefix) == ((4, 6), 24 + len(prefix), tuple(sorted(prefix)))
    assert tokens.index.tolist() == module.embedding.number
    assert explicand.layer("grad_cam") == explicand.layer("normgrad") == "blocks.0"
    for method in (HiResCAM(relu=False), NormGrad()):
        maps = method(explicand).abs()
        place = nn.functional.one_hot(torch.tensor(15), 24).view(1, 1, 4, 6).float()
        peak = maps.amax((1, 2, 3), keepdim=True)
        assert bool((peak > 0).all())
        shape = explicand.upsample(place.expand(3, -1, -1, -1))
        assert_close(maps / peak, shape / shape.amax((1, 2, 3), keepdim=True))


@pytest.mark.parametrize("prefix", [(0,), (24,), (0, 1)])
def test_grad_cam_finds_the_one_patch_of_the_color_that_is_read(prefix):
    """The logit is what the patch that is read has of red; Grad-CAM is `red_u / (h w)`, and another patch is green."""
    module = Reader(prefix=prefix, mixing=0.0)
    with torch.no_grad():
        module.embedding.proj.weight.copy_(torch.eye(3)[..., None, None].expand(-1, -1, 4, 4) / 16)
        for name in ("embedding.proj.bias", "head.bias"):
            module.get_parameter(name).zero_()
        module.head.weight.copy_(torch.eye(3))
    inputs = torch.zeros(1, 3, 16, 24)
    inputs[0, 0, 8:12, 12:16] = 0.5  # patch 15 = 2 * 6 + 3
    inputs[0, 1, 0:4, 20:24] = 1.0
    explicand = Classifier(module).explicand(inputs, 0)
    red = torch.zeros(1, 1, 4, 6)
    red[0, 0, 2, 3] = 0.5
    torch.testing.assert_close(explicand.clean.logit, torch.tensor([0.5]))
    torch.testing.assert_close(GradCAM()(explicand), explicand.upsample(red / 24))


# -- real architectures --


def vit(**options):
    return timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=5, embed_dim=24, num_heads=3, **options)


def vit_of_torchvision():
    module = torchvision.models.VisionTransformer(64, 16, 3, 3, 24, 48, num_classes=5)
    nn.init.normal_(module.heads.head.weight)  # it starts as zeros
    return module


def swin():
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=(64, 96),
        window_size=4,
        depths=(1, 1, 2),
        embed_dim=12,
        num_heads=(1, 2, 3),
        num_classes=5,
    )


def swin_of_torchvision():
    return torchvision.models.SwinTransformer([4, 4], 12, [1, 1, 2], [1, 2, 3], [4, 4], num_classes=5)


def sequence(prefix, grid):
    """Grids `(N, D, h, w)` by hand."""
    return lambda values: values[:, prefix:].reshape(len(values), *grid, -1).permute(0, 3, 1, 2)


def turned(values):
    return values.permute(0, 3, 1, 2)


def untouched(values):
    return values


# how it is made, size of inputs, Grad-CAM's layer and its grid by hand, NormGrad's layer
NETWORKS = {
    "class token": (lambda: vit(img_size=64), (64, 64), "blocks.1", sequence(1, (4, 4)), "blocks.1"),
    "not square": (lambda: vit(img_size=(48, 64)), (48, 64), "blocks.1", sequence(1, (3, 4)), "blocks.1"),
    "any size": (lambda: vit(dynamic_img_size=True), (80, 48), "blocks.1", sequence(1, (5, 3)), "blocks.1"),
    "registers": (lambda: vit(img_size=64, reg_tokens=3), (64, 64), "blocks.1", sequence(4, (4, 4)), "blocks.1"),
    "distilled": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=3, num_classes=5),
        *((64, 64), "blocks.1", sequence(2, (4, 4)), "blocks.1"),
    ),
    "averaged": (
        lambda: vit(img_size=64, class_token=False, global_pool="avg", fc_norm=False),
        *((64, 64), "norm", sequence(0, (4, 4)), "norm"),
    ),
    "averaged registers": (
        lambda: vit(img_size=64, class_token=False, reg_tokens=2, global_pool="avg"),
        *((64, 64), "norm", sequence(2, (4, 4)), "norm"),
    ),
    "torchvision": (
        vit_of_torchvision,
        *((64, 64), "encoder.layers.encoder_layer_1", sequence(1, (4, 4)), "encoder.layers.encoder_layer_1"),
    ),
    "stem of convolutions": (
        lambda: timm.create_model("vit_tiny_r_s16_p8_224", img_size=64, depth=2, num_classes=5),
        *((64, 64), "blocks.0", sequence(1, (2, 2)), "blocks.0"),
    ),
    "pyramid": (
        lambda: timm.create_model("pvt_v2_b0", depths=(1, 1, 1, 2), num_classes=5),
        *((64, 96), "stages", untouched, "stages.3"),
    ),
    "swin": (swin, (64, 96), "norm", turned, "layers.2"),
    "swin of torchvision": (swin_of_torchvision, (64, 96), "permute", untouched, "features.4"),
}


def made(name):
    """The module, inputs, and the rest."""
    make, size, *rest = NETWORKS[name]
    return seeded(make).eval(), random(3, 3, *size), *rest


def hooked(module, layer, inputs, target):
    """A layer's output and the logits' gradient there, as anybody would get them."""
    kept = []
    handle = module.get_submodule(layer).register_forward_hook(lambda layer, given, output: kept.append(output))
    logits = module(inputs.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, torch.tensor(target)[:, None]).sum(), kept)
    return kept[0].detach(), gradient


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_is_what_hooks_and_a_reshape_by_hand_give(name):
    module, inputs, layer, reshape, normgrad = made(name)
    target = (1, 4, 0)
    explicand = Classifier(module, batch_size=2).explicand(inputs, target)
    assert (explicand.layer("grad_cam"), explicand.layer("normgrad")) == (layer, normgrad)
    activation, gradient = (reshape(values) for values in hooked(module, layer, inputs, target))
    assert bool((gradient.abs().amax((1, 2, 3)) > 0).all())
    assert_close(explicand.activations((layer,))[layer][0], activation)
    assert_close(explicand.outputs((layer,))[layer], activation)
    maps = (activation * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    assert_close(GradCAM(relu=False)(explicand), explicand.upsample(maps))


def test_where_the_logits_depend_on_nothing_the_last_layer_is_the_default():
    module = torchvision.models.VisionTransformer(64, 16, 2, 3, 24, 48, num_classes=5)  # its last weights are zeros
    assert Classifier(module).explicand(random(1, 3, 64, 64), 0).layer("grad_cam") == "encoder"


@pytest.mark.parametrize("name", ["class token", "distilled", "torchvision"])
def test_behind_the_last_block_nobody_reads_the_other_tokens(name):
    """There every class activation method would give zeros, which is why the default is the block before."""
    module, inputs, *_ = made(name)
    last = "encoder.ln" if name == "torchvision" else "norm"
    _, gradient = Classifier(module).explicand(inputs, 0).activations((last,))[last]
    assert not gradient.any()


def test_what_is_one_of_several_outputs_of_a_split_is_not_passed_by_everything():
    """Attention pooling splits keys from values; a layer on the keys alone is no default."""
    module = timm.create_model(
        "vit_base_patch16_siglip_224", num_classes=5, depth=1, embed_dim=24, num_heads=3, img_size=64
    )
    explicand = Classifier(module).explicand(random(1, 3, 64, 64), 0)
    assert explicand.layer("grad_cam") == "attn_pool.kv"


@pytest.mark.parametrize("name", ["class token", "registers", "swin", "swin of torchvision"])
def test_an_edit_is_that_of_a_hook_and_leaves_other_tokens(name):
    """Each of three channels is zeroed at all places."""
    module, inputs, layer, reshape, _ = made(name)

    def without(channel):
        def hook(layer, given, output):
            output = output.clone()
            reshape(output)[:, channel] = 0
            return output

        return hook

    number = torch.arange(reshape(hooked(module, layer, inputs, (0, 0, 0))[0]).shape[1])
    explicand = Classifier(module).explicand(inputs, 2)
    activation = explicand.outputs((layer,))[layer]
    channels = torch.tensor([0, 5, 7])
    kept = (number != channels[:, None])[..., None, None]
    by_one = explicand.edited(inputs[:1], torch.full((3,), 2), outputs={layer: lambda _: activation[:1] * kept})
    for place, channel in enumerate(channels.tolist()):
        handle = module.get_submodule(layer).register_forward_hook(without(channel))
        with torch.no_grad():
            logits = module(inputs)[:, 2]
        handle.remove()
        edited = explicand.edited(inputs, explicand.target, outputs={layer: partial(torch.mul, kept[place])})
        torch.testing.assert_close(edited.logit, logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(by_one.logit[place], logits[0], rtol=1e-4, atol=1e-5)
        assert bool((logits != explicand.clean.logit).all())


def test_ablation_cam_runs_in_half_precision():
    module, inputs, *_ = made("class token")
    full = AblationCAM()(Classifier(module).explicand(inputs, 1))
    half = AblationCAM()(Classifier(module, precision="bfloat16_all").explicand(inputs, 1))
    assert_close(half, full, 0.5)  # differences of logits in 8 bits


def test_a_layer_that_is_not_the_default_can_be_named():
    """The patches before the class token joins them, a part of a block, and windows of Swin as they become a grid."""
    module, inputs, *_ = made("class token")
    explicand = Classifier(module).explicand(inputs, 0)
    for layer, prefix in (("patch_embed", 0), ("blocks.0.mlp.fc1", 1), ("blocks.2.norm1", 1)):
        found = explicand.activations((layer,))[layer]
        for ours, theirs in zip(found, hooked(module, layer, inputs, (0, 0, 0)), strict=True):
            assert_close(ours, sequence(prefix, (4, 4))(theirs))
    module, inputs, *_ = made("swin")
    layer = "layers.0.blocks.0.mlp"
    ours = Classifier(module).explicand(inputs, 0).outputs((layer,))[layer]
    assert_close(ours, sequence(0, (16, 24))(hooked(module, layer, inputs, (0, 0, 0))[0]))


def test_normgrad_of_a_convolution_itself_needs_one():
    module, inputs, *_ = made("class token")
    explicand = Classifier(module).explicand(inputs, 0)
    with pytest.raises(UnsupportedError, match=r"layer 'blocks\.1' holds no convolution; name one with layers="):
        NormGrad(extraction="real")(explicand)
    assert bool(NormGrad(extraction="real", layers=("patch_embed.proj",))(explicand).any())


# -- how it is found --


class Do(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def patches(width=6):
    return nn.Conv2d(3, width, 4, stride=4)


def mean(width=6):
    return nn.Sequential(Do(lambda x: x.mean(1)), nn.Linear(width, 3))


def tokens_of(module, size=(8, 12)):
    classifier, inputs = Classifier(module), random(1, 3, *size)
    classifier.explicand(inputs, 0)
    return classifier.structure.tokens(inputs)


def test_tokens_in_another_order_are_read_off_behind_a_normalization():
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    module = seeded(lambda: nn.Sequential(patches(), Do(lambda x: x.flatten(2).mT[:, order]), nn.LayerNorm(6), mean()))
    assert tokens_of(module).index.tolist() == order.argsort().tolist()
    unseen = seeded(
        lambda: nn.Sequential(patches(), Do(lambda x: nn.functional.layer_norm(x.flatten(2).mT, (6,))), Do(abs), mean())
    )
    assert tokens_of(unseen).index.tolist() == list(range(6))  # the sum of what is normalized has no gradient


def test_a_thousand_tokens_are_told_apart():
    module = seeded(lambda: nn.Sequential(patches(), Do(lambda x: x.flatten(2).mT), nn.LayerNorm(6), mean()))
    assert tokens_of(module, (128, 160)).index.tolist() == list(range(32 * 40))


def test_meta_tensors_have_the_natural_order():
    with torch.device("meta"):
        module, inputs = vit(img_size=(48, 64), reg_tokens=2), torch.empty(1, 3, 48, 64)
    classifier = Classifier(module, device="meta")
    classifier.explicand(inputs, 0)
    tokens = classifier.structure.tokens(inputs)
    assert (tokens.grid, tokens.count, tokens.prefix) == ((3, 4), 15, (0, 1, 2))
    assert tokens.index.shape == (12,)
    assert tokens.index.device.type == "meta"


def test_places_and_tokens_are_inverse():
    tokens = Tokens((2, 3), torch.tensor([6, 2, 0, 3, 5, 1]), 8, (4, 7))
    values = random(4, 8, 5)
    places = tokens.places(values)
    assert torch.equal(places[:, :, 0, 1], values[:, 2])
    assert torch.equal(places[:, :, 1, 0], values[:, 3])
    assert torch.equal(tokens.put(values, places), values)
    put = tokens.put(values[:1], 0 * places)  # one row of values for four of channels
    assert torch.equal(put[3, [4, 7]], values[0, [4, 7]])
    assert not put[:, tokens.index].any()
    values = random(2, 3, 4, 5)
    assert torch.equal(ChannelsLast().put(values[:1], ChannelsLast().places(values)), values)


def test_one_look_is_enough_and_counts_nothing():
    """Later explicands call the model for their samples only, and wait for nothing."""
    module, inputs, *_ = made("class token")
    classifier, seen = Classifier(module), []
    GradCAM()(classifier.explicand(inputs, 0))
    module.register_forward_hook(lambda module, given, logits: seen.append(len(logits)))
    explicand = classifier.explicand(inputs, 0)
    with no_waiting():
        for method in (GradCAM(), NormGrad(), AblationCAM(layer="blocks.1")):
            method(explicand)
    assert sum(seen) == 3 * explicand.cost.forwards == 3 + 3 + 3 * 24 + 3  # clean, both, channels, and the layer alone


# -- what is refused --


def refused(module, size, ask, sentence):
    explicand = Classifier(module).explicand(random(2, 3, *size), 0)
    with pytest.raises(UnsupportedError, match=sentence):
        ask(explicand)


def test_tokens_that_are_no_grid_say_why():
    mixing = seeded(
        lambda: nn.Sequential(patches(), Do(lambda x: (x + x.flip(3)).flatten(2).mT), nn.LayerNorm(6), mean())
    )
    alone = "layer '1' has no grid of places: the 6 tokens do not take over the 2 x 3 places before them one by one"
    refused(mixing, (8, 12), lambda e: e.activations(("1",)), alone)
    refused(mixing, (8, 12), lambda e: e.layer("grad_cam"), "has no grid of places: the 6 tokens do not take over")
    refused(
        mixing,
        (8, 12),
        lambda e: e.classifier.structure.tokens(e.inputs),
        "the tokens of Sequential have no grid of places",
    )
    fewer = seeded(lambda: nn.Sequential(patches(), Do(lambda x: x.flatten(2).mT[:, 1:]), mean()))
    refused(fewer, (8, 12), lambda e: e.outputs(("1",)), "the 5 tokens are fewer than the 2 x 3 places before them")
    gone = seeded(lambda: nn.Sequential(patches(), Do(lambda x: x.flatten(2).mT[:, [0, 1, 2, 3, 4, 4]]), mean()))
    refused(gone, (8, 12), lambda e: e.outputs(("1",)), "the 6 tokens do not take over the 2 x 3 places")
    cut = seeded(lambda: nn.Sequential(nn.Unfold(4, stride=4), Do(lambda x: x.mT), nn.Linear(48, 6), mean()))
    refused(cut, (8, 12), lambda e: e.layer("grad_cam"), "they come from no activations .* such as those of a conv")


def test_a_model_without_tokens_says_so():
    module = torchvision.models.resnet18(num_classes=3)
    sentence = r"ResNet has no layer that gives tokens \(N, T, D\) and that everything passes"
    refused(module, (32, 32), lambda e: e.classifier.structure.tokens(e.inputs), sentence)


def test_shapes_that_may_be_either_layout_are_refused():
    """8 channels at 8 x 8 places; what is known of a layer decides, and a network of convolutions alone is read."""
    module = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 2, stride=2), Do(lambda x: x.permute(0, 2, 3, 1)), nn.Linear(8, 8), Do(torch.tanh)),
            *(Do(lambda x: x.mean((1, 2))), nn.Linear(8, 3)),
        )
    )
    inputs, sentence = random(2, 3, 16, 16), r"its output \(1, 8, 8, 8\) may be either of \(N, K, h, w\) and \(N, h, w"
    refused(module, (16, 16), lambda e: e.activations(("3",)), sentence)
    refused(module, (16, 16), lambda e: e.edited(e.inputs, e.target, outputs={"1": abs}), sentence)
    found = Classifier(module).explicand(inputs, 0).outputs(("0", "2"))
    assert_close(found["0"], hooked(module, "0", inputs, (0, 0))[0])
    assert_close(found["2"], turned(hooked(module, "2", inputs, (0, 0))[0]))
    found = Classifier(module).explicand(random(2, 3, 16, 20), 0).outputs(("3",))
    assert found["3"].shape == (2, 8, 8, 10)
    plain = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(512, 3)))
    assert_close(Classifier(plain).explicand(inputs, 0).outputs(("1",))["1"], hooked(plain, "1", inputs, (0, 0))[0])


def test_what_is_no_activation_at_places_is_refused():
    module, inputs, *_ = made("class token")
    explicand = Classifier(module).explicand(inputs, 0)
    heads = r"its output \(1, 3, 17, 8\) is neither of \(N, K, h, w\) and \(N, h, w, K\)"
    with pytest.raises(UnsupportedError, match=heads):
        GradCAM(layer="blocks.0.attn.q_norm")(explicand)
    with pytest.raises(ValueError, match=r"layer 'head' gives \(3, 5\), expected a spatial output"):
        GradCAM(layer="head")(explicand)
    for layer, shape in (("blocks.0", r"\(1, 17, 24\)"), ("blocks.0.attn.q_norm", r"\(1, 3, 17, 8\)")):
        with pytest.raises(UnsupportedError, match=rf"layer '{layer}' is given {shape}, expected activations \(N, K"):
            explicand.edited(inputs, explicand.target, arriving={layer: torch.relu})


def test_a_layer_that_the_model_does_not_have():
    module, inputs, *_ = made("class token")
    with pytest.raises(ValueError, match=r"VisionTransformer has no layer 'blocks.9'; close names: blocks.2"):
        GradCAM(layer="blocks.9")(Classifier(module).explicand(inputs, 0))


def test_hooks_are_gone_also_after_an_exception():
    module, inputs, layer, *_ = made("class token")
    broken = {"now": False}

    def fail(*_):
        if broken["now"]:
            raise RuntimeError("broken")

    handle = module.blocks[2].register_forward_hook(fail)
    classifier, before = Classifier(module), state_of(module)
    explicand = classifier.explicand(inputs, 0)
    broken["now"] = True
    for ask in (lambda: classifier.structure.tokens(inputs), lambda: GradCAM(layer=layer)(explicand)):
        with pytest.raises(RuntimeError, match="broken"):
            ask()
    broken["now"] = False
    with pytest.raises(ZeroDivisionError):
        explicand.edited(inputs, explicand.target, outputs={layer: lambda a: a * (1 // 0)})
    assert [len(part._forward_hooks) for part in module.modules() if part._forward_hooks] == [1]
    assert not any(part._forward_pre_hooks for part in module.modules())
    handle.remove()
    assert bool(GradCAM()(explicand).isfinite().all())
    assert state_of(module).keys() == before.keys()
