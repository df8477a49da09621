"""A model that can be explained: its scores, gradients and activations, packed into full device batches."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaieval.batch_size import BatchSize
from xaieval.layer_calls import LayerCalls, gradients_of, many, rows_of
from xaieval.modalities.images import Images
from xaieval.modalities.modality import Modality
from xaieval.module_call import ModuleCall, keepable, normal, without_deleted
from xaieval.parts import Parts, World
from xaieval.rectifiers import Rectifiers
from xaieval.scores import Scores
from xaieval.structure import Structure
from xaieval.unsupported import UnsupportedError

if TYPE_CHECKING:
    from xaieval.explicand import Explicand

PRECISIONS = ("float32", "bfloat16", "bfloat16_all")


class Classifier(LayerCalls):
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

    Example:
        >>> module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # logits: the mean of each channel
        >>> classifier = Classifier(module, name="means")
        >>> image = torch.tensor([0.2, 0.9, 0.4])[:, None, None].expand(3, 8, 8)
        >>> explicand = classifier.explicand(image[None])
        >>> explicand.target  # the predicted class, as none is given
        tensor([1])
        >>> explicand.gradient.shape
        torch.Size([1, 3, 8, 8])
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
        self.batch_size = {
            kind: BatchSize(batch_size, self.device, small=self.modality.ragged) for kind in ("scores", "gradients")
        }
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
        parts: Parts | None = None,
        worlds: Sequence[World] | None = None,
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
            parts: Parts and concepts of the N samples.
            worlds: What draws each sample anew with parts changed.

        Raises:
            ValueError: NaN or infinite inputs, a target outside the classes, a mask of another shape, a feature that
                is present but not attended, or in no group.
            TypeError: The model does not return logits `(N, classes)`.
        """
        from xaieval.binding import bind  # the one upward import: it stands on this file

        with keepable():
            self._call.refresh()
            return bind(self, inputs, target, ids, mask, present, attended, groups, protected, parts, worlds)

    # -- calls; `attended` `(N, *F)` goes with the inputs, row by row --

    def logits(self, inputs: Tensor, attended: Tensor | None = None) -> Tensor:
        """Logits `(N, classes)` of `(N, C, *F)`, without gradients."""

        def run(part: slice) -> Tensor:
            with torch.no_grad():
                return self._call(inputs[part], self.precision != "float32", attended=rows_of(attended, part))

        return torch.cat(list(self.batch_size["scores"].packed(run, *many(inputs))))

    def differentiable(self, inputs: Tensor, attended: Tensor | None = None) -> Tensor:
        """Logits `(n, classes)` of `(n, C, *F)` from one call, with a graph where gradients are enabled.

        For code that is not ours; it chooses how many inputs to hand over.
        """
        return self._call(inputs, self.precision == "bfloat16_all", attended=attended)

    def scores(self, inputs: Tensor, target: Tensor, attended: Tensor | None = None) -> Scores:
        """Scores `(N,)` of `(N, C, *F)` for the targets `(N,)`."""

        def run(part: slice) -> Tensor:
            with torch.no_grad():
                logits = self._call(inputs[part], self.precision != "float32", attended=rows_of(attended, part))
                return Scores.read(logits, target[part]).values

        return Scores(torch.cat(list(self.batch_size["scores"].packed(run, *many(inputs)))))

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
                given, read = without_deleted(normal(inputs[part]), rows_of(attended, part))
                leaf = given.detach().requires_grad_()
                logits = self._call(leaf, self.precision == "bfloat16_all", attended=read)
                scores = Scores.read(logits, normal(target[part]))
                (gradient,) = gradients_of(scores.of(score), [leaf])
            return scores.values.detach(), gradient

        values, gradients = zip(*self.batch_size["gradients"].packed(run, *many(inputs)), strict=True)
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

    def within(self, module: nn.Module, part: str, name: str) -> Classifier:
        """A module that holds this one's as its `part`, called with the weights that this one is called with."""
        self._call.refresh()
        twin = self.around(module, name)
        twin._call.refresh()
        twin._call = twin._call.with_weights({f"{part}.{key}": value for key, value in self.weights.items()})
        twin.layers = {method: f"{part}.{layer}" for method, layer in self.layers.items()}
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


def _device_of(module: nn.Module) -> torch.device:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
