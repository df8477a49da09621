"""Concept vectors: a direction at a layer of a model for each concept, and how well it tells where that holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.collate import chunks, collate
from xaieval.datasets.base import Sample
from xaieval.models.loading import ModelError, require
from xaieval.parts import Scheme
from xaieval.progress import Progress
from xaieval.unsupported import UnsupportedError

KINDS = ("svm", "logistic", "difference")

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a layer makes of samples, and which concepts hold in them.

    Attributes:
        features: Mean of the layer's output over places, `(n, d)`, float32 on the CPU.
        concepts: Which concepts hold, `(n, L)`, bool.
        target: The class of each, `(n,)`; -1 where it is not known.
        scheme: The concepts.
    """

    features: Tensor
    concepts: Tensor
    target: Tensor
    scheme: Scheme


def seen(classifier: Classifier, samples: Sequence[Sample], layer: str, progress: Progress | None = None) -> Seen:
    """What a layer makes of samples that tell their concepts; one forward each, few images held at a time.

    Args:
        classifier: The model.
        samples: Images.
        layer: Dotted name.
        progress: Told how far it is.

    Raises:
        ModelError: No samples, or some that do not tell their concepts.
        UnsupportedError: The layer's tokens are no grid.
        ValueError: The model has no such layer.
    """
    if not len(samples):
        raise ModelError("concept vectors need samples that tell their concepts, got none")
    features, concepts, target = [], [], []
    schemes: set[Scheme] = set()
    progress, step = progress or Progress(shown=False), ("read", layer)
    progress.expect(step, len(samples))
    for chunk in chunks(samples):
        given = collate(chunk)
        if given.get("parts") is None:
            raise ModelError(
                f"sample {chunk[0].id!r} or one of the {len(chunk) - 1} after it does not tell which concepts hold in "
                "it: choose a dataset with parts and concepts, such as scenes_train"
            )
        with progress.step(step, len(chunk)):
            work = classifier.explicand(target=0, ids=[sample.id for sample in chunk], **given)
            progress.watch(work.meter)
            work.meter.spend(len(chunk))
            features.append(pooled(classifier.outputs(work.inputs, (layer,))[layer]).cpu())
        concepts.append(given["parts"].concepts)
        target += [-1 if sample.target is None else sample.target for sample in chunk]
        schemes.add(given["parts"].scheme)
    if len(schemes) > 1:
        raise ModelError("the samples tell different concepts: give one dataset")
    return Seen(torch.cat(features), torch.cat(concepts), torch.tensor(target), schemes.pop())


def pooled(output: Tensor) -> Tensor:
    """The mean over places of a layer's output, `(N, d)`, of `(N, d, h, w)`; features `(N, d)` as they are."""
    return output if output.dim() == 2 else output.flatten(2).mean(2)


def layer_of(classifier: Classifier, example: Tensor, layer: str | None) -> str:
    """The layer that concepts are read at: the named one, or the last one before pooling, as Grad-CAM's.

    Args:
        classifier: The model.
        example: Inputs `(N, C, H, W)`, of which the first is used.
        layer: Dotted name, or None.

    Raises:
        UnsupportedError: The model takes texts, or has no such layer.
    """
    if classifier.modality.ragged:
        raise UnsupportedError(
            f"{classifier.name} takes texts, concepts are read of images", "choose a model of images"
        )
    return layer or classifier.default_layer("grad_cam", example)


@dataclass(frozen=True, eq=False)
class ConceptVectors:
    """Directions of concepts at a layer.

    Attributes:
        names: Of the concepts.
        vectors: `(L, d)`, of unit length, float64.
        intercepts: `(L,)`, in the unit of the margins.
        accuracy: Cross-validated, `(L,)`, the mean over the two sides, so that chance is .5; NaN where one side has
            fewer than two samples.
    """

    names: tuple[str, ...]
    vectors: Tensor
    intercepts: Tensor
    accuracy: Tensor

    def margins(self, features: Tensor) -> Tensor:
        """Geometric margins `(n, L)` of features `(n, d)`: the signed distance to each concept's plane."""
        return features.to(self.vectors) @ self.vectors.T + self.intercepts


@dataclass(frozen=True)
class Fitting:
    """How concept vectors are fitted (Kim 2018, arXiv:1711.11279; Yuksekgonul 2022, arXiv:2205.15480).

    `svm` is the normal of the linear support vector machine between samples with and without the concept, `logistic`
    that of logistic regression, `difference` the difference of the two means, with the plane half way between them.
    Vectors and intercepts are divided by the vector's length, so that what they give are the geometric margins
    `(c f + b) / |c|` of Yuksekgonul, section 3.

    Differs from the papers: features are divided by their spread, so that C means the same at every layer; the plane is
    that of the features as they are. Where one side has more samples than the other, both weigh the same. Yuksekgonul
    takes 50 of each (`samples=50`), Kim SGD in place of a solver.

    Attributes:
        kind: svm, logistic or difference.
        C: Inverse strength of the regularization of the first two; Yuksekgonul tries .01 and .1.
        samples: The most samples of each side, drawn at random; None: all.
        folds: Of the cross-validation, fewer where a side has fewer samples.
        seed: Of the draws and the folds.

    Raises:
        ValueError: An option that is none.
    """

    kind: str = "svm"
    C: float = 0.1
    samples: int | None = None
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.kind not in KINDS:
            raise ValueError(f"kind of concept vectors must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.C > 0:
            raise ValueError(f"C of concept vectors must be positive, got {self.C}")
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples of concept vectors must be at least 1 of each side, or null, got {self.samples}")
        if self.folds < 2:
            raise ValueError(f"folds of concept vectors must be at least 2, got {self.folds}")

    def vectors(self, features: Tensor, concepts: Tensor, names: Sequence[str]) -> ConceptVectors:
        """The vectors of L concepts.

        Args:
            features: `(n, d)`.
            concepts: Which concepts hold, `(n, L)`, bool.
            names: Of the concepts.

        Raises:
            ModelError: A concept that always or never holds, or that moves the features nowhere; or scikit-learn is
                missing.
        """
        require("of concepts", {"sklearn": "'xaieval[concepts]'"})
        check_both_hold(concepts, names)
        table = features.double().numpy()
        fitted = [self._one(table, concepts[:, j].numpy(), names[j], j) for j in range(len(names))]
        vectors, intercepts, accuracy = (torch.from_numpy(np.array(part)) for part in zip(*fitted, strict=True))
        return ConceptVectors(tuple(names), vectors, intercepts, accuracy)

    def _one(self, features: Values, holds: NDArray[np.bool_], name: str, number: int) -> tuple[Values, float, float]:
        """Vector, intercept and cross-validated accuracy of a concept."""
        chosen = self._chosen(holds, number)
        features, holds = features[chosen], holds[chosen]
        vector, intercept = self.plane(features, holds)
        length = float(np.linalg.norm(vector))
        if not length > 0:
            raise ModelError(f"the concept {name!r} moves the layer's features nowhere: choose another layer")
        return vector / length, intercept / length, self._accuracy(features, holds)

    def plane(self, features: Values, holds: NDArray[np.bool_]) -> tuple[Values, float]:
        """Normal `(d,)` and intercept of the plane between features `(n, d)` where a concept holds and where not."""
        if self.kind == "difference":
            inside, outside = features[holds].mean(0), features[~holds].mean(0)
            return inside - outside, float((inside - outside) @ (inside + outside) / -2)
        scale = spread(features)
        model = self._model().fit(features / scale, holds)
        return model.coef_[0] / scale, float(model.intercept_[0])

    def _model(self) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import SVC

        if self.kind == "svm":
            return SVC(kernel="linear", C=self.C, class_weight="balanced")
        return LogisticRegression(C=self.C, class_weight="balanced", max_iter=10_000)

    def _chosen(self, holds: NDArray[np.bool_], number: int) -> NDArray[np.intp]:
        """Numbers of the samples that are fitted."""
        if self.samples is None:
            return np.arange(len(holds))
        rng = np.random.default_rng((self.seed, number))
        sides = [rng.permutation(np.flatnonzero(holds == side))[: self.samples] for side in (False, True)]
        return np.sort(np.concatenate(sides))

    def _accuracy(self, features: Values, holds: NDArray[np.bool_]) -> float:
        from sklearn.model_selection import StratifiedKFold

        folds = min(self.folds, int(holds.sum()), int((~holds).sum()))
        if folds < 2:
            return float("nan")
        right = np.zeros(len(holds), dtype=bool)
        for learned, held in StratifiedKFold(folds, shuffle=True, random_state=self.seed).split(features, holds):
            vector, intercept = self.plane(features[learned], holds[learned])
            right[held] = (features[held] @ vector + intercept > 0) == holds[held]
        return float((right[holds].mean() + right[~holds].mean()) / 2)


def spread(values: Values) -> float:
    """The root of the mean variance of columns `(n, d)`; 1 where nothing varies."""
    return float(np.sqrt(values.var(0).mean())) or 1.0


def check_both_hold(concepts: Tensor, names: Iterable[str]) -> None:
    """Make sure that each concept `(n, L)` holds in some samples and not in others.

    Raises:
        ModelError: Names those that do not.
    """
    wrong = [
        f"{name!r} {'always' if share == 1 else 'never'} holds"
        for name, share in zip(names, concepts.double().mean(0).tolist(), strict=True)
        if share in (0, 1)
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ModelError(
            f"a concept must hold in some of the {len(concepts)} samples and not in others, but {', '.join(wrong[:5])}"
            f"{more}: give more samples, or leave these concepts out of the dataset"
        )
