"""Sobol indices of the class score, with the fading of image cells as random variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.quasirandom import SobolEngine

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal

ESTIMATORS = ("jansen", "homma", "sobol2007", "janon", "glen")
ORDERS = ("total", "first")
SAMPLERS = ("sobol", "halton", "latin_hypercube", "monte_carlo")


class Estimate(NamedTuple):
    """Indices with their intervals, each `(N, *cells)`, for images `(N, rows, columns)`.

    Attributes:
        value: Mean over the scrambles.
        low: Lower end; NaN with one scramble.
        high: Upper end.
    """

    value: Tensor
    low: Tensor
    high: Tensor


class Indices(NamedTuple):
    """Sobol indices of both orders, without signs."""

    first: Estimate
    total: Estimate


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
    | sobol2007 | as homma, but first order `share(b, c) - share(b, a) = mean b (c - a) / V`                |
    | janon     | `share(p, c) = (mean (p c) - u^2) / (mean (p^2 + c^2) / 2 - u^2)`, `u = mean (p + c) / 2` |
    | glen      | `share(p, c) = corr(p, c)`                                                                |

    Units: importance. A cell that changes nothing has total order 0 (exactly, with jansen); the sum is 1 on an additive
    model. Where the score hardly moves (standard deviation below 1e-6 of its size, which is rounding) every index is 0.
    The grid of indices is upsampled bilinearly and keeps its values.

    `amplitude` shifts cells instead of fading them, `y = f_c(x + (m - 1/2) amplitude)`, not clipped to pixels. This is
    the formula in the docstring of the authors' code; the code itself multiplies, `x (m - 1/2) amplitude`, which is
    black on average and never the image.

    `signed` multiplies an index by the sign of `f_c(x) - f_c(x without cell i)`, 0 where that is rounding; the cell is
    removed, whatever the design does. The paper is remembered to do so, but neither its text nor its code was found to
    confirm it.

    Cost: `designs (d + 1)` forwards for total order, for which B itself is never evaluated, `designs (d + 2)` for
    first; `signed` takes d more, and one for the input, shared.

    Differs from the paper: the sequence is scrambled with the seed (unscrambled it starts with an empty image, an
    outlier that shrinks every index); masks are upsampled to squares, not bilinearly; Janon and Glen have the same
    divisor in all moments; indices are upsampled bilinearly, as bicubic makes negative ones; first order is ours.

    Attributes:
        grid: Cells per side, at most one per pixel; d is its square on images.
        designs: Rows n of the design, best a power of two.
        estimator: jansen, homma, sobol2007, janon or glen.
        order: total or first.
        sampler: sobol or halton (both scrambled), latin_hypercube or monte_carlo.
        removal: What a cell fades to; drawn anew for each call, on a text for each row of the design.
        amplitude: Above 0 cells are shifted by up to half of it, in pixel units, for a text in the root mean square of
            its embeddings; the authors' code has 1.
        signed: Whether indices get the sign of the drop.
        seed: Seed of the sampler. All samples share the design.
        threshold: Whether a cell is kept as a whole where `m_i >= 1/2` and else removed as a whole, so that no input
            lies between; indices are then those of d independent coins.

    Raises:
        ValueError: An estimator, order or sampler that does not exist, fewer than two designs, or a negative amplitude.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2111.04138"
    grid: int = 8
    designs: int = 32
    estimator: str = "jansen"
    order: str = "total"
    sampler: str = "sobol"
    removal: str | Removal = "zero"
    amplitude: float = 0.0
    signed: bool = False
    seed: int = 0
    threshold: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        for name, known in (("estimator", ESTIMATORS), ("order", ORDERS), ("sampler", SAMPLERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"Sobol: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.designs < 2:
            raise ValueError(f"Sobol: a variance needs designs >= 2, got {self.designs}")
        if not self.amplitude >= 0:
            raise ValueError(f"Sobol: amplitude must be 0 (cells fade) or positive, got {self.amplitude}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The indices, upsampled to `(N, 1, *F)`."""
        patches = explicand.patches(self.grid)
        indices = self._indices(self._scores(explicand, self.order), patches.count, self.order)
        if self.signed:
            indices = indices * self._signs(explicand)
        return patches.upsample(indices.float())

    def indices(self, explicand: Explicand, scrambles: int = 8, level: float = 0.95) -> Indices:
        """First and total order with intervals, whatever `order` and `signed` are.

        Each scramble is an independent design, the first one that of the map. The interval is Student's: mean +- t s /
        sqrt(scrambles), with s the standard deviation of an index over scrambles. Over seeds it covers what the
        estimator gives on average at this number of designs with about the probability `level`; a bias of order 1 /
        designs, which every ratio has, is not in it. It says nothing of other images.

        Cost: `scrambles designs (d + 2)` forwards.

        Args:
            explicand: What is explained.
            scrambles: Number of independent designs; with one there is no interval.
            level: Probability of the interval, in (0, 1).

        Raises:
            ValueError: No scramble, or a level outside (0, 1).
        """
        if scrambles < 1 or not 0 < level < 1:
            raise ValueError(
                f"Sobol.indices: expected scrambles >= 1 and 0 < level < 1, got scrambles={scrambles}, level={level}"
            )
        tables = [self._scores(explicand, "first", number) for number in range(scrambles)]
        patches = explicand.patches(self.grid)
        first, total = (
            torch.stack([self._indices(table, patches.count, order) for table in tables]).unflatten(2, patches.shape)
            for order in ("first", "total")
        )
        return Indices(_estimate(first, level), _estimate(total, level))

    def _scores(self, explicand: Explicand, order: str, scramble: int = 0) -> Tensor:
        """Scores `(N, designs, blocks)` at A, all C_i and, for first order, B."""
        patches, removal = explicand.patches(self.grid), explicand.removal(self.removal)
        purpose = f"sobol {scramble}" if scramble else "sobol"
        design = explicand.piece_design(purpose, self.seed, self._points, patches.count, parts=2)
        blocks = patches.count + ORDERS.index(order) + 1

        def inputs(batch: Batch) -> Tensor:
            kept = _masks(batch.pick(design, batch.variants // blocks), batch.variants % blocks)
            if self.threshold:
                kept = (kept >= 0.5).float()
            if self.amplitude:
                shift = batch.of(self.amplitude * explicand.scale) * (patches.of(batch).spread(kept) - 0.5)
                return batch.restore(batch.inputs + shift)
            return removal(batch, patches.of(batch).spread(1 - kept))

        scores = explicand.scores(inputs, self.designs * blocks, pieces=blocks)
        return scores.unflatten(1, (self.designs, blocks))  # type: ignore[no-any-return]

    def _points(self, seed: int, columns: int) -> Tensor:
        """Rows of A and B, `(designs, columns)` in [0, 1]."""
        if self.sampler == "sobol":
            return SobolEngine(columns, scramble=True, seed=seed).draw(self.designs, dtype=torch.float32)
        random = np.random.default_rng(seed)
        if self.sampler == "monte_carlo":
            points = random.random((self.designs, columns))
        else:
            kind = stats.qmc.Halton if self.sampler == "halton" else stats.qmc.LatinHypercube
            points = kind(columns, rng=random).random(self.designs)
        return torch.from_numpy(points).float()

    def _signs(self, explicand: Explicand) -> Tensor:
        """The sign `(N, d)` of the drop of the score when a cell is removed."""
        patches, removal = explicand.patches(self.grid), explicand.removal(self.removal)
        one = torch.eye(patches.count, device=explicand.device)[None]
        scores = explicand.scores(
            lambda batch: removal(batch, patches.of(batch).spread(batch.pick(one))), patches.count
        )
        drop = explicand.clean.logit[:, None] - scores
        rounding = 1e-6 * torch.maximum(explicand.clean.logit.abs(), scores.abs().amax(1))[:, None]
        return drop.sign().masked_fill(drop.abs() <= rounding, 0.0)

    def _indices(self, scores: Tensor, cells: int, order: str) -> Tensor:
        """Indices `(N, d)` in float64 of scores `(N, designs, blocks)`, of which total order never reads B."""
        y = scores.double()
        size = y.abs().amax((1, 2))[:, None]
        y = y - y[:, :, :1].mean(1, keepdim=True)
        a, c, b = y[:, :, :1], y[:, :, 1 : cells + 1], y[:, :, cells + 1 :]
        variance = (a**2).mean(1)
        indices = 1 - self._share(a, c, variance) if order == "total" else self._share(b, c, variance)
        if self.estimator == "sobol2007" and order == "first":
            indices = indices - self._share(b, a, variance)
        return torch.where(variance.sqrt() <= 1e-6 * size, 0.0, indices)

    def _share(self, p: Tensor, c: Tensor, variance: Tensor) -> Tensor:
        """The part `(N, d)` of the variance that scores `(N, designs, 1)` and `(N, designs, d)` have in common."""
        if self.estimator == "jansen":
            return 1 - ((p - c) ** 2).mean(1) / (2 * variance)
        if self.estimator in ("homma", "sobol2007"):
            return (p * c).mean(1) / variance
        if self.estimator == "janon":
            square = ((p + c).mean(1) / 2) ** 2
            return ((p * c).mean(1) - square) / (((p**2 + c**2) / 2).mean(1) - square)
        p, c = p - p.mean(1, keepdim=True), c - c.mean(1, keepdim=True)
        spread = ((p**2).mean(1) * (c**2).mean(1)).sqrt()
        return (p * c).mean(1) / spread.clamp(min=torch.finfo(spread.dtype).tiny)


def _masks(rows: Tensor, block: Tensor) -> Tensor:
    """Kept parts `(n, d)` of rows `(n, 2 d)`: A in block 0, C_i in block i, B in block d + 1."""
    a, b = rows.chunk(2, 1)
    cell = torch.arange(1, a.shape[1] + 1, device=rows.device)
    from_b = (cell == block[:, None]) | (block[:, None] > a.shape[1])
    return torch.where(from_b, b, a)


def _estimate(indices: Tensor, level: float) -> Estimate:
    """Mean and Student's interval of indices `(scrambles, N, *cells)`."""
    count = len(indices)
    mean = indices.mean(0)
    deviation = ((indices - mean).square().sum(0) / max(1, count - 1)).sqrt()
    reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * deviation / count**0.5  # NaN without degrees of freedom
    return Estimate(*(ends.float() for ends in (mean, mean - reach, mean + reach)))
