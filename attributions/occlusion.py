"""Occlusion: how much the score drops when a window is removed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.removal import Removal


@final
@dataclass(frozen=True)
class Occlusion(Method):
    """The mean of `f_c(x) - f_c(x without W)` over the windows W that cover a feature, `(N, 1, *F)`.

    After Zeiler 2013 (arXiv:1311.2901, section 4.2), as Captum computes it: square windows of `window` features per
    side begin at the multiples of `stride`; the last ones, where they reach over the border, are cut there. All
    channels of a window are removed together. Overlapping windows are averaged, so a value is the drop of whole
    windows in logits.

    Units: importance, because such drops do not sum to anything, except for windows of one feature: then
    contribution, `w_i (x_i - x0_i)` on a linear model.

    Cost: a forward for each window, `(ceil((H - window) / stride) + 1)` times the same for W, and one for the input,
    shared.

    Differs from the paper: the paper maps the score itself at the window's place, not its drop.

    Attributes:
        window: Side of a window.
        stride: Distance between windows, at most a window's side.
        removal: What replaces a window.

    Raises:
        ValueError: A stride that would leave features uncovered.
    """

    reference: ClassVar[str] = "arXiv:1311.2901"
    window: int = 15
    stride: int = 8
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the options."""
        if not 1 <= self.stride <= self.window:
            raise ValueError(
                f"Occlusion: stride must lie between 1 and window={self.window}, so that every feature is covered, "
                f"got {self.stride}"
            )

    @property
    def units(self) -> str:  # type: ignore[override]
        """Contribution for windows of one feature, else importance."""
        return "contribution" if self.window == 1 else "importance"

    @property
    def signed(self) -> bool:
        """A drop of the score, also where its units are importance."""
        return True

    def attribute(self, explicand: Explicand) -> Tensor:
        """The mean drop `(N, 1, *F)` of the logit in logits."""
        sides = tuple(explicand.shape[2:])
        places = tuple(max(0, -(-(side - self.window) // self.stride)) + 1 for side in sides)
        removal, clean = explicand.removal(self.removal), explicand.clean.logit
        total, covered = torch.zeros_like(explicand.inputs[:, :1]), torch.zeros_like(explicand.inputs[:, :1])
        for batch in explicand.batches(prod(places), "scores"):
            gone = self._windows(batch, places)
            drop = batch.of_rows(clean) - batch.scores(removal(batch, gone)).logit
            batch.add(total, gone * drop.view(-1, *[1] * (gone.dim() - 1)))
            batch.add(covered, gone)
        return total / covered.clamp(min=1)

    def _windows(self, batch: Batch, places: tuple[int, ...]) -> Tensor:
        """The windows of each pair, 1 inside and 0 outside, `(n, 1, *F)`; those past the end of a sample are empty."""
        explicand, number = batch.explicand, batch.variants
        sides = batch.of_rows(explicand.sides)
        gone = torch.ones(len(batch), 1, dtype=torch.float32, device=explicand.device)
        for axis, count in enumerate(places):
            first = (number % count * self.stride)[:, None]
            number = number // count
            place = batch.of_rows(explicand.places(axis))
            there = first < (sides[:, axis, None] - self.window).clamp(min=0) + self.stride
            inside = (place >= first) & (place < first + self.window) & there
            gone = gone[..., None] * inside.view(len(batch), *[1] * (gone.dim() - 1), -1)
        return gone
