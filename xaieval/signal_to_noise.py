"""How far a metric sets methods apart, against what moves their means without any reason.

What all methods share changes no ranking, so each sample's (each repeat's) mean over the methods is taken away first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaieval.evidence import Evidence
from xaieval.ranking import kendall_tau
from xaieval.score_tables import ROUNDING, alike, common, often, order_of, scale_of
from xaieval.statistics import Values, source_blocks


@dataclass(frozen=True)
class SignalToNoise:
    """Spread between methods over one kind of noise, all three NaN where it was not measured.

    Attributes:
        signal: Standard deviation between the mean scores of the methods in the run, in the metric's unit.
        noise: What one mean moves by, in the same unit.
        ratio: Their quotient: 0 for methods of equal means, otherwise infinite for noise 0. About 1 if there is nothing
            but noise.
        samples: Number of samples behind both.
    """

    signal: float
    noise: float
    ratio: float
    samples: int


@dataclass(frozen=True)
class Retest:
    """The metric twice on the same maps, with other draws. Each is a mean over the repeats, NaN without any.

    Attributes:
        correlation: Pearson's, over the cells (sample, method).
        noise: Share of the spread between methods on one sample that is noise of the draws, 1 - correlation.
        tau: Kendall's tau-b of the two orders of methods by mean score; NaN where the metric orders none.
    """

    correlation: float
    noise: float
    tau: float


def signal_to_noise(evidence: Evidence) -> dict[str, SignalToNoise]:
    """Signal against noise of three kinds (Heineman et al. 2025, arXiv:2508.13144, unverified; metrics as there).

    With m[r, k] the mean of method k of K in repeat r of R (the run is one), without the mean over methods:

        signal^2 = sum_k m[run, k]^2 / (K - 1)
        noise^2  = sum_(r, k) (m[r, k] - m[., k])^2 / ((R - 1) (K - 1))

    the standard deviation, ddof 1, of a mean over repeats, root mean square over methods, where taking the mean over
    methods away has cost one of K degrees of freedom. `draws`: repeats of the metric with other seeds. `seeds`: repeats
    of the methods with other seeds; a method without a seed repeats itself, and the mean square is over those with one.
    `subsets`: which sources the dataset happens to hold, the bootstrap's standard error of m[run, k] over sources in
    closed form. With d[i, k] the score on sample i of n without the sample's mean over methods, and t[p, k] the sum of
    d[i, k] - m[run, k] over the samples of source p:

        noise^2 = sum_(p, k) (t[p, k] - t[., k])^2 / (n^2 (K - 1))

    Signal and noise are on the same samples, which all methods have in all repeats, and sentinels count for neither.

    Differs from the paper: its signal is the largest difference between two systems, which grows with their number even
    if all are noise (on average 1.13 times the noise for 2, 3.1 for 10), and it divides both by the mean score, which
    is 0 for some metrics and cancels in the ratio. This ratio is the root of an F statistic: about 1 for noise,
    whatever K is.

    Returns:
        By kind of noise. What is below `ROUNDING` of the scores' scale counts as 0.
    """
    return {
        "seeds": _of_repeats(evidence, evidence.seeds),
        "draws": _of_repeats(evidence, evidence.draws),
        "subsets": _subsets(evidence),
    }


def retest(evidence: Evidence) -> Retest:
    """How well another draw of the metric repeats its scores, on the samples that all methods have in both.

    Scores are without the mean over methods of their sample: easy and difficult samples alone repeat nothing. Of two
    tables without any difference between methods the correlation is 1, as they are identical; with one such table 0.
    """
    both = [pair for draw in evidence.draws for pair in _both(evidence.scores, draw)]
    correlation = _mean([_correlation(first, second) for first, second in both])
    tau = _mean([kendall_tau(order_of(first), order_of(second)) for first, second in both])
    return Retest(correlation, 1 - correlation, tau)


def _of_repeats(evidence: Evidence, repeats: Sequence[pd.DataFrame]) -> SignalToNoise:
    """Noise of means that were made anew."""
    names, methods = _repeated_methods(repeats, evidence.scores), evidence.scores.shape[1]
    samples = common([evidence.scores, *(repeat[names] for repeat in repeats)])
    if not names or methods < 2 or not samples:
        return _unmeasured()
    run = evidence.scores.loc[samples]
    tables = [run, *(run.assign(**{name: repeat.loc[samples, name] for name in names}) for repeat in repeats)]
    means = np.array([_centered(table).mean(axis=0) for table in tables])
    squares = ((means - means.mean(axis=0)) ** 2).sum()
    noise = np.sqrt(squares / (len(repeats) * (1 - 1 / methods) * len(names)))
    return _against(run, float(noise))


def _subsets(evidence: Evidence) -> SignalToNoise:
    """Noise of means over sources drawn anew; none is known for one source."""
    samples = common([evidence.scores])
    methods = evidence.scores.shape[1]
    blocks = source_blocks(evidence.sources_of(samples))
    if methods < 2 or len(blocks) < 2:
        return _unmeasured()
    run = evidence.scores.loc[samples]
    centered = _centered(run)
    deviations = centered - centered.mean(axis=0)
    totals = np.array([deviations[list(block)].sum(axis=0) for block in blocks])
    squares = ((totals - totals.mean(axis=0)) ** 2).sum()
    return _against(run, float(np.sqrt(squares / (methods - 1)) / len(samples)))


def _against(run: pd.DataFrame, noise: float) -> SignalToNoise:
    signal = float(_centered(run).mean(axis=0).std(ddof=1))
    least = ROUNDING * float(np.median(scale_of(run.to_numpy())))
    signal, noise = (0.0 if value <= least else value for value in (signal, noise))
    ratio = np.inf if signal and not noise else signal / (noise or 1.0)
    return SignalToNoise(signal, noise, ratio, len(run))


def _unmeasured() -> SignalToNoise:
    return SignalToNoise(np.nan, np.nan, np.nan, 0)


def _repeated_methods(repeats: Sequence[pd.DataFrame], run: pd.DataFrame) -> list[str]:
    """The methods of the run that every repeat often scores."""
    scored = [set(often(repeat).columns) for repeat in repeats]
    return [str(name) for name in run.columns if scored and all(name in names for names in scored)]


def _both(run: pd.DataFrame, draw: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The same cells of the run and of a draw of it, if there are two methods to compare."""
    names = _repeated_methods([draw], run)
    samples = common([run[names], draw[names]])
    if len(names) > 1 and samples:
        yield run.loc[samples, names], draw.loc[samples, names]


def _centered(table: pd.DataFrame) -> Values:
    """Scores without the mean over methods of their sample."""
    values = table.to_numpy(dtype=np.float64)
    centered: Values = values - values.mean(axis=1, keepdims=True)
    return centered


def _correlation(first: pd.DataFrame, second: pd.DataFrame) -> float:
    one, other = _differences(first), _differences(second)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def _differences(table: pd.DataFrame) -> Values:
    """Between methods; all 0 where they are equal to rounding, so that rounding correlates with nothing."""
    return np.zeros(table.shape) if alike(table) else _centered(table)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan
