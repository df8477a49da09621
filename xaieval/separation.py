"""Whether a metric tells each method from what knows nothing of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from xaieval.evidence import Evidence
from xaieval.paired_tests import decidable, holm, sign_flip
from xaieval.score_tables import alike, common
from xaieval.statistics import independent

SHUFFLED = "own shuffled map"
"""The control that has exactly a method's values, in other places."""

CONTROLS = (SHUFFLED, "random", "random_coarse", "edge_detector", "centre_blob")
"""What a metric has to tell real methods from; the four others are sentinels by name."""

LEVEL = 0.05
"""Chance of one false finding or more among the methods of a metric and control."""


@dataclass(frozen=True)
class Separation:
    """How a metric scores methods against one control. Each method is in one of the four lists.

    Attributes:
        difference: By method, the mean of its scores minus the control's on their common samples, positive where the
            method is better, in the metric's unit.
        p: By method, from sign flips by source, with Holm's correction for the number of methods; NaN where fewer than
            two independent sources are common.
        better: Methods scored better than the control at `LEVEL`.
        worse: Methods scored worse than it.
        undecided: Neither, or too few sources to say.
        same: Methods whose scores are the control's on every common sample, to rounding: the metric cannot tell them.
        sources: Number of independent sources behind the comparison, of the method that has fewest.
        decidable: Whether these are enough to find a difference for each method.
        beaten: Whether the control is better than every method. Each difference is at `LEVEL` without a correction, as
            all have to hold (an intersection-union test; Berger 1982, 10.1080/00401706.1982.10487790, unverified).
    """

    difference: dict[str, float]
    p: dict[str, float]
    better: tuple[str, ...]
    worse: tuple[str, ...]
    undecided: tuple[str, ...]
    same: tuple[str, ...]
    sources: int
    decidable: bool
    beaten: bool


def separations(evidence: Evidence) -> dict[str, Separation]:
    """The separation from each of `CONTROLS` that shares a scored sample with a method; others are left out.

    With few sources nothing can be decided: p is at least 2 / 2^sources, times the number of methods.
    """
    found = {}
    for control in CONTROLS:
        pairs = dict(_pairs(evidence, control))
        if pairs:
            found[control] = _separation(evidence, pairs)
    return found


def blind(evidence: Evidence) -> bool:
    """Whether all maps, of methods, sentinels and shuffled ones, get one score on each sample, to rounding.

    Such a metric ignores the explanation. False where no sample has the scores of two maps.
    """
    shuffled = evidence.shuffled.add_prefix(f"{SHUFFLED} ")
    return alike(pd.concat([evidence.scores, evidence.sentinels, shuffled], axis=1))


def values_only(evidence: Evidence) -> bool:
    """Whether every method's own shuffled map gets the method's score, though methods differ from each other.

    Such a metric sees how the values of a map are distributed and not where they are, as sparseness and entropy do.
    False without shuffled maps.
    """
    pairs = dict(_pairs(evidence, SHUFFLED))
    return bool(pairs) and all(map(alike, pairs.values())) and not alike(evidence.scores)


def _pairs(evidence: Evidence, control: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each method's scores beside the control's, on their common samples."""
    for name in evidence.scores.columns:
        table, column = (evidence.shuffled, name) if control == SHUFFLED else (evidence.sentinels, control)
        if column in table:
            pair = pd.DataFrame({"method": evidence.scores[name], "control": table[column]})
            if samples := common([pair]):
                yield str(name), pair.loc[samples]


def _separation(evidence: Evidence, pairs: dict[str, pd.DataFrame]) -> Separation:
    gains = {name: evidence.oriented(pair["method"] - pair["control"]) for name, pair in pairs.items()}
    same = [name for name, pair in pairs.items() if alike(pair)]
    table = pd.DataFrame(gains)
    table[same] = table[same] * 0.0  # rounding decides nothing
    chance = sign_flip(table.to_numpy(), evidence.sources_of(table.index))
    p, mean = pd.Series(holm(chance), index=table.columns), table.mean()
    decided = (p < LEVEL) & (mean != 0)
    sources = [evidence.sources_of(pair.index) for pair in pairs.values()]
    return Separation(
        difference=dict(mean),
        p=dict(p),
        better=_names(mean[decided & (mean > 0)]),
        worse=_names(mean[decided & (mean < 0)]),
        undecided=_names(mean[~decided & ~mean.index.isin(same)]),
        same=tuple(same),
        sources=min(map(independent, sources)),
        decidable=all(decidable(own, len(pairs), LEVEL) for own in sources),
        beaten=bool(((chance < LEVEL) & (mean < 0)).all()),
    )


def _names(chosen: pd.Series) -> tuple[str, ...]:
    return tuple(map(str, chosen.index))
