"""RISE: the mean of random masks, weighted by the score of what they leave visible."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
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
    share.

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
        sides = tuple(explicand.shape[2:])
        cells = explicand.modality.coarse(explicand.inputs, self.grid)
        design = explicand.design("rise", self.seed, lambda seed: self._design(prod(cells) + len(cells), seed))
        removal = explicand.removal(self.removal)
        total, shown = torch.zeros_like(explicand.inputs[:, :1]), torch.zeros_like(explicand.inputs[:, :1])
        for batch in explicand.batches(self.samples, "scores"):
            masks = self._masks(batch.pick(design), cells, sides)
            scores = batch.scores(removal(batch, 1 - masks)).of(self.score)
            batch.add(total, masks * scores.view(-1, *[1] * (masks.dim() - 1)))
            batch.add(shown, masks)
        if self.normalization == "paper":
            return total / (self.samples * self.probability)
        return total / shown.clamp(min=torch.finfo(shown.dtype).tiny)  # 0 where no mask showed the pixel

    def _design(self, numbers: int, seed: int) -> Tensor:
        """For each mask a uniform number in [0, 1) for each cell and each axis' shift, `(samples, numbers)`."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(self.samples, numbers, generator=generator, dtype=torch.float32)

    def _masks(self, rows: Tensor, cells: tuple[int, ...], sides: tuple[int, ...]) -> Tensor:
        """Visible parts `(n, 1, *F)` in [0, 1] of rows `(n, numbers)`."""
        numbers, shifts = rows.split((prod(cells), len(cells)), 1)
        masks: Tensor = (numbers < self.probability).float().unflatten(1, cells)
        for shift, count, side in zip(shifts.unbind(1), cells, sides, strict=True):
            # The first axis of cells becomes the last axis of pixels, so after all axes they are in order again.
            masks = torch.einsum("nc...,nfc->n...f", masks, _bilinear(shift, count, side))
        return masks[:, None]


def _bilinear(shift: Tensor, cells: int, side: int) -> Tensor:
    """Weights `(n, side, cells)` that interpolate cells to (cells + 1) ceil(side / cells) pixels and crop `side`.

    Pixel centers are aligned as in `interpolate(..., align_corners=False)`; shifts `(n,)` are in [0, 1) cells.
    """
    size = -(-side // cells)
    pixels = torch.arange(side, device=shift.device) + torch.floor(shift * size)[:, None]
    place = ((pixels + 0.5) * (cells / ((cells + 1) * size)) - 0.5).clamp(0, cells - 1)
    distance = place[..., None] - torch.arange(cells, device=shift.device)
    return (1 - distance.abs()).clamp(min=0)
