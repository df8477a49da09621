"""How far orders of methods agree: between metrics, and between the removals of one metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from xaieval.evidence import Evidence
from xaieval.paired_tests import holm, sign_flip
from xaieval.ranking import flipped_pairs, kendall_tau, kendall_w
from xaieval.score_tables import alike, common, often, order_of
from xaieval.separation import LEVEL
from xaieval.statistics import Values

ALL = "all"
"""Beside the categories: all metrics."""


@dataclass(frozen=True)
class Match:
    """Two orders of the same methods, best mean first; means equal to rounding tie.

    Attributes:
        tau: Kendall's tau-b; NaN for fewer than two methods, and where either order has none.
        flipped: Share of the pairs of methods that the two put the other way round.
        decided: The same among the pairs whose difference both orders decide, by sign flips with Holm's correction for
            all pairs of an order at `LEVEL`; NaN without such a pair.
        pairs: Number of those pairs.
    """

    tau: float
    flipped: float
    decided: float
    pairs: int


@dataclass(frozen=True, eq=False)
class Agreement:
    """Between metrics, each pair of them on the methods that both compare.

    Attributes:
        matches: By the names of two metrics, in either order.
        concordance: Kendall's W for each category and for `ALL`, on the methods that all its metrics compare: 1 for
            equal orders, 1 / m on average for random orders of m metrics; NaN for fewer than two.
        own: For each metric, the mean tau with the other metrics of its category; NaN without one.
    """

    matches: dict[tuple[str, str], Match]
    concordance: dict[str, float]
    own: dict[str, float]

    @property
    def tau(self) -> pd.DataFrame:
        """Kendall's tau-b, metrics x metrics; 1 with itself."""
        return self._matrix("tau", 1.0)

    @property
    def flipped(self) -> pd.DataFrame:
        """Share of flipped pairs, metrics x metrics."""
        return self._matrix("flipped", 0.0)

    @property
    def decided(self) -> pd.DataFrame:
        """Share of flipped pairs among those that both metrics decide, metrics x metrics."""
        return self._matrix("decided", 0.0)

    def _matrix(self, field: str, diagonal: float) -> pd.DataFrame:
        names = list(self.own)
        values = [
            [diagonal if one == other else getattr(self.matches[one, other], field) for other in names] for one in names
        ]
        return pd.DataFrame(values, index=names, columns=names)


class _Order(NamedTuple):
    """Places of methods, 0 the worst; for each sorted pair of names 1 or -1 if the first is better or worse, else 0."""

    places: pd.Series
    signs: dict[tuple[str, str], float]


def agreement(evidences: Sequence[Evidence]) -> Agreement:
    """The agreement of the metrics of one dataset and model.

    Raises:
        ValueError: A metric occurs twice, as with several datasets or models.
    """
    names = [evidence.metric for evidence in evidences]
    if len(set(names)) < len(names):
        raise ValueError(f"agreement: needs the metrics of one dataset and model, got {', '.join(names)}")
    orders = {evidence.metric: _order(evidence, evidence.scores) for evidence in evidences}
    found = {(one, other): _match(orders[one], orders[other]) for one, other in combinations(names, 2)}
    matches = found | {(other, one): match for (one, other), match in found.items()}
    groups: dict[str, list[str]] = {ALL: names}
    for evidence in evidences:
        groups.setdefault(evidence.category, []).append(evidence.metric)
    concordance = {group: _concordance([orders[name] for name in members]) for group, members in groups.items()}
    own = {
        evidence.metric: _mean(
            [matches[evidence.metric, other].tau for other in groups[evidence.category] if other != evidence.metric]
        )
        for evidence in evidences
    }
    return Agreement(matches, concordance, own)


def removals(evidence: Evidence) -> dict[str, Match]:
    """The order of the run against the order under each other removal, on the samples that all methods have in both."""
    found = {}
    for name, table in evidence.removals.items():
        changed = often(table[[method for method in evidence.scores.columns if method in table]])
        run = evidence.scores[changed.columns]
        samples = common([run, changed])
        found[name] = _match(_order(evidence, run.loc[samples]), _order(evidence, changed.loc[samples]))
    return found


def _order(evidence: Evidence, table: pd.DataFrame) -> _Order:
    table = evidence.oriented(table.loc[common([table])])
    pairs = list(combinations(sorted(map(str, table.columns)), 2))
    differences = np.array([_difference(table[[*pair]]) for pair in pairs]).reshape(len(pairs), len(table)).T
    p = holm(sign_flip(differences, evidence.sources_of(table.index)))
    signs = np.where(p < LEVEL, np.sign(differences.sum(axis=0)), 0)
    return _Order(order_of(table), dict(zip(pairs, signs.tolist(), strict=True)))


def _difference(pair: pd.DataFrame) -> Values:
    """First minus second of two methods; 0 where they are alike, so that rounding decides nothing."""
    scores = pair.to_numpy(dtype=np.float64)
    return np.zeros(len(scores)) if alike(pair) else scores[:, 0] - scores[:, 1]


def _match(first: _Order, second: _Order) -> Match:
    one, other = first.places.align(second.places, join="inner")
    both = [first.signs[pair] * second.signs[pair] for pair in first.signs if pair in second.signs]
    decided = [product < 0 for product in both if product]
    return Match(kendall_tau(one, other), flipped_pairs(one, other), _mean(decided), len(decided))


def _concordance(orders: Sequence[_Order]) -> float:
    """Kendall's W of the metrics that compare two methods or more."""
    places = [order.places.rename(number) for number, order in enumerate(orders) if len(order.places) > 1]
    return kendall_w(pd.concat(places, axis=1).to_numpy().T) if places else np.nan


def _mean(values: Sequence[float]) -> float:
    """Of those that are defined."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else np.nan
