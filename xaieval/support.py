"""Which methods a model supports: found by trying each of them on it, never by a list of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.laws.components import limited
from xaieval.laws.toys import images, names, seeded
from xaieval.unsupported import UnsupportedError

BUDGET = {"samples": 4, "steps": 2, "designs": 2, "grid": 3, "candidates": 2}
"""Largest values of fields, by name, of a method that is tried."""

SIDE = 64
"""Of the images on which the families are tried, in pixels."""


def refusal(explicand: Explicand, method: Method) -> str:
    """Why a method does not explain the model of these samples, in the words of a run's rows; empty where it does.

    The method is tried with a small budget. What it refuses because of a sample's own values is seen on these alone.
    """
    try:
        finite = limited(method, BUDGET).tried(explicand).isfinite().all()
    except UnsupportedError as refused:
        return refused.reason
    return "" if finite else method.refuses or "the map holds NaN or infinite scores"


# -- families of models ------------------------------------------------------------------------------------------------


def _resnet() -> nn.Module:
    from torchvision.models import resnet18

    module: nn.Module = resnet18()
    return module


def _vgg() -> nn.Module:
    from torchvision.models import vgg11_bn

    module: nn.Module = vgg11_bn(num_classes=10)
    module.avgpool = nn.AdaptiveAvgPool2d(1)
    module.classifier = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))
    return module


def _timm(name: str, **options: Any) -> nn.Module:
    import timm

    module: nn.Module = timm.create_model(name, **options)
    return module


def _vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    widths = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    module: nn.Module = VisionTransformer(SIDE, patch_size=16, **widths)
    nn.init.normal_(module.get_parameter("heads.head.weight"))  # torchvision's is 0, and the logits depend on nothing
    return module


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": _resnet,
    "VGG-11": _vgg,
    "EfficientNet-Lite0": lambda: _timm("tf_efficientnet_lite0"),
    "EfficientNet-B0": lambda: _timm("efficientnet_b0"),
    "ConvNeXt": lambda: _timm("convnext_atto"),
    "ViT": lambda: _timm("vit_tiny_patch16_224", img_size=SIDE),
    "DeiT": lambda: _timm("deit_tiny_distilled_patch16_224", img_size=SIDE),
    "ViT (torchvision)": _vit,
    "Swin": lambda: _timm("swin_tiny_patch4_window7_224", img_size=SIDE),
}
"""What the table of support is made of: networks of torchvision and timm, random weights, VGG with a small head."""


def refusals(methods: Mapping[str, Method]) -> dict[str, dict[str, str]]:
    """For each family and each method why it is refused; empty where it is not."""
    found = {}
    for family, make in FAMILIES.items():
        explicand = Classifier(seeded(make), batch_size=16).explicand(images(1, SIDE), 0, names(1))
        found[family] = {name: refusal(explicand, method) for name, method in methods.items()}
    return found
