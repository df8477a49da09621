"""Any model that a function of yours returns."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xaieval.classifier import Classifier
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import ModelError, seeded, suggest


def load(
    function: str,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int = 256,
    crop: int = 224,
    interpolation: str = "bicubic",
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """What `module:function` returns: a module that takes images `(N, 3, crop, crop)` and gives logits `(N, classes)`.

    Args:
        function: `module:function`, called without arguments; also a class. The working directory is searched for the
            module.
        mean: Mean of each channel of pixels in [0, 1]; with `std` the normalization that becomes the model's first
            layer. None: the model takes pixels in [0, 1].
        std: Standard deviation of each channel.
        resize: Shorter side of the resized picture, in pixels.
        crop: Side of the square cut out of its middle, in pixels.
        interpolation: See `Preprocess`.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: No such function, or one that returns no `nn.Module`.
    """
    make = _find(function)
    with seeded():
        module = make()
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{function} returned {type(module).__name__}, expected a torch.nn.Module: return the model itself"
        )
    return Classifier(
        module,
        mean=mean,
        std=std,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name=function,
        preprocess=Preprocess(resize, crop, interpolation),
    )


def _find(function: str) -> Any:
    path, colon, name = function.partition(":")
    if not (path and colon and name):
        raise ModelError(f"expected the model as module:function, such as my_models:make_resnet, got {function!r}")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not (path == error.name or path.startswith(f"{error.name}.")):
            raise  # the module is there; something that it imports is not
        raise ModelError(
            f"there is no module {path!r} for the model {function!r}; run in the folder where it lies, or add that "
            "folder to PYTHONPATH"
        ) from error
    if not callable(getattr(module, name, None)):
        raise ModelError(f"the module {path!r} has no function {name!r}{suggest(name, vars(module))}")
    return getattr(module, name)
