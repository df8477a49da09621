"""The attention weights of a model's own call, and what places give through them to the tokens that the logits read.

Attention may be written as the fused `scaled_dot_product_attention`, which hides its weights, as a softmax and a
product, or as `nn.MultiheadAttention`. Each is computed in the open for one call; the module is not edited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaieval.token_grid import Tokens
from xaieval.unsupported import UnsupportedError

Mix = Callable[..., Tensor]
"""What each token `(n, T, T)` takes over from each, by weights `(n, heads, T, T)` and gradients there if asked for."""

SOFTMAX = (torch.softmax, Tensor.softmax, functional.softmax, torch.special.softmax)
PRODUCT = (torch.matmul, Tensor.matmul, Tensor.__matmul__)
TOLERANCE = 1e-5
"""Rounding alone, as the two forms add up in another order: of the largest logit, or absolute where no logit exceeds 1.
Logits near 0 are differences of larger numbers and have the rounding of those."""


@dataclass(frozen=True, eq=False)
class Attention:
    """One call of attention.

    Attributes:
        weights: As they stand in the gradient's graph, `(n, heads, T, S)` or `(n heads, T, S)`; rows sum to 1.
        output: What it gives, with the T tokens in the last dimension but one.
        inputs: The number n of inputs, as this call sees it.
        layer: Name of the module that called; empty where nobody asked for it.
    """

    weights: Tensor
    output: Tensor
    inputs: int
    layer: str

    @property
    def heads(self) -> Tensor:
        """The weights `(n, heads, T, S)` in float32."""
        return self.by_head(self.weights)

    def by_head(self, values: Tensor) -> Tensor:
        """Values in the shape of the weights, as `(n, heads, T, S)` in float32."""
        return values.detach().float().reshape(self.inputs, -1, *values.shape[-2:])


class Attentions(TorchFunctionMode):
    """Inside the block attention is computed in the open, and something is kept of each call.

    Fused attention is answered by `softmax(Q K^T scale + mask) V`, multi-head attention by its own form that returns
    weights; a softmax over square tables is attention where a product with its result follows.

    Args:
        module: What will be called; what was kept of a call before the last is dropped.
        keep: What to keep of each call.
        named: Whether to look which layer calls.

    Attributes:
        kept: What was kept, in the order of the calls.
    """

    def __init__(self, module: nn.Module, keep: Callable[[Attention], Any], named: bool = False) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self._keep = keep
        self._parts = dict(module.named_modules() if named else [])
        self._module = module
        self._within: list[str] = []
        self._softmaxes: dict[int, tuple[Tensor, str]] = {}
        self._handles: list[Any] = []

    @property
    def loose(self) -> list[str]:
        """Layers with a softmax over square tables that no product followed."""
        return [layer for _, layer in self._softmaxes.values()]

    def __enter__(self) -> Attentions:
        """See the base class."""
        self._handles.append(self._module.register_forward_pre_hook(lambda *_: self._start()))
        for name, part in self._parts.items():
            self._handles.append(part.register_forward_pre_hook(lambda *_, name=name: self._within.append(name)))
            self._handles.append(part.register_forward_hook(lambda *_: self._leave()))
        super().__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """See the base class."""
        super().__exit__(kind, error, trace)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _start(self) -> None:
        """The model is called: again, where the first try did not fit the memory or the layout of its weights."""
        self.kept.clear()
        self._within.clear()
        self._softmaxes.clear()

    def _leave(self) -> None:
        self._within.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer the calls of attention, watch those of softmax and product, hand on every other."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._fused(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            return self._multi_head(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in SOFTMAX and result.dim() > 2 and result.shape[-1] == result.shape[-2] > 1:
            self._softmaxes[id(result)] = (result, self._layer)
        elif func in PRODUCT and args and id(args[0]) in self._softmaxes and result.dim() == 4:
            weights, _ = self._softmaxes.pop(id(args[0]))
            self._note(weights, result, len(weights))
        return result

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """The function of the same arguments, in the open."""
        if dropout_p:
            raise UnsupportedError(f"{self._named()} drops attention weights at random also in evaluation mode")
        if enable_gqa:  # several heads of queries share one of keys and values
            key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
        if is_causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        if attn_mask is not None:
            allowed = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if allowed else scores + attn_mask
        weights = scores.softmax(-1)
        output = weights @ value
        self._note(weights, output, len(query))
        return output

    def _multi_head(
        self, query: Tensor, *args: Any, need_weights: bool = True, average_attn_weights: bool = True, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The function of the same arguments, in its own form without fused attention."""
        if query.dim() != 3:
            raise UnsupportedError(f"{self._named()} attends over one input at a time")
        attend: Callable[..., Any] = functional.multi_head_attention_forward
        output, heads = attend(query, *args, need_weights=True, average_attn_weights=False, **options)
        # What it returns is a view of the weights, beside the way to the logits; the weights themselves lie on it.
        weights = heads if heads._base is None else heads._base
        output = output.transpose(0, 1)
        self._note(weights, output, query.shape[1])
        if not need_weights:
            return output.transpose(0, 1), None
        return output.transpose(0, 1), heads.mean(1) if average_attn_weights else heads

    def _note(self, weights: Tensor, output: Tensor, inputs: int) -> None:
        self.kept.append(self._keep(Attention(weights, output, inputs, self._layer)))

    @property
    def _layer(self) -> str:
        return self._within[-1] if self._within else ""

    def _named(self) -> str:
        return f"layer {self._layer!r}" if self._layer else "a layer"


def reading(name: str, module: nn.Module, example: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
    """How much the logits read each token behind the last attention, `(1, 1, T)`: the tokens read, all alike.

    A token is read where the gradient at the last attention's output is not 0: the class token, or all patches where
    tokens are averaged, or class and distillation token.

    Args:
        name: What to call the model in errors.
        module: The model.
        example: One input `(1, C, *F)`.
        call: Gives the logits `(1, classes)`; called twice, first with attention in the open.

    Raises:
        UnsupportedError: The model computes no self-attention of all its tokens, or not one that is understood: then
            its logits are others in the open, by more than 1e-5 and 1e-5 of the largest.
    """
    with torch.enable_grad():
        leaf = example.detach().clone().requires_grad_()
        with Attentions(module, lambda attention: attention, named=True) as seen:
            logits = call(leaf)
        _check(name, seen)
        plain = call(leaf).detach()
        number = torch.arange(1.0, logits.shape[1] + 1, device=logits.device)  # a plain sum may be constant
        last: Tensor = seen.kept[-1].output
        (gradient,) = torch.autograd.grad((logits * number).sum(), [last], allow_unused=True, materialize_grads=True)
    read = (gradient.transpose(0, -2).flatten(1) != 0).any(1).float()
    if not read.is_meta:
        _check_values(name, logits.detach(), plain, read)
        _check_rows(seen)
    return (read / read.sum())[None, None]


def _check(name: str, seen: Attentions) -> None:
    """Refuse what is no sequence of self-attentions over the same tokens."""
    if not seen.kept and not seen.loose:
        raise UnsupportedError(f"{name} computes no attention over tokens")
    for layer in seen.loose:
        raise UnsupportedError(f"layer {layer!r} weighs no values with its softmax (N, heads, T, T) as it is")
    first: Attention = seen.kept[0]
    for attention in seen.kept:
        *_, rows, columns = attention.weights.shape
        if attention.inputs != 1 or attention.weights.dim() > 4:
            raise UnsupportedError(f"layer {attention.layer!r} attends in windows, not over all tokens of an input")
        if rows != columns:
            raise UnsupportedError(f"layer {attention.layer!r} attends from {rows} tokens to {columns}")
        if rows != first.weights.shape[-1]:
            raise UnsupportedError(
                f"layer {attention.layer!r} attends over {rows} tokens, layer {first.layer!r} over "
                f"{first.weights.shape[-1]}"
            )


def _check_values(name: str, logits: Tensor, plain: Tensor, read: Tensor) -> None:
    """Refuse where attention in the open is not the model's own, or where the logits read nothing of it."""
    gap, scale = (float(values.abs().max()) for values in (logits - plain, plain))
    if not gap <= TOLERANCE * max(scale, 1.0):
        raise UnsupportedError(
            f"the logits of {name} are others with attention in the open, by {gap:.1g} of at most {scale:.1g}",
            "compute in full precision (torch.set_float32_matmul_precision), or choose another method for this model",
        )
    if not bool(read.any()):
        raise UnsupportedError(f"the logits of {name} do not depend on what its last attention gives")


def _check_rows(seen: Attentions) -> None:
    """Refuse where a softmax is not over what is attended to."""
    for attention in seen.kept:
        if not bool(((attention.heads.sum(-1) - 1).abs() < 1e-3).all()):
            raise UnsupportedError(f"layer {attention.layer!r} has attention weights whose rows do not sum to 1")


def matrices(module: nn.Module, mix: Mix, score: Callable[[], Tensor], gradients: bool) -> list[Tensor]:
    """For each attention, from the first, what each token takes over from each, `(n, T, T)`.

    Args:
        module: The model.
        mix: Makes such a matrix of the weights, and of the score's gradients there if these are asked for.
        score: Calls the model and gives the scores `(n,)`.
        gradients: Whether `mix` wants gradients.
    """
    keep: Callable[[Attention], Any] = (lambda one: one) if gradients else (lambda one: mix(one.heads))
    with torch.set_grad_enabled(gradients), Attentions(module, keep) as seen:
        scores = score()
    return _mixed(seen.kept, mix, scores, gradients) if gradients else seen.kept


def carried(read: Tensor, matrices: Sequence[Tensor], tokens: Tokens) -> Tensor:
    """What each place gives to the tokens that are read, `(n, 1, h, w)`: `r M_L ... M_1` with rows r `(1, 1, T)`.

    Args:
        read: How much each token is read.
        matrices: For each attention, from the first, what each token takes over from each, `(n, T, T)` each.
        tokens: Which tokens stand for which place.

    Raises:
        UnsupportedError: The grid of places belongs to another number of tokens.
    """
    if read.shape[-1] != tokens.count:
        raise UnsupportedError(
            f"attention is over {read.shape[-1]} tokens, but the grid of places was found among {tokens.count}"
        )
    rows = read.expand(len(matrices[0]), -1, -1)
    for matrix in reversed(matrices):
        rows = torch.bmm(rows, matrix)  # rows first: no product of two matrices
    return tokens.places(rows.mT)


def gathered(module: nn.Module, mix: Mix, call: Callable[[], tuple[Tensor, Tensor]], gradients: bool) -> Tensor:
    """What each token of a text gives to those that its logits read, `(n, T)`: `r M_L ... M_1` with own rows r.

    Which tokens are read may differ between texts, as where all attended ones are averaged: these too are told by the
    gradient at the last attention's output, from the call that gives the weights.

    Args:
        module: The model.
        mix: Makes of each attention what each token takes over from each, see `matrices`.
        call: Calls the model and gives logits `(n, classes)` and scores `(n,)`, with their graph.
        gradients: Whether `mix` wants gradients.
    """
    with torch.enable_grad(), Attentions(module, lambda attention: attention) as seen:
        logits, scores = call()
    number = torch.arange(1.0, logits.shape[1] + 1, device=logits.device)  # as in `reading`
    last: Attention = seen.kept[-1]
    (gradient,) = torch.autograd.grad(
        (logits * number).sum(), [last.output], retain_graph=gradients, allow_unused=True, materialize_grads=True
    )
    read = (gradient.reshape(last.inputs, -1, *gradient.shape[-2:]) != 0).any(-1).any(1).float()
    rows: Tensor = (read / read.sum(1, keepdim=True))[:, None]
    for matrix in reversed(_mixed(seen.kept, mix, scores, gradients)):
        rows = torch.bmm(rows, matrix)
    return rows[:, 0]


def _mixed(kept: Sequence[Attention], mix: Mix, scores: Tensor, gradients: bool) -> list[Tensor]:
    """What `mix` makes of each attention, given the gradients of the scores there if it wants them."""
    if not gradients:
        return [mix(one.heads) for one in kept]
    weights = [attention.weights for attention in kept]
    found = torch.autograd.grad(scores.sum(), weights, allow_unused=True, materialize_grads=True)
    return [mix(one.heads, one.by_head(gradient)) for one, gradient in zip(kept, found, strict=True)]
