"""Any classifier of torchvision, with its pretrained weights or those of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from xaieval.classifier import Classifier
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import ModelError, restore, seeded, suggest


def load(
    name: str,
    *,
    weights: str | None = "DEFAULT",
    checkpoint: str | None = None,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """A model of torchvision with the preprocessing of its weights.

    Args:
        name: As torchvision has it, such as `resnet18`.
        weights: `DEFAULT`, or `IMAGENET1K_V1` and so on; downloaded unless torch's cache has them. None: random
            weights, the same ones every time, for trying things out.
        checkpoint: A state dict to load instead, `.safetensors` or of `torch.save`; its last layer decides on the
            number of classes.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: An unknown name, or weights that cannot be had or do not fit.
    """
    from torchvision import models

    _check_name(name)
    chosen = _weights(name, weights)
    build = partial(models.get_model, name, weights=None)
    if checkpoint is not None:
        module = restore(build, checkpoint)
    elif weights is not None:
        module = _pretrained(name, chosen)
    else:
        with seeded():
            module = build()
    preset = chosen.transforms()
    categories = chosen.meta["categories"]
    return Classifier(
        module,
        mean=preset.mean,
        std=preset.std,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name=_label(name, weights, checkpoint),
        preprocess=Preprocess(preset.resize_size[0], preset.crop_size[0], preset.interpolation.value),
        categories=categories if _classes(module) == len(categories) else None,
    )


def _check_name(name: str) -> None:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise ModelError(f"torchvision has no classifier {name!r}{suggest(name, names)}")


def _weights(name: str, weights: str | None) -> Any:
    """The member of the enumeration of weights; the default ones for random weights, because of their preprocessing."""
    from torchvision import models

    known = models.get_model_weights(name)
    names = ["DEFAULT", *(name for name in known.__members__ if name != "DEFAULT")]  # an alias, listed too
    if weights is not None and weights not in names:
        raise ModelError(
            f"torchvision's {name} has no weights {weights!r}; expected {', '.join(names)}, or null for random ones"
        )
    return known[weights or "DEFAULT"]


def _pretrained(name: str, weights: Any) -> nn.Module:
    from torchvision import models

    try:
        with seeded():
            module: nn.Module = models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:  # no network, or a broken download
        raise ModelError(
            f"the weights of torchvision's {name} could not be downloaded from {weights.url} ({error}); without a "
            "network put that file into the folder hub/checkpoints of torch's cache (TORCH_HOME), give "
            f"checkpoint=PATH, or weights=null for random weights (on the command line model.{name}.weights=null)"
        ) from error
    return module


def _label(name: str, weights: str | None, checkpoint: str | None) -> str:
    """The name in tables, so that random or other weights are never taken for the default ones."""
    if checkpoint is not None:
        return f"{name}:{Path(checkpoint).stem}"
    return name if weights == "DEFAULT" else f"{name}:{weights or 'random'}"


def _classes(module: nn.Module) -> int:
    return len(list(module.state_dict().values())[-1])
