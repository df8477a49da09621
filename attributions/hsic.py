"""HSIC attribution: how much the class score depends on whether a cell is visible, in distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor
from torch.quasirandom import SobolEngine

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal

SAMPLERS = ("latin_hypercube", "sobol")


@final
@dataclass(frozen=True)
class HSIC(Method):
    """`HSIC(m_i, y) = tr(K_i H L H) / (n - 1)^2` for each cell, `(N, 1, *F)` (Novello 2022, arXiv:2206.06219).

    n binary masks m show about half of the cells of a grid each, `y = f_c(m x + (1 - m) x0)` are their scores, and
    `H = I - 1 1' / n`. The input kernel is `k(m, m') = 1 + (1/2 - (m - m')^2)`, the output kernel Gaussian, `l(y, y') =
    exp(-(y - y')^2 / (2 s^2))`. The bandwidth s is the standard deviation of each sample's scores, so `a y + b` has
    the indices of y. With `u = 2 m - 1` the centered input kernel is `H u u' H / 2`, so all cells together are one
    matrix product, and an index is half of the squared distance between the mean embeddings of the scores with and
    without the cell, times `(2 n1 n0 / (n (n - 1)))^2`, with n1 masks showing the cell and n0 hiding it.

    Units: importance, never negative, at most about 1/4; evidence for and against the class counts alike. A cell that
    changes nothing is not 0, as the estimator is biased: it has about `(1 - mean l) / (2 n)`, on average over masks.
    Where the score hardly moves (standard deviation below 1e-6 of its size, which is rounding) every index is 0. The
    grid of indices is upsampled bilinearly and keeps its values.

    Cost: `samples` forwards, whatever the grid. The output kernel of one sample is `samples^2` numbers in float64.

    Differs from the paper: the authors' code divides by n, which changes only the scale, and takes the median of the
    scores themselves as s, which shifting the scores changes and which may be 0. The usual median of |y - y'| is 0 as
    well where most masks give one score; for normal scores it is .95 standard deviations.

    Attributes:
        samples: Number of masks n, best even; 1500 and, as the low budget, 750 in the paper.
        grid: Cells per side, at most one per pixel.
        sampler: latin_hypercube, where each cell is visible in one half of the masks drawn at random for it; sobol, a
            scrambled sequence, where two cells may have the same masks if `samples` are few (64 give 32 different ones
            at most; none agreed on grids 7 and 8 from 256).
        removal: What replaces hidden cells.
        seed: Seed of the masks, which all samples share.

    Raises:
        ValueError: A sampler that does not exist, or fewer than two samples.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2206.06219"
    samples: int = 1500
    grid: int = 7
    sampler: str = "latin_hypercube"
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.sampler not in SAMPLERS:
            raise ValueError(f"HSIC: sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r}")
        if self.samples < 2:
            raise ValueError(f"HSIC: a dependence needs samples >= 2, got {self.samples}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The indices, upsampled to `(N, 1, *F)`."""
        patches, removal = explicand.patches(self.grid), explicand.removal(self.removal)
        design = explicand.piece_design("hsic", self.seed, self._masks, patches.count)
        shown = explicand.inputs.new_empty(explicand.count, self.samples, patches.count)

        def inputs(batch: Batch) -> Tensor:
            masks = batch.pick(design)
            batch.write(shown, masks)  # copies have designs of their own
            return removal(batch, patches.of(batch).spread(1 - masks))

        scores = explicand.scores(inputs, self.samples)
        indices = torch.stack([_dependence(masks, y) for masks, y in zip(shown.double(), scores.double(), strict=True)])
        return patches.upsample(indices.float())

    def _masks(self, seed: int, cells: int) -> Tensor:
        """Masks `(samples, d)`, 1 where a cell is visible."""
        if self.sampler == "sobol":
            points = SobolEngine(cells, scramble=True, seed=seed).draw(self.samples, dtype=torch.float32)
        else:
            random = np.random.default_rng(seed)
            points = torch.from_numpy(qmc.LatinHypercube(cells, rng=random).random(self.samples))
        return (points >= 0.5).float()


def _dependence(masks: Tensor, y: Tensor) -> Tensor:
    """The index `(d,)` of each cell from masks `(n, d)` and scores `(n,)`, by factors of the centered input kernel."""
    deviation = y.std(correction=0)
    still = deviation <= 1e-6 * y.abs().amax()
    scaled = y / deviation.masked_fill(still, 1.0)
    kernel = torch.exp(-((scaled[:, None] - scaled) ** 2) / 2)
    signs = 2 * masks - 1
    signs = signs - signs.mean(0)
    indices = (signs * (kernel @ signs)).sum(0) / (2 * (len(y) - 1) ** 2)
    return indices.masked_fill(still, 0.0)
