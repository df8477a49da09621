"""Every method on real architectures: any batch, odd sizes, one and three channels; or a refusal in a sentence."""

import pytest
import timm
import torch
import torchvision
from known_answers import random
from torch import nn

from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.laws import composed
from xaieval.laws.components import limited
from xaieval.laws.toys import seeded
from xaieval.support import BUDGET

METHODS = {
    name: method for name, method in composed("method") if isinstance(method, Method) and "world" not in method.needs
}


def resnet18(channels):
    module = torchvision.models.resnet18(num_classes=5)
    module.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return module


# name: how it is made, and a size of inputs with odd sides where it takes any
NETWORKS = {
    "efficientnet_lite0": (lambda c: timm.create_model("tf_efficientnet_lite0", in_chans=c, num_classes=5), (33, 37)),
    "resnet18": (resnet18, (33, 37)),
    "vit_tiny": (
        lambda c: timm.create_model("vit_tiny_patch16_224", in_chans=c, num_classes=5, img_size=48, depth=2),
        (48, 48),
    ),
    "swin": (
        lambda c: timm.create_model(
            "swin_tiny_patch4_window7_224",
            in_chans=c,
            num_classes=5,
            img_size=(32, 48),
            window_size=4,
            depths=(1, 2),
            embed_dim=12,
            num_heads=(1, 2),
        ),
        (32, 48),
    ),
}
NO_ATTENTION = "computes no attention over tokens"
NO_RULE = r"norm.* \(LayerNorm\) calls layer_norm, for which .* has no rule"
NO_RECTIFIERS = "calls no relu, relu6 or hardtanh"
REFUSED = {
    ("causal_path", "vit_tiny"): "has no layer that takes and gives activations",
    **{(name, "vit_tiny"): NO_RECTIFIERS for name in ("guided_backprop", "deconvnet")},
    ("deeplift", "vit_tiny"): r"norm.* \(LayerNorm\) calls layer_norm, for which DeepLift has no rule",
    **{(name, "vit_tiny"): NO_RULE for name in METHODS if "excitation_backprop" in name or name.startswith("lrp")},
    **{
        (name, network): NO_ATTENTION
        for name in ("attention_rollout", "attention_relevance")
        for network in ("efficientnet_lite0", "resnet18")
    },
}
REFUSED |= {("coam", network): "the model has no concepts" for network in NETWORKS}
REFUSED |= {(name, "swin"): why for (name, network), why in REFUSED.items() if network == "vit_tiny"} | {
    ("causal_path", "swin"): r"is given \(1, .*\), expected activations \(N, K, h, w\)",
    **{(name, "swin"): "attends in windows" for name in ("attention_rollout", "attention_relevance")},
}
AUDITED = {("lrp_alpha2_beta1", "efficientnet_lite0")}  # whose maps are refused sample by sample, as NaN
SLOW = ("score_cam", "ablation_cam")  # a forward for each channel of a late layer


def made(network, channels):
    return seeded(lambda: NETWORKS[network][0](channels)).eval()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_refuses_in_a_sentence(name, network):
    method, size = limited(METHODS[name], BUDGET), NETWORKS[network][1]
    if name in SLOW and network == "efficientnet_lite0":
        pytest.skip("1280 forwards for each image; ResNet-18 has 512")
    for channels, batch in ((3, 1), (1, 5)):
        classifier, mask = Classifier(made(network, channels), batch_size=32), random(batch, *size) > 0.5
        explicand = classifier.explicand(random(batch, channels, *size), 1, mask=mask)
        if (name, network) in REFUSED:
            with pytest.raises(ValueError, match=REFUSED[name, network]):
                method(explicand)
        else:
            maps = method(explicand)
            assert tuple(maps.shape) in ((batch, 1, *size), (batch, channels, *size))
            assert bool(maps.isfinite().all()) == ((name, network) not in AUDITED)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.syncs])
def test_every_method_runs_on_meta(name, network):
    if (name, network) in REFUSED or name in SLOW:
        return
    with torch.device("meta"):
        module = NETWORKS[network][0](3)
    inputs = torch.empty(2, 3, *NETWORKS[network][1], device="meta")
    maps = limited(METHODS[name], BUDGET)(Classifier(module, device="meta", batch_size=32).explicand(inputs, 1))
    assert maps.shape[0] == 2
    assert maps.device.type == "meta"
