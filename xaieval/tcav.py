"""TCAV: whether a class of a model grows along the direction of a concept, tested against random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ttest_ind_from_stats
from torch import Tensor

from xaieval.concept_vectors import Fitting, Values
from xaieval.paired_tests import holm

Numbers = NDArray[np.intp]

LEAST = 4
"""Samples with and without a concept below which there is nothing to draw from."""


def sensitivities(gradient: Tensor) -> Tensor:
    """How the logit explained changes along each channel of a layer at all places at once, `(N, d)`.

    Its product with a concept vector, which was fitted on means over places, is the directional derivative `S` of Kim
    2018.

    Args:
        gradient: Of the logit at the layer's output, `(N, d, h, w)`, or `(N, d)` where that has no places.
    """
    return gradient if gradient.dim() == 2 else gradient.flatten(2).sum(2)


def share(sensitivity: Tensor, vectors: Tensor) -> Tensor:
    """TCAV: the share of samples whose logit grows along each vector, `(R,)` in [0, 1].

    A derivative of 0 is not positive.

    Args:
        sensitivity: `(n, d)`.
        vectors: `(R, d)`.
    """
    return (sensitivity @ vectors.T > 0).float().mean(0)


@dataclass(frozen=True, eq=False)
class Tested:
    """What TCAV says of L concepts.

    Attributes:
        scores: TCAV with each of R random counterparts, `(L, R)`; NaN where a concept could not be fitted.
        random: TCAV of R random directions, `(L, R)`, for the class that each concept is tested for.
        magnitude: Mean derivative along the vectors of unit length, `(L,)`.
        p: Two-sided, of equal means of scores and random, `(L,)`.
        adjusted: p after Holm's correction for the L tests.
    """

    scores: Values
    random: Values
    magnitude: Values
    p: Values
    adjusted: Values

    @property
    def share(self) -> Values:
        """Mean TCAV of each concept, `(L,)`."""
        mean: Values = self.scores.mean(1)
        return mean


@dataclass(frozen=True)
class TCAV:
    """Testing with concept activation vectors (Kim 2018, arXiv:1711.11279, sections 3.3 to 3.5).

    Vectors part samples with a concept from as many random ones, anew for each of several random sets. Of each the
    score is the share of samples of a class whose logit grows along it, and the scores are compared with those of
    vectors that part two random sets by a two-sided t-test of equal variances.

    Differs from the paper: activations are means over places, where the paper flattens them; vectors are those of a
    linear SVM in place of SGD; 100 sets as in the authors' code, where the paper has 500; p-values are corrected by
    Holm's steps, which find no less than Bonferroni's. Random samples are drawn from the same data, and some of them
    have the concept. The concept's samples are drawn anew in each run, too, at most half of them: with one set in all
    runs, as in the paper, whatever is peculiar to that set would be significant.

    Attributes:
        runs: Random sets R.
        samples: Samples of each set, and at most of the concept.
        fitting: How vectors are fitted.
        seed: Of the draws.

    Raises:
        ValueError: Fewer than two runs or samples.
    """

    runs: int = 100
    samples: int = 50
    fitting: Fitting = field(default_factory=Fitting)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.runs < 2 or self.samples < 2:
            raise ValueError(f"TCAV: expected at least 2 runs and samples, got {self.runs} and {self.samples}")

    def vectors(self, features: Values, concepts: Values) -> tuple[Values, Values]:
        """Vectors of unit length of L concepts `(L, R, d)`, NaN where one holds too seldom, and random ones `(R, d)`.

        Args:
            features: `(n, d)`.
            concepts: Which hold, bool `(n, L)`.

        Raises:
            ValueError: Too few samples.
        """
        if len(features) < LEAST:
            raise ValueError(f"TCAV: expected at least {LEAST} samples to draw random sets from, got {len(features)}")
        rng = np.random.default_rng(self.seed)
        size = min(self.samples, len(features) // 2)
        sets = [rng.permutation(len(features))[: 2 * size].reshape(2, size) for _ in range(self.runs)]
        random = np.stack([self._vector(features, first, second) for first, second in sets])
        found = np.full((concepts.shape[1], self.runs, features.shape[1]), np.nan)
        for j, holds in enumerate(concepts.T):
            own = np.flatnonzero(holds)
            if LEAST <= len(own) <= len(features) - LEAST:
                drawn = [rng.permutation(own)[: min(self.samples, len(own) // 2)] for _ in sets]
                found[j] = [self._vector(features, *pair) for pair in zip(drawn, self._rest(sets, drawn), strict=True)]
        return found, random

    def test(self, features: Tensor, concepts: Tensor, target: Tensor, sensitivity: Tensor, classes: Tensor) -> Tested:
        """Test each concept for a class.

        Args:
            features: `(n, d)`.
            concepts: Which hold, `(n, L)`, bool.
            target: The class of each sample, for whose logit its sensitivity is, `(n,)`.
            sensitivity: `(n, d)`.
            classes: The class for which each concept is tested, `(L,)`; its scores are over the samples of that class.

        Raises:
            ValueError: Too few samples.
        """
        found, random = self.vectors(features.double().numpy(), concepts.numpy())
        scores, others, magnitude = [], [], []
        for vectors, k in zip(torch.from_numpy(found), classes.tolist(), strict=True):
            rows = sensitivity[target == k].double()
            known = bool(vectors.isfinite().all()) and len(rows) > 0
            unknown = torch.full((self.runs,), torch.nan, dtype=torch.float64)
            scores.append(share(rows, vectors).double() if known else unknown)
            others.append(share(rows, torch.from_numpy(random)).double() if known else unknown)
            magnitude.append((rows @ vectors.T).mean() if known else unknown[0])
        real, chance = (torch.stack(part).numpy() for part in (scores, others))
        p = np.array([t_test(*pair) for pair in zip(real, chance, strict=True)])
        return Tested(real, chance, torch.stack(magnitude).numpy(), p, holm(p))

    @staticmethod
    def _rest(sets: Sequence[Numbers], drawn: Sequence[Numbers]) -> list[Numbers]:
        """The first random set of each run, without what was drawn of the concept."""
        return [np.setdiff1d(first, own) for (first, _), own in zip(sets, drawn, strict=True)]

    def _vector(self, features: Values, first: Numbers, second: Numbers) -> Values:
        """The direction from some samples to others, of unit length; 0 where there is none."""
        holds = np.arange(len(first) + len(second)) < len(first)
        vector, _ = self.fitting.plane(features[np.concatenate((first, second))], holds)
        length = np.linalg.norm(vector)
        return vector / length if length > 0 else vector


def t_test(first: Values, second: Values) -> float:
    """Two-sided p of equal means, of equal variances; 1 or 0 where no value differs from its mean, NaN where unknown.

    `scipy.stats.ttest_ind` warns of constant scores, which a model that is linear behind the layer gives.
    """
    if not np.isfinite([*first, *second]).all():
        return float("nan")
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return float(first[0] == second[0])
    sides = [(side.mean(), side.std(ddof=1), len(side)) for side in (first, second)]
    return float(ttest_ind_from_stats(*sides[0], *sides[1]).pvalue)
