"""ROAD: how much more of the score is left when the lowest patches are interpolated away than the highest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.curve import Order
from xaieval.explicand import Explicand
from xaieval.removal import NoisyLinear
from xaieval.scores import NAMES, Scores

OUTPUTS = (*NAMES, "accuracy")


@dataclass(frozen=True)
class ROAD(Metric):
    """Remove and debias: LeRF minus MoRF under noisy linear imputation (Rong 2022, arXiv 2202.00449).

    `1/(2 K) sum_k (f(x without the lowest part k of the patches) - f(x without the top part k))`, `(N,)`, over K parts.
    Patches are ordered by their sums of signed scores, ties at random, at least one goes. What is gone is interpolated
    from what is left with noise of a standard deviation of .01, so that the shape of the mask does not give the class
    away as black does. Both orders lose equally many patches and get the same noise, so a random order has mean 0 on
    any model and the negated map has the negative of the value.

    Higher is better. Bounds: -.5 to .5 for a probability or the accuracy, else none. Cost: 2 K forwards, and as many
    linear systems: 0.07 s each for an image of 224 pixels on one core of a CPU. 0 where nothing changes the score.

    Differs from the paper: it plots the accuracy on a dataset over the parts, one curve for each order; the value here
    is half the mean difference of the two (as in pytorch-grad-cam's `ROADCombined`, with other parts), and of the
    probability, which the authors' code reports as well and which single samples can be compared by. With
    `output=accuracy` a point is 1 where no other class has a larger or the same logit as the explained one: the mean
    over samples explained for their labels is that of the paper's curves. Patches of a grid instead of single pixels.

    Attributes:
        percentages: Parts of the patches that are removed, each in (0, 1).
        grid: Patches per side, at most one per pixel.
        output: Form of the score: probability, logit, log_probability, margin or accuracy.
        noise: Standard deviation of the noise in pixel units.
        seed: Seed of the ties and the noise.

    Raises:
        ValueError: An output that does not exist, no part or one outside (0, 1), or negative noise.
    """

    higher_is_better: ClassVar[bool] = True
    category: ClassVar[str] = "faithfulness"
    reference: ClassVar[str] = "arXiv:2202.00449"
    exceptions: ClassVar[dict[str, str]] = {
        "permuted_beats_negated": "its map is exact for black, not for interpolation (tested with one that is exact)",
    }
    percentages: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
    grid: int = 14
    output: str = "probability"
    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options; a list of parts and a tuple of them are one key."""
        object.__setattr__(self, "percentages", tuple(self.percentages))
        if self.output not in OUTPUTS:
            raise ValueError(f"ROAD: output must be one of {', '.join(OUTPUTS)}, got {self.output!r}")
        if not self.percentages or not all(0 < part < 1 for part in self.percentages):
            raise ValueError(f"ROAD: percentages must be numbers in (0, 1), got {self.percentages}")
        if not self.noise >= 0:
            raise ValueError(f"ROAD: noise must be at least 0, got {self.noise}")

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """Half those of a difference of two scores."""
        return (-0.5, 0.5) if self.output in ("probability", "accuracy") else (-math.inf, math.inf)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """Half the mean difference `(N,)`."""
        scores = self._scores(explicand, attribution)
        values = (scores.margin > 0).float() if self.output == "accuracy" else scores.of(self.output)
        lerf, morf = values.unbind(1)
        return (lerf - morf).mean(1) / 2

    def _scores(self, explicand: Explicand, attribution: Tensor) -> Scores:
        """Scores without the lowest and without the highest patches, `(N, 2, K)`; run once for each map and setting."""
        key = f"road:{self.percentages}:{self.grid}:{self.noise}:{self.seed}"
        return Scores(explicand.known(attribution, key, lambda: self._run(explicand, attribution)))

    def _run(self, explicand: Explicand, attribution: Tensor) -> Tensor:
        patches, removal = explicand.patches(self.grid), explicand.removal(NoisyLinear(self.noise, self.seed), "curve")
        sums = patches.sum(explicand.features(attribution))
        morf = Order.of(explicand, sums, patches.present, self.percentages, self.seed)
        # What is put back last goes first: as many as in the other order, at each point.
        lerf = Order(morf.rank, morf.number[:, -1:] - morf.number)

        def scores(order: Order, direction: str) -> Tensor:
            return explicand.all_scores(
                lambda batch: removal(batch, patches.of(batch).spread(order.gone(batch, direction))), order.inner
            ).values

        return torch.stack((scores(lerf, "insertion"), scores(morf, "deletion")), 1)
