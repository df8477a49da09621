"""A column read against the best map known for its metric: what share of the way from random a method goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaieval.evidence import Evidence
from xaieval.paired_tests import decidable, holm, sign_flip
from xaieval.score_tables import alike, common, often
from xaieval.separation import LEVEL
from xaieval.statistics import Interval, Values, resampled_weights

RANDOM = "random"
"""The sentinel that is 0 on the scale."""

RESAMPLES = 10_000
"""Of sources, for an interval."""


@dataclass(frozen=True)
class Reading:
    """A column against the best map known for it.

    Attributes:
        oracle: The oracle with the best mean.
        oracle_beats_random: Whether it is better than `random`, by sign flips at `LEVEL` with Holm's correction for the
            number of oracles.
        decidable: Whether the samples are enough to find that it is better.
        shares: By method, (score - random) / (oracle - random), a ratio of means with its interval over sources: 0 is
            random, 1 the oracle, which is no upper bound. NaN where the oracle does not beat random: then there is
            nothing to have a share of.
    """

    oracle: str
    oracle_beats_random: bool
    decidable: bool
    shares: dict[str, Interval]


def reading(evidence: Evidence) -> Reading | None:
    """The column against its oracle, on the samples that methods, oracles and `random` have in common; None without.

    An interval holds 95 % of resamples of sources. One in which the oracle does not beat random bounds nothing: it
    counts as minus infinity for the lower end and as infinity for the upper.
    """
    oracles, methods = often(evidence.oracles), evidence.scores
    if oracles.empty or RANDOM not in evidence.sentinels:
        return None
    random = evidence.sentinels[[RANDOM]]
    samples = common([oracles, methods, random])
    if not samples:
        return None
    bound, gains = (evidence.oriented(table.sub(random[RANDOM], axis=0)).loc[samples] for table in (oracles, methods))
    sources, best = evidence.sources_of(samples), int(bound.mean().argmax())
    p, most = holm(sign_flip(bound.to_numpy(), sources))[best], bound.iloc[:, best]
    rounding = alike(pd.concat([oracles.iloc[:, [best]], random], axis=1).loc[samples])
    beats = bool(p < LEVEL and most.mean() > 0 and not rounding)
    weights = resampled_weights(sources, RESAMPLES, np.random.default_rng(0)) if beats else None
    shares = {str(name): _share(gains[name].to_numpy(), most.to_numpy(), weights) for name in gains}
    return Reading(str(most.name), beats, decidable(sources, oracles.shape[1], LEVEL), shares)


def _share(gains: Values, bound: Values, weights: Values | None) -> Interval:
    """The ratio of two means over samples, and of their weighted means in each resample."""
    if weights is None:
        return Interval(np.nan, np.nan, np.nan, len(gains))
    above, below = weights @ gains, weights @ bound
    ratios = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    low, high = (
        float(np.quantile(np.where(below > 0, ratios, unknown), part, method="inverted_cdf"))
        for unknown, part in ((-np.inf, 0.025), (np.inf, 0.975))
    )
    return Interval(float(gains.mean() / bound.mean()), low, high, len(gains))
