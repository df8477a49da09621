"""Sobol indices of the class score, with the fading of image cells as random variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal

ESTIMATORS = ("jansen", "homma", "janon", "glen")
ORDERS = ("total", "first")


@final
@dataclass(frozen=True)
class Sobol(Method):
    """The part of the score's variance that each cell is involved in, `(N, 1, *F)` (Fel 2021, arXiv:2111.04138).

    Each of the d cells keeps a part `m_i`, uniform in [0, 1], and `y = f_c(m x + (1 - m) x0)`. Total order (section
    3): `ST_i = E[Var(y | all but m_i)] / Var y`; first order: `S_i = Var(E[y | m_i]) / Var y`. A replicated design
    has n rows A, as many rows B, and for each i the rows C_i, which are A with column i from B. With a, b, c the
    scores there, each less mean a, and V = mean a^2:

    | estimator | total order: 1 - share(a, c); first order: share(b, c)                                    |
    |-----------|-------------------------------------------------------------------------------------------|
    | jansen    | `share(p, c) = 1 - mean (p - c)^2 / (2 V)`; total order is never negative                 |
    | homma     | `share(p, c) = mean (p c) / V`; centered, Saltelli's and Sobol's (2007) total are the same |
    | janon     | `share(p, c) = (mean (p c) - u^2) / (mean (p^2 + c^2) / 2 - u^2)`, `u = mean (p + c) / 2` |
    | glen      | `share(p, c) = corr(p, c)`                                                                |

    Units: importance. A cell that changes nothing has total order 0 (exactly, with jansen); the sum is 1 on an additive
    model. Where the score hardly moves (standard deviation below 1e-6 of its size, which is rounding) every index is 0.
    The grid of indices is upsampled bilinearly and keeps its values.

    Cost: `designs (d + 1)` forwards for total order, for which B itself is never evaluated, `designs (d + 2)` for
    first.

    Differs from the paper: the sequence is scrambled with the seed (unscrambled it starts with an empty image, an
    outlier that shrinks every index); masks are upsampled to squares, not bilinearly; Janon and Glen have the same
    divisor in all moments; indices are upsampled bilinearly, as bicubic makes negative ones.

    Attributes:
        grid: Cells per side, at most one per pixel; d is its square on images.
        designs: Rows n of the design, best a power of two.
        estimator: jansen, homma, janon or glen.
        order: total or first.
        removal: What a cell fades to.
        seed: Seed of the scrambling. All samples share the design.

    Raises:
        ValueError: An estimator or order that does not exist, or fewer than two designs.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2111.04138"
    grid: int = 8
    designs: int = 32
    estimator: str = "jansen"
    order: str = "total"
    removal: str | Removal = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"Sobol: estimator must be one of {', '.join(ESTIMATORS)}, got {self.estimator!r}")
        if self.order not in ORDERS:
            raise ValueError(f"Sobol: order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.designs < 2:
            raise ValueError(f"Sobol: a variance needs designs >= 2, got {self.designs}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The indices, upsampled to `(N, 1, *F)`."""
        patches, removal = explicand.patches(self.grid), explicand.removal(self.removal)
        cells = patches.count
        design = explicand.design("sobol", self.seed, lambda seed: self._points(cells, seed))
        blocks = cells + 1 if self.order == "total" else cells + 2

        def inputs(batch: Batch) -> Tensor:
            kept = self._masks(batch.pick(design, batch.variants // blocks), batch.variants % blocks)
            return removal(batch, patches.spread(1 - kept))

        scores = explicand.scores(inputs, self.designs * blocks)
        indices = self._indices(scores.unflatten(1, (self.designs, blocks)), cells)
        return explicand.upsample(indices.float().unflatten(1, (1, *patches.shape)))

    def _points(self, cells: int, seed: int) -> Tensor:
        """Rows of A and B side by side, `(designs, 2 d)` in [0, 1]."""
        return SobolEngine(2 * cells, scramble=True, seed=seed).draw(self.designs, dtype=torch.float32)

    def _masks(self, rows: Tensor, block: Tensor) -> Tensor:
        """Kept parts `(n, d)` of rows `(n, 2 d)`: A in block 0, C_i in block i, B in block d + 1."""
        a, b = rows.chunk(2, 1)
        cell = torch.arange(1, a.shape[1] + 1, device=rows.device)
        from_b = (cell == block[:, None]) | (block[:, None] > a.shape[1])
        return torch.where(from_b, b, a)

    def _indices(self, scores: Tensor, cells: int) -> Tensor:
        """Indices `(N, d)` in float64 of scores `(N, designs, blocks)`."""
        y = scores.double()
        size = y.abs().amax((1, 2))[:, None]
        y = y - y[:, :, :1].mean(1, keepdim=True)
        a, c = y[:, :, :1], y[:, :, 1 : cells + 1]
        variance = (a**2).mean(1)
        if self.order == "total":
            indices = 1 - self._share(a, c, variance)
        else:
            indices = self._share(y[:, :, cells + 1 :], c, variance)
        return torch.where(variance.sqrt() <= 1e-6 * size, 0.0, indices)

    def _share(self, p: Tensor, c: Tensor, variance: Tensor) -> Tensor:
        """The part `(N, d)` of the variance that scores `(N, designs, 1)` and `(N, designs, d)` have in common."""
        if self.estimator == "jansen":
            return 1 - ((p - c) ** 2).mean(1) / (2 * variance)
        if self.estimator == "homma":
            return (p * c).mean(1) / variance
        if self.estimator == "janon":
            square = ((p + c).mean(1) / 2) ** 2
            return ((p * c).mean(1) - square) / (((p**2 + c**2) / 2).mean(1) - square)
        p, c = p - p.mean(1, keepdim=True), c - c.mean(1, keepdim=True)
        spread = ((p**2).mean(1) * (c**2).mean(1)).sqrt()
        return (p * c).mean(1) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
