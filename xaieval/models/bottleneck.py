"""Post-hoc concept bottlenecks: any model made to decide by the concepts that a dataset tells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.concept_heads import linear, residual_head, sparse_head
from xaieval.concept_model import Bottleneck
from xaieval.concept_vectors import Fitting, layer_of, seen
from xaieval.config import default
from xaieval.datasets.base import Dataset, Sample
from xaieval.keys import key_of, source_hash, state_hash
from xaieval.models.loading import ModelError, write_whole
from xaieval.progress import Progress
from xaieval.recipes import cache

SEED = 42
"""Of the paper's code."""


def load(
    *,
    base: Classifier | str,
    dataset: Dataset | str,
    layer: str | None = None,
    kind: str = "svm",
    C: float = 0.1,  # noqa: N803  as the field calls it
    samples: int | None = None,
    lam: float = 1e-5,
    l1_ratio: float = 0.99,
    residual: bool = False,
    strength: float = 0.001,
    seed: int = SEED,
    label: str | None = None,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """A post-hoc concept bottleneck of a model (Yuksekgonul 2022, arXiv:2205.15480).

    The mean over places of a layer's output is projected on a vector for each concept, a sparse linear head makes
    classes of these margins, and a residual head adds what concepts leave out where it is asked for. The model itself
    is not trained. What is fitted is kept in the cache, `~/.cache/xaieval/concepts` or under `XDG_CACHE_HOME`, by a
    hash of the model, the dataset and the options; samples are read one after the other and never held.

    Args:
        base: The model, or the name of one.
        dataset: Images that tell their concepts and classes, best none that are explained later; or a name.
        layer: Dotted name in the model; None: the last one before pooling, which Grad-CAM reads.
        kind: Of the concept vectors: svm, logistic or difference, see `xaieval.concept_vectors.Fitting`.
        C: Likewise.
        samples: Likewise, the most samples with and without each concept; None: all.
        lam: Strength of the head's penalty.
        l1_ratio: Part of it that makes weights 0.
        residual: Whether there is a residual head.
        strength: Of its penalty.
        seed: Of draws, folds and the head's stochastic gradient descent.
        label: What to call it; None: after the base.
        device: Where a base that is named computes; another has its own, as the two after this.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods, by their names in the bottleneck, such as `base.layer3`; None: the layer of
            the concepts for those that read one layer.

    Raises:
        ModelError: Samples without concepts or classes, a concept that always or never holds, or no scikit-learn.
        UnsupportedError: The model takes texts, or the layer's tokens are no grid.
        ValueError: No such layer, or an option that is none.
    """
    fitting = Fitting(kind, C, samples, seed=seed)
    if isinstance(base, str):
        base = default("model", base, device=device, precision=precision, batch_size=batch_size)
    if isinstance(dataset, str):
        dataset = default("dataset", dataset)
    assert isinstance(base, Classifier)
    assert isinstance(dataset, Dataset)
    if base.preprocess is None:
        raise ModelError(f"{base.name} does not say how a picture becomes an input: give Classifier(preprocess=...)")
    content = dataset.load(base.preprocess)
    if not len(content):
        raise ModelError(f"{dataset.name} has no samples to fit concepts with")
    example = content[0].input[None].to(base.device)
    name = layer_of(base, example, layer)
    options = {"fitting": asdict(fitting), "lam": lam, "l1_ratio": l1_ratio, "residual": residual, "strength": strength}
    key = key_of(
        base=[state_hash(base.module), repr(base.normalization), base.precision],
        layer=name,
        dataset=[f"{type(dataset).__module__}.{type(dataset).__qualname__}", repr(dataset), _fingerprint(content)],
        options=options,
        code=[source_hash(function) for function in (seen, sparse_head)],
    )
    file = cache("concepts") / f"{key}.safetensors"
    if not file.is_file():
        write_whole(_fitted(base, dataset, content, name, fitting, options), file)
    fitted = load_file(file)
    parts = content[0].parts
    if parts is None:
        raise ModelError(f"sample {content[0].id!r} of {dataset.name} does not tell which concepts hold in it")
    margins, head = _layer(fitted, "margins"), _layer(fitted, "head")
    more = _layer(fitted, "residual") if residual else None
    layout = base.structure.layouts([name], example)[name]
    module = Bottleneck(base.module, name, margins, head, parts.scheme, more, layout, fitted["accuracy"])
    made = base.around(module.eval(), label or f"{base.name}_bottleneck")
    made.layers = dict(layers) if layers is not None else {"grad_cam": f"base.{name}"}
    made.categories = base.categories if base.categories and len(base.categories) == head.out_features else None
    return made


def _fitted(
    base: Classifier,
    dataset: Dataset,
    content: Sequence[Sample],
    layer: str,
    fitting: Fitting,
    options: Mapping[str, Any],
) -> dict[str, Tensor]:
    """Weights of the concepts and of the heads, and how well each concept is told."""
    progress = Progress()
    progress.say(f"fitting the concepts of {len(content)} samples of {dataset.name} at layer {layer} of {base.name}")
    with progress:
        found = seen(base, content, layer, progress)
    if bool((found.target < 0).any()):
        raise ModelError(f"some samples of {dataset.name} have no class: a bottleneck learns classes from concepts")
    vectors = fitting.vectors(found.features, found.concepts, found.scheme.concepts)
    margins = vectors.margins(found.features)
    heads: dict[str, nn.Linear] = {"margins": linear(vectors.vectors, vectors.intercepts)}
    classes = int(found.target.max()) + 1
    heads["head"] = sparse_head(margins, found.target, classes, options["lam"], options["l1_ratio"], fitting.seed)
    if options["residual"]:
        with torch.no_grad():
            logits = heads["head"](margins.float())
        heads["residual"] = residual_head(found.features, logits, found.target, options["strength"])
    weights = {f"{part}.{name}": value for part, head in heads.items() for name, value in head.state_dict().items()}
    return {**weights, "accuracy": vectors.accuracy}


def _fingerprint(samples: Sequence[Sample]) -> str:
    """Hash of the samples' names, of the state of their files, and of the content of three of them."""
    digest = hashlib.blake2b(digest_size=20)
    for entry in getattr(samples, "entries", ()):
        digest.update(f"{entry.id} {entry.target}\n".encode())
        for path in (value for value in getattr(entry, "__dict__", {}).values() if isinstance(value, Path)):
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    for index in (0, len(samples) // 2, len(samples) - 1):
        sample = samples[index]
        told = () if sample.parts is None else (sample.parts.concepts, sample.parts.visible)
        digest.update(f"{sample.id} {sample.target} {sample.parts and sample.parts.scheme}\n".encode())
        for part in (sample.input, *told):
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _layer(fitted: Mapping[str, Tensor], part: str) -> nn.Linear:
    return linear(fitted[f"{part}.weight"], fitted[f"{part}.bias"])
