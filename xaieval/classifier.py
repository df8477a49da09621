"""A model that can be explained: its scores, gradients and activations, packed into full device batches."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaieval.attention import Mix, carried, gathered, matrices
from xaieval.batch_size import BatchSize
from xaieval.layers import Edit, arriving, editing, find_layer, watch
from xaieval.modalities.images import Images
from xaieval.modalities.modality import Modality
from xaieval.module_call import ModuleCall, keepable, normal, without_deleted
from xaieval.propagation import Propagation, located
from xaieval.rectifiers import Rectifiers
from xaieval.scores import Scores
from xaieval.structure import Structure
from xaieval.token_grid import Layout
from xaieval.unsupported import UnsupportedError

if TYPE_CHECKING:
    from xaieval.explicand import Explicand

PRECISIONS = ("float32", "bfloat16", "bfloat16_all")


class Classifier:
    """Any `nn.Module` that gives logits `(N, classes)`, ready to be explained.

    The module is never edited: it is called with detached copies of its weights (4-D ones in channels-last layout)
    through `torch.func.functional_call`, so its own hooks fire and other weights can be handed to the same call.

    Args:
        module: The model. It is put into evaluation mode for the time of a call only.
        mean: Mean of each channel; with `std` the normalization that becomes the model's first layer, so that inputs
            are pixels in [0, 1]. None: the module takes the inputs as they are.
        std: Standard deviation of each channel.
        device: Where to compute; None: where the module's parameters are.
        precision: `float32`; `bfloat16` runs scores in bfloat16 and gradients in float32; `bfloat16_all` runs both in
            bfloat16. Results are float32.
        batch_size: The largest number of inputs in one call of the module, or `auto`.
        modality: How inputs are cut, removed and drawn; None: images.
        layers: Default layer of a method, such as `{"normgrad": "blocks.5"}`; otherwise found by shapes.
        name: What to call the model in tables.
        preprocess: How a photo becomes an input of this model, for datasets.
        categories: Names of the classes.

    Raises:
        TypeError: `module` is not an `nn.Module`, or one that wraps or compiles another.
        ValueError: An option is none of the named ones.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: str | torch.device | None = None,
        precision: str = "float32",
        batch_size: int | str = "auto",
        modality: Modality | None = None,
        layers: Mapping[str, str] | None = None,
        name: str | None = None,
        preprocess: Any = None,
        categories: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"Classifier expects an nn.Module that gives logits (N, classes), got {type(module).__name__}"
            )
        if isinstance(module, nn.DataParallel | torch.jit.ScriptModule):
            raise TypeError(
                f"Classifier cannot hand other weights to a {type(module).__name__}: give it the module inside"
            )
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if (mean is None) != (std is None):
            raise ValueError("mean and std normalize together: give both or neither")
        self.module = module
        self.device = torch.device(device) if device is not None else _device_of(module)
        self.precision = precision
        self.modality: Modality = modality or Images()
        self.layers = dict(layers or {})
        self.name = name or type(module).__name__
        self.preprocess = preprocess
        self.categories = tuple(categories) if categories is not None else None
        self.batch_size = {kind: BatchSize(batch_size, self.device) for kind in ("scores", "gradients")}
        self._normalization = None if mean is None or std is None else self._constants(mean, std)
        self._call = ModuleCall(module, self.device, self.name, self._normalization)
        self.structure = Structure(module, self.name, self._call)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Copies of the parameters and buffers that the model is called with, by name."""
        return self._call.weights

    @property
    def weights_version(self) -> int:
        """How often the module's weights were copied."""
        return self._call.version

    @property
    def classes(self) -> int | None:
        """Number of classes; None before the first call."""
        return self._call.classes

    @classes.setter
    def classes(self, number: int | None) -> None:
        self._call.classes = number

    @property
    def normalization(self) -> tuple[list[float], list[float]] | None:
        """What is subtracted from each channel of the pixels and what they are multiplied with, or None."""
        if self._normalization is None:
            return None
        location, scale = (values.flatten().tolist() for values in self._normalization)
        return location, scale

    def _constants(self, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
        location, scale = (
            torch.tensor(tuple(v), dtype=torch.float32, device=self.device)[:, None, None] for v in (mean, std)
        )
        return location, 1 / scale

    def explicand(
        self,
        inputs: Tensor,
        target: Tensor | Sequence[int] | int | None = None,
        ids: Sequence[str] | None = None,
        mask: Tensor | None = None,
        present: Tensor | None = None,
        attended: Tensor | None = None,
        groups: Tensor | None = None,
        protected: Tensor | None = None,
    ) -> Explicand:
        """Bind a batch of inputs to this model and to the class explained for each.

        Args:
            inputs: `(N, C, *F)`, images as pixels in [0, 1].
            target: The class explained, one for each input or one for all; None: the predicted class.
            ids: Names of the samples, on which their random draws depend; None: a hash of the content.
            mask: Ground truth `(N, *F)`, True on the features that should be found.
            present: `(N, *F)`, False on padding that is to be left out everywhere; None: every feature exists.
            attended: `(N, *F)`, what the module reads, for a text its tokens and special tokens but no padding; then
                the module is called as `module(inputs, attended)`. Bool, or integers: 0 is not read, 1 and 2 are the
                first and the second text of a pair. None: it is called as `module(inputs)`.
            groups: `(N, *F)`, the number from 0 of the piece that each feature belongs to and with which it is removed,
                such as a word; negative where there is none, which no present feature may be. None: the pieces that
                the modality has, a grid of patches or tokens.
            protected: `(N, *F)`, True on features that a fair decision must not depend on.

        Raises:
            ValueError: NaN or infinite inputs, a target outside the classes, a mask of another shape, a feature that
                is present but not attended, or in no group.
            TypeError: The model does not return logits `(N, classes)`.
        """
        from xaieval.binding import bind  # the one upward import: it stands on this file

        with keepable():
            self._call.refresh()
            return bind(self, inputs, target, ids, mask, present, attended, groups, protected)

    # -- calls; `attended` `(N, *F)` goes with the inputs, row by row --

    def logits(self, inputs: Tensor, attended: Tensor | None = None) -> Tensor:
        """Logits `(N, classes)` of `(N, C, *F)`, without gradients."""

        def run(part: slice) -> Tensor:
            with torch.no_grad():
                return self._call(inputs[part], self.precision != "float32", attended=_rows(attended, part))

        return torch.cat(list(self.batch_size["scores"].packed(run, *_many(inputs))))

    def differentiable(self, inputs: Tensor, attended: Tensor | None = None) -> Tensor:
        """Logits `(n, classes)` of `(n, C, *F)` from one call, with a graph where gradients are enabled.

        For code that is not ours; it chooses how many inputs to hand over.
        """
        return self._call(inputs, self.precision == "bfloat16_all", attended=attended)

    def scores(self, inputs: Tensor, target: Tensor, attended: Tensor | None = None) -> Scores:
        """Scores `(N,)` of `(N, C, *F)` for the targets `(N,)`."""

        def run(part: slice) -> Tensor:
            with torch.no_grad():
                logits = self._call(inputs[part], self.precision != "float32", attended=_rows(attended, part))
                return Scores.read(logits, target[part]).values

        return Scores(torch.cat(list(self.batch_size["scores"].packed(run, *_many(inputs)))))

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

    def gradients(
        self,
        inputs: Tensor,
        target: Tensor,
        score: str = "logit",
        rule: str = "",
        attended: Tensor | None = None,
    ) -> tuple[Scores, Tensor]:
        """Scores `(N,)` and their gradients `(N, C, *F)` at the inputs; one forward and one backward each.

        Args:
            inputs: `(N, C, *F)`.
            target: The class explained for each, `(N,)`.
            score: Form of the score.
            rule: How gradients pass rectifiers, `guided` or `deconvnet`; empty: by their derivative.
            attended: `(N, *F)`.

        Raises:
            UnsupportedError: A rule, and a model that calls no rectifier.
        """

        def run(part: slice) -> tuple[Tensor, Tensor]:
            with keepable(), torch.enable_grad(), self._rectifying(rule):
                given, read = without_deleted(normal(inputs[part]), _rows(attended, part))
                leaf = given.detach().requires_grad_()
                logits = self._call(leaf, self.precision == "bfloat16_all", attended=read)
                scores = Scores.read(logits, normal(target[part]))
                (gradient,) = _gradients(scores.of(score), [leaf])
            return scores.values.detach(), gradient

        values, gradients = zip(*self.batch_size["gradients"].packed(run, *_many(inputs)), strict=True)
        return Scores(torch.cat(values)), torch.cat(gradients)

    @contextlib.contextmanager
    def _rectifying(self, rule: str) -> Iterator[None]:
        """Another rule for rectifiers in the block, if one is named."""
        if not rule:
            yield
            return
        with Rectifiers(rule) as rectifiers:
            yield
        if not rectifiers.seen:
            raise UnsupportedError(
                f"{self.name} calls no relu, relu6 or hardtanh, for which alone the rule {rule!r} is defined: the map "
                "would be the plain gradient"
            )

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
                given, read = without_deleted(torch.cat(rows), _rows(attended, part, len(rows)))
                leaf = given.detach().requires_grad_()
                with make() as mode:
                    logits = self._call(leaf, attended=read)
                if mode.unsupported:
                    first = slice(part.start, part.start + 1)
                    seen = _rows(attended, first, len(rows))
                    raise mode.refusal(self._callers(torch.cat([row[:1] for row in rows]), make(), seen))
                scores = Scores.read(logits, normal(target[part]).repeat(len(rows)))
                (gradient,) = _gradients(scores.logit[: len(rows[0])], [leaf])
            return scores.values.detach().unflatten(0, (len(rows), -1)), gradient[: len(rows[0])]

        parts = self.batch_size["gradients"].packed(run, *_many(variants[0]), len(variants))
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
        modules, layouts = (
            {name: find_layer(self.module, name) for name in layers},
            self.structure.layouts(layers, inputs, attended, present),
        )

        def run(part: slice) -> dict[str, tuple[Tensor, Tensor]]:
            with keepable(), torch.enable_grad(), watch(modules) as kept, arriving(modules if arrived else {}) as given:
                with self._propagating(make):
                    half = self.precision == "bfloat16_all" and make is None
                    logits = self._call(normal(inputs[part]), half, attended=_rows(attended, part))
                _check_reached(layers, kept)
                outputs = [kept[name] for name in layers]
                gradients = _gradients(Scores.read(logits, normal(target[part])).logit, outputs)
            placed = [layouts[name].part(part) for name in layers]
            seen = [
                given[name] if arrived else one.places(kept[name]) for name, one in zip(layers, placed, strict=True)
            ]
            pairs = zip(seen, [one.places(g) for one, g in zip(placed, gradients, strict=True)], strict=True)
            return {name: (a.detach().float(), g.float()) for name, (a, g) in zip(layers, pairs, strict=True)}

        parts = list(self.batch_size["gradients"].packed(run, *_many(inputs)))
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
        modules, layouts = (
            {name: find_layer(self.module, name) for name in layers},
            self.structure.layouts(layers, inputs, attended, present),
        )

        def run(part: slice) -> dict[str, Tensor]:
            with torch.no_grad(), watch(modules) as kept:
                self._call(inputs[part], self.precision == "bfloat16_all", attended=_rows(attended, part))
                _check_reached(layers, kept)
            return {name: layouts[name].part(part).places(output.detach()).float() for name, output in kept.items()}

        parts = list(self.batch_size["scores"].packed(run, *_many(inputs)))
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
                given, seen = without_deleted(normal(inputs[part]), _rows(attended, part))
                leaf = given.detach().requires_grad_(gradients)
                logits = self._call(leaf, self.precision == "bfloat16_all", attended=seen)
                return Scores.read(logits, normal(target[part])).logit

            with keepable():
                return carried(read, matrices(self.module, mix, score, gradients), tokens)

        return torch.cat(list(self.batch_size["gradients" if gradients else "scores"].packed(run, *_many(inputs))))

    def _attentions_along(
        self, inputs: Tensor, target: Tensor, mix: Mix, gradients: bool, attended: Tensor | None, count: int
    ) -> Tensor:
        """What each token of texts gives to those that the logits read, `(N, 1, T)`.

        A module that moves its tokens says so by `order(attended)`: for each of them `(N, T)` which of the input it is.

        Raises:
            UnsupportedError: The model attends over other tokens than those of its input.
        """
        if count != inputs.shape[2]:
            raise UnsupportedError(
                f"{self.name} attends over {count} tokens, its input has {inputs.shape[2]}: nobody knows which is which"
            )

        def run(part: slice) -> Tensor:
            given, seen = without_deleted(normal(inputs[part]), _rows(attended, part))

            def call() -> tuple[Tensor, Tensor]:
                logits = self._call(given.detach().requires_grad_(), self.precision == "bfloat16_all", attended=seen)
                return logits, Scores.read(logits, normal(target[part])).logit

            with keepable():
                found = gathered(self.module, mix, call, gradients)
            order: Any = getattr(self.module, "order", None)
            return found if seen is None or order is None else torch.zeros_like(found).scatter(1, order(seen), found)

        return torch.cat(list(self.batch_size["gradients"].packed(run, *_many(inputs))))[:, None]

    def weight_gradients(self, inputs: Tensor, target: Tensor, attended: Tensor | None = None) -> dict[str, Tensor]:
        """Gradient of the mean cross-entropy of `(N, C, *F)` for the targets `(N,)` at every parameter, by name."""
        return self._call.weight_gradients(inputs, target, attended)

    def with_weights(self, weights: Mapping[str, Tensor]) -> Classifier:
        """The same model with other values of some parameters or buffers; the module itself is not edited."""
        twin = copy.copy(self)
        twin._call = self._call.with_weights(weights)
        return twin

    def around(self, module: nn.Module, name: str) -> Classifier:
        """Another module in the place of this one's, under a name of its own; all options are those of this model."""
        twin = copy.copy(self)
        twin.module, twin.name = module, name
        twin._call = ModuleCall(module, self.device, name, self._normalization)
        twin.structure = Structure(module, name, twin._call)
        return twin

    def shifted(self, constant: float | Tensor, example: Tensor) -> Classifier:
        """The same function of inputs `(N, C, *F)`, as the example's, that are larger by a constant."""
        twin = copy.copy(self)
        none = example.new_zeros(example.shape[1], *[1] * (example.dim() - 2))
        location, scale = self._normalization or (none, none + 1)
        twin._normalization = (location + constant, scale)
        twin._call = self._call.with_normalization(twin._normalization)
        return twin

    def default_layer(self, method: str, example: Tensor, attended: Tensor | None = None) -> str:
        """The layer a method reads if none is named: the model's own choice (`layers`), or found by shapes."""
        if method in self.layers:
            return self.layers[method]
        return self.structure.places(example, attended).default_layer(method)

    def size(self, kind: str) -> int:
        """How many inputs the next call of this kind (`scores` or `gradients`) should take."""
        return self.batch_size[kind].current


def _many(inputs: Tensor) -> tuple[int, int]:
    """How many inputs there are, and how many numbers each has."""
    return len(inputs), inputs.shape[1:].numel()


def _rows(attended: Tensor | None, part: slice, times: int = 1) -> Tensor | None:
    """What some samples attend to, again and again for several rows of each."""
    return None if attended is None else attended[part].repeat(times, *[1] * (attended.dim() - 1))


def _check_reached(layers: Sequence[str], kept: Mapping[str, Tensor]) -> None:
    missing = [name for name in layers if name not in kept]
    if missing:
        raise ValueError(
            f"layer {missing[0]!r} is part of the model, but the call never reached it: name another layer"
        )


def _gradients(scores: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of the summed scores; zero where nothing depends on an input."""
    if not scores.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    return torch.autograd.grad(scores.sum(), inputs, allow_unused=True, materialize_grads=True)


def _device_of(module: nn.Module) -> torch.device:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
