"""Concept bottlenecks: a model that decides by concepts, and what it says of each concept as a model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.explicand import Explicand
from xaieval.layers import find_layer
from xaieval.module_call import keepable
from xaieval.parts import Scheme
from xaieval.related import PASSED_ON
from xaieval.token_grid import ChannelsLast, Layout, Tokens
from xaieval.unsupported import UnsupportedError

_SCORERS: WeakKeyDictionary[Classifier, tuple[int, Classifier]] = WeakKeyDictionary()
"""The scorer of each classifier, with the version of the weights that it was made of."""


PART = "model"
"""What the module of a scorer calls the model in it."""


class Bottleneck(nn.Module):
    """A model that sees a layer of another model through linear concepts (Yuksekgonul 2022, arXiv:2205.15480).

    With f the mean of the layer's output over places, `(N, d)`, the margins are `m = C f + b`, `(N, L)`, and the logits
    `W m + w`, `(N, K)`, plus those of the residual head on f where there is one. The base runs to its end, so whatever
    watches its layers sees a usual call; what comes behind the layer changes nothing.

    Args:
        base: The model whose layer is read.
        layer: Its dotted name in the base. It gives `(N, d, h, w)`, features `(N, d)`, or what `layout` reads.
        margins: d to L; rows of unit length make its outputs geometric margins.
        head: L to K.
        scheme: The L concepts.
        residual: d to K, added to the head; None: concepts alone decide.
        layout: How the layer's output becomes `(N, d, h, w)`, for tokens or channels-last activations.
        accuracy: Of each concept by its margin's sign, `(L,)`, where it is known.

    Raises:
        ValueError: No such layer, or sizes that do not fit each other.
    """

    tokens: Tensor | None

    def __init__(
        self,
        base: nn.Module,
        layer: str,
        margins: nn.Linear,
        head: nn.Linear,
        scheme: Scheme,
        residual: nn.Linear | None = None,
        layout: Layout | None = None,
        accuracy: Tensor | None = None,
    ) -> None:
        super().__init__()
        find_layer(base, layer)
        sizes = (margins.out_features, head.in_features, len(scheme.concepts))
        if len(set(sizes)) > 1:
            raise ValueError(
                f"Bottleneck: margins give {sizes[0]} concepts, the head takes {sizes[1]} and the scheme names "
                f"{sizes[2]}; expected the same number"
            )
        ends = (margins.in_features, head.out_features)
        if residual is not None and (residual.in_features, residual.out_features) != ends:
            raise ValueError(
                f"Bottleneck: the residual head must take {ends[0]} features to {ends[1]} classes, got "
                f"{residual.in_features} and {residual.out_features}"
            )
        self.base, self.layer, self.scheme = base, layer, scheme
        self.margins, self.head, self.residual = margins, head, residual
        self.accuracy = accuracy
        self._last = isinstance(layout, ChannelsLast)
        self.register_buffer("tokens", layout.index if isinstance(layout, Tokens) else None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(n, K)`."""
        features = self.features(inputs)
        logits: Tensor = self.head(self.margins(features))
        return logits if self.residual is None else logits + self.residual(features)

    def features(self, inputs: Tensor) -> Tensor:
        """The layer's output for inputs `(n, C, H, W)`, its mean over places, `(n, d)`.

        Raises:
            ValueError: The call never reaches the layer.
        """
        found: list[Tensor] = []

        def read(layer: nn.Module, arguments: Any, output: Tensor) -> None:
            found.append(self._mean(output))  # here, for what follows may change the output in place

        handle = find_layer(self.base, self.layer).register_forward_hook(read)
        try:
            self.base(inputs)
        finally:
            handle.remove()
        if not found:
            raise ValueError(
                f"layer {self.layer!r} was not reached by the call, so there are no concepts: name another"
            )
        return found[-1]

    def _mean(self, output: Tensor) -> Tensor:
        if self.tokens is not None:
            return output.index_select(1, self.tokens).mean(1)
        if output.dim() == 2:
            return output
        return output.mean((1, 2) if self._last else (2, 3))


class ConceptScores(nn.Module):
    """The margins `(n, L)` of the bottleneck in a model, in place of the model's logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Margins `(n, L)`; the model is called as it is, whatever is put around the bottleneck in it."""
        found: list[Tensor] = []
        handle = _inside(self.model)[1].margins.register_forward_hook(lambda *call: found.append(call[2]))
        try:
            self.model(inputs)
        finally:
            handle.remove()
        return found[-1]


class AtConcept(Explicand):
    """Samples bound to the scorer of their bottleneck, whose layers are read once for all concepts.

    Attributes:
        parent: The samples bound to the bottleneck; None where they are not the same.
    """

    parent: Explicand | None = None

    def like(self, **changed: Any) -> Self:
        """See `Explicand`."""
        made = super().like(**changed)
        if not {"classifier", "inputs"} & set(changed):
            made.parent = self.parent
        return made

    def activations(self, layers: Sequence[str], arrived: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
        """See `Inner`; a layer may also be named as in the bottleneck, as whoever chose it did."""
        found = super().activations([_inner(name) for name in layers], arrived)
        return {name: found[_inner(name)] for name in layers}

    def outputs(self, layers: Sequence[str]) -> dict[str, Tensor]:
        """See `Inner` and `activations`."""
        if self.parent is None:
            found = super().outputs([_inner(name) for name in layers])
        else:
            own = self.parent.outputs(tuple(name.removeprefix(f"{PART}.") for name in layers))
            found = {_inner(name): output for name, output in own.items()}
        return {name: found[_inner(name)] for name in layers}


def _inner(layer: str) -> str:
    """The name in the scorer of a layer that has this name there or in the bottleneck."""
    return layer if layer.startswith(f"{PART}.") else f"{PART}.{layer}"


@dataclass(frozen=True, eq=False)
class Found:
    """A bottleneck in the module of a classifier.

    Attributes:
        bottleneck: The module; its weights are not always those that the classifier calls it with.
        path: What stands before the names of its parts in the classifier's module, such as `model.`, or nothing.
        scores: Whether the classifier's logits are the margins of the concepts.
        classifier: The classifier.
    """

    bottleneck: Bottleneck
    path: str
    scores: bool
    classifier: Classifier

    @property
    def layer(self) -> str:
        """Dotted name, in the classifier's module, of the layer that the concepts read."""
        return f"{self.path}base.{self.bottleneck.layer}"

    @property
    def directions(self) -> Tensor:
        """The concept vectors that the classifier is called with, `(L, d)`."""
        return self.classifier.weights[f"{self.path}margins.weight"]

    @property
    def head(self) -> Tensor:
        """The weights of the concepts for the classes that the classifier is called with, `(K, L)`."""
        return self.classifier.weights[f"{self.path}head.weight"]


def bottleneck_of(classifier: Classifier) -> Found:
    """The bottleneck in a classifier's module.

    Raises:
        UnsupportedError: There is none.
    """
    try:
        path, bottleneck = _inside(classifier.module)
    except LookupError as error:
        raise UnsupportedError(
            "the model has no concepts", "choose a concept bottleneck, such as model=scenes_bottleneck"
        ) from error
    scores = any(isinstance(part, ConceptScores) for part in classifier.module.modules())
    return Found(bottleneck, path, scores, classifier)


def scorer(classifier: Classifier) -> Classifier:
    """The classifier whose logits are the margins `(N, L)` of the concepts of a bottleneck.

    It is called with the weights that the bottleneck is called with, takes the same inputs and is made once for each
    state of these weights. The scorer of a scorer is itself.

    Raises:
        UnsupportedError: The classifier's module is no bottleneck.
    """
    found = bottleneck_of(classifier)
    if found.scores:
        return classifier
    version, made = _SCORERS.get(classifier, (-1, classifier))
    if made is classifier or version != classifier.weights_version:
        with keepable():
            made = classifier.within(ConceptScores(classifier.module), PART, f"concepts of {classifier.name}")
        made.classes = len(found.bottleneck.scheme.concepts)
        made.categories = found.bottleneck.scheme.concepts
        _SCORERS[classifier] = (classifier.weights_version, made)
    return made


def at(explicand: Explicand, concepts: Tensor) -> Explicand:
    """The same samples bound to the scorer of their bottleneck; evaluations are booked to the explicand's meter.

    Args:
        explicand: Samples bound to a bottleneck.
        concepts: The concept explained for each, `(N,)`, in 0 to L - 1.

    Raises:
        UnsupportedError: The model is no bottleneck.
    """
    given = explicand.retargeted(concepts)
    own = {name: getattr(given, name) for name in PASSED_ON}
    made = AtConcept(**own | {"classifier": scorer(explicand.classifier)})
    made.parent = explicand.parent if isinstance(explicand, AtConcept) else explicand
    return made


def _inside(module: nn.Module) -> tuple[str, Bottleneck]:
    """The first bottleneck in a module, and what stands before the names of its parts."""
    for name, part in module.named_modules():
        if isinstance(part, Bottleneck):
            return f"{name}." if name else "", part
    raise LookupError
