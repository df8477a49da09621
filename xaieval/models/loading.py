"""What all sources of models share: seeded initialization, checkpoints, and errors in a sentence."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class ModelError(ValueError):
    """Why a model cannot be made, in a sentence."""


def require(model: str, packages: Mapping[str, str]) -> None:
    """Sees to it that packages are installed, given as {module: name on PyPI}.

    Raises:
        ModelError: One is missing.
    """
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    if missing:
        raise ModelError(
            f"the model {model} needs {' and '.join(missing)}, not installed here: pip install {' '.join(missing)}"
        )


def suggest(name: str, names: Iterable[str]) -> str:
    """`; did you mean a, b?`, or nothing where no name is close."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {', '.join(close)}?" if close else ""


@contextmanager
def seeded() -> Iterator[None]:
    """Weights that are initialized in here are the same in every process; the global random state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # not torch.manual_seed, which would reseed CUDA too
        yield


def restore(build: Callable[..., nn.Module], checkpoint: str) -> nn.Module:
    """A model with the weights of a checkpoint, and with as many classes as its last layer has.

    Args:
        build: Makes the model, with `num_classes=` if it is given.
        checkpoint: Path of a state dict, see `read_checkpoint`.

    Raises:
        ModelError: A checkpoint that cannot be read or does not fit.
    """
    state = read_checkpoint(Path(checkpoint).expanduser())
    with seeded():
        module = build()
        head = list(module.state_dict())[-1]
        if head in state and state[head].shape != module.state_dict()[head].shape:
            module = build(num_classes=len(state[head]))
    _check_fit(checkpoint, state, module.state_dict())
    module.load_state_dict(state, strict=False)  # what may be missing is only the batch counters
    return module


def write_whole(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors as safetensors, whole or not at all: processes side by side may write the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.stem}-{uuid.uuid4().hex}.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.replace(file)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of `torch.save` or safetensors; no code in it is ever run.

    Looks into `state_dict` and `model` of a larger dictionary, and takes off the prefixes that
    DistributedDataParallel, compile and Lightning put before every name.

    Raises:
        ModelError: A missing file, or one that holds something else.
    """
    if not path.is_file():
        raise ModelError(
            f"there is no checkpoint at {path}; give the path of a state dict (torch.save or .safetensors)"
        )
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise ModelError(
            f"the checkpoint {path} cannot be read as plain weights "
            f"({str(error).splitlines()[0] if str(error) else repr(error)}); expected what "
            "torch.save(model.state_dict(), path) or safetensors writes"
        ) from error
    return _without_prefix(_tensors(path, content))


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        held = (
            f"a dictionary of {', '.join(map(str, content))[:80]}"
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise ModelError(f"the checkpoint {path} holds {held or 'nothing'}; expected a state dict: names and tensors")
    return content


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in ("module.", "_orig_mod.", "model."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _check_fit(checkpoint: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    found = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unknown to the model", unknown), ("of another shape", shapes))
        if names
    ]
    if found:
        raise ModelError(
            f"the checkpoint {checkpoint} does not fit the model (weights {'; '.join(found)}); give the name of the "
            "architecture it was saved from"
        )


def imagenet_categories() -> tuple[str, ...]:
    """The thousand class names that torchvision ships, in the order of all ImageNet classifiers here."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
