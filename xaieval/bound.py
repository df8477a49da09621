"""Inputs bound to a model and to the class explained for each, and what is computed of them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from xaieval.attention import Mix
from xaieval.classifier import Classifier
from xaieval.cost import Cost, Ledger, Meter
from xaieval.draws import Draws
from xaieval.modalities.modality import Modality
from xaieval.module_call import keepable
from xaieval.parts import Parts, World
from xaieval.propagation import Propagation
from xaieval.scores import Scores
from xaieval.segments import Segments

T = TypeVar("T")


class Bound:
    """N inputs, the model, and the class explained for each.

    Attributes: see `Explicand`.
    """

    def __init__(
        self,
        classifier: Classifier,
        inputs: Tensor,
        target: Tensor,
        ids: Sequence[str],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        copy: Sequence[str] | None = None,
        meter: Meter | None = None,
        attended: Tensor | None = None,
        groups: Segments | None = None,
        protected: Tensor | None = None,
        sizes: Sequence[int] | None = None,
        parts: Parts | None = None,
        worlds: Sequence[World] | None = None,
    ) -> None:
        self.classifier = classifier
        self.inputs = inputs
        self.target = target
        self.ids = tuple(ids)
        self.mask = mask
        self.present = present
        self.attended = attended
        self.groups = groups
        self.protected = protected
        self.sizes = tuple(sizes) if sizes is not None else None
        self.parts = parts
        self.worlds = tuple(worlds) if worlds is not None else None
        self.copy = tuple(copy) if copy is not None else ("",) * len(inputs)
        self.meter = meter or Meter(inputs.device)
        self.draws = Draws(inputs.device, classifier.modality.ragged)
        self._weights_version = classifier.weights_version
        self._shared: dict[str, tuple[Any, Ledger]] = {}
        self._kept: dict[str, Any] = {}

    def __repr__(self) -> str:
        spent = f"{self.cost.forwards:g} forwards and {self.cost.backwards:g} backwards per sample so far"
        return f"Explicand({tuple(self.shape)}, {self.classifier.name}, {spent})"

    # -- facts --

    @property
    def count(self) -> int:
        """Number of samples N."""
        return len(self.inputs)

    @property
    def shape(self) -> torch.Size:
        """`(N, C, *F)`."""
        return self.inputs.shape

    @property
    def device(self) -> torch.device:
        """Where inputs and results live."""
        return self.inputs.device

    @property
    def modality(self) -> Modality:
        """How these inputs are cut, removed and drawn."""
        return self.classifier.modality

    @property
    def cost(self) -> Cost:
        """Forwards and backwards spent so far, per sample."""
        return Cost(self.meter.forwards, self.meter.backwards).per(self.count)

    @cached_property
    def scale(self) -> Tensor:
        """The unit of radii and noise for each sample, `(N,)`: 1 for pixels, the size of a text's embeddings."""
        return self.modality.scale(self.inputs, self.present)

    @cached_property
    def range(self) -> Tensor:
        """Largest minus smallest value over channels and present features, `(N,)`; the size of a text's embeddings."""
        return self.modality.range(self.inputs, self.present)

    @cached_property
    def numbers(self) -> Tensor | None:
        """Each feature's number among those of its sample `(N, *F)`; None: its place in the tensor."""
        return self.modality.numbers(self.inputs, self.present)

    @cached_property
    def sides(self) -> Tensor:
        """How long each sample is along each axis, `(N, axes)`, without what it is padded with."""
        return self.modality.sides(self.inputs, self.present)

    def places(self, axis: int) -> Tensor:
        """Where each feature lies along an axis of its sample, `(N, side)`; -1 where it is padding or the like."""
        if self.numbers is not None:  # there is but one axis
            return self.numbers if self.present is None else self.numbers.masked_fill(~self.present, -1)
        return self.modality.places(self.inputs, axis)

    # -- computed once --

    def _check_weights(self) -> None:
        """Numbers of two models must not meet in one explicand.

        Raises:
            ValueError: The model's weights have changed since the inputs were bound.
        """
        if self.classifier.weights_version != self._weights_version:
            raise ValueError(
                f"the weights of {self.classifier.name} have changed since these inputs were bound, and what was "
                "computed before no longer fits: bind them again with classifier.explicand(...)"
            )

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, computed once for everyone who asks with this key.

        Each user's standalone cost includes it; only the first pays.
        """
        if key not in self._shared:
            with keepable(), self.meter.making() as ledger:
                value = make()
            self._shared[key] = (value, ledger)
        value, ledger = self._shared[key]
        self.meter.use(ledger)
        return value

    def kept(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once; for masks and images that cost no evaluation."""
        if key not in self._kept:
            with keepable():
                self._kept[key] = make()
        value: T = self._kept[key]
        return value

    def preload(self, key: str, value: Scores | Tensor, cost: Ledger | Cost) -> None:
        """Put what is known already, such as scores of an earlier run, in place of computing it."""
        ledger = cost if isinstance(cost, Ledger) else Ledger.known(self.meter.clock, cost)
        self._shared[key] = (value, ledger)

    def shared_scores(self) -> dict[str, tuple[Tensor, Cost]]:
        """Scores that metrics of any method ask for (clean, removed, responses), with the cost of making them."""
        return {
            key: (value.values, ledger.standalone)
            for key, (value, ledger) in self._shared.items()
            if isinstance(value, Scores)
        }

    @property
    def clean(self) -> Scores:
        """Scores of the inputs as they are, `(N,)`."""
        return self.shared("clean", lambda: Scores.read(self.logits, self.target))

    @property
    def logits(self) -> Tensor:
        """Logits of all classes for the inputs as they are, `(N, classes)`."""

        def make() -> Tensor:
            self._check_weights()
            self.meter.spend(self.count)
            return self.classifier.logits(self.inputs, self.attended)

        return self.shared("logits", make)

    @property
    def gradient(self) -> Tensor:
        """Gradient of the logit at the inputs, `(N, C, *F)`."""

        def make() -> Tensor:
            self._check_weights()
            self.meter.spend(self.count, self.count)
            return self.classifier.gradients(self.inputs, self.target, attended=self.attended)[1]

        return self.shared("gradient", make)

    def weight_gradients(self) -> dict[str, Tensor]:
        """Gradient of the mean cross-entropy at every parameter of the model, by name; one forward and one backward."""
        self._check_weights()
        self.meter.spend(self.count, self.count)
        return self.classifier.weight_gradients(self.inputs, self.target, self.attended)

    def rectified(self, rule: str) -> Tensor:
        """Gradient of the logit at the inputs with another rule for rectifiers, `(N, C, *F)`.

        Args:
            rule: `guided` or `deconvnet`, see `xaieval.rectifiers`.

        Raises:
            ValueError: The model calls no rectifier.
        """

        def make() -> Tensor:
            self._check_weights()
            self.meter.spend(self.count, self.count)
            return self.classifier.gradients(self.inputs, self.target, rule=rule, attended=self.attended)[1]

        return self.shared(f"gradient:{rule}", make)

    def propagated(self, make: Callable[[], Propagation], *others: Tensor) -> tuple[Scores, Tensor]:
        """Scores `(K, N)` of these inputs and others for them, and what comes back to these, `(N, C, *F)`.

        Args:
            make: The rules; called anew for each call of the model.
            others: Variants `(N, C, *F)` that go through in the same calls, as the rules need them.

        Raises:
            UnsupportedError: The model calls a function that has no rule.
        """
        self._check_weights()
        rows = self.count * (1 + len(others))
        self.meter.spend(rows, rows)
        return self.classifier.propagated([self.inputs, *others], self.target, make, self.attended)

    def attentions(self, key: str, mix: Mix, gradients: bool = False) -> Tensor:
        """What each place gives, through all attentions, to the tokens that the logits read, `(N, 1, h, w)`.

        One forward, and one backward with gradients; computed once for everyone who asks with this key.

        Args:
            key: The name of `mix`.
            mix: Makes of an attention's weights `(n, heads, T, T)` what each token takes over from each, `(n, T, T)`.
            gradients: Whether it is also given the logit's gradients at the weights.

        Raises:
            UnsupportedError: The model does not attend over all its tokens again and again, or they are no grid.
        """

        def make() -> Tensor:
            self._check_weights()
            maps = self.classifier.attentions(self.inputs, self.target, mix, gradients, self.attended)
            self.meter.spend(self.count, self.count * gradients)  # afterwards: a refusal costs nothing
            return maps

        return self.shared(f"attentions:{key}", make)
