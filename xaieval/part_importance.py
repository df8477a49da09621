"""Which parts an explanation calls important, against a model that really is shown the sample without them.

The protocol of FunnyBirds (Hesse 2023, arXiv:2308.06248). A part is important when the map's sum in its mask, dilated
by 5 x 5 pixels, exceeds t times the sum of the map. All is computed for any number T of thresholds t at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.collate import chunks, collate
from xaieval.component import Method
from xaieval.datasets.base import Dataset
from xaieval.explicand import Explicand
from xaieval.intervention import drawn_parts, drops, effects, shown_class, without, without_objects, worlds_of

DILATION = 5
"""Side of the square by which masks are dilated, in pixels."""

DROP = 0.05
"""Below this part of the logit's size, a drop is none: what was removed is irrelevant."""

_CHOSEN: WeakKeyDictionary[Classifier, dict[tuple[int, str, str], float]] = WeakKeyDictionary()
"""The thresholds chosen for each classifier, by the version of its weights, the method and the samples."""

THRESHOLDS = tuple(torch.linspace(0.01, 0.5, 80, dtype=torch.float64).tolist())
"""Those of which one is chosen."""


@dataclass(frozen=True, eq=False)
class Called:
    """The parts and objects that maps call important.

    Attributes:
        explicand: What was explained.
        features: The map's score of each feature `(N, H, W)`, float64.
        thresholds: T shares of a map's sum.
    """

    explicand: Explicand
    features: Tensor
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, explicand: Explicand, attribution: Tensor, units: str, thresholds: Sequence[float]) -> Called:
        """Those of an attribution `(N, C, H, W)` or `(N, 1, H, W)`."""
        return cls(explicand, explicand.features(attribution, units).double(), tuple(thresholds))

    @cached_property
    def parts(self) -> Tensor:
        """Which parts are important, bool `(N, T, P)`."""
        return self._above(part_sums(self.explicand, self.features))

    @cached_property
    def objects(self) -> Tensor:
        """Which background objects are, bool `(N, T, O)`."""
        return self._above(sums_in(self.features, dilated(without_objects(self.explicand).masks)))

    def _above(self, sums: Tensor) -> Tensor:
        bars = self.features.flatten(1).sum(1)[:, None] * self.features.new_tensor(self.thresholds)
        return sums[:, None] > bars[:, :, None]


def seen_parts(explicand: Explicand) -> Tensor:
    """Which parts are drawn and not hidden, bool `(N, P)`."""
    assert explicand.parts is not None
    return (explicand.parts.visible > 0) & drawn_parts(explicand)


def part_masks(explicand: Explicand) -> Tensor:
    """The pixels where each part is seen, bool `(N, P, H, W)`."""
    assert explicand.parts is not None
    assert explicand.parts.masks is not None
    return explicand.parts.masks


def part_sums(explicand: Explicand, features: Tensor) -> Tensor:
    """Sums `(N, P)` of features `(N, H, W)` in the dilated mask of each part."""
    return sums_in(features, explicand.kept("dilated parts", lambda: dilated(part_masks(explicand))))


def sums_in(features: Tensor, masks: Tensor) -> Tensor:
    """Sums `(N, M)` of features `(N, H, W)` in masks `(N, M, H, W)`; mask by mask, so that no product is as large."""
    sums = [(features * masks[:, number]).flatten(1).sum(1) for number in range(masks.shape[1])]
    return torch.stack(sums, 1) if sums else features.new_zeros(len(features), 0)


def dilated(masks: Tensor) -> Tensor:
    """Masks `(N, M, H, W)` with the pixels around them."""
    if not masks.shape[1]:
        return masks
    return functional.max_pool2d(masks.float(), DILATION, 1, DILATION // 2) > 0


# -- the checks -------------------------------------------------------------------------------------------------------


def synthetic(called: Called) -> Tensor:
    """The controlled synthetic data check `(N, T)`: the largest share of a minimal sufficient set that is important."""
    sets = sufficient_sets(called.explicand)[:, None]
    found = (sets & called.parts[:, :, None]).sum(3) / sets.sum(3).clamp(min=1)
    return found.amax(2) if found.shape[2] else found.new_zeros(found.shape[:2])


def preserved(called: Called) -> Tensor:
    """1 where the prediction stays when all parts go but the important ones, else 0, `(N, T)`."""
    return _same_class(called.explicand, ~called.parts)


def deleted(called: Called) -> Tensor:
    """1 where the prediction changes when the important parts go, else 0, `(N, T)`."""
    return 1 - _same_class(called.explicand, called.parts)


def undistracted(called: Called) -> Tensor:
    """The share `(N, T)` of irrelevant parts and objects that are not called important; NaN where there are none."""
    parts, objects = irrelevant(called.explicand)
    named = (called.parts & parts[:, None]).sum(2) + (called.objects & objects[:, None]).sum(2)
    return 1 - named / (parts.sum(1) + objects.sum(1))[:, None]


def complete(synthetic: Tensor, preserved: Tensor, deleted: Tensor, undistracted: Tensor) -> Tensor:
    """Completeness, in [0, 1], of the four checks."""
    return ((synthetic + preserved + deleted) / 3 + undistracted) / 2


def irrelevant(explicand: Explicand) -> tuple[Tensor, Tensor]:
    """Which seen parts `(N, P)` and objects `(N, O)` can go without lowering the logit by 5 % of its size or more."""
    found = without_objects(explicand)
    parts, objects = (lowering(explicand, values) for values in (effects(explicand), drops(explicand, found.logits)))
    return seen_parts(explicand) & ~parts, found.seen & ~objects


def lowering(explicand: Explicand, drops: Tensor) -> Tensor:
    """Which drops `(N, S)` are 5 % of the logit's size or more."""
    return drops >= DROP * explicand.clean.logit.abs()[:, None]


def correct(explicand: Explicand) -> Tensor:
    """Where the class explained is the one that the sample shows and the model predicts, `(N,)`."""
    return (explicand.logits.argmax(1) == explicand.target) & (shown_class(explicand) == explicand.target)


def sufficient_sets(explicand: Explicand) -> Tensor:
    """The minimal sets of seen parts that no other class has alike, bool `(N, M, P)`, filled up with empty ones."""

    def make() -> Tensor:
        worlds, seen = worlds_of(explicand), seen_parts(explicand)
        pairs = zip(worlds, shown_class(explicand).tolist(), seen.tolist(), strict=True)
        found = [minimal_sets(world.classes, shown, tuple(parts)) for world, shown, parts in pairs]
        sets = torch.zeros(len(found), max(map(len, found)), seen.shape[1], dtype=torch.bool)
        for row, of_row in enumerate(found):
            for number, parts in enumerate(of_row):
                sets[row, number, list(parts)] = True
        return sets.to(explicand.device)

    return explicand.kept("sufficient sets", make)


@lru_cache(maxsize=4096)
def minimal_sets(
    classes: tuple[tuple[int, ...], ...], shown: int, seen: tuple[bool, ...]
) -> tuple[tuple[int, ...], ...]:
    """The sets of seen parts that tell a class from all others and contain no smaller such set.

    Args:
        classes: The variant of each part that each class has; -1 for parts that tell nothing.
        shown: The number of the class; -1: none, which nothing tells.
        seen: Which parts are seen.
    """
    if shown < 0:
        return ()
    own, others = classes[shown], [row for number, row in enumerate(classes) if number != shown]
    telling = [part for part, variant in enumerate(own) if variant >= 0 and seen[part]]
    found: list[tuple[int, ...]] = []
    for size in range(1, len(telling) + 1):
        for parts in combinations(telling, size):
            smaller = any(set(one) <= set(parts) for one in found)
            if not smaller and all(any(row[part] != own[part] for part in parts) for row in others):
                found.append(parts)
    return tuple(found)


def _same_class(explicand: Explicand, gone: Tensor) -> Tensor:
    """1 where the prediction is the same without the parts `gone` `(N, T, P)`, else 0, `(N, T)`."""
    before = explicand.logits.argmax(1)
    return (without(explicand, gone).argmax(2) == before[:, None]).float()


# -- the threshold ----------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """A threshold chosen on samples that are not scored with it.

    Attributes:
        threshold: The smallest of those with the best value.
        value: Twice the completeness of the means, in [0, 2].
        values: That of each threshold.
    """

    threshold: float
    value: float
    values: tuple[float, ...]


class NoThresholdError(ValueError):
    """There is nothing to choose a threshold by."""


def choose_threshold(
    explicands: Iterable[Explicand], method: Method, thresholds: Sequence[float] = THRESHOLDS
) -> Choice:
    """The threshold with the best completeness of a method, on samples held out for the choice.

    The value is `(CSDC + PC + DC) / 3 + D` of the means over the samples where each check is defined. Each sample is
    explained once, and drawn once without each set of parts that any threshold names.

    Args:
        explicands: The samples, a batch at a time; with parts, their masks, and worlds.
        method: The method.
        thresholds: Those to choose from.

    Raises:
        NoThresholdError: A check is defined on no sample, as where no map has a positive sum.
    """
    tables = [_checks(Called.of(one, one.attribution(method), method.units, thresholds)) for one in explicands]
    means = torch.cat(tables, 1).nanmean(1)  # (4, T)
    values = 2 * complete(*means)
    if not bool(values.isfinite().all()):
        raise NoThresholdError(
            f"there is no threshold to choose for {type(method).__name__}: a check is defined on no sample; take more "
            "samples, and classes that the model predicts (target=label)"
        )
    best = int(values.argmax())
    return Choice(float(thresholds[best]), float(values[best]), tuple(values.tolist()))


def chosen_threshold(classifier: Classifier, method: Method, held_out: Dataset) -> float:
    """The threshold chosen on a dataset whose labels are explained, once for each state of a model; NaN without one.

    Raises:
        ValueError: The classifier does not say how pictures become its inputs.
    """
    known = _CHOSEN.setdefault(classifier, {})
    key = (classifier.weights_version, repr(method), repr(held_out))
    if key not in known:
        try:
            known[key] = choose_threshold(_bound(classifier, held_out), method).threshold
        except NoThresholdError:
            known[key] = math.nan
    return known[key]


def _bound(classifier: Classifier, held_out: Dataset) -> Iterator[Explicand]:
    if classifier.preprocess is None:
        raise ValueError(
            f"{classifier.name} does not say how pictures become its inputs, so that held-out samples cannot be drawn "
            "for it: give the Classifier preprocess="
        )
    for chunk in chunks(held_out.load(classifier.preprocess)):
        labels, ids = [one.target for one in chunk if one.target is not None], [one.id for one in chunk]
        yield classifier.explicand(target=labels, ids=ids, **collate(chunk))


def _checks(called: Called) -> Tensor:
    """The four checks `(4, N, T)`, NaN where one is undefined."""
    explicand = called.explicand
    usable = positive(called.features)
    told = usable & correct(explicand) & sufficient_sets(explicand).flatten(1).any(1)
    rows = [synthetic(called), preserved(called), deleted(called), undistracted(called)]
    where = [told, usable, usable, usable]
    return torch.stack(
        [values.double().masked_fill(~there[:, None], torch.nan) for values, there in zip(rows, where, strict=True)]
    )


def positive(features: Tensor) -> Tensor:
    """Where the sum of features `(N, H, W)` is positive, so that a share of it can be exceeded, `(N,)`."""
    return features.flatten(1).sum(1) > 0
