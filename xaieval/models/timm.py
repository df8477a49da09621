"""Any classifier of timm, with its pretrained weights or those of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from xaieval.classifier import Classifier
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import ModelError, imagenet_categories, require, restore, seeded, suggest


def load(
    name: str,
    *,
    pretrained: bool = True,
    checkpoint: str | None = None,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """A model of timm with the preprocessing it was trained with (`timm.data.resolve_data_config`).

    Args:
        name: As timm has it, such as `resnet50.a1_in1k` or `hf-hub:owner/model`.
        pretrained: Download timm's weights. False: random weights, the same ones every time, for trying things out.
        checkpoint: A state dict to load instead, `.safetensors` or of `torch.save`; its last layer decides on the
            number of classes.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: An unknown name, weights that cannot be had or do not fit, or preprocessing other than a square
            center crop.
    """
    require(name, {"timm": "timm"})
    import timm

    _check_name(name)
    build = partial(timm.create_model, name)
    if checkpoint is not None:
        module = restore(build, checkpoint)
    elif pretrained:
        module = _pretrained(name)
    else:
        with seeded():
            module = build()
    if getattr(module, "num_classes", None) == 0:
        raise ModelError(
            f"timm's {name} has no classes, only features; expected a classifier: choose weights with a head"
        )
    config: dict[str, Any] = timm.data.resolve_data_config(model=module)  # type: ignore[attr-defined]
    return Classifier(
        module,
        mean=config["mean"],
        std=config["std"],
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name=_label(name, pretrained, checkpoint),
        preprocess=_preprocess(name, config),
        categories=imagenet_categories() if getattr(module, "num_classes", None) == 1000 else None,
    )


def _check_name(name: str) -> None:
    import timm

    architecture = name.split(".")[0]
    if ":" not in name and not timm.is_model(architecture):
        raise ModelError(f"timm has no model {name!r}{suggest(architecture, timm.list_models())}")


def _pretrained(name: str) -> nn.Module:
    import timm

    try:
        with seeded():
            module: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # timm, huggingface_hub and the HTTP client raise errors of their own
        tags = ", ".join(timm.list_pretrained(f"{name.split('.')[0]}.*")) if ":" not in name else ""
        raise ModelError(
            f"the pretrained weights of timm's {name} could not be had ({str(error).splitlines()[0]}); without a "
            "network give checkpoint=PATH, or pretrained=false for random weights; timm offers "
            f"{tags or 'none under this name'}"
        ) from error
    return module


def _label(name: str, pretrained: bool, checkpoint: str | None) -> str:
    """The name in tables, so that random or other weights are never taken for timm's."""
    if checkpoint is not None:
        return f"{name}:{Path(checkpoint).stem}"
    return name if pretrained else f"{name}:random"


def _preprocess(name: str, config: Mapping[str, Any]) -> Preprocess:
    """As `timm.data.create_transform` for evaluation."""
    channels, height, width = config["input_size"]
    if channels != 3 or height != width or config["crop_mode"] == "border":
        raise ModelError(
            f"timm's {name} takes {channels} x {height} x {width} pixels, cut by {config['crop_mode']!r}; expected 3 "
            "channels and a square, cut by 'center' or 'squash': write a function that returns the model and use "
            "model=callable"
        )
    return Preprocess(
        math.floor(height / config["crop_pct"]), height, config["interpolation"], config["crop_mode"] == "squash"
    )
