"""What a run has to compute: its cells, their keys, and the chunks of samples that lack the same cells."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.component import Method, Metric, component_json
from xaieval.datasets.base import Sample
from xaieval.keys import key_of, source_hash, state_hash

CHUNK = 8
"""Samples that are explained together. Batches are filled with variants, so a larger chunk gains nothing where a method
takes many of them, while the maps of all methods of a chunk are in memory at once (5 MB each at 8 x 3 x 224 x 224), and
a kill loses one method on one chunk."""

TEXTS = 32
"""Likewise for texts, of which a map takes 1.5 KB for each token."""

TARGETS = ("predicted", "label")

TOLD = ("mask", "parts", "world")
"""What methods and metrics may need that is told with a sample and is not read by the model."""

UNKEPT = "unkept:"
"""How the keys of rows begin that are never written to a store."""


@dataclass(frozen=True, eq=False)
class Part:
    """A method or a metric of a run.

    Attributes:
        name: Its name in tables.
        component: The method or metric.
        parameters: Its canonical JSON.
        key: Digest of JSON and source, or None for what has no source to trust: its results are not kept.
    """

    name: str
    component: Any
    parameters: str
    key: str | None

    @classmethod
    def of(cls, name: str, component: Method | Metric) -> Part:
        """The part that a component is."""
        text, source = component_json(component), source_hash(component)
        return cls(name, component, text, None if source is None else key_of(component=text, source=source))


@dataclass(frozen=True)
class Subject:
    """A sample of a run, without its pixels.

    Attributes:
        index: Its place in the dataset.
        id: Its name.
        sources: The photos it is made of.
        label: Its class in the dataset.
        shape: Shape of its input.
        key: Digest of dataset, name, input and class explained.
        mask: Digest of its mask and of what is told of its parts, or None where it has neither.
        note: What is missing of it, in a sentence.
        ragged: Whether it may be padded, as a text may.
        told: Whether it has a mask, parts and a world: what is told of some samples of a batch must be of all.
    """

    index: int
    id: str
    sources: tuple[str, ...]
    label: int | None
    shape: tuple[int, ...]
    key: str
    mask: str | None
    note: str = ""
    ragged: bool = False
    told: tuple[bool, ...] = ()

    @classmethod
    def of(cls, index: int, sample: Sample, dataset: str, target: str) -> Subject:
        """The subject that a sample is.

        Raises:
            ValueError: The class to be explained is the dataset's, and the sample has none.
        """
        if target == "label" and sample.target is None:
            raise ValueError(
                f"{sample.id} has no label, which target=label explains: add it to the dataset, or use target=predicted"
            )
        explained = "predicted" if target == "predicted" else sample.target
        content = {"content": _digest(sample.input), **_read(sample)}
        key = key_of(dataset=dataset, id=sample.id, target=explained, **content)
        mask = _marked(sample)
        note = "" if sample.reading is None else sample.reading.note
        shape, ragged = tuple(sample.input.shape), sample.reading is not None
        told = tuple(fact is not None for fact in (sample.mask, sample.parts, sample.world))
        return cls(index, sample.id, sample.sources, sample.target, shape, key, mask, note, ragged, told)


@dataclass(frozen=True)
class Cell:
    """One subject x method x metric, and the key of its row."""

    subject: Subject
    method: Part
    metric: Part
    key: str


@dataclass(frozen=True)
class Chunk:
    """Subjects that lack the same cells: for each method, the metrics."""

    subjects: tuple[Subject, ...]
    missing: Mapping[Part, tuple[Part, ...]]


class Keys:
    """Content keys of everything that a run with this model may keep; None for what must not be kept.

    Args:
        classifier: The model.
        device: Type of the device on which things were computed; None: that of the model.
    """

    def __init__(self, classifier: Classifier, device: str | None = None) -> None:
        self._classifier = classifier
        self._device = device or classifier.device.type
        self._run = uuid.uuid4().hex

    @cached_property
    def weights(self) -> str:
        """Digest of the model's weights, structure and normalization, which tells models of one name apart."""
        return key_of(state=state_hash(self._classifier.module), normalization=self._classifier.normalization or [])

    @cached_property
    def model(self) -> str | None:
        """Digest of the model: weights, structure, code, normalization, layers, precision and kind of device."""
        classifier = self._classifier
        sources = {
            f"{kind.__module__}.{kind.__qualname__}": source_hash(kind)
            for kind in {type(part) for part in classifier.module.modules()}
        }
        if None in sources.values():
            return None
        return key_of(
            name=classifier.name,
            weights=self.weights,
            sources=sources,
            modality=repr(classifier.modality),
            layers=classifier.layers,
            precision=classifier.precision,
            device=self._device,
        )

    def scores(self, subject: Subject) -> str | None:
        """Key of the scores that all methods and metrics share."""
        return self._key(kind="scores", subject=subject.key)

    def attribution(self, subject: Subject, method: Part) -> str | None:
        """Key of a method's map."""
        mask = {"mask": subject.mask or "none"} if set(TOLD) & set(method.component.needs) else {}
        return self._key(kind="attribution", subject=subject.key, method=method.key, **mask)

    def curves(self, subject: Subject, method: Part) -> str | None:
        """Key of the curves of a method's map."""
        return self._key(kind="curves", attribution=self.attribution(subject, method))

    def row(self, subject: Subject, method: Part, metric: Part) -> str:
        """Key of a row; one that occurs in this run only where the row must not be kept."""
        needs = (*method.component.needs, *metric.component.needs)
        mask = (subject.mask or "none") if set(TOLD) & set(needs) else "unused"
        found = self._key(kind="row", subject=subject.key, method=method.key, metric=metric.key, mask=mask)
        return found or self.unkept(subject, method, metric)

    def unkept(self, subject: Subject, method: Part, metric: Part) -> str:
        """Key of a row that is never written to a store."""
        return f"{UNKEPT}{self._run}:{subject.index}:{method.name}:{metric.name}"

    def _key(self, **parts: str | None) -> str | None:
        return None if None in (self.model, *parts.values()) else key_of(model=self.model, **parts)


def cells(subjects: Sequence[Subject], methods: Sequence[Part], metrics: Sequence[Part], keys: Keys) -> list[Cell]:
    """All cells of a run, sample by sample."""
    return [
        Cell(subject, method, metric, keys.row(subject, method, metric))
        for subject in subjects
        for method in methods
        for metric in metrics
    ]


def chunks(lacking: Sequence[Cell]) -> Iterator[Chunk]:
    """The lacking cells, in chunks of subjects of one shape that lack the same and of which as much is told.

    Texts of near length share a chunk, which is larger: they are small, and padding costs.
    """
    missing: dict[Subject, list[tuple[Part, Part]]] = {}
    for cell in lacking:
        missing.setdefault(cell.subject, []).append((cell.method, cell.metric))
    groups: dict[Any, list[Subject]] = {}
    for subject, pairs in missing.items():
        shape = subject.shape[:-1] if subject.ragged else subject.shape
        groups.setdefault((tuple(pairs), shape, subject.told, subject.ragged), []).append(subject)
    for (pairs, *_, ragged), subjects in groups.items():
        by_method: dict[Part, list[Part]] = {}
        for method, metric in pairs:
            by_method.setdefault(method, []).append(metric)
        frozen = {method: tuple(metrics) for method, metrics in by_method.items()}
        size = TEXTS if ragged else CHUNK
        ordered = sorted(subjects, key=lambda subject: subject.shape[-1]) if ragged else subjects
        for start in range(0, len(subjects), size):
            yield Chunk(tuple(ordered[start : start + size]), frozen)


def shard_of(count: int, shard: str) -> range:
    """The places that a shard takes of a dataset: i with i % n == k - 1 for `k/n`.

    Raises:
        ValueError: The shard is not `k/n` with 1 <= k <= n.
    """
    first, slash, number = str(shard).partition("/")
    if not (slash and first.isdecimal() and number.isdecimal() and 1 <= int(first) <= int(number)):
        raise ValueError(
            f"shard must be k/n with 1 <= k <= n, such as 2/8 for the second of eight parts, got {shard!r}"
        )
    return range(int(first) - 1, count, int(number))


def _marked(sample: Sample) -> str | None:
    """Digest of what is marked in a sample and told of its parts; None where nothing is."""
    if sample.parts is None:
        return None if sample.mask is None else _digest(sample.mask)
    told = [sample.mask, *(getattr(sample.parts, name) for name in ("centers", "visible", "concepts", "masks"))]
    return key_of(scheme=repr(sample.parts.scheme), told=[None if part is None else _digest(part) for part in told])


def _read(sample: Sample) -> dict[str, str]:
    """Digests of what the model reads of a text, and of what is scored and protected in it."""
    if sample.reading is None:
        return {}
    parts = {name: getattr(sample.reading, name) for name in ("present", "attended", "groups", "protected")}
    return {name: _digest(part) for name, part in parts.items() if part is not None}


def _digest(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous()
    return blake2b(data.reshape(-1).view(torch.uint8).numpy().data, digest_size=20).hexdigest()
