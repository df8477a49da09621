"""Backward passes by rules of their own, for every call of a torch function, be it by a module, a function or in place.

Propagation methods replace the derivative of some functions by a rule, and are right only where every function on the
way has one. `Propagation` answers the calls that have a rule, lets those pass through which autograd's own backward
pass is right, and notes every other. The model is not edited.

Functions are known by their names here: `relu` is `torch.relu`, `torch.relu_`, `Tensor.relu`, `functional.relu` with or
without `inplace`, and so on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaieval.unsupported import UnsupportedError

Function = Callable[..., Any]
Rule = Callable[[Function, dict[str, Any]], Any]
"""Gives the result of a call: takes the function, never in its in-place form, and its arguments by name.

`NotImplemented`: the rule does not hold for these arguments, the call is to be noted as unsupported.
"""


def _all(names: str, parameters: str = "") -> dict[str, str]:
    return dict.fromkeys(names.split(), parameters)


ELEMENTWISE = {
    **_all("relu relu6 selu silu mish hardswish hardsigmoid tanhshrink softsign logsigmoid", "input"),
    **_all("sigmoid tanh exp log log1p abs sqrt rsqrt square reciprocal erf sin cos", "input"),
    "hardtanh": "input min_val max_val",
    "leaky_relu": "input negative_slope",
    "prelu": "input weight",
    "elu": "input alpha",
    "celu": "input alpha",
    "gelu": "input approximate",
    "softplus": "input beta threshold",
    "threshold": "input threshold value",
    "hardshrink": "input lambd",
    "softshrink": "input lambd",
    "clamp": "input min max",
    "clamp_min": "input min",
    "clamp_max": "input max",
    "pow": "input exponent",
}
"""Nonlinear functions of one number, and the names of their arguments in their order."""

MAX_POOLING = {
    **_all("max_pool1d max_pool2d max_pool3d", "input kernel_size stride padding dilation ceil_mode return_indices"),
    **_all("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", "input output_size return_indices"),
}
"""The largest number of a window, likewise."""

PRODUCTS = {
    **_all("conv1d conv2d conv3d", "input weight bias stride padding dilation groups"),
    **_all(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        "input weight bias stride padding output_padding groups dilation",
    ),
    "linear": "input weight bias",
    "addcmul": "input tensor1 tensor2",
    "mul": "input other",
    "div": "input other",
    **_all("matmul mm bmm", "input other"),
    **_all("addmm baddbmm einsum"),
}
"""Linear where a gradient is needed by one argument only (of `div`, the first); no names where rules are not asked."""

IN_EVALUATION = {
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    **_all("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout", "input p training"),
}
"""Linear in evaluation mode."""

SUMS = {
    **_all("add sub", "input other"),
    "rsub": "input other alpha",
    "neg": "input",
    **_all(
        "avg_pool1d avg_pool2d avg_pool3d",
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
    ),
    **_all("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", "input output_size"),
    **_all("mean sum", "input dim keepdim"),
    **_all("interpolate upsample cumsum fold"),
}
"""Linear."""

REARRANGING = _all(
    "view view_as reshape reshape_as flatten unflatten ravel permute transpose t T mT movedim moveaxis swapaxes "
    "swapdims adjoint squeeze unsqueeze expand expand_as broadcast_to broadcast_tensors repeat repeat_interleave tile "
    "cat concat concatenate stack hstack vstack split split_with_sizes tensor_split chunk unbind select narrow "
    "index_select gather take_along_dim __getitem__ flip roll rot90 pad unfold pixel_shuffle pixel_unshuffle "
    "channel_shuffle native_channel_shuffle contiguous clone to type float double half bfloat16 cpu cuda as_strided "
    "diagonal"
)
"""Numbers stay what they are, in other places."""

LINEAR = frozenset({**PRODUCTS, **IN_EVALUATION, **SUMS, **REARRANGING})
"""Functions through which autograd's backward pass is right; what they ask of their arguments is checked."""

_PARAMETERS: dict[str, tuple[str, ...]] = {
    name: tuple(names.split())
    for table in (ELEMENTWISE, MAX_POOLING, PRODUCTS, IN_EVALUATION, SUMS, REARRANGING)
    for name, names in table.items()
}
_OTHER_NAMES = {
    "clamp": ("clip",),
    "sub": ("subtract",),
    "rsub": ("__rsub__",),
    "mul": ("multiply",),
    "div": ("divide", "true_divide"),
    "neg": ("negative",),
    "abs": ("absolute", "__abs__"),
    "pow": ("__pow__",),
    "logsigmoid": ("log_sigmoid",),
}


def _functions(name: str) -> list[Function]:
    """What is called so; `functional` first, whose functions have the most options."""
    found = [getattr(owner, name) for owner in (functional, torch, Tensor) if hasattr(owner, name)]
    return [function.__get__ if name in ("T", "mT") else function for function in found]


_FUNCTIONS = {name: _functions(name)[0] for name in _PARAMETERS if _functions(name)}
_NAMES = {
    function: (name, in_place)
    for name in _FUNCTIONS
    for other in (name, *_OTHER_NAMES.get(name, ()))
    for ending, in_place in (("", False), ("_", True))
    for function in _functions(other + ending)
}


class Propagation(TorchFunctionMode):
    """Inside the block, calls of functions with a rule are answered by it where a gradient is needed.

    In-place forms need no rule of their own: what the rule gives is written into the first argument, so a rule keeps
    that argument for its backward pass no more than autograd does.

    Args:
        method: What to call the method in errors.
        rules: By the name of the function; names are the keys of the tables above.
        passing: Names of functions through which autograd's backward pass is right.

    Attributes:
        seen: How many calls of nonlinear functions were answered by rules.
        unsupported: The functions that have no rule; for each the innermost layer that calls it, where that is known.
        layers: The layers that are running, outermost first; see `located`.
    """

    def __init__(self, method: str, rules: Mapping[str, Rule], passing: frozenset[str] = LINEAR) -> None:
        super().__init__()
        unknown = [name for name in (*rules, *passing) if name not in _PARAMETERS]
        if unknown:
            raise ValueError(f"Propagation: {unknown[0]!r} is in none of its tables of functions")
        self.seen = 0
        self.unsupported: dict[str, str] = {}
        self.layers: list[str] = []
        self._method = method
        self._rules = rules
        self._passing = passing

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer the calls of functions that have a rule, hand on every other."""
        kwargs = kwargs or {}
        needing = sum(tensor.requires_grad for tensor in tensors((args, kwargs)))
        if not needing or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        name, in_place = _NAMES.get(func, (_name(func), False))
        options = dict(zip(_PARAMETERS.get(name, ()), args, strict=False)) | kwargs
        if name in self._rules:
            result = self._by_rule(name, options, in_place)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        right = name in self._passing and name not in self._rules and _is_linear(name, options, needing)
        if not right and any(tensor.requires_grad for tensor in tensors(result)):
            self.unsupported.setdefault(name, self.layers[-1] if self.layers else "")
        return result

    def _by_rule(self, name: str, options: dict[str, Any], in_place: bool) -> Any:
        """What the rule gives, written into the first argument where the call asks for that."""
        in_place = options.pop("inplace", False) or in_place
        result = self._rules[name](_FUNCTIONS[name], options)
        if result is not NotImplemented:
            self.seen += name in ELEMENTWISE or name in MAX_POOLING
            result = _written(options["input"], result) if in_place else result
        return result

    def refusal(self, layers: Mapping[str, str]) -> UnsupportedError:
        """What to raise where something is unsupported, with the layers that call each function."""
        name = next(iter(self.unsupported))
        layer = layers.get(name) or "the model"
        return UnsupportedError(f"{layer} calls {name}, for which {self._method} has no rule")


@contextlib.contextmanager
def located(module: nn.Module, mode: Propagation) -> Iterator[None]:
    """Tells the mode in which layer each call is made; by hooks, which are gone after the block."""
    handles = []
    for name, part in module.named_modules():
        label = f"{name} ({type(part).__name__})" if name else type(part).__name__
        handles.append(part.register_forward_pre_hook(lambda *_, label=label: mode.layers.append(label)))
        handles.append(part.register_forward_hook(lambda *_: _left(mode)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _written(target: Tensor, result: Tensor) -> Tensor:
    """The target with the result in it; code that holds the target finds it there."""
    written: Tensor = target.copy_(result) if target._is_view() else _Written.apply(target, result)
    return written


class _Written(torch.autograd.Function):
    """`copy_`, whose own backward pass makes zeros for what was overwritten and adds them."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, result: Tensor) -> Tensor:
        ctx.mark_dirty(target)
        return target.copy_(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def _left(mode: Propagation) -> None:
    mode.layers.pop()


def _name(function: Any) -> str:
    """What an unlisted function is called; properties of tensors are calls of their `__get__`."""
    name = getattr(function, "__name__", str(function))
    return getattr(getattr(function, "__self__", None), "__name__", name) if name == "__get__" else name


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results, also in lists and tuples of them."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple | dict):
        for value in values.values() if isinstance(values, dict) else values:
            yield from tensors(value)


def _is_linear(name: str, options: Mapping[str, Any], needing: int) -> bool:
    """Whether a function that may be linear is so with these arguments, of which so many need a gradient."""
    if name == "div":
        return not any(tensor.requires_grad for tensor in tensors(options.get("other")))
    if name in PRODUCTS:
        return needing == 1
    if name in IN_EVALUATION:
        return not options.get("training", name != "batch_norm")
    return True
