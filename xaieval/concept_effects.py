"""How much a concept counts for a class of a bottleneck: what changes when its score is set as if it were otherwise."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaieval.statistics import Interval, bootstrap_interval

SCORES = ("logit", "probability")


@dataclass(frozen=True)
class Effect:
    """The importance of a concept for a class.

    Attributes:
        target: The class; -1 where no class changes, or nothing is known.
        interval: Mean change of its score, with an interval over samples.
    """

    target: int
    interval: Interval


def changes(margins: Tensor, holds: Tensor, logits: Tensor, head: Tensor, concept: int, score: str = "logit") -> Tensor:
    """What the presence of a concept adds to the score of each class, `(n, K)`; NaN where it always or never holds.

    Where the concept holds, its margin is set to the mean over samples where it does not: the change is the score
    before minus after. Where it does not hold the margin is set to the mean where it does, and the change is after
    minus before. Everything else, also a residual head, stays as it is. For logits, which are linear in the margins
    with the weights theta, the mean over samples is theta times the difference of the two means.

    Args:
        margins: `(n, L)`.
        holds: Which concepts hold, `(n, L)`, bool.
        logits: Of the model, `(n, K)`.
        head: Weights of the concepts for the classes, `(K, L)`.
        concept: Its number.
        score: logit or probability.

    Raises:
        ValueError: Another score.
    """
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    there, own = holds[:, concept], margins[:, concept]
    with_, without = (own[side].mean() for side in (there, ~there))  # NaN where there are none
    step = torch.where(there, without, with_) - own
    after = logits + step[:, None] * head[:, concept]
    if score == "probability":
        logits, after = logits.softmax(1), after.softmax(1)
    return torch.where(there[:, None], logits - after, after - logits)


def strongest(change: Tensor, groups: Sequence[Hashable] | None = None, seed: int = 0) -> Effect:
    """The class that a concept changes most, with a bootstrap interval of the mean over samples.

    The class is the one with the largest mean change on the same samples, of either sign, so that the change is rather
    over- than underestimated where several are alike. The means that margins are set to are taken as known.

    Args:
        change: `(n, K)`, as from `changes`.
        groups: The source of each sample, see `xaieval.statistics.bootstrap_interval`.
        seed: Of the resamples.
    """
    means = change.mean(0).abs().nan_to_num()
    largest = int(means.argmax())
    interval = bootstrap_interval(change[:, largest].double().numpy(), groups, seed=seed)
    return Effect(largest if means[largest] > 0 else -1, interval)
