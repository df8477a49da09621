"""Calls of a model that read or change what passes between its layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from xaieval.attention import Mix, carried, gathered, matrices
from xaieval.batch_size import BatchSize
from xaieval.layers import Edit, arriving, editing, find_layer, watch
from xaieval.modalities.modality import Modality
from xaieval.module_call import ModuleCall, keepable, normal, without_deleted
from xaieval.propagation import Propagation, located
from xaieval.scores import Scores
from xaieval.structure import Structure
from xaieval.token_grid import Layout
from xaieval.unsupported import UnsupportedError


class LayerCalls:
    """What a classifier does between its layers; `attended` `(N, *F)` goes with the inputs, row by row.

    Attributes: see `Classifier`.
    """

    module: nn.Module
    name: str
    precision: str
    modality: Modality
    structure: Structure
    batch_size: Mapping[str, BatchSize]
    _call: ModuleCall

    def edited(
        self,
        inputs: Tensor,
        target: Tensor,
        arriving: Mapping[str, Edit] | None = None,
        outputs: Mapping[str, Edit] | None = None,
        attended: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Scores:
        """Scores `(n,)` for the targets `(n,)` of one call in which tensors between layers are edited.

        Where the first edit puts activations of n inputs in place, known from before, one input is enough: then all
        that comes before that layer is computed for it alone; but not where `attended` is given, from which a model
        makes more than what comes before the layer.

        Args:
            inputs: `(n, C, *F)`, or `(1, C, *F)` where an edit makes n of it.
            target: The class explained for each, `(n,)`.
            arriving: What becomes of the first argument of a layer, by the layer's name; `(n, K, h, w)` or features.
            outputs: What becomes of the output of a layer, by the layer's name; tokens and channels-last activations
                are edited as `(n, K, h, w)`, tokens that stand for no place stay.
            attended: `(n, *F)`, or `(1, *F)`, as the inputs.
            present: Likewise, the tokens of texts whose activations are edited; None: all.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
            UnsupportedError: A layer is given tokens or channels-last activations, where what arrives is to be edited.
        """
        if attended is not None:
            inputs, attended = (rows.expand(len(target), *rows.shape[1:]) for rows in (inputs, attended))
            present = None if present is None else present.expand_as(attended)
        before, after = arriving or {}, self._at_places(outputs or {}, inputs, attended, present)
        modules = {name: find_layer(self.module, name) for name in (*before, *after)}
        for name in before:
            self.structure.places(inputs, attended).check_arriving(name)
        with torch.no_grad(), editing(modules, before, arriving=True) as entered, editing(modules, after) as left:
            logits = self._call(inputs, self.precision != "float32", len(target), attended)
        missing = [name for name in modules if name not in entered | left]
        if missing:
            raise ValueError(f"layer {missing[0]!r} was not reached by the call, so nothing was edited there")
        return Scores.read(logits, target)

    def _at_places(
        self, edits: Mapping[str, Edit], inputs: Tensor, attended: Tensor | None, present: Tensor | None
    ) -> dict[str, Edit]:
        """Edits of `(n, K, h, w)` as edits of what the layers give."""

        def edited(edit: Edit, layout: Layout) -> Edit:
            return lambda output: layout.put(output, edit(layout.places(output)))

        layouts = self.structure.layouts(list(edits), inputs, attended, present)
        return {name: edited(edit, layouts[name]) for name, edit in edits.items()}

    def propagated(
        self,
        variants: Sequence[Tensor],
        target: Tensor,
        make: Callable[[], Propagation],
        attended: Tensor | None = None,
    ) -> tuple[Scores, Tensor]:
        """Scores `(K, N)` of K variants of each sample, and what a propagation brings back to the first, `(N, C, *F)`.

        The variants of a sample are in one call, K forwards and as many backwards: row `k n + i` is variant k of sample
        i of n. What goes back is 1 at the logit of the first variant, 0 at that of the others. Always in float32: in
        bfloat16 rules that divide by differences lose everything.

        Args:
            variants: `(N, C, *F)` each.
            target: The class explained for each sample, `(N,)`.
            make: The rules; called anew for each call of the model.
            attended: `(N, *F)`, for all variants of a sample.

        Raises:
            UnsupportedError: The model calls a function that has no rule; names the layer.
        """

        def run(part: slice) -> tuple[Tensor, Tensor]:
            rows = [normal(variant[part]) for variant in variants]
            with keepable(), torch.enable_grad():
                given, read = without_deleted(torch.cat(rows), rows_of(attended, part, len(rows)))
                leaf = given.detach().requires_grad_()
                with make() as mode:
                    logits = self._call(leaf, attended=read)
                if mode.unsupported:
                    first = slice(part.start, part.start + 1)
                    seen = rows_of(attended, first, len(rows))
                    raise mode.refusal(self._callers(torch.cat([row[:1] for row in rows]), make(), seen))
                scores = Scores.read(logits, normal(target[part]).repeat(len(rows)))
                (gradient,) = gradients_of(scores.logit[: len(rows[0])], [leaf])
            return scores.values.detach().unflatten(0, (len(rows), -1)), gradient[: len(rows[0])]

        parts = self.batch_size["gradients"].packed(run, *many(variants[0]), len(variants))
        values, gradients = zip(*parts, strict=True)
        return Scores(torch.cat(values, 1)), torch.cat(gradients)

    @contextlib.contextmanager
    def _propagating(self, make: Callable[[], Propagation] | None) -> Iterator[None]:
        """Rules in the block, if there are any; in one that has hooks on layers already."""
        if make is None:
            yield
            return
        mode = make()
        with located(self.module, mode), mode:
            yield
        if mode.unsupported:
            raise mode.refusal(mode.unsupported)

    def _callers(self, inputs: Tensor, mode: Propagation, attended: Tensor | None) -> dict[str, str]:
        """The layer that calls each unsupported function, from another call; no evaluation of a sample."""
        with located(self.module, mode), mode:
            self._call(inputs.detach().requires_grad_(), attended=attended)
        return mode.unsupported

    def activations(
        self,
        inputs: Tensor,
        target: Tensor,
        layers: Sequence[str],
        arrived: bool = False,
        make: Callable[[], Propagation] | None = None,
        attended: Tensor | None = None,
        present: Tensor | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Output of each layer and the gradient of the logit there, from one forward and one backward for all layers.

        Args:
            inputs: `(N, C, *F)`.
            target: The class explained for each, `(N,)`.
            layers: Dotted names.
            arrived: Each layer's input in place of its output; the gradient is that at the output still.
            make: Rules that replace derivatives between the layers and the logits; called anew for each call of the
                model.
            attended: `(N, *F)`.
            present: `(N, *F)`, the tokens of texts that count; the others have 0. None: all.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
            UnsupportedError: The model calls a function after a layer that has no rule; names the layer.
        """
        modules = {name: find_layer(self.module, name) for name in layers}
        layouts = self.structure.layouts(layers, inputs, attended, present)

        def run(part: slice) -> dict[str, tuple[Tensor, Tensor]]:
            with keepable(), torch.enable_grad(), watch(modules) as kept, arriving(modules if arrived else {}) as given:
                with self._propagating(make):
                    half = self.precision == "bfloat16_all" and make is None
                    logits = self._call(normal(inputs[part]), half, attended=rows_of(attended, part))
                _check_reached(layers, kept)
                outputs = [kept[name] for name in layers]
                gradients = gradients_of(Scores.read(logits, normal(target[part])).logit, outputs)
            placed = [layouts[name].part(part) for name in layers]
            seen = [
                given[name] if arrived else one.places(kept[name]) for name, one in zip(layers, placed, strict=True)
            ]
            pairs = zip(seen, [one.places(g) for one, g in zip(placed, gradients, strict=True)], strict=True)
            return {name: (a.detach().float(), g.float()) for name, (a, g) in zip(layers, pairs, strict=True)}

        parts = list(self.batch_size["gradients"].packed(run, *many(inputs)))
        return {
            name: (torch.cat([part[name][0] for part in parts]), torch.cat([part[name][1] for part in parts]))
            for name in layers
        }

    def outputs(
        self,
        inputs: Tensor,
        layers: Sequence[str],
        attended: Tensor | None = None,
        present: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Output of each layer `(N, K, h, w)` for `(N, C, *F)`, from one forward for all layers.

        As in `activations`.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
        """
        modules = {name: find_layer(self.module, name) for name in layers}
        layouts = self.structure.layouts(layers, inputs, attended, present)

        def run(part: slice) -> dict[str, Tensor]:
            with torch.no_grad(), watch(modules) as kept:
                self._call(inputs[part], self.precision == "bfloat16_all", attended=rows_of(attended, part))
                _check_reached(layers, kept)
            return {name: layouts[name].part(part).places(output.detach()).float() for name, output in kept.items()}

        parts = list(self.batch_size["scores"].packed(run, *many(inputs)))
        return {name: torch.cat([part[name] for part in parts]) for name in layers}

    def attentions(
        self, inputs: Tensor, target: Tensor, mix: Mix, gradients: bool = False, attended: Tensor | None = None
    ) -> Tensor:
        """What each place gives, through all attentions, to the tokens that the logits read, `(N, 1, h, w)`.

        Which tokens are read, and which stand for a place, is looked up with one input for each input shape; these
        calls are no evaluations of a sample and not counted.

        Args:
            inputs: `(N, C, *F)`.
            target: The class explained for each, `(N,)`.
            mix: Makes of an attention's weights `(n, heads, T, T)` what each token takes over from each, `(n, T, T)`.
            gradients: Whether it is also given the logit's gradients at the weights; then there is a backward as well.
            attended: `(N, *F)`.

        Raises:
            UnsupportedError: The model does not attend over all its tokens again and again, or they are no grid.
        """
        read = self.structure.reading(inputs, attended)
        if self.modality.ragged:
            return self._attentions_along(inputs, target, mix, gradients, attended, read.shape[-1])
        tokens = self.structure.tokens(inputs, attended)

        def run(part: slice) -> Tensor:
            def score() -> Tensor:
                given, seen = without_deleted(normal(inputs[part]), rows_of(attended, part))
                leaf = given.detach().requires_grad_(gradients)
                logits = self._call(leaf, self.precision == "bfloat16_all", attended=seen)
                return Scores.read(logits, normal(target[part])).logit

            with keepable():
                return carried(read, matrices(self.module, mix, score, gradients), tokens)

        return torch.cat(list(self.batch_size["gradients" if gradients else "scores"].packed(run, *many(inputs))))

    def _attentions_along(
        self, inputs: Tensor, target: Tensor, mix: Mix, gradients: bool, attended: Tensor | None, count: int
    ) -> Tensor:
        """What each token of texts gives to those that the logits read, `(N, 1, T)`.

        Raises:
            UnsupportedError: The model attends over other tokens than those of its input.
        """
        if count != inputs.shape[2]:
            raise UnsupportedError(
                f"{self.name} attends over {count} tokens, its input has {inputs.shape[2]}: nobody knows which is which"
            )

        def run(part: slice) -> Tensor:
            given, seen = without_deleted(normal(inputs[part]), rows_of(attended, part))

            def call() -> tuple[Tensor, Tensor]:
                logits = self._call(given.detach().requires_grad_(), self.precision == "bfloat16_all", attended=seen)
                return logits, Scores.read(logits, normal(target[part])).logit

            with keepable():
                found = gathered(self.module, mix, call, gradients)
            order = self.structure.order(seen)
            return found if order is None else torch.zeros_like(found).scatter(1, order, found)

        return torch.cat(list(self.batch_size["gradients"].packed(run, *many(inputs))))[:, None]


def rows_of(attended: Tensor | None, part: slice, times: int = 1) -> Tensor | None:
    """What some samples attend to, again and again for several rows of each."""
    return None if attended is None else attended[part].repeat(times, *[1] * (attended.dim() - 1))


def many(inputs: Tensor) -> tuple[int, int]:
    """How many inputs there are, and how many numbers each has."""
    return len(inputs), inputs.shape[1:].numel()


def gradients_of(scores: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of the summed scores; zero where nothing depends on an input."""
    if not scores.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    return torch.autograd.grad(scores.sum(), inputs, allow_unused=True, materialize_grads=True)


def _check_reached(layers: Sequence[str], kept: Mapping[str, Tensor]) -> None:
    missing = [name for name in layers if name not in kept]
    if missing:
        raise ValueError(
            f"layer {missing[0]!r} is part of the model, but the call never reached it: name another layer"
        )
