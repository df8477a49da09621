"""Token IoU: how many passages of a rationale the top tokens find as passages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.explicand import Explicand
from xaieval.localization import Detection, check_fraction, size_of


@dataclass(frozen=True)
class TokenIou(Detection):
    """F1 of the passages that the top tokens form, minus chance: IoU F1 (DeYoung 2020, arXiv 1911.03429, section 4.1).

    A passage is a run of consecutive tokens: of the k of highest score, `(N, C, T)` summed over C, or of the
    rationale. Two match where they share at least `threshold` of the tokens that either has. Passages are apart, so
    from a half on none matches two, and

        r = 2 matches / (passages of the top + passages of the rationale).

    Chance c is its mean over `draws` random orders. `.raw` gives r, `.chance` c, and the value is `(r - c) / (1 - c)`,
    or r with `above_chance=False`. Ties are broken by the same draws and count with their mean, so that a constant map
    stands at chance exactly. As in TokenF1, k is the size of each sample's rationale, or a `fraction` of the text.

    On a text explained by words a word is found once: its score is the sum of its tokens', of importance their mean,
    and it belongs to the rationale if any of them does. An absent token ends a passage. On images, where passages mean
    little, they are runs of pixels in reading order.

    Higher is better. Bounds: at most 1. Cost: no evaluation. Needs: mask.

    Differs from the paper: chance is taken off; the mean is over each sample's F1, where the paper's code takes the F1
    of mean precision and mean recall; sentences of a rationale that touch are one passage.

    Attributes:
        threshold: Smallest intersection over union of a match, in [.5, 1].
        fraction: Part of the present tokens that are chosen, rounded up, in (0, 1); None: as many as the rationale has.
        draws: Random orders, for chance and for ties.
        above_chance: Take chance off.
        seed: Seed of the orders.

    Raises:
        ValueError: A threshold outside [.5, 1], a fraction outside (0, 1), or no draw.
    """

    reference: ClassVar[str] = "arXiv:1911.03429"
    threshold: float = 0.5
    fraction: float | None = None
    draws: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_fraction("TokenIou", self.fraction)
        if not 0.5 <= self.threshold <= 1:
            raise ValueError(f"TokenIou: threshold must lie in [.5, 1], where matches are unique, got {self.threshold}")
        if self.draws < 1:
            raise ValueError(f"TokenIou: draws must be at least 1, got {self.draws}")

    def guessed(self, explicand: Explicand, scores: Tensor | None, region: Tensor) -> Tensor:
        """The value of scores that are all equal, made once for all methods."""
        return explicand.kept(f"guessed:{self!r}", lambda: self.value(explicand, self._equal(explicand), region))

    def value(self, explicand: Explicand, scores: Tensor, region: Tensor) -> Tensor:
        """The mean over the draws, which break ties."""
        size, total = size_of(scores, region, self.fraction), torch.zeros(len(scores), device=scores.device)
        for draw in range(self.draws):
            shuffle = explicand.uniform(f"token iou {draw}", self.seed, scores.shape[1:]).argsort(1)
            order = scores.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
            chosen = shuffle.gather(1, order).argsort(1) < size
            total = total + self._f1(chosen, region)
        return total / self.draws

    def _equal(self, explicand: Explicand) -> Tensor:
        return self._scores(explicand, torch.zeros_like(explicand.inputs[:, :1]))

    def _f1(self, chosen: Tensor, region: Tensor) -> Tensor:
        """F1 `(N,)` of the passages of chosen tokens `(N, d)`.

        What two passages share is a passage as well, and only theirs: each is looked at where it begins.
        """
        shared = chosen & region
        lengths = [_lengths(tokens) for tokens in (shared, chosen, region)]
        both = lengths[1] + lengths[2] - lengths[0]
        matches = (_begins(shared) & (lengths[0] >= self.threshold * both - 1e-9)).sum(1)
        return 2 * matches / (_begins(chosen).sum(1) + _begins(region).sum(1)).clamp(min=1)


def _begins(tokens: Tensor) -> Tensor:
    """Where a run of true tokens `(N, d)` begins."""
    before = torch.nn.functional.pad(tokens, (1, 0))[:, :-1]
    return tokens & ~before


def _lengths(tokens: Tensor) -> Tensor:
    """For each true token `(N, d)` how long its run is."""
    number = _begins(tokens).cumsum(1) * tokens  # of the run, 0 outside of all
    count = torch.zeros(len(tokens), tokens.shape[1] + 1, dtype=torch.long, device=tokens.device)
    return count.scatter_add(1, number, tokens.long()).gather(1, number)
