"""Explicands made of another one: some of its samples, with other weights, classes or inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from xaieval.noted import Noted

PASSED_ON = (
    *("classifier", "inputs", "target", "ids", "mask", "present", "attended", "groups", "protected", "copy", "sizes"),
    *("parts", "worlds", "meter"),
)
"""What an explicand like another has of it, unless it is told otherwise."""


class Related(Noted):
    """Inputs bound to a model, and others like them, which book their evaluations here."""

    def like(self, **changed: Any) -> Self:
        """An explicand with the attributes of this one, but for those that are given."""
        own = {name: getattr(self, name) for name in PASSED_ON}
        if {"present", "groups"} & set(changed):
            own["sizes"] = None
        return type(self)(**own | changed)

    def part(self, index: slice | Tensor, rows: Sequence[int]) -> Self:
        """Some of the samples: `index` selects their tensors, on the device, and `rows` are the same on the host."""
        return self.like(
            inputs=self.inputs[index],
            target=self.target[index],
            ids=[self.ids[row] for row in rows],
            mask=None if self.mask is None else self.mask[index],
            present=None if self.present is None else self.present[index],
            attended=None if self.attended is None else self.attended[index],
            groups=None if self.groups is None else self.groups.part(index),
            protected=None if self.protected is None else self.protected[index],
            copy=[self.copy[row] for row in rows],
            parts=None if self.parts is None else self.parts.each(lambda rows: rows[index]),
            worlds=None if self.worlds is None else [self.worlds[row] for row in rows],
            sizes=None if self.sizes is None else [self.sizes[row] for row in rows],
        )

    def each(self) -> Iterator[Self]:
        """The samples one by one."""
        for row in range(self.count):
            yield self.part(slice(row, row + 1), [row])

    def with_weights(self, weights: Mapping[str, Tensor]) -> Self:
        """The same samples bound to the model with other values of some weights."""
        self._check_weights()
        return self.like(classifier=self.classifier.with_weights(weights))

    def retargeted(self, target: Tensor) -> Self:
        """The same samples with other classes explained, `(N,)`."""
        self._check_weights()
        return self.like(target=target)

    def shifted(self, constant: float | Tensor) -> Self:
        """The samples plus a constant, bound to the model that first takes it off again.

        Every score is the same; what differs is where the inputs lie, and so how far from black.
        """
        self._check_weights()
        return self.like(classifier=self.classifier.shifted(constant, self.inputs), inputs=self.inputs + constant)

    def shifts(self, constant: float) -> Iterator[Self]:
        """The samples plus a constant in their units, as `shifted`: one by one where each has its own unit."""
        if not self.modality.scaled:
            yield self.shifted(constant)
            return
        for one in self.each():
            yield one.shifted(constant * one.scale[0])
