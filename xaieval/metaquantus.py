"""MetaQuantus: whether a metric stays as it is where next to nothing changed, and reacts where nearly everything did.

Hedström et al. 2023, arXiv 2302.07265. Methods explain, and their maps are scored, once more on a model or an input
with a little noise (noise resilience, NR) and on a disrupted one (adversary reactivity, AR). In both, one number is
about a method's own scores (intra-consistency, IAC) and one about the methods beside each other (inter-consistency,
IEC). The mean of the four, MC, is .5 for a metric that does nothing: (1, 1, 0, 0) for IAC and IEC under noise, IAC and
IEC under disruption. Scores that are drawn anew give (.5, 1 / M, .5, .5) for M methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xaieval.before_after import FEWEST, Share, fallen, ranks_kept, unmoved
from xaieval.component import SKIPPED
from xaieval.evidence import Evidence
from xaieval.statistics import Values

SPACES = ("weights", "inputs")
"""What is perturbed."""


class Used(NamedTuple):
    """Samples of a perturbation whose prediction stayed, or changed, as it has to, and that have scores.

    Attributes:
        smallest: Their number at the perturbation that has the fewest.
        mean: Over perturbations.
    """

    smallest: int
    mean: float


@dataclass(frozen=True)
class MetaConsistency:
    """Four numbers in [0, 1] and their mean; higher is better, NaN where undefined.

    Attributes:
        iac_nr: Mean p of a test between a method's scores without and with noise.
        iec_nr: Share of rank places that the methods keep under noise.
        iac_ar: 1 - mean p of a test between a method's scores without and with disruption.
        iec_ar: Share of scores that get worse under disruption.
        score: MC, the mean of the four.
        sd: Standard deviation of MC between iterations (n - 1); NaN for one.
        used_nr: Samples used under noise.
        used_ar: Samples used under disruption.
        reason: Why something is undefined; empty where nothing is.
    """

    iac_nr: float = nan
    iec_nr: float = nan
    iac_ar: float = nan
    iec_ar: float = nan
    score: float = nan
    sd: float = nan
    used_nr: Used = Used(0, 0.0)
    used_ar: Used = Used(0, 0.0)
    reason: str = ""


@dataclass(frozen=True)
class BothSpaces:
    """Meta-consistency where the model's weights are perturbed, and where its inputs are.

    Attributes:
        weights: With perturbed weights.
        inputs: With perturbed inputs.
        score: The mean of both MC; NaN where one of them is undefined.
        reason: Why; empty where it is defined.
    """

    weights: MetaConsistency
    inputs: MetaConsistency
    score: float
    reason: str


def meta_consistency(
    clean: ArrayLike,
    resilient: Sequence[ArrayLike],
    reactive: Sequence[ArrayLike],
    *,
    kept: Sequence[ArrayLike],
    changed: Sequence[ArrayLike],
    higher_is_better: bool,
    iterations: int = 1,
) -> MetaConsistency:
    """The meta-consistency of a metric where one thing is perturbed.

    Under noise those samples count whose prediction stayed, under disruption those whose prediction changed. A
    perturbation with fewer than `xaieval.before_after.FEWEST` of them, and within it a method with fewer pairs of
    scores, is left out; so are pairs in which a score is not finite. That file says how ties and few pairs are tested
    and ranked. A tie under disruption is not worse.

    Differs from the published code: there the direction is a word whose truth is tested, so that a higher score
    counted as worse whatever was said; equal scores are ranked by position.

    Args:
        clean: Scores `(n, M)` of n samples and M methods.
        resilient: Scores `(n, M)` under each noise; those of an iteration follow each other.
        reactive: Scores `(n, M)` under each disruption, likewise.
        kept: Where the prediction stayed under each noise, `(n,)`.
        changed: Where the prediction changed under each disruption, `(n,)`.
        higher_is_better: Direction of the scores.
        iterations: How often noise and disruption were repeated as a whole, each time with as many perturbations.

    Raises:
        TypeError: A direction that is neither True nor False.
        ValueError: Tables of other shapes, or perturbations that iterations do not divide.
    """
    if not isinstance(higher_is_better, bool | np.bool_):
        raise TypeError(f"meta_consistency: higher_is_better must be True or False, got {higher_is_better!r}")
    sign = 1.0 if higher_is_better else -1.0
    noise, disruption = (
        _Mode.of(sign * _table(clean), [sign * _table(scores) for scores in perturbed], where, iterations, inter)
        for perturbed, where, inter in ((resilient, kept, ranks_kept), (reactive, changed, fallen))
    )
    numbers = np.column_stack((noise.numbers, 1 - disruption.numbers[:, 0], disruption.numbers[:, 1]))
    each = numbers.mean(axis=1)
    each = each[np.isfinite(each)]
    reasons = (
        noise.reason("every prediction changes under noise", "predictions stay under noise"),
        disruption.reason("no prediction changes under disruption", "predictions change under disruption"),
    )
    iac_nr, iec_nr, iac_ar, iec_ar = map(float, _mean(numbers))
    return MetaConsistency(
        iac_nr,
        iec_nr,
        iac_ar,
        iec_ar,
        score=(iac_nr + iec_nr + iac_ar + iec_ar) / 4,
        sd=float(each.std(ddof=1)) if len(each) > 1 else nan,
        used_nr=noise.samples,
        used_ar=disruption.samples,
        reason="; ".join(dict.fromkeys(filter(None, reasons))),
    )


def consistency(evidence: Evidence, iterations: int = 1) -> BothSpaces:
    """The meta-consistency of a metric with perturbed weights and with perturbed inputs.

    Its reason is `not measured` where the trials are not there, and `skipped: cost` where it is known which predictions
    stayed, but no method was cheap enough to explain again.

    Args:
        evidence: What is known of the metric.
        iterations: As in `meta_consistency`.
    """
    weights, inputs = (_of_space(evidence, space, iterations) for space in SPACES)
    reason = weights.reason
    if weights.reason != inputs.reason:
        both = zip(SPACES, (weights.reason, inputs.reason), strict=True)
        reason = "; ".join(f"{space}: {why}" for space, why in both if why)
    return BothSpaces(weights, inputs, (weights.score + inputs.score) / 2, reason)


def _of_space(evidence: Evidence, space: str, iterations: int) -> MetaConsistency:
    noise, disruption = f"{space}_noise", f"{space}_disruption"
    if not (evidence.kept.get(noise) and evidence.kept.get(disruption)):
        return MetaConsistency(reason="not measured")
    explained = {name for trial in (noise, disruption) for table in evidence.perturbed.get(trial, ()) for name in table}
    if not explained:
        return MetaConsistency(reason=SKIPPED)
    clean = evidence.scores.loc[:, [name in explained for name in evidence.scores.columns]]
    return meta_consistency(
        clean,
        [table.reindex_like(clean) for table in evidence.perturbed[noise]],
        [table.reindex_like(clean) for table in evidence.perturbed[disruption]],
        kept=[stayed.reindex(clean.index) == 1 for stayed in evidence.kept[noise]],
        changed=[stayed.reindex(clean.index) == 0 for stayed in evidence.kept[disruption]],
        higher_is_better=evidence.higher_is_better,
        iterations=iterations,
    )


@dataclass(frozen=True)
class _Mode:
    """What K perturbations of one kind give.

    Attributes:
        numbers: The mean p, and IEC, of each iteration `(iterations, 2)`.
        asked: Samples of each perturbation whose prediction is as it has to be, `(K,)`.
        used: Those among them that have scores.
        methods: Number of methods.
    """

    numbers: Values
    asked: NDArray[np.intp]
    used: NDArray[np.intp]
    methods: int

    @classmethod
    def of(
        cls, clean: Values, perturbed: Sequence[Values], where: Sequence[ArrayLike], iterations: int, inter: Share
    ) -> _Mode:
        flags = [np.asarray(flag, dtype=bool) for flag in where]
        _check(clean, perturbed, [flag.shape for flag in flags], iterations)
        numbers, asked, used = [], [], []
        for scores, flag in zip(perturbed, flags, strict=True):
            pairs = np.isfinite(clean) & np.isfinite(scores) & flag[:, None]
            asked.append(flag.sum())
            used.append(pairs.any(axis=1).sum())
            enough = used[-1] >= FEWEST
            numbers.append((unmoved(clean, scores, pairs), inter(clean, scores, pairs)) if enough else (nan, nan))
        parts = np.split(np.reshape(numbers, (-1, 2)), iterations)
        return cls(np.stack([_mean(part) for part in parts]), np.array(asked), np.array(used), clean.shape[1])

    @property
    def samples(self) -> Used:
        return Used(int(self.used.min()), float(self.used.mean())) if len(self.used) else Used(0, 0.0)

    def reason(self, none: str, some: str) -> str:
        """Why a number is undefined, in the words for what happened to `none` or `some` of the predictions."""
        if np.isfinite(_mean(self.numbers)).all():
            return ""
        if not len(self.asked):
            return "not measured"
        most = int(self.asked.max())
        if most < FEWEST:
            return f"{most} {some}, fewer than {FEWEST}" if most else none
        return "fewer than two methods" if self.methods < 2 else f"too few scores where {some}"


def _table(scores: ArrayLike) -> Values:
    return np.asarray(scores, dtype=np.float64)


def _mean(values: Values) -> Values:
    """The mean over the first axis of what is a number; NaN where nothing is."""
    mean: Values = np.ma.filled(np.ma.masked_invalid(values).mean(axis=0), nan)
    return mean


def _check(clean: Values, perturbed: Sequence[Values], flags: Sequence[tuple[int, ...]], iterations: int) -> None:
    if clean.ndim != 2:
        raise ValueError(f"meta_consistency: clean must be samples x methods, got the shape {clean.shape}")
    others = [scores.shape for scores in perturbed if scores.shape != clean.shape]
    if others:
        raise ValueError(f"meta_consistency: perturbed scores must be {clean.shape} like the clean, got {others[0]}")
    if list(flags) != [clean.shape[:1]] * len(perturbed):
        raise ValueError(
            f"meta_consistency: each of {len(perturbed)} perturbations must say of each of {len(clean)} samples what "
            f"became of its prediction, got the shapes {list(flags)}"
        )
    if iterations < 1 or len(perturbed) % iterations:
        raise ValueError(f"meta_consistency: {iterations} iterations do not divide {len(perturbed)} perturbations")
