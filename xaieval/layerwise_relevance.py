"""Layer-wise relevance propagation: which layer of a network follows which rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaieval import relevance as rules
from xaieval.relevance import Layer, Shares
from xaieval.relevance_rules import LayerCall, Limits, Relevance, moving, passed


class LayerwiseRelevance(Relevance):
    """LRP: dense layers follow the epsilon rule, convolutions those of a composite.

    Args:
        composite: Its name.
        audit: Is told, when relevance has arrived, what inputs and biases of each sample received of 1, `(n,)`; unless
            nothing on the way shared any out.
    """

    def __init__(self, composite: str, audit: Callable[[Tensor], object]) -> None:
        super().__init__("LRP")
        self._first, self._inner = COMPOSITES[composite]
        self.bounded = self._first is not None
        self._audit = audit
        self._rows = 0
        self._absorbed: Tensor | float = 0.0
        self._followed: dict[int, tuple[Tensor, Limits]] = {}  # what the network's input becomes, and its limits
        self._found: list[Limits] | None = None  # limits of the result of the call that is being answered

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow the input with its limits, which are pixels of 0 and 1, to the layers that read it."""
        kwargs = kwargs or {}
        needing = moving((args, kwargs))
        for tensor in needing:
            if tensor.is_leaf and id(tensor) not in self._followed:
                self._start(tensor)
        self._found = None
        result = super().__torch_function__(func, types, args, kwargs)
        made = moving(result)
        if self._found is None and made and all(id(tensor) in self._followed for tensor in needing):
            self._found = self._rearranged(func, args, kwargs)
        for tensor in made:  # one that was followed may have been written into
            self._followed.pop(id(tensor), None)
        self._followed |= {id(one): (one, limits) for one, limits in zip(made, self._found or (), strict=False)}
        return result

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Forget the input, of which layers keep what their rules need."""
        super().__exit__(kind, error, trace)
        self._followed.clear()

    def _rearranged(self, func: Any, args: Any, kwargs: Any) -> list[Limits]:
        """What rearranges the input, without a rule, rearranges its limits."""
        ends = (func(*self._at(args, end), **self._at(kwargs, end)) for end in (0, 1))
        return list(zip(*([end] if isinstance(end, Tensor) else end for end in ends), strict=True))

    def _by_rule(self, name: str, options: dict[str, Any], in_place: bool) -> Any:
        self._found = []
        return super()._by_rule(name, options, in_place)

    def _start(self, leaf: Tensor) -> None:
        self._rows = len(leaf)
        ends = (leaf.new_full((1,) * leaf.dim(), value).expand_as(leaf) for value in (0.0, 1.0))
        self._followed[id(leaf)] = (leaf, (next(ends), next(ends)))
        leaf.register_hook(self._arrived)

    def _arrived(self, relevance: Tensor) -> None:
        if self.sharing:
            self._audit(relevance.flatten(1).sum(1) + self._absorbed)

    def _at(self, values: Any, end: int) -> Any:
        """Arguments with the lower or the upper limits of what is followed in its place."""
        if isinstance(values, Tensor):
            return self._followed[id(values)][1][end] if id(values) in self._followed else values
        if isinstance(values, dict):
            return {key: self._at(value, end) for key, value in values.items()}
        return type(values)(self._at(value, end) for value in values) if type(values) in (list, tuple) else values

    def limits(self, inputs: Tensor) -> Limits | None:
        """See the base class."""
        return self._followed[id(inputs)][1] if id(inputs) in self._followed else None

    def normalized(self, inputs: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """See the base class."""
        low, high = (run(limit) for limit in self._followed[id(inputs)][1])
        self._found = [(torch.minimum(low, high), torch.maximum(low, high))]
        return passed(inputs, run)

    def share(self, call: LayerCall, inputs: Tensor, relevance: Tensor) -> Tensor:
        """See the base class."""
        if call.dense:
            shares = rules.epsilon(call.layer, inputs, relevance)
        elif self._first is not None and call.limits is not None:
            shares = self._first(call.layer, inputs, relevance, *call.limits)
        else:
            shares = self._inner(call.layer, inputs, relevance)
        self.absorb(shares.bias)
        return shares.inputs

    def absorb(self, shares: Tensor) -> None:
        """See the base class."""
        self._absorbed = self._absorbed + shares.view(self._rows, -1).sum(1)


def _flat(layer: Layer, inputs: Tensor, relevance: Tensor, low: Tensor, high: Tensor) -> Shares:
    """The flat rule; what can have one value only is padding or masked, and gets nothing."""
    return rules.flat(layer, inputs, relevance, low < high)


COMPOSITES: dict[str, tuple[Callable[..., Shares] | None, Callable[..., Shares]]] = {
    "epsilon_plus_flat": (_flat, rules.positive),
    "alpha2_beta1": (None, rules.alpha_beta),
    "epsilon_gamma_box": (rules.box, rules.gamma),
}
"""The rules of convolutions that read the network's input, where they have one of their own, and of all others."""
