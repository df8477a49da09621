"""The order of patches that a greedy search finds for a curve: what a map may reach at least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.curve import Order
from xaieval.draws import seed_of
from xaieval.explicand import Explicand
from xaieval.modalities.modality import Patches
from xaieval.removal import Removal
from xaieval.scores import NAMES
from xaieval.segments import segments_of

DIRECTIONS = ("insertion", "deletion")


@final
@dataclass(frozen=True)
class GreedyInsertion(Method):
    """The order in which a greedy search restores patches, `(N, 1, *F)`: a bound for insertion (arXiv:1806.07421).

    Insertion of RISE (Petsiuk 2018) asks for the order of the P patches with the largest area below the score. Here S
    holds the patches restored, at first none. In each of T steps `f_c(S + p)` is evaluated for every patch p outside
    S, each alone, and the best are restored, the highest first: up to `round(t P / T)` of them after step t, which are
    the points of a curve with T steps. The patch in place r, from 0, has the importance P - r, divided among its
    features, so that curves on this grid follow the order exactly. `deletion` starts from the input, and removes the
    patches without which the score is lowest. `backward` searches from the other end: for insertion it starts from the
    input, and removes first, so restores last, the patches without which the score stays highest.

    Where the score is additive in the patches this is the order of contributions, and no other order does better. Where
    it is monotone and submodular, S holds with single patches at least 1 - 1/e of what the best set of its size adds
    (Nemhauser 1978, 10.1007/BF01588971, unverified). It is no proof of an optimum, and can be beaten: in `f = m_1 m_2 +
    m_3 / 10` neither of the first two raises the score alone, so the third comes first, where the best order begins
    with the two, as `backward` finds. On photos, where few patches on black say little, RISE may have the better order
    too. Ties, as in a product of all patches but for its last factor, are broken at random for each sample.

    Units: importance, from 1 to P for the sum of a patch; 0 where a feature is absent.

    Cost: in step t, from 0, a forward for each of the `P - t P / T` patches left, rounded, a half up; P (T + 1) / 2 in
    all where T divides P. A sample with absent patches costs the same.

    Differs from the paper: RISE defines the area below the curve, not this search for it. A removal that is drawn anew
    for each mask is drawn for each candidate, so that luck has a part in the choice.

    Attributes:
        grid: Patches per side, at most one per pixel.
        steps: Steps from nothing to the whole input, at most one per patch.
        removal: What stands where a patch is removed, or has not been put back.
        score: Form of the score: probability, logit, log_probability or margin.
        direction: insertion or deletion.
        backward: Whether the search starts at the other end of the curve.
        seed: Seed of the ties.

    Raises:
        ValueError: A score or direction that does not exist, or no step.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1806.07421"
    oracle: ClassVar[bool] = True
    exceptions: ClassVar[dict[str, str]] = {
        "seed": "the seed decides ties alone",
        "copies": "nothing is drawn but the order of ties",
        "memory": "with 16 steps some calls take pairs of two samples, and not of one alone",
    }
    grid: int = 14
    steps: int = 14
    removal: str | Removal = "zero"
    score: str = "probability"
    direction: str = "insertion"
    backward: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        for name, known in (("score", NAMES), ("direction", DIRECTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"GreedyInsertion: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.steps < 1:
            raise ValueError(f"GreedyInsertion: steps must be at least 1, got {self.steps}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The importance `(N, 1, *F)`."""
        patches, segments = explicand.patches(self.grid), segments_of(explicand, "grid", self.grid)
        return segments.share(self._importance(explicand, patches, segments.size[:, None]))

    def _importance(self, explicand: Explicand, patches: Patches, size: Tensor) -> Tensor:
        """P `(N, 1)` for the first patch, 1 less for each later one, `(N, P)`; any number for absent ones."""
        count, seed = patches.count, seed_of(self.seed, "greedy insertion")
        places = explicand.inputs.new_zeros(explicand.count, count)
        left = torch.ones_like(places, dtype=torch.bool) if patches.present is None else patches.present
        gone = Order.of(explicand, places, patches.present, self.steps, seed).number
        total = gone[:, -1:]
        if self.backward:
            gone = total - gone.flip(1)
        steps = gone.shape[1] - 1
        for step in range(steps):
            # A half is rounded down whatever the device does: so many have gone at least, in every sample.
            candidates = count - (2 * step * count + steps - 1) // (2 * steps)
            values = self._values(explicand, patches, left, candidates)
            place = gone[:, step, None] + Order.of(explicand, values, left, self.steps, seed).rank
            now = left & (place < gone[:, step + 1, None])
            places, left = torch.where(now, place, places), left & ~now
        return size - (total - 1 - places if self.backward else places)

    def _values(self, explicand: Explicand, patches: Patches, left: Tensor, candidates: int) -> Tensor:
        """What taking each patch that is left `(N, P)` is worth, `(N, P)`; any number at the others."""
        removal = explicand.removal(self.removal)
        restoring = (self.direction == "insertion") != self.backward
        which = left.float().argsort(dim=1, descending=True, stable=True)[:, :candidates]
        gone = (left if restoring else ~left).float()

        def inputs(batch: Batch) -> Tensor:
            one = batch.read(which)[:, None]
            values = batch.of_rows(gone).scatter(1, one, 0.0 if restoring else 1.0)
            return removal(batch, patches.of(batch).spread(values))

        scores = explicand.scores(inputs, candidates, self.score)
        return torch.zeros_like(gone).scatter(1, which, scores if self.direction == "insertion" else -scores)
