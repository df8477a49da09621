"""Anything callable is a method: functions `f(model, inputs, target)` and classes of `captum.attr`.

A stranger gets a plain `nn.Module` in place of the model: pixels in, logits out, every evaluation counted, and the
user's own module inside it, so that layers are found and hooks fire. It is called on one device batch after the other.
"""

from __future__ import annotations

import functools
import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from captum.attr import InputXGradient, PerturbationAttribution, Saliency
from torch import Tensor, nn

from xaieval.component import Method, check_attribution
from xaieval.draws import seed_of
from xaieval.explicand import UNITS, Explicand
from xaieval.layers import find_layer

MODULE_PARAMETERS = ("forward_func", "model")


def as_method(thing: Any, name: str | None = None, units: str | None = None) -> Method:
    """A method made of anything callable.

    Args:
        thing: A `Method`, or its class; a class of `captum.attr`; a function `f(model, inputs, target) -> attribution`
            with a plain module, inputs `(n, C, *F)` and targets `(n,)`; or a `functools.partial` of any of them.
            Options of a Captum class may be those of its constructor and those of `attribute`.
        name: What to call it in tables; None: its own name.
        units: What its numbers are: gradient, contribution or importance. None: known for Captum's classes; otherwise
            by shape, which takes `(N, C, *F)` for a gradient.

    Raises:
        TypeError: It is not callable, or a Captum instance that already has a model of its own.
        ValueError: Options that the class does not have, or unknown units.
    """
    if isinstance(thing, Method):
        return thing
    if units is not None and units not in UNITS:
        raise ValueError(f"units must be one of {', '.join(UNITS)}, got {units!r}")
    kind = thing.func if isinstance(thing, functools.partial) else thing
    if isinstance(kind, type) and issubclass(kind, Method):
        return kind(*thing.args, **thing.keywords) if isinstance(thing, functools.partial) else kind()
    if hasattr(kind, "attribute"):
        return CaptumMethod.of(thing, name or "", units or "")
    _check_callable(thing)
    return FunctionMethod(thing, name or "", units or "")


def _check_callable(thing: Any) -> None:
    expected = "a method is a Method, a class of captum.attr or a function f(model, inputs, target)"
    if not callable(thing):
        raise TypeError(f"{expected}, got {type(thing).__name__}")
    try:
        inspect.signature(thing).bind(None, None, None)
    except TypeError as error:
        raise TypeError(
            f"{_name(thing)} cannot be called with a model, inputs and targets: {error}; {expected}"
        ) from None
    except ValueError:  # built in, without a signature
        return


@dataclass(frozen=True)
class _Stranger(Method):
    """What adapters share: a stranger's code is called on one device batch after the other."""

    reference: ClassVar[str] = ""
    syncs: ClassVar[str] = "it is not our code"

    @property
    def signed(self) -> bool:
        """Nobody says that there are no negative scores."""
        return True

    def attribute(self, explicand: Explicand) -> Tensor:
        """The stranger's attribution `(N, C, *F)` or `(N, 1, *F)`."""
        parts = []
        for batch in explicand.batches(1):
            piece = batch.copies(batch.inputs, common_draws=True)
            model = CountingModule(piece)
            with _untouched(explicand.classifier.module), _own_randomness(piece), torch.enable_grad():
                values = self._explained(model, piece)
            check_attribution(values, piece, str(self))
            parts.append(values.detach())
        return torch.cat(parts)

    def _explained(self, model: CountingModule, piece: Explicand) -> Any:
        """What the stranger returns for the few inputs `(n, C, *F)` of one batch."""
        raise NotImplementedError


@final
@dataclass(frozen=True)
class FunctionMethod(_Stranger):
    """A function `f(model, inputs, target) -> attribution` as a method; what it computes is its own affair.

    Attributes:
        function: Gets a plain module (pixels to logits), inputs `(n, C, *F)` of its own and targets `(n,)`.
        name: What to call it; empty: its own name.
        declared_units: gradient, contribution or importance; empty: by the shape of what it returns.
    """

    function: Callable[..., Any]
    name: str = ""
    declared_units: str = ""

    def __str__(self) -> str:
        """The name in tables and errors."""
        return self.name or _name(self.function)

    @property
    def units(self) -> str:  # type: ignore[override]
        """As declared; empty: by shape."""
        return self.declared_units

    def _explained(self, model: CountingModule, piece: Explicand) -> Any:
        return self.function(model, piece.inputs.clone(), piece.target.clone())


@final
@dataclass(frozen=True)
class CaptumMethod(_Stranger):
    """A class of `captum.attr` (or one made like it) as a method; its documentation names the paper (arXiv:2009.07896).

    Layer methods give their channels' sum, upsampled bilinearly.

    Attributes:
        kind: The class. It is constructed with the counting module for each batch.
        construction: Options of its constructor, by name; `layer` is a dotted name.
        options: Options of `attribute`, by name.
        name: What to call it; empty: the class's name.
        declared_units: gradient, contribution or importance; empty: what the class is known to give, or by shape.
    """

    reference: ClassVar[str] = "arXiv:2009.07896"
    kind: type
    construction: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    name: str = ""
    declared_units: str = ""

    @classmethod
    def of(cls, thing: Any, name: str, units: str) -> Self:
        """The adapter of a class, or of a `functools.partial` of one; see `as_method`.

        Raises:
            TypeError: An instance, which already has a model; or a class that does not begin with a model.
            ValueError: Options that the class does not have.
        """
        kind = thing.func if isinstance(thing, functools.partial) else thing
        arguments, given = (thing.args, thing.keywords) if isinstance(thing, functools.partial) else ((), {})
        given = {option: tuple(v) if isinstance(v, list) else v for option, v in given.items()}
        if not isinstance(kind, type):
            raise TypeError(
                f"this {type(kind).__name__} is bound to a module that is neither normalized nor counted; hand over "
                f"the class, {type(kind).__name__}, or functools.partial({type(kind).__name__}, option=...)"
            )
        made, asked = _parameters(kind.__init__), _parameters(kind.attribute)  # type: ignore[attr-defined, misc]
        first = next(iter(made), "nothing")
        if first not in MODULE_PARAMETERS or arguments:
            raise TypeError(
                f"{kind.__name__}({first}, ...) with arguments {arguments}: expected a class that begins with "
                f"{' or '.join(MODULE_PARAMETERS)}, which the engine puts in, and options by name; to average over "
                "noise use SmoothGrad(method=...)"
            )
        engines = (first, "inputs", "target", "additional_forward_args", "kwargs")
        known = [option for option in (*made, *asked) if option not in engines]
        for option in given:
            if option not in known:
                raise ValueError(f"{kind.__name__} has no option {option!r}; it has {', '.join(known) or 'none'}")
        if "layer" in made and not isinstance(given.get("layer"), str):
            raise ValueError(f"{kind.__name__} needs layer=, the dotted name of a layer such as 'layer4.1'")
        construction = tuple((option, value) for option, value in given.items() if option in made)
        return cls(kind, construction, tuple((o, v) for o, v in given.items() if o not in made), name, units)

    def __str__(self) -> str:
        """The name in tables and errors."""
        return self.name or self.kind.__name__

    @property
    def units(self) -> str:  # type: ignore[override]
        """As declared, else what the class is known to give; empty: by shape.

        What layers and groups of features give is no sum over features, and absolute values are no gradient.
        """
        given = dict(self.construction) | dict(self.options)
        if self.declared_units:
            return self.declared_units
        if "layer" in given or issubclass(self.kind, PerturbationAttribution):
            return "importance"
        if issubclass(self.kind, Saliency) and given.get("abs", True):
            return "importance"
        times_input = given.get("multiply_by_inputs", "multiply_by_inputs" in _parameters(self.kind.__init__))  # type: ignore[misc]
        return "contribution" if times_input or issubclass(self.kind, InputXGradient) else ""

    def _explained(self, model: CountingModule, piece: Explicand) -> Any:
        given = dict(self.construction)
        if "layer" in given:
            given["layer"] = find_layer(model.module, given["layer"])
        asked, options = _parameters(self.kind.attribute), dict(self.options)  # type: ignore[attr-defined]
        if "target" in asked:
            options["target"] = piece.target
        if "internal_batch_size" in asked:  # otherwise all steps of all inputs at once
            options.setdefault("internal_batch_size", piece.count)
        if piece.attended is not None and "additional_forward_args" in asked:  # Captum expands it as the inputs
            options.setdefault("additional_forward_args", (piece.attended,))
        if "baselines" in asked and asked["baselines"].default is inspect.Parameter.empty:
            zero = piece.removal("zero").values[:1]
            options.setdefault("baselines", zero.expand(2, *zero.shape[1:]))  # a distribution: at least two of them
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"captum\.")  # of hooks it sets and takes away
            values = self.kind(model, **given).attribute(piece.inputs.clone().requires_grad_(), **options)
        return _at_features(values, piece) if "layer" in given else values


def _at_features(values: Any, piece: Explicand) -> Any:
    """A layer's attribution `(n, K, h, w)` as `(n, 1, *F)`; what already has the inputs' shape as it is."""
    if not isinstance(values, Tensor) or values.shape == piece.shape or values.dim() != piece.inputs.dim():
        return values
    return piece.upsample(values.detach().sum(1, keepdim=True))


@final
class CountingModule(nn.Module):
    """The classifier as a plain module: pixels `(n, C, *F)` to logits `(n, classes)`.

    Evaluations are booked to the explicand, a backward when a gradient comes back through the logits. The user's module
    is the submodule `module`; it is always evaluated in evaluation mode and with copies of its weights.

    Attributes:
        attended: What the module reads of each of the explicand's n inputs, `(n, *F)`, or None. Who hands over other
            rows than these hands over theirs as a second argument.
    """

    def __init__(self, explicand: Explicand) -> None:
        super().__init__()
        self.module = explicand.classifier.module
        self._classifier = explicand.classifier
        self._meter = explicand.meter
        self.attended = explicand.attended
        self.training = False

    def forward(self, inputs: Tensor, attended: Tensor | None = None) -> Tensor:
        """Logits; with a graph where gradients are enabled.

        Raises:
            ValueError: What each of the inputs attends to is not known.
        """
        count = len(inputs)
        attended = self._rows(count) if attended is None else attended
        self._meter.spend(count)
        watched = any(part._forward_hooks or part._forward_pre_hooks for part in self.module.modules())
        if not (torch.is_grad_enabled() or watched):  # a hook has to see all inputs in one call
            return self._classifier.logits(inputs, attended)
        # The weights need no gradient: without one at the inputs no layer would have one.
        if torch.is_grad_enabled() and not inputs.requires_grad:
            inputs = inputs.detach().requires_grad_()
        logits = self._classifier.differentiable(inputs, attended)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self._meter.spend(0, count))
        return logits

    def _rows(self, count: int) -> Tensor | None:
        """What as many inputs attend to."""
        if self.attended is None or len(self.attended) == count:
            return self.attended
        if len(self.attended) > 1:
            raise ValueError(
                f"the model got {count} inputs for {len(self.attended)} samples: call it as model(inputs, attended) "
                "with the rows of model.attended that belong to them"
            )
        return self.attended.expand(count, *self.attended.shape[1:])

    def train(self, mode: bool = True) -> Self:
        """Do nothing: the user's module keeps its mode, and its calls are always in evaluation mode."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Do nothing: the user's parameters are not part of the calls."""
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing: no gradient reaches the user's parameters."""


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def _untouched(module: nn.Module) -> Iterator[None]:
    """Give the module back its modes, hooks and gradients after the block, also after an exception."""
    parts = [(part, part.training, [getattr(part, name).copy() for name in HOOKS]) for part in module.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    try:
        yield
    finally:
        for part, training, hooks in parts:
            part.training = training
            for name, before in zip(HOOKS, hooks, strict=True):
                getattr(part, name).clear()
                getattr(part, name).update(before)
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient


@contextmanager
def _own_randomness(piece: Explicand) -> Iterator[None]:
    """Seed the global generators by the samples and their copies in the block, and leave them as they were."""
    seed = seed_of("stranger", *piece.ids, *piece.copy)
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [piece.device] if piece.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(piece.device):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    return parameters


def _name(function: Any) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))
