"""RISE: the mean of random masks, weighted by the score of what they leave visible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal

NORMALIZATIONS = ("masks", "paper")


@final
@dataclass(frozen=True)
class RISE(Method):
    """`sum_i f_c(x * M_i) M_i` over random masks, normalized, `(N, 1, *F)` (Petsiuk 2018, arXiv:1806.07421, eq. 6).

    Each mask has `grid` x `grid` cells, visible with the given probability, interpolated bilinearly to `grid + 1`
    cells of `C = ceil(side / grid)` pixels per side and cropped at a random shift of 0 to C - 1 pixels (section 3.2).
    What is hidden is replaced by the removal. Masks are made batch by batch from cells and shifts, which all samples
    share. Pieces that are no grid, such as the tokens or words of a text, are visible or hidden as a whole.

    Normalization: `masks` divides each pixel's sum by the sum of the masks there, the mean score given that the pixel
    is visible; `paper` divides by `samples` times probability, which is the same in expectation but noisier. With
    independent pixels and `f = w.x` the expectation is `p w.x + (1 - p) w_i x_i`: a constant is added, so nothing
    sums to `f`.

    Units: importance; with `score="probability"` values are in [0, 1].

    Cost: `samples` forwards.

    Differs from the paper: the division by the summed masks.

    Attributes:
        samples: Number of masks; 4000 for VGG-16 and 8000 for ResNet-50 in the paper.
        grid: Cells per side, at most one per pixel.
        probability: Probability that a cell is visible, in (0, 1).
        normalization: masks or paper.
        removal: What replaces hidden features.
        score: The score that weighs the masks: probability as in the paper, logit, log_probability or margin.
        seed: Seed of the masks.

    Raises:
        ValueError: A normalization that does not exist, or a probability outside (0, 1).
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:1806.07421"
    samples: int = 4000
    grid: int = 7
    probability: float = 0.5
    normalization: str = "masks"
    removal: str | Removal = "zero"
    score: str = "probability"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(
                f"RISE: normalization must be one of {', '.join(NORMALIZATIONS)}, got {self.normalization!r}"
            )
        if not 0 < self.probability < 1:
            raise ValueError(f"RISE: probability must lie between 0 and 1, got {self.probability}")

    @property
    def signed(self) -> bool:
        """A mean probability has no sign, the other scores may be negative."""
        return self.score != "probability"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The weighted mean of the masks, `(N, 1, *F)`."""
        patches, removal = explicand.patches(self.grid), explicand.removal(self.removal)
        numbers = patches.count + len(patches.shape)
        design = explicand.piece_design("rise", self.seed, self._design, numbers)
        total, shown = torch.zeros_like(explicand.inputs[:, :1]), torch.zeros_like(explicand.inputs[:, :1])
        for batch in explicand.batches(self.samples, "scores"):
            cells, shifts = batch.pick(design).split((patches.count, len(patches.shape)), 1)
            masks = patches.of(batch).smooth((cells < self.probability).float(), shifts)
            scores = batch.scores(removal(batch, 1 - masks)).of(self.score)
            batch.add(total, masks * scores.view(-1, *[1] * (masks.dim() - 1)))
            batch.add(shown, masks)
        if self.normalization == "paper":
            return total / (self.samples * self.probability)
        return total / shown.clamp(min=torch.finfo(shown.dtype).tiny)  # 0 where no mask showed the pixel

    def _design(self, seed: int, numbers: int) -> Tensor:
        """For each mask a uniform number in [0, 1) for each cell and each axis' shift, `(samples, numbers)`."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(self.samples, numbers, generator=generator, dtype=torch.float32)
