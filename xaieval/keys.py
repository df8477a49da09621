"""Content keys: what must be equal for a stored number to be the number that would be computed now."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import xaieval

ENGINE = 3
"""Raised when the engine's numbers change; every key holds it, so older results are computed again."""


def key_of(**parts: object) -> str:
    """The content key of named parts: blake2b of their canonical JSON, `ENGINE` and torch's version, 40 digits.

    Whatever changes a number belongs in a key: `state_hash` of the model, canonical JSON and `source_hash` of a
    component, the sample, the device type and the precision. Batch size, shard, launcher and paths do not.

    Raises:
        TypeError: A part is not made of numbers, strings, lists and mappings.
        ValueError: A part is None, as the `source_hash` of a lambda is: it has no key, so it is never put on disk.
    """
    for name, part in parts.items():
        if part is None:
            raise ValueError(
                f"key_of got {name}=None, expected a hash or a value: what has no hash is not kept on disk"
            )
    try:
        text = _canonical({"engine": ENGINE, "torch": str(torch.__version__), **parts})
    except TypeError as error:
        raise TypeError(
            f"key_of takes numbers, strings, lists and mappings; hash anything else first: {error}"
        ) from error
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def versions() -> str:
    """The versions behind a row's numbers, as JSON."""
    torch_version = str(torch.__version__)
    return _canonical({"python": platform.python_version(), "torch": torch_version, "xaieval": xaieval.__version__})


def source_hash(component: object) -> str | None:
    """Hash of the files a component is written in, so that what was edited is computed again.

    Args:
        component: A class, a function, a `functools.partial` of one, or an instance of a dataclass. The classes it
            inherits from and the components among its fields count too; xaieval's engine is covered by `ENGINE`.

    Returns:
        40 hexadecimal digits, or None for what has no trustworthy source: lambdas, inner functions (they may enclose
        values), anything defined in a notebook or in `__main__`, and objects that are no dataclasses.
    """
    digest = hashlib.blake2b(digest_size=20)
    for definition in _definitions(component):
        source = _source(definition)
        if source is None:
            return None
        digest.update(hashlib.blake2b(source).digest())
    return digest.hexdigest()


def state_hash(module: nn.Module) -> str:
    """Hash of a model: class, printed structure and every entry of its `state_dict` (name, dtype, shape, bytes).

    Independent of the process, the device and the memory layout.
    """
    digest = hashlib.blake2b(digest_size=20)
    digest.update(f"{type(module).__module__}.{type(module).__qualname__}\n{_without_addresses(str(module))}".encode())
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"\n{name} {_without_addresses(repr(value))}\n".encode())
    return digest.hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _without_addresses(text: str) -> str:
    """A function inside a module prints its address, which differs in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _definitions(component: object) -> Iterator[object]:
    """The classes and functions whose code decides what a component does."""
    if isinstance(component, type):
        yield from (base for base in component.__mro__ if not _is_engine(base))
        return
    inner = _inside(component)
    if inner is None:
        yield component
        return
    for part in inner:
        yield from _definitions(part)


def _inside(component: object) -> tuple[object, ...] | None:
    """What a component is made of; nothing for plain values, None for a function or an object that hides its state."""
    if component is None or isinstance(component, str | bool | int | float):
        return ()
    if isinstance(component, tuple | list):
        return tuple(component)
    if isinstance(component, dict):
        return tuple(component.values())
    if isinstance(component, functools.partial):
        return (component.func, component.args, component.keywords)
    if inspect.ismethod(component):
        return (component.__self__,)
    if is_dataclass(component):
        return (type(component), *(getattr(component, field.name) for field in fields(component)))
    return None


def _is_engine(base: type) -> bool:
    package, _, rest = base.__module__.partition(".")
    if package == "xaieval":
        return not rest.startswith(("attributions", "metrics"))
    return package in sys.stdlib_module_names


def _source(definition: object) -> bytes | None:
    """The file of a class or function, or None where it has none that tells the whole."""
    if "<" in getattr(definition, "__qualname__", "<object>") or getattr(definition, "__module__", None) in (
        None,
        "__main__",
    ):
        return None
    try:
        file = inspect.getsourcefile(definition)  # type: ignore[arg-type]
        return Path(file).read_bytes() if file else None
    except (TypeError, OSError):
        return None
