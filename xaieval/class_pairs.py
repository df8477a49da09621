"""Pairs of classes that should be explained by different parts of one sample (Hesse 2023, arXiv:2308.06248)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.intervention import rounding, shown_class, without, worlds_of
from xaieval.part_importance import seen_parts

SHARED = 2
"""How many of its seen parts a sample shares with each class of a pair."""


@dataclass(frozen=True, eq=False)
class ClassPairs:
    """Two other classes for each sample, each of which shares two parts with it, and not the same.

    Attributes:
        classes: `(N, 2)`; twice the class explained where there is no pair.
        parts: Which parts the sample shares with each, bool `(N, 2, P)`.
        found: Where there is a pair, `(N,)`.
    """

    classes: Tensor
    parts: Tensor
    found: Tensor


def class_pairs(explicand: Explicand) -> ClassPairs:
    """The pair of each sample that the model confirms most clearly.

    It confirms a pair if to remove the parts shared with one class lowers that class's logit more than the other's, for
    each of the two. Clearer is the pair of which the smaller of these two differences is larger.
    """
    return explicand.shared("class pairs", lambda: _chosen(explicand))


def sharing(
    classes: Sequence[Sequence[int]], shown: int, seen: Sequence[bool], count: int
) -> dict[int, tuple[int, ...]]:
    """The classes, of the first `count`, that share two seen parts with the class shown, and which parts these are."""
    if shown < 0:
        return {}
    own = classes[shown]
    found = {
        number: tuple(part for part, variant in enumerate(row) if seen[part] and variant == own[part] >= 0)
        for number, row in enumerate(classes[:count])
        if number != shown
    }
    return {number: parts for number, parts in found.items() if len(parts) == SHARED}


def _chosen(explicand: Explicand) -> ClassPairs:
    seen = seen_parts(explicand)
    count = explicand.logits.shape[1]
    rows = zip(worlds_of(explicand), shown_class(explicand).tolist(), seen.tolist(), strict=True)
    candidates = [sharing(world.classes, shown, flags, count) for world, shown, flags in rows]
    gone = torch.zeros(len(seen), max(map(len, candidates)), seen.shape[1], dtype=torch.bool)
    for row, found in enumerate(candidates):
        for place, shared in enumerate(found.values()):
            gone[row, place, list(shared)] = True
    logits = without(explicand, gone.to(explicand.device))
    lower = (explicand.logits[:, None] - logits).tolist()
    bars = rounding(explicand).tolist()
    classes = explicand.target[:, None].repeat(1, 2).cpu()
    parts = torch.zeros(len(seen), 2, seen.shape[1], dtype=torch.bool)
    for row, found in enumerate(candidates):
        pair = _clearest(found, lower[row], bars[row])
        if pair:
            numbers = list(found)
            classes[row] = torch.tensor([numbers[place] for place in pair])
            parts[row] = gone[row, list(pair)]
    return ClassPairs(
        classes.to(explicand.device), parts.to(explicand.device), parts.any(2).all(1).to(explicand.device)
    )


def _clearest(
    found: dict[int, tuple[int, ...]], lower: Sequence[Sequence[float]], bar: float
) -> tuple[int, int] | None:
    """The places of the two classes among those found; None where no pair is confirmed.

    Args:
        found: Parts by class.
        lower: How much lower the logit of each class is without the parts of each of those found.
        bar: What a difference has to exceed.
    """
    numbers, best, chosen = list(found), bar, None
    for one, two in combinations(range(len(numbers)), 2):
        if set(found[numbers[one]]) & set(found[numbers[two]]):
            continue
        first = lower[one][numbers[one]] - lower[one][numbers[two]]
        second = lower[two][numbers[two]] - lower[two][numbers[one]]
        if min(first, second) > best:
            best, chosen = min(first, second), (one, two)
    return chosen
