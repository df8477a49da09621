"""One line for notebooks: `explain` an image or a text, `evaluate` methods."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from xaieval.benchmark import Benchmark, CellError, check_cells
from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.component import Method, Metric
from xaieval.concept_samples import ConceptEncoder
from xaieval.config import default, load, names
from xaieval.datasets.base import Dataset, Sample
from xaieval.datasets.encode import Encoder
from xaieval.datasets.texts import TextSample, TextSamples
from xaieval.modalities.vectors import Vectors
from xaieval.progress import Progress
from xaieval.store import Store


def explain(
    model: nn.Module | Classifier,
    inputs: Tensor | Sequence[str],
    method: Any = "gradient",
    target: Tensor | Sequence[int] | int | None = None,
) -> Tensor:
    """Explain images or texts: attributions, never rescaled; signed where the method is.

    Those of images are `(N, C, H, W)` or `(N, 1, H, W)`, those of texts `(N, D, T)` or `(N, 1, T)` with the tokens of
    the longest; what each token is, `Sample.reading.names` of `model.preprocess.sample` says.

    Args:
        model: Any module that gives logits `(N, classes)`, or a `Classifier` where the module needs more, such as
            `mean` and `std`.
        inputs: Pixels in [0, 1], `(N, C, H, W)`, or one image `(C, H, W)`; or texts, for a `Classifier` of texts
            such as `xaieval.models.hf.load` gives; or concept scores, `(N, 1, L)` or `(1, L)`, for the head of a
            bottleneck, `xaieval.models.bottleneck_head.load`.
        method: Name of a YAML in `conf/method`, a method, a class of `captum.attr`, or any function
            `f(model, inputs, target)`.
        target: The class explained, one for all or one for each; None: the predicted class.

    Raises:
        ValueError: No method has this name, or the inputs, targets or attributions are not what they should be.
        TypeError: Texts, and a model that takes none.

    Example:
        >>> module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # logits: the mean of each channel
        >>> explain(module, torch.full((3, 2, 2), 0.5), method="gradient", target=0)[0, 0]
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
        >>> explain(module, torch.full((3, 2, 2), 0.5), lambda model, inputs, target: inputs - 0.5).sum()
        tensor(0.)
    """
    classifier = _classifier(model)
    if isinstance(inputs, Tensor):
        single = 2 if isinstance(classifier.modality, Vectors) else 3
        return _method(method)(classifier.explicand(inputs[None] if inputs.dim() == single else inputs, target))
    return _method(method)(classifier.explicand(target=target, **collate(_of_texts(classifier, inputs))))


def evaluate(
    model: nn.Module | Classifier,
    dataset: Dataset | Sequence[Sample] | Sequence[TextSample] | Sequence[str] | Tensor,
    methods: Iterable[Any] | Mapping[str, Any],
    metrics: Iterable[Any] | Mapping[str, Any],
    *,
    target: str | Tensor | Sequence[int] | int = "predicted",
    masks: Tensor | None = None,
    ids: Sequence[str] | None = None,
    store: str | Path | Store | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Score methods by metrics: one row for each sample x method x metric.

    A cell that fails has its `error` and no score, and a warning says so. `xaieval.leaderboard` makes tables of rows.

    Args:
        model: As in `explain`. A dataset of pictures needs a `Classifier` with `preprocess`.
        dataset: A dataset, samples, images `(N, C, H, W)` with pixels in [0, 1], or texts. The head of a bottleneck
            takes samples of pictures as well, which it scores first.
        methods: Methods as in `explain`, or a mapping that names them.
        metrics: Names of YAMLs in `conf/metric` or metrics, or a mapping that names them.
        target: The class explained: `predicted`, `label` (the dataset's), or for images the classes themselves.
        masks: For images: ground truth `(N, H, W)`, True where an explanation should point.
        ids: For images: names, on which random draws depend; None: a hash of the content.
        store: A folder where maps and rows are kept, and looked up before anything is computed; None: nothing is kept.
        progress: Show what is running.

    Raises:
        ValueError: An unknown name, or samples that are not what they should be.
        TypeError: The model does not give logits.

    Example:
        >>> module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # logits: the mean of each channel
        >>> images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> rows = evaluate(module, images, ["gradient", "random"], ["sparseness"], progress=False)
        >>> len(rows)  # 2 images x 2 methods x 1 metric
        4
        >>> float(rows.query("method == 'gradient'")["score"].mean())  # all pixels count alike
        0.0
    """
    classifier = _classifier(model)
    samples, name, rule = _samples(classifier, dataset, target, masks, ids)
    benchmark = Benchmark(
        classifier,
        _named("method", methods),
        _named("metric", metrics),
        name,
        target=rule,
        store=Store(store) if isinstance(store, str | Path) else store,
        progress=Progress(shown=progress),
    )
    rows = benchmark.run(samples).rows
    try:
        check_cells(rows)
    except CellError as error:
        warnings.warn(str(error), stacklevel=2)
    return rows


def _classifier(model: nn.Module | Classifier) -> Classifier:
    return model if isinstance(model, Classifier) else Classifier(model)


def _method(method: Any) -> Method:
    if isinstance(method, str):
        found: Method = default("method", method)
        return found
    from xaieval.adapters import as_method  # imports Captum

    return as_method(method)


def _metric(metric: Any) -> Metric:
    found = default("metric", metric) if isinstance(metric, str) else metric() if isinstance(metric, type) else metric
    if not isinstance(found, Metric):
        raise TypeError(f"a metric is a name ({', '.join(names('metric'))}) or a Metric, got {metric!r}")
    return found


def _named(group: str, components: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Components by name: that of the mapping, of the YAML, of the file, or of the function."""
    make = _method if group == "method" else _metric
    if isinstance(components, Mapping):
        return {name: make(component) for name, component in components.items()}
    if isinstance(components, str):
        raise TypeError(f"{group}s are a list, got {components!r}: write [{components!r}]")
    pairs = [(entry if isinstance(entry, str) else "", make(entry)) for entry in components]
    found = [(name or _name_of(group, component), component) for name, component in pairs]
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise ValueError(
            f"two {group}s are called {twice[0]!r}: name them, {{'{twice[0]}_a': ..., '{twice[0]}_b': ...}}"
        )
    return dict(found)


def _name_of(group: str, component: Any) -> str:
    stem = type(component).__module__.rpartition(".")[2]
    return stem if stem in names(group) else str(component) if "(" not in str(component) else type(component).__name__


def _samples(
    classifier: Classifier, dataset: Any, target: Any, masks: Tensor | None, ids: Sequence[str] | None
) -> tuple[Sequence[Sample], str, str]:
    """The samples, what to call them, and how the explained class is chosen."""
    if isinstance(dataset, Tensor):
        return _of_images(dataset, target, masks, ids), "images", "predicted" if target == "predicted" else "label"
    if not isinstance(target, str) or masks is not None or ids is not None:
        raise ValueError("target classes, masks and ids go with images: samples of a dataset have their own")
    if isinstance(dataset, Dataset):
        return load(dataset, classifier), dataset.name, target
    if len(dataset) and isinstance(dataset[0], str | TextSample):
        return _of_texts(classifier, dataset), "texts", target
    if isinstance(classifier.preprocess, ConceptEncoder):
        return classifier.preprocess.samples(dataset), "samples", target
    return dataset, "samples", target


def _of_texts(classifier: Classifier, texts: Sequence[str | TextSample]) -> list[Sample]:
    if not isinstance(classifier.preprocess, Encoder):
        raise TypeError(
            f"{classifier.name} takes no texts: give a Classifier that knows how they become its input, such as "
            "xaieval.models.hf.load(name)"
        )
    if isinstance(texts, str):
        raise TypeError(f"texts are a list, got {texts!r:.60}: write [{texts!r:.60}]")
    named = [TextSample(f"text {row}", text) if isinstance(text, str) else text for row, text in enumerate(texts)]
    return list(classifier.preprocess.samples(TextSamples(named)))


def _of_images(images: Tensor, target: Any, masks: Tensor | None, ids: Sequence[str] | None) -> list[Sample]:
    count = len(images)
    if target == "label":
        raise ValueError("target='label' takes the labels of a dataset: for images give the classes, target=[...]")
    classes = [None] * count if isinstance(target, str) else torch.as_tensor(target).expand(count).tolist()
    for what, values in (("masks", masks), ("ids", ids)):
        if values is not None and len(values) != count:
            raise ValueError(f"{what} must be given for each of the {count} images, got {len(values)}")
    found = []
    for row, image in enumerate(images.detach().float().cpu()):
        name = ids[row] if ids is not None else blake2b(image.numpy().tobytes(), digest_size=8).hexdigest()
        mask = None if masks is None else masks[row].cpu().bool()
        found.append(Sample(str(name), image.contiguous(), classes[row], mask, (str(name),)))
    return found
