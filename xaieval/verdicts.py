"""Whether the order into which a metric puts methods deserves belief, and why, in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan

import numpy as np
import pandas as pd

from xaieval.agreement import Match, removals
from xaieval.comparison import ENOUGH
from xaieval.evidence import Evidence, evidences
from xaieval.metaquantus import BothSpaces, consistency
from xaieval.ranking import Stability, rank_stability
from xaieval.reading import RANDOM, Reading, reading
from xaieval.score_tables import common
from xaieval.separation import CONTROLS, SHUFFLED, Separation, blind, separations, values_only
from xaieval.signal_to_noise import Retest, SignalToNoise, retest, signal_to_noise
from xaieval.statistics import connected, independent
from xaieval.table import number

BELIEVE, DOUBT, UNKNOWN = "believe", "doubt", "unknown"

FEWEST_METHODS = 3
"""Methods below which there is no order to speak of."""

FEWEST_BETTER = 2
"""Methods that have to be better than a map that knows nothing: of a single one there is no order."""

LEAST_RATIO = 2.0
"""Spread between methods over noise below which a quarter of their variance or more is chance."""

LEAST_RETEST = 0.5
"""Correlation of two draws of a metric below which more than half of what a single score shows is the draw."""

MOST_FLIPS = 0.1
"""Part of the pairs of methods that two removals decide, above which they may not decide oppositely."""

SHUFFLED_MAPS = "its methods' own shuffled maps"

DO_NOTHING = 0.5
"""The meta-consistency of a metric that does nothing."""


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a metric's order of methods on one dataset and model.

    Attributes:
        metric: Name in the leaderboard.
        belief: `believe`, `doubt` or `unknown`.
        cause: What speaks against it, in a word or two; empty where it is believed.
        sentence: Why.
    """

    metric: str
    belief: str
    cause: str
    sentence: str


class Findings:
    """All that is measured of one metric; each measure is made when it is first asked for."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @cached_property
    def methods(self) -> int:
        """Number of methods compared."""
        return self.evidence.scores.shape[1]

    @cached_property
    def sources(self) -> int:
        """Number of independent sources on which all methods are compared."""
        return independent(self.evidence.sources_of(common([self.evidence.scores])))

    @cached_property
    def groups(self) -> int:
        """Number of groups of these samples that share no source: as many as sources, but fewer where mosaics do."""
        samples = common([self.evidence.scores])
        return len(connected(self.evidence.sources_of(samples))) if samples else 0

    @cached_property
    def separations(self) -> dict[str, Separation]:
        """Against what knows nothing, by control."""
        return separations(self.evidence)

    @cached_property
    def ratios(self) -> dict[str, SignalToNoise]:
        """Signal against noise, by kind."""
        return signal_to_noise(self.evidence)

    @cached_property
    def retest(self) -> Retest:
        """The metric twice on the same maps."""
        return retest(self.evidence)

    @cached_property
    def stability(self) -> Stability | None:
        """The order on resampled sources; None for fewer than two methods."""
        scores = self.evidence.scores
        if self.methods < 2:
            return None
        return rank_stability(
            scores.to_numpy(), self.evidence.higher_is_better, self.evidence.sources_of(scores.index), resamples=2000
        )

    @cached_property
    def removals(self) -> dict[str, Match]:
        """Agreement with the order under other removals."""
        return removals(self.evidence)

    @cached_property
    def oracle(self) -> Reading | None:
        """Where scores lie between random and the oracle."""
        return reading(self.evidence)

    @cached_property
    def consistency(self) -> BothSpaces:
        """MetaQuantus."""
        return consistency(self.evidence)

    def shuffled_enough(self) -> bool:
        """Whether the shuffled maps of half of the methods, and of three, are scored."""
        found = self.separations.get(SHUFFLED)
        return found is not None and len(found.p) >= max(FEWEST_METHODS, self.methods / 2)

    @property
    def no_room(self) -> bool:
        """Whether neither the oracle nor any method is reliably better than random, though this could be found."""
        random = self.separations.get(RANDOM)
        if self.oracle is None or random is None or not (self.oracle.decidable and random.decidable):
            return False
        return not (self.oracle.oracle_beats_random or random.better)


def findings(trials: pd.DataFrame) -> list[Findings]:
    """What can be measured of each metric, from trials or from the rows of a run alone."""
    return [Findings(evidence) for evidence in evidences(trials)]


def verdict(found: Findings) -> Verdict:
    """The first of `RULES` that has something to say, else that the order is to be believed."""
    for belief, cause, rule in RULES:
        if why := rule(found):
            return Verdict(found.evidence.metric, belief, cause, why)
    return Verdict(found.evidence.metric, BELIEVE, "", _believed(found))


# -- rules: a sentence where one holds, else nothing --


def _ignores(found: Findings) -> str:
    maps = found.methods + found.evidence.sentinels.shape[1]
    enough = found.groups >= ENOUGH and maps >= FEWEST_METHODS  # on a few, all may have hit the target
    return "every map gets the same score" if enough and blind(found.evidence) else ""


def _values_alone(found: Findings) -> str:
    if not values_only(found.evidence) or not (found.groups >= ENOUGH or _continuous(found.evidence.scores)):
        return ""
    return "a method's own shuffled map gets the same score, so it says nothing about where a map points"


def _continuous(scores: pd.DataFrame) -> bool:
    """Whether scores are of so many values that equal ones are no accident: half as many as there are cells."""
    values = scores.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    return len(values) > 0 and 2 * len(np.unique(values)) >= len(values)


def _inverted(found: Findings) -> str:
    """Shuffled maps are better than methods, and so is whatever else knows nothing."""
    others = [own for name, own in found.separations.items() if name != SHUFFLED]
    inverted = bool(others) and all(len(own.worse) > len(own.better) for own in others)
    return _prefers_shuffled(found) if inverted else ""


def _prefers_shuffled(found: Findings) -> str:
    separation = found.separations.get(SHUFFLED)
    if separation is None or not found.shuffled_enough() or len(separation.worse) <= len(separation.better):
        return ""
    return (
        f"{len(separation.worse)} of {len(separation.p)} methods score worse than their own shuffled map, "
        f"{len(separation.better)} better"
    )


def _beaten(found: Findings) -> str:
    """By a map that knows nothing and is better than every method."""
    tested = {name: own for name, own in found.separations.items() if name != SHUFFLED and len(own.p) == found.methods}
    best = [name for name, own in tested.items() if own.beaten]
    if not best or found.methods < FEWEST_METHODS:
        return ""
    return f"{_listed(best)} {'scores' if len(best) == 1 else 'score'} better than all {found.methods} methods"


def _few_sources(found: Findings) -> str:
    if found.groups >= ENOUGH:
        return ""
    if found.groups < found.sources:
        return f"samples share sources and fall into {_count(found.groups, 'separate group')}, {ENOUGH} are needed"
    if not found.sources:
        return f"no source has a score for all methods, {ENOUGH} are needed"
    return f"{_count(found.sources, 'source')} {'is' if found.sources == 1 else 'are'} too few, {ENOUGH} are needed"


def _few_methods(found: Findings) -> str:
    if found.methods >= FEWEST_METHODS:
        return ""
    return f"{_count(found.methods, 'method')} with a score: too few for an order"


def _noise(found: Findings) -> str:
    ratio, draws = found.ratios["subsets"].ratio, found.ratios["draws"]
    if ratio < LEAST_RATIO:
        return f"methods differ only {_times(ratio)} as much as the choice of sources makes them"
    if draws.ratio < LEAST_RATIO:
        on = _count(draws.samples, "sample")
        return f"methods differ only {_times(draws.ratio)} as much as the metric's draws make them, on {on}"
    return ""


def _fooled(found: Findings) -> str:
    """By a map that knows nothing, as no two methods are better: of one alone there is no order."""
    tested = {name: own for name, own in found.separations.items() if name != SHUFFLED or found.shuffled_enough()}
    better = {
        "its own shuffled map" if name == SHUFFLED else name: own.better
        for name, own in tested.items()
        if own.decidable and len(own.better) < FEWEST_BETTER
    }
    groups: dict[str, list[str]] = {}
    for control, methods in sorted(better.items(), key=lambda item: len(item[1])):
        groups.setdefault(f"only {methods[0]}" if methods else "no method", []).append(control)
    return "; ".join(f"{who} scores reliably better than {_listed(names, 'or')}" for who, names in groups.items())


def _no_room(found: Findings) -> str:
    if found.oracle is None or not found.no_room:
        return ""
    return f"neither {found.oracle.oracle}, made to score well, nor any method is reliably better than random"


def _depends_on_removal(found: Findings) -> str:
    others = {name: match for name, match in found.removals.items() if match.decided > MOST_FLIPS}
    if not others:
        return ""
    name, match = max(others.items(), key=lambda item: item[1].decided)
    if match.pairs == 1:
        return f"with the removal {name} the only pair of methods that both decide turns round"
    return (
        f"with the removal {name} {match.decided:.0%} of the {match.pairs} pairs of methods that both decide turn round"
    )


def _untested(found: Findings) -> str:
    lacking = [name for name in CONTROLS[2:] if name not in found.separations]
    few = [name for name, own in found.separations.items() if not (own.decidable or own.better)]
    if not found.shuffled_enough():
        lacking.insert(0, SHUFFLED_MAPS)
    if lacking:
        return f"not tested against {_listed(lacking)}: `xaieval reliability` does it"
    names = [SHUFFLED_MAPS if name == SHUFFLED else name for name in few]
    return f"not tested against {_listed(names)}: scored on too few sources" if names else ""


Rule = Callable[[Findings], str]

RULES: Sequence[tuple[str, str, Rule]] = (
    (DOUBT, "ignores the explanation", _ignores),
    (DOUBT, "sees values alone", _values_alone),
    (DOUBT, "inverted", _inverted),
    (DOUBT, "prefers shuffled maps", _prefers_shuffled),
    (DOUBT, "fooled", _beaten),
    (UNKNOWN, "too few sources", _few_sources),
    (UNKNOWN, "too few methods", _few_methods),
    (DOUBT, "noise", _noise),
    (DOUBT, "no room", _no_room),
    (DOUBT, "fooled", _fooled),
    (DOUBT, "depends on the removal", _depends_on_removal),
    (UNKNOWN, "not tested", _untested),
)
"""What to think, in a word why, and the rule; the first that holds decides. What is shown by exact equality or by a
significant difference needs no number of sources, if scores are no mere hits and misses; what is concluded from the
lack of one comes after it."""


# -- sentences --


def _believed(found: Findings) -> str:
    beaten = [_beating(len(separation.better), name) for name, separation in found.separations.items()]
    return "; ".join(
        [
            f"of {found.methods} methods {_listed(beaten)}",
            _spread(found.ratios["subsets"].ratio),
            *_caveats(found),
        ]
    )


def _caveats(found: Findings) -> Iterator[str]:
    """What does not decide, and should be known."""
    if found.ratios["seeds"].ratio < LEAST_RATIO:
        yield f"but only {_times(found.ratios['seeds'].ratio)} as much as the methods' own seeds do"
    again = found.retest.correlation
    if again < LEAST_RETEST:
        yield f"but another draw of the metric repeats single scores with a correlation of {number(again, 2)}"
    score = found.consistency.score
    if not isnan(score) and score <= DO_NOTHING:
        mc = number(score, 2)
        yield f"but it reacts to perturbed models and inputs no better than one that does nothing (MC {mc})"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _beating(count: int, control: str) -> str:
    return f"{count} beat {'their own shuffled map' if control == SHUFFLED else control}"


def _spread(ratio: float) -> str:
    if np.isinf(ratio):
        return "the choice of sources changes nothing"
    return f"they differ {_times(ratio)} as much as the choice of sources makes them"


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
