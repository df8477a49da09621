"""Perturbations: frozen descriptions of random changes of the input, which are the keys of responses.

A response is the change of the class score under perturbations that do not depend on any attribution, so one set serves
every method and every metric that asks for the same perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaieval.regression import shapley_subsets
from xaieval.removal import Removal, removal_of
from xaieval.segments import check_segments, segments_of

if TYPE_CHECKING:
    from xaieval.explicand import Batch, Explicand


@dataclass(frozen=True)
class Perturbation:
    """A distribution of perturbed inputs x~.

    What an attribution predicts for the change f(x) - f(x~): a gradient `sum (x - x~) g`; contributions and importance
    `sum z a` where the perturbation removes the features z. Where only noise is added, gradients alone predict
    anything.
    """

    samples: int = 200
    seed: int = 0

    def accepts(self, units: str) -> bool:
        """Whether attributions with these units predict anything here."""
        return units == "gradient"

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """Perturbed inputs x~ `(n, C, *F)`; the batch's variants number the draws."""
        raise NotImplementedError

    def mask(self, explicand: Explicand, batch: Batch) -> Tensor:
        """Removed features z `(n, 1, *F)`, for perturbations that remove."""
        raise NotImplementedError

    def predicted(self, explicand: Explicand, attribution: Tensor, units: str) -> Tensor:
        """The change `(N, samples)` that an attribution predicts, drawn again batch by batch; no evaluation."""
        table = attribution.new_empty(explicand.count, self.samples)
        for batch in explicand.batches(self.samples, "scores"):
            if units == "gradient":
                terms = (batch.inputs - self.inputs(explicand, batch)) * batch.of(attribution)
            else:
                terms = self.mask(explicand, batch) * batch.of(explicand.features(attribution, units)[:, None])
            batch.write(table, terms.flatten(1).sum(1))
        return table


@dataclass(frozen=True)
class PatchMask(Perturbation):
    """A fixed number of equal patches of a fixed grid is removed.

    With unequal areas or a varying number of patches any positive map would gain from area alone; here only the choice
    of patches differs between draws.

    Attributes:
        grid: Patches per side.
        fraction: Part of the patches removed in each draw, in (0, 1].
        removal: What replaces them.
    """

    grid: int = 14
    fraction: float = 0.2
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the fraction; a name and the removal it stands for are one key."""
        if not 0 < self.fraction <= 1:
            raise ValueError(f"PatchMask: fraction must lie in (0, 1], got {self.fraction}")
        object.__setattr__(self, "removal", removal_of(self.removal))

    def accepts(self, units: str) -> bool:
        """See the base class."""
        return removal_of(self.removal).accepts(units)

    def masks(self, explicand: Explicand) -> Tensor:
        """Removed patches `(N, samples, P)`, True where removed; drawn once for each explicand."""
        key = f"masks:{self.samples}:{self.seed}:{self.grid}:{self.fraction}"
        return explicand.kept(key, lambda: self._draw(explicand))

    def _draw(self, explicand: Explicand) -> Tensor:
        patches = explicand.patches(self.grid)
        table = torch.empty(explicand.count, self.samples, patches.count, dtype=torch.bool, device=explicand.device)
        for batch in explicand.batches(self.samples, "scores"):
            order = batch.uniform("patch mask", self.seed, (patches.count,))
            if patches.present is None:
                total: Tensor | int = patches.count
            else:
                order = order.masked_fill(~batch.of_rows(patches.present), torch.inf)
                total = batch.of_rows(patches.present).sum(1, keepdim=True)
            removed = (
                max(1, round(self.fraction * total))
                if isinstance(total, int)
                else (self.fraction * total).round().clamp(min=1)
            )
            batch.write(table, order.argsort(dim=1, stable=True).argsort(1) < removed)
        return table

    def mask(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        return explicand.patches(self.grid).of(batch).spread(batch.read(self.masks(explicand)).float())

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        return explicand.removal(self.removal, "response")(batch, self.mask(explicand, batch))

    def predicted(self, explicand: Explicand, attribution: Tensor, units: str) -> Tensor:
        """Patch sums times the masks, so nothing is drawn again for a map.

        With a fixed replacement x0 a gradient's patch sums are those of (x - x0) g.
        """
        removal = explicand.removal(self.removal, "response")
        if units == "gradient" and not removal.fixed:
            return super().predicted(explicand, attribution, units)
        if units == "gradient":
            attribution, units = (explicand.inputs - removal.values) * attribution, "contribution"
        sums = explicand.piece_scores(explicand.patches(self.grid), attribution, units)
        return torch.einsum("nsp,np->ns", self.masks(explicand).double(), sums.double()).float()


@dataclass(frozen=True)
class Square(Perturbation):
    """A square of random side and place is removed (Yeh 2019, arXiv 1901.09392, "square removal").

    Differs from the paper: squares are drawn, not enumerated (the paper's code runs all sides 1 to 10 at all places of
    28 x 28 pixels).

    Attributes:
        largest: Largest side as a part of the shorter side of the image, in (0, 1].
        removal: What replaces the square.
    """

    largest: float = 0.35
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the side; a name and the removal it stands for are one key."""
        if not 0 < self.largest <= 1:
            raise ValueError(f"Square: largest must lie in (0, 1], got {self.largest}")
        object.__setattr__(self, "removal", removal_of(self.removal))

    def accepts(self, units: str) -> bool:
        """See the base class."""
        return removal_of(self.removal).accepts(units)

    def mask(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        sides = batch.of_rows(explicand.sides)
        size, *corners = batch.uniform("square", self.seed, (1 + sides.shape[1],)).unbind(1)
        length = 1 + torch.floor(size * (self.largest * sides.amin(1).double()).floor().clamp(min=1).float())
        mask = torch.ones_like(batch.inputs[:, :1])
        for axis, (side, corner) in enumerate(zip(sides.unbind(1), corners, strict=True)):
            first = torch.floor(corner * (side - length + 1))
            place = batch.of_rows(explicand.places(axis)) - first[:, None]
            inside = (place >= 0) & (place < length[:, None])
            mask = mask * inside.view(len(batch), 1, *(-1 if a == axis else 1 for a in range(len(corners)))).float()
        return mask

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        return explicand.removal(self.removal, "response")(batch, self.mask(explicand, batch))


@dataclass(frozen=True)
class Gaussian(Perturbation):
    """Gaussian noise is subtracted from every pixel (Yeh 2019, arXiv 1901.09392).

    Attributes:
        noise: Standard deviation in pixel units; for a text in the root mean square of its embeddings.
    """

    noise: float = 0.2

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        return batch.inputs - batch.of(self.noise * explicand.scale) * batch.normal("gaussian perturbation", self.seed)


@dataclass(frozen=True)
class NoisyBaseline(Perturbation):
    """The whole input is replaced by black with Gaussian noise, clipped to pixels; a text by mask tokens with noise.

    Source: Yeh 2019, arXiv 1901.09392, "noisy baseline".

    Attributes:
        noise: Standard deviation in pixel units; for a text in the root mean square of its embeddings.
    """

    noise: float = 0.2

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        noise = batch.of(self.noise * explicand.scale) * batch.normal("noisy baseline", self.seed)
        return batch.restore(explicand.modality.clip(explicand.modality.zero(batch.inputs) + noise))


@dataclass(frozen=True)
class ShapleyMask(Perturbation):
    """Some segments are removed, each subset with a probability proportional to its weight under the Shapley kernel.

    The kernel `(M - 1) / (C(M, k) k (M - k))` weighs the removal of k of M segments (Yeh 2019, arXiv 1901.09392;
    Lundberg 2017, arXiv 1705.07874). None and all, unless there is but one, are never removed.

    Attributes:
        segments: grid or slic (superpixels).
        grid: Patches per side; SLIC cuts the square of it at most.
        removal: What replaces them.
    """

    segments: str = "grid"
    grid: int = 14
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the segments; a name and the removal it stands for are one key."""
        check_segments("ShapleyMask", self.segments)
        object.__setattr__(self, "removal", removal_of(self.removal))

    def accepts(self, units: str) -> bool:
        """See the base class."""
        return removal_of(self.removal).accepts(units)

    def mask(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        segments = segments_of(explicand, self.segments, self.grid)
        draws = batch.uniform("shapley mask", self.seed, (segments.count + 1,))
        removed = shapley_subsets(draws, batch.of_rows(segments.present))
        return segments.of(batch).spread(removed.float())

    def inputs(self, explicand: Explicand, batch: Batch) -> Tensor:
        """See the base class."""
        return explicand.removal(self.removal, "response")(batch, self.mask(explicand, batch))
