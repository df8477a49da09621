"""Watchers: what a method or metric may not touch, and when it makes the device wait."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Law = Callable[..., None]
"""Takes a method or metric, and raises `LawBroken` where it does not hold."""


class LawBroken(AssertionError):  # noqa: N818 - what happened, not an error of the program
    """A law does not hold; the message says it in a sentence."""


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state_of(module: nn.Module) -> dict[str, Any]:
    """Everything of a model that explaining it must leave as it was."""
    state: dict[str, Any] = {}
    for name, part in module.named_modules():
        state[f"the mode of {name or 'the model'}"] = part.training
        state[f"the hooks of {name or 'the model'}"] = [list(getattr(part, hooks)) for hooks in HOOKS]
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        state[f"the identity of {name}"] = id(tensor)
        state[f"the values of {name}"] = tensor.detach().clone()
        state[f"requires_grad of {name}"] = tensor.requires_grad
        state[f"the gradient of {name}"] = None if tensor.grad is None else tensor.grad.clone()
    return state


def random_state() -> dict[str, Any]:
    """The global random states."""
    return {
        "torch's random state": torch.get_rng_state(),
        "numpy's random state": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "python's random state": random.getstate(),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what changed, was added or was lost."""
    return [name for name in before | after if not _same(before.get(name), after.get(name))]


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return bool(first == second) and type(first) is type(second)


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Checks that the block changes neither the model nor a global random state.

    Raises:
        LawBroken: It does, whether or not the block raises itself.
    """
    before = state_of(module) | random_state()
    try:
        yield
    finally:
        changed = differences(before, state_of(module) | random_state())
    if changed:
        raise LawBroken(f"it changed {', '.join(changed[:3])}{' and more' if len(changed) > 3 else ''}")


# -- waiting for the device --

WAITING_METHODS = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "argwhere"),
    *("__array__", "__bool__", "__int__", "__float__", "__index__", "__complex__"),
}
WAITING_OPERATIONS = {
    *("_local_scalar_dense", "nonzero", "argwhere", "masked_select", "equal", "is_nonzero", "bincount"),
    *("unique_dim", "_unique2", "unique_consecutive", "unique_dim_consecutive", "repeat_interleave"),
}


class _Methods(TorchFunctionMode):
    """Sees what Python calls, such as `.cpu()`, which does nothing on a CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITING_METHODS:
            raise LawBroken(f"it calls Tensor.{name}, which waits for the device: keep values in tensors on the device")
        if name == "__getitem__" and any(isinstance(index, list | np.ndarray) for index in _indices(args[1])):
            raise LawBroken("it indexes a tensor with a list, which copies it to the device: make indices with arange")
        return func(*args, **(kwargs or {}))


def _indices(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


class _Operations(TorchDispatchMode):
    """Sees what torch runs, such as the `nonzero` behind a boolean mask."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "_index_put_impl_", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if by_mask and not (name.startswith(("index_put", "_index_put")) and args[2].numel() == 1):
            raise LawBroken(
                "it indexes with a boolean mask, which waits for the device: use torch.where or masked_fill"
            )
        if name in WAITING_OPERATIONS and not (name == "repeat_interleave" and (kwargs or {}).get("output_size")):
            raise LawBroken(f"it runs aten.{name}, which waits for the device: keep values in tensors on the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raises where the block would make a GPU wait for the host; works on the CPU.

    Raises:
        LawBroken: It would.
    """
    with _Operations(), _Methods():
        yield


# -- memory --


class Planes(TorchDispatchMode):
    """The largest number of planes `(H, W)` of input size that were alive at once, in tensors made in the block."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.largest = 0
        self._size = size
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tuple(tensor.shape[-len(self._size) :]) == self._size:
                self._note(tensor)
        return result

    def _note(self, tensor: Tensor) -> None:
        self._alive = {storage: planes for storage, planes in self._alive.items() if not storage.expired()}
        storage = StorageWeakRef(tensor.untyped_storage())
        if storage not in self._alive:
            pixels = 1
            for side in self._size:
                pixels *= side
            self._alive[storage] = max(1, tensor.untyped_storage().nbytes() // tensor.element_size() // pixels)
        self.largest = max(self.largest, sum(self._alive.values()))
