"""The only place a model is called: it packs, casts and counts nothing twice, and leaves the model as it was."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.func import functional_call

from xaieval.batch_norm import Fold, Folded, Observed, UnsafeFoldError, hooked
from xaieval.batch_size import BatchSize
from xaieval.layers import Edit, Step, arriving, default_layer, editing, find_layer, scaling, steps_of, watch
from xaieval.modalities.images import Images
from xaieval.passages import Chain
from xaieval.rectifiers import Rectifiers
from xaieval.scores import Scores

if TYPE_CHECKING:
    from xaieval.explicand import Explicand

PRECISIONS = ("float32", "bfloat16", "bfloat16_all")
Result = TypeVar("Result")


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
        modality: Images | None = None,
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
        self.modality = modality or Images()
        self.layers = dict(layers or {})
        self.name = name or type(module).__name__
        self.preprocess = preprocess
        self.categories = tuple(categories) if categories is not None else None
        self.classes: int | None = None
        self.batch_size = {kind: BatchSize(batch_size, self.device) for kind in ("scores", "gradients")}
        self._normalization = None if mean is None or std is None else self._constants(mean, std)
        self._weights: dict[str, Tensor] = {}
        self._pristine: dict[str, int] = {}  # version of each copy when it was made
        self._folds: dict[int, Fold] | None = None  # None: not known before the first call
        self._seen: list[tuple[float, ...]] | None = None
        self.weights_version = 0  # how often the weights were copied
        self._chains: dict[tuple[int, ...], Chain] = {}
        self._layout = torch.channels_last
        self._steps: dict[tuple[int, ...], list[Step]] = {}  # by the shape of an input

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Copies of the parameters and buffers that the model is called with, by name."""
        return self._weights

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
    ) -> Explicand:
        """Bind a batch of inputs to this model and to the class explained for each.

        Args:
            inputs: `(N, C, *F)`, images as pixels in [0, 1].
            target: The class explained, one for each input or one for all; None: the predicted class.
            ids: Names of the samples, on which their random draws depend; None: a hash of the content.
            mask: Ground truth `(N, *F)`, True on the features that should be found.
            present: `(N, *F)`, False on padding that is to be left out everywhere; None: every feature exists.

        Raises:
            ValueError: NaN or infinite inputs, a target outside the classes, a mask of another shape.
            TypeError: The model does not return logits `(N, classes)`.
        """
        from xaieval.binding import bind  # the one upward import: it stands on this file

        with keepable():
            self._refresh_weights()
            return bind(self, inputs, target, ids, mask, present)

    # -- calls --

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits `(N, classes)` of `(N, C, *F)`, without gradients."""

        def run(part: slice) -> Tensor:
            with torch.no_grad():
                return self._forward(inputs[part], self.precision != "float32")

        return torch.cat(list(self._packed(run, len(inputs), "scores")))

    def differentiable(self, inputs: Tensor) -> Tensor:
        """Logits `(n, classes)` of `(n, C, *F)` from one call, with a graph where gradients are enabled.

        For code that is not ours; it chooses how many inputs to hand over.
        """
        return self._forward(inputs, self.precision == "bfloat16_all")

    def scores(self, inputs: Tensor, target: Tensor, scaled: Mapping[str, Tensor] | None = None) -> Scores:
        """Scores `(N,)` of `(N, C, *F)` for the targets `(N,)`.

        Args:
            inputs: `(N, C, *F)`.
            target: The class explained for each, `(N,)`.
            scaled: Factors `(N, K)` by which the channels of a layer's output are multiplied, by the layer's name.

        Raises:
            ValueError: A layer that the model does not have, or that has other channels.
        """
        scaled = scaled or {}
        modules = {name: find_layer(self.module, name) for name in scaled}

        def run(part: slice) -> Tensor:
            factors = {name: values[part] for name, values in scaled.items()}
            with torch.no_grad(), scaling(modules, factors):
                logits = self._forward(inputs[part], self.precision != "float32")
                return Scores.read(logits, target[part]).values

        return Scores(torch.cat(list(self._packed(run, len(inputs), "scores"))))

    def edited(
        self,
        inputs: Tensor,
        target: Tensor,
        arriving: Mapping[str, Edit] | None = None,
        outputs: Mapping[str, Edit] | None = None,
    ) -> Scores:
        """Scores `(n,)` for the targets `(n,)` of one call in which tensors between layers are edited.

        Where the first edit puts activations of n inputs in place, known from before, one input is enough: then all
        that comes before that layer is computed for it alone.

        Args:
            inputs: `(n, C, *F)`, or `(1, C, *F)` where an edit makes n of it.
            target: The class explained for each, `(n,)`.
            arriving: What becomes of the first argument of a layer, by the layer's name.
            outputs: What becomes of the output of a layer, by the layer's name.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
        """
        before, after = arriving or {}, outputs or {}
        modules = {name: find_layer(self.module, name) for name in (*before, *after)}
        with torch.no_grad(), editing(modules, before, arriving=True) as entered, editing(modules, after) as left:
            logits = self._forward(inputs, self.precision != "float32", len(target))
        missing = [name for name in modules if name not in entered | left]
        if missing:
            raise ValueError(f"layer {missing[0]!r} was not reached by the call, so nothing was edited there")
        return Scores.read(logits, target)

    def gradients(self, inputs: Tensor, target: Tensor, score: str = "logit", rule: str = "") -> tuple[Scores, Tensor]:
        """Scores `(N,)` and their gradients `(N, C, *F)` at the inputs; one forward and one backward each.

        Args:
            inputs: `(N, C, *F)`.
            target: The class explained for each, `(N,)`.
            score: Form of the score.
            rule: How gradients pass rectifiers, `guided` or `deconvnet`; empty: by their derivative.

        Raises:
            ValueError: A rule, and a model that calls no rectifier.
        """

        def run(part: slice) -> tuple[Tensor, Tensor]:
            with keepable(), torch.enable_grad(), self._rectifying(rule):
                leaf = _normal(inputs[part]).detach().requires_grad_()
                scores = Scores.read(self._forward(leaf, self.precision == "bfloat16_all"), _normal(target[part]))
                (gradient,) = _gradients(scores.of(score), [leaf])
            return scores.values.detach(), gradient

        values, gradients = zip(*self._packed(run, len(inputs), "gradients"), strict=True)
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
            raise ValueError(
                f"{self.name} calls no relu, relu6 or hardtanh, for which alone the rule {rule!r} is defined: the map "
                "would be the plain gradient; choose another method for this model"
            )

    def activations(
        self, inputs: Tensor, target: Tensor, layers: Sequence[str], arrived: bool = False
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Output of each layer and the gradient of the logit there, from one forward and one backward for all layers.

        Args:
            inputs: `(N, C, *F)`.
            target: The class explained for each, `(N,)`.
            layers: Dotted names.
            arrived: Each layer's input in place of its output; the gradient is that at the output still.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
        """
        modules = {name: find_layer(self.module, name) for name in layers}

        def run(part: slice) -> dict[str, tuple[Tensor, Tensor]]:
            with keepable(), torch.enable_grad(), watch(modules) as kept, arriving(modules if arrived else {}) as given:
                logits = self._forward(_normal(inputs[part]), self.precision == "bfloat16_all")
                _check_reached(layers, kept)
                outputs = [kept[name] for name in layers]
                gradients = _gradients(Scores.read(logits, _normal(target[part])).logit, outputs)
            pairs = zip([given[name] for name in layers] if arrived else outputs, gradients, strict=True)
            return {name: (a.detach().float(), g.float()) for name, (a, g) in zip(layers, pairs, strict=True)}

        parts = list(self._packed(run, len(inputs), "gradients"))
        return {
            name: (torch.cat([part[name][0] for part in parts]), torch.cat([part[name][1] for part in parts]))
            for name in layers
        }

    def outputs(self, inputs: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Output of each layer `(N, K, h, w)` for `(N, C, *F)`, from one forward for all layers.

        Raises:
            ValueError: A layer that the model does not have, or that was not reached by the call.
        """
        modules = {name: find_layer(self.module, name) for name in layers}

        def run(part: slice) -> dict[str, Tensor]:
            with torch.no_grad(), watch(modules) as kept:
                self._forward(inputs[part], self.precision == "bfloat16_all")
                _check_reached(layers, kept)
            return {name: output.detach().float() for name, output in kept.items()}

        parts = list(self._packed(run, len(inputs), "scores"))
        return {name: torch.cat([part[name] for part in parts]) for name in layers}

    def weight_gradients(self, inputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Gradient of the mean cross-entropy of `(N, C, *F)` for the targets `(N,)` at every parameter, by name."""
        with keepable(), torch.enable_grad():
            leaves = {name: self.weights[name].detach().requires_grad_() for name, _ in self.module.named_parameters()}
            logits = self._run(_normal(inputs), {**self.weights, **leaves})
            loss = functional.cross_entropy(logits, _normal(target))
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(leaves, gradients, strict=True))

    def with_weights(self, weights: Mapping[str, Tensor]) -> Classifier:
        """The same model with other values of some parameters or buffers; the module itself is not edited."""
        twin = copy.copy(self)
        twin._copy_weights({**self.weights, **weights})
        return twin

    def default_layer(self, method: str, example: Tensor) -> str:
        """The layer a method reads if none is named: the model's own choice (`layers`), or found by shapes.

        The shapes come from one call with one input for each input shape; it is no evaluation of a sample and not
        counted.
        """
        if method in self.layers:
            return self.layers[method]
        shape = tuple(example.shape[1:])
        if shape not in self._steps:
            with torch.no_grad():
                self._steps[shape] = steps_of(self.module, lambda: self._forward(example[:1], False))
        return default_layer(method, self.module, self._steps[shape])

    def chain(self, example: Tensor) -> Chain:
        """The layers that everything passes on its way to the logits.

        They come from one call with one input for each input shape; it is no evaluation of a sample and not counted.
        """
        key = tuple(example.shape[1:])
        if key not in self._chains:
            with keepable(), torch.enable_grad():
                leaf = _normal(example[:1]).detach().clone().requires_grad_()
                self._chains[key] = Chain(self.module, leaf, lambda: self._forward(leaf, False))
        return self._chains[key]

    def size(self, kind: str) -> int:
        """How many inputs the next call of this kind (`scores` or `gradients`) should take."""
        return self.batch_size[kind].current

    def _packed(self, run: Callable[[slice], Result], count: int, kind: str) -> Iterator[Result]:
        """Results of `run` on slices that fit: halved when memory runs out, and smaller from then on."""
        size = self.batch_size[kind]
        start = 0
        while start < count:
            stop = min(count, start + size.current)
            try:
                with size.observing(stop - start):
                    result = run(slice(start, stop))
            except torch.OutOfMemoryError:
                if stop - start == 1:
                    raise
                size.shrink(stop - start)
                continue
            yield result
            start = stop

    def _forward(self, inputs: Tensor, bfloat16: bool, count: int | None = None) -> Tensor:
        """Logits `(n, classes)`; n is the number of inputs, or `count` where an edit between layers changes it."""
        try:
            return self._call(inputs, bfloat16, count)
        except RuntimeError as error:
            if self._layout == torch.contiguous_format or "view size is not compatible" not in str(error):
                raise
        # The model counts on the layout of memory, as `x.view(n, -1)` does: it gets the usual one from now on.
        self._layout = torch.contiguous_format
        self._copy_weights(self._weights)
        return self._call(inputs, bfloat16, count)

    def _call(self, inputs: Tensor, bfloat16: bool, count: int | None = None) -> Tensor:
        if bfloat16:
            with torch.autocast(self.device.type, torch.bfloat16):
                return self._run(inputs, count=count)
        if hooked(self.module):
            return self._run(inputs, count=count)
        if self._folds is None:
            try:
                return self._observed(inputs)
            except torch.OutOfMemoryError:  # the graph of gradients may not fit where scores alone do
                self._folds = {}
        try:
            with Folded(self._folds):
                return self._run(inputs)
        except UnsafeFoldError:
            self._folds = {}
            return self._run(inputs)

    def _observed(self, inputs: Tensor) -> Tensor:
        """A call that also finds out which batch normalizations later calls may fold into a convolution."""
        differentiated = torch.is_grad_enabled()
        with keepable(), torch.enable_grad(), Observed(self._weights) as observed:
            leaf = inputs if inputs.requires_grad else _normal(inputs).detach().requires_grad_()
            logits = self._run(leaf)
            self._folds = observed.folds(logits)
        return logits if differentiated else logits.detach()

    def _run(self, inputs: Tensor, weights: Mapping[str, Tensor] | None = None, count: int | None = None) -> Tensor:
        inputs = self._first_layer(inputs)
        with _evaluating(self.module):
            try:
                # A dictionary of its own: buffers that the model replaces are put into it.
                output = functional_call(self.module, dict(weights or self._weights), (inputs,))
            finally:
                self._mend_weights()
        return self._checked(output, len(inputs) if count is None else count)

    def _first_layer(self, inputs: Tensor) -> Tensor:
        """Normalized inputs in the model's layout; always a copy, which a model may change in place."""
        inputs = inputs.float()
        layout = self._layout if inputs.dim() == 4 else torch.contiguous_format
        if self._normalization is None:
            return inputs.clone(memory_format=layout)
        mean, scale = self._normalization
        if inputs.shape[1] != len(mean):
            raise ValueError(f"{self.name} normalizes {len(mean)} channels, got inputs {tuple(inputs.shape)}")
        return ((inputs - mean) * scale).contiguous(memory_format=layout)

    def _checked(self, output: Any, count: int) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{self.name} returned a {type(output).__name__}, expected logits as a tensor ({count}, classes): "
                "wrap the model so that it returns the logits alone"
            )
        if output.dim() != 2 or output.shape[0] != count:
            raise TypeError(
                f"{self.name} returned a tensor {tuple(output.shape)} for {count} inputs, expected logits "
                f"({count}, classes): wrap the model so that it returns one row of logits for each input"
            )
        self.classes = output.shape[1]
        return output.float()

    def _refresh_weights(self) -> None:
        """Copy the weights once, and again when one was replaced or changed."""
        named = self._named()
        seen = [_fingerprint(tensor) for tensor in named.values()]
        if seen != self._seen:
            self._copy_weights(named)
            self._seen = seen
            self.weights_version += 1

    def _named(self) -> dict[str, Tensor]:
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}

    def _copy_weights(self, named: Mapping[str, Tensor]) -> None:
        self._weights = {name: self._prepared(tensor) for name, tensor in named.items()}
        self._pristine = {name: copy._version for name, copy in self._weights.items()}
        self._folds = None

    def _mend_weights(self) -> None:
        """Make the copies again that a call wrote into, such as a counter of calls: each call starts alike."""
        changed = [name for name, version in self._pristine.items() if self._weights[name]._version != version]
        if changed:
            named = self._named()
            with keepable():
                self._weights |= {name: self._prepared(named[name]) for name in changed}
            self._pristine |= {name: self._weights[name]._version for name in changed}

    def _prepared(self, weight: Tensor) -> Tensor:
        copy = weight.detach().to(self.device, torch.float32 if weight.is_floating_point() else weight.dtype, copy=True)
        return copy.contiguous(memory_format=self._layout) if copy.dim() == 4 else copy


def keepable() -> contextlib.AbstractContextManager[object]:
    """Outside inference mode, whose tensors can neither be differentiated nor kept for later."""
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else contextlib.nullcontext()


def _normal(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def _fingerprint(tensor: Tensor) -> tuple[float, ...]:
    """Address, version and sum: `weight.data.mul_(2)` changes neither of the first two."""
    version = 0 if tensor.is_inference() else tensor._version
    if tensor.is_meta or not tensor.is_floating_point():
        return (tensor.data_ptr(), version)
    return (tensor.data_ptr(), version, float(tensor.detach().sum(dtype=torch.float64)))


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


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, each submodule's own mode afterwards."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _device_of(module: nn.Module) -> torch.device:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
