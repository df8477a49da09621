"""`xaieval concepts`: how well a bottleneck knows its concepts, and how much each of them counts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaieval.allocator import keep_freed_memory
from xaieval.classifier import Classifier
from xaieval.collate import chunks, collate
from xaieval.concept_effects import Effect, changes, strongest
from xaieval.concept_location import numbers_of
from xaieval.concept_model import Found, at, bottleneck_of
from xaieval.concept_vectors import pooled
from xaieval.config import ConfigError, composed, load, only
from xaieval.datasets.base import Sample
from xaieval.parts import Parts
from xaieval.progress import Progress
from xaieval.settings import Settings
from xaieval.statistics import Interval
from xaieval.table import Entry, Table, number
from xaieval.tcav import TCAV, Tested, sensitivities
from xaieval.unsupported import UnsupportedError

DEFAULTS = {"model": "scenes_bottleneck", "dataset": "scenes"}
"""What is looked at if nothing is named."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What a bottleneck and the model in it make of n samples, on the CPU.

    Attributes:
        margins: Of the concepts, `(n, L)`.
        logits: Of the bottleneck, `(n, K)`.
        holds: Which concepts hold, `(n, L)`, bool.
        target: The class of each, `(n,)`.
        features: Mean of the layer's output over places, `(n, d)`.
        sensitivity: How the logit of each sample's class changes along the layer's channels, `(n, d)`, see
            `xaieval.tcav.sensitivities`.
        sources: What each sample is made of.
    """

    margins: Tensor
    logits: Tensor
    holds: Tensor
    target: Tensor
    features: Tensor
    sensitivity: Tensor
    sources: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Line:
    """What is said of a concept.

    Attributes:
        concept: Its name.
        holds: Share of the samples where it holds.
        fitted: Cross-validated accuracy of its vector where it was fitted, NaN if nobody knows.
        area: Area under the ROC curve of its margin on these samples, NaN where it always or never holds.
        effect: What it changes most, unknown where it always or never holds.
        tcav: Mean TCAV for that class.
        p: Of TCAV against random directions, corrected for all concepts.
    """

    concept: str
    holds: float
    fitted: float
    area: float
    effect: Effect
    tcav: float
    p: float


@dataclass(frozen=True)
class Said:
    """What is said of a bottleneck.

    Attributes:
        lines: Of its concepts.
        model: Name of the model that TCAV looks at.
        samples: Their number.
        right: Share of the samples that the bottleneck predicts correctly.
    """

    lines: tuple[Line, ...]
    model: str
    samples: int
    right: float


def concepts(arguments: Sequence[str]) -> None:
    """`concepts [KEY=VALUE ...]`: a table of a bottleneck's concepts; of `scenes_bottleneck` on `scenes` unless told.

    Raises:
        ConfigError: A flag, several models or datasets, a model without concepts, or samples that do not tell them.
    """
    if flags := [argument for argument in arguments if "=" not in argument and not argument.startswith("~")]:
        raise ConfigError(f"concepts takes KEY=VALUE, such as model=scenes_bottleneck, got {' '.join(flags)}")
    keep_freed_memory()
    words = [f"{group}={name}" for group, name in DEFAULTS.items() if not _named(group, arguments)]
    values = composed([*words, *arguments])
    settings = Settings.of(values)
    classifier, dataset = only("model", values), only("dataset", values)
    samples = load(dataset, classifier)
    chosen = samples[: settings.limit] if settings.limit else samples
    try:
        found = said(classifier, chosen, settings.seed)
    except UnsupportedError as error:
        raise ConfigError(str(error)) from error
    sys.stdout.write(table(classifier, dataset.name, found).text())


def _named(group: str, arguments: Sequence[str]) -> bool:
    return any(argument.startswith(f"{group}=") for argument in arguments)


def said(classifier: Classifier, samples: Sequence[Sample], seed: int = 0, tcav: TCAV | None = None) -> Said:
    """What is said of a bottleneck on samples.

    TCAV looks at the model in the bottleneck, where it has the same number of classes; else at the bottleneck.

    Args:
        classifier: A concept bottleneck.
        samples: Images that tell their concepts and classes.
        seed: Of draws and resamples.
        tcav: Options of TCAV; None: its defaults.

    Raises:
        UnsupportedError: The model has no concepts.
        ConfigError: Samples that do not tell their concepts and classes.
    """
    found = bottleneck_of(classifier)
    if not len(samples):
        raise ConfigError("there are no samples to look at: choose another dataset=")
    looked_at, layer = _looked_at(found, samples[0])
    facts = _facts(found, looked_at, layer, samples)
    names = found.bottleneck.scheme.concepts
    head = found.head.detach().cpu()
    effects = [
        strongest(changes(facts.margins, facts.holds, facts.logits, head, j), facts.sources, seed)
        for j in range(len(names))
    ]
    tested = (tcav or TCAV(seed=seed)).test(
        facts.features, facts.holds, facts.target, facts.sensitivity, torch.tensor([one.target for one in effects])
    )
    right = float((facts.logits.argmax(1) == facts.target).float().mean())
    return Said(tuple(_lines(found, facts, effects, tested)), looked_at.name, len(facts.target), right)


def _lines(found: Found, facts: Facts, effects: Sequence[Effect], tested: Tested) -> list[Line]:
    accuracy = found.bottleneck.accuracy
    return [
        Line(
            name,
            float(facts.holds[:, j].float().mean()),
            float("nan") if accuracy is None else float(accuracy[j]),
            _area(facts.margins[:, j], facts.holds[:, j]),
            effects[j],
            float(tested.share[j]),
            float(tested.adjusted[j]),
        )
        for j, name in enumerate(found.bottleneck.scheme.concepts)
    ]


def _area(margins: Tensor, holds: Tensor) -> float:
    """Area under the ROC curve; NaN where one side is empty."""
    from sklearn.metrics import roc_auc_score

    if holds.all() or not holds.any():
        return float("nan")
    return float(roc_auc_score(holds.numpy(), margins.numpy()))


def _looked_at(found: Found, sample: Sample) -> tuple[Classifier, str]:
    """What TCAV looks at, and the layer there."""
    inner = found.classifier.around(found.bottleneck.base, f"the model in {found.classifier.name}")
    inner.explicand(sample.input[None], 0)  # tells how many classes there are
    if inner.classes == found.bottleneck.head.out_features:
        return inner, found.bottleneck.layer
    return found.classifier, found.layer


def _facts(found: Found, looked_at: Classifier, layer: str, samples: Sequence[Sample]) -> Facts:
    names = found.bottleneck.scheme.concepts
    rows: list[tuple[Tensor, ...]] = []
    sources: list[tuple[str, ...]] = []
    step = ("look at", "concepts")
    with Progress() as progress:
        progress.expect(step, len(samples))
        for chunk in chunks(samples):
            given = collate(chunk)
            target, parts = _told(chunk, given.get("parts"))
            with progress.step(step, len(chunk)):
                work = found.classifier.explicand(target=target, **given)
                progress.watch(work.meter)
                work.meter.spend(len(chunk), len(chunk))
                output, gradient = looked_at.activations(work.inputs, work.target, (layer,))[layer]
                margins = at(work, torch.zeros_like(work.target)).logits
            holds = parts.concepts[:, numbers_of(names, parts)]
            row = (margins, work.logits, holds, target, pooled(output), sensitivities(gradient))
            rows.append(tuple(part.cpu() for part in row))
            sources += [sample.sources for sample in chunk]
    margins, logits, told, targets, features, slopes = (torch.cat(part) for part in zip(*rows, strict=True))
    return Facts(margins, logits, told, targets, features, slopes, tuple(sources))


def _told(chunk: Sequence[Sample], parts: Parts | None) -> tuple[Tensor, Parts]:
    """The classes of some samples, and their concepts.

    Raises:
        ConfigError: They do not tell them.
    """
    known = [sample.target for sample in chunk if sample.target is not None]
    if parts is None or len(known) < len(chunk):
        what = "concepts hold in it" if parts is None else "class it has"
        raise ConfigError(
            f"sample {chunk[0].id!r} or one of the {len(chunk) - 1} after it does not tell which {what}: choose a "
            "dataset with classes, parts and concepts, such as dataset=scenes"
        )
    return torch.tensor(known), parts


# -- the page ----------------------------------------------------------------------------------------------------------


def table(classifier: Classifier, dataset: str, given: Said) -> Table:
    """What is said as a table, the most important concepts first."""
    ordered = sorted(given.lines, key=lambda line: -abs(line.effect.interval.mean) if line.area == line.area else 1)
    found = bottleneck_of(classifier)
    rows = tuple(_row(line, classifier.categories) for line in ordered)
    return Table(
        f"Concepts of {classifier.name} at layer {found.bottleneck.layer}, {given.samples} samples of {dataset}, "
        f"{given.right:.0%} of them predicted correctly",
        ("concept", "holds", "accuracy\nfitted", "AUC", "class", "adds to\nits logit", "95 %\ninterval", "TCAV", "p"),
        (rows,),
        (
            "accuracy: of the margin's sign, cross-validated where the concept was fitted, both sides weighing the "
            "same; AUC: of the margin on these samples.",
            "adds: mean change of the logit of the class that it changes most, when the concept's score is set to its "
            "mean where it does not hold, or where it holds.",
            f"TCAV: of that class in {given.model}; p: against random directions, corrected for all concepts (Holm).",
        ),
    )


def _row(line: Line, categories: Sequence[str] | None) -> tuple[Entry, ...]:
    target = line.effect.target
    named = "-" if target < 0 else str(target) if categories is None else categories[target]
    cells = (
        line.concept,
        number(line.holds, 2),
        number(line.fitted, 2),
        number(line.area, 2),
        named,
        number(line.effect.interval.mean, 2),
        _span(line.effect.interval),
        number(line.tcav, 2),
        "<.001" if line.p < 0.001 else number(line.p, 3),
    )
    return tuple(map(Entry, cells))


def _span(interval: Interval) -> str:
    return "-" if interval.low != interval.low else f"[{number(interval.low, 2)}, {number(interval.high, 2)}]"
