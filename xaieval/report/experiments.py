"""What was run, composed again from kept configurations: models, samples, methods and metrics, to find what was kept.

Nothing is computed but the class that a model predicts, where no row tells it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from xaieval.classifier import Classifier
from xaieval.concept_samples import ConceptEncoder
from xaieval.config import component, load
from xaieval.datasets.base import Dataset, Sample
from xaieval.kept_configs import KeptConfig
from xaieval.plan import Keys, Part


@dataclass
class Experiment:
    """A model and a dataset, and the methods and metrics that ran on them.

    Attributes:
        classifier: The model.
        dataset: The dataset.
        samples: Its samples.
        places: Where each of them is, by its name.
        target: How the class explained was chosen, `predicted` or `label`.
        device: Type of the device on which it ran.
        methods: By their canonical JSON, as rows name them.
        metrics: Likewise.
    """

    classifier: Classifier
    dataset: Dataset
    samples: Sequence[Sample]
    places: Mapping[str, int]
    target: str
    device: str
    methods: dict[str, Part] = field(default_factory=dict)
    metrics: dict[str, Part] = field(default_factory=dict)

    @cached_property
    def keys(self) -> Keys:
        """Under which the run kept things."""
        return Keys(self.classifier, self.device)


def experiments(configs: Iterable[KeptConfig]) -> tuple[list[Experiment], list[str]]:
    """The experiments of some runs, each model and dataset once, and what could not be composed again and why."""
    found: dict[str, Experiment] = {}
    models: dict[str, Classifier] = {}
    problems: dict[str, None] = {}
    for config in configs:
        values = here(config.values)
        for group, name, node in _nodes(values, "model"):
            with _noting(problems, name):
                key = json.dumps(node, sort_keys=True)
                models[key] = models.get(key) or _with_pictures(component(group, node, f"{group}.{name}"))
                for each in _nodes(values, "dataset"):
                    with _noting(problems, each[1]):
                        _add(found, models[key], each, config.values, values, problems)
    return list(found.values()), list(problems)


@contextmanager
def _noting(problems: dict[str, None], name: str) -> Iterator[None]:
    """Whatever a stranger's code or files raise in the block is noted: the rest of the report stands."""
    try:
        yield
    except Exception as error:
        problems[f"{name}: {error}"] = None


def here(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the CPU in place of a device that this machine has not."""
    given = values.get("device")
    if not isinstance(given, str) or given == "cpu" or torch.cuda.is_available():
        return dict(values)
    changed: dict[str, Any] = _replaced(values, given, "cpu")
    return changed


def _replaced(part: Any, device: str, other: str) -> Any:
    if isinstance(part, Mapping):
        return {
            name: other if name == "device" and value == device else _replaced(value, device, other)
            for name, value in part.items()
        }
    return [_replaced(one, device, other) for one in part] if isinstance(part, list) else part


def _with_pictures(classifier: Classifier) -> Classifier:
    """A model whose inputs can be looked at.

    Raises:
        ValueError: It takes the scores of concepts.
    """
    if isinstance(classifier.preprocess, ConceptEncoder):
        raise ValueError("it takes the scores of concepts, which are no picture")
    return classifier


def _nodes(values: Mapping[str, Any], group: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name, node in (values.get(group) or {}).items():
        if isinstance(node, Mapping):
            yield group, name, node


def _add(
    found: dict[str, Experiment],
    classifier: Classifier,
    chosen: tuple[str, str, Mapping[str, Any]],
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    problems: dict[str, None],
) -> None:
    group, name, node = chosen
    target = str(values.get("target", "predicted"))
    device = str(given.get("device") or "cpu").partition(":")[0]
    key = json.dumps([id(classifier), device, node, target], sort_keys=True)
    if key not in found:
        dataset = component(group, node, f"{group}.{name}")
        samples = load(dataset, classifier)
        names = getattr(samples, "ids", None) or [sample.id for sample in samples]
        places = {name: place for place, name in enumerate(names)}
        found[key] = Experiment(classifier, dataset, samples, places, target, device)
    for kind, known in (("method", found[key].methods), ("metric", found[key].metrics)):
        for _, name, node in _nodes(values, kind):
            with _noting(problems, name):
                part = Part.of(name, component(kind, node, f"{kind}.{name}"))
                known[part.parameters] = part
