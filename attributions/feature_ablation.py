"""Feature ablation: how much the score drops when a segment is removed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.batch import Batch
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.ragged import scores_by_piece
from xaieval.removal import Removal
from xaieval.segments import SEGMENTS, check_segments, segments_of


@final
@dataclass(frozen=True)
class FeatureAblation(Method):
    """`f_c(x) - f_c(x without segment i)`, spread evenly over the segment, `(N, 1, *F)` (Li 2016, arXiv:1612.08220).

    All channels of a segment are removed together. Segments do not overlap: with patches of a grid this is occlusion
    with windows side by side, whose drops count once; with one patch a pixel it is leave-one-out. On texts it is
    leave-one-out of tokens or words (preset `leave_one_out`).

    Units: contribution against the removal: a segment's pixels sum to its drop in logits. On an additive model the
    drops sum to `f(x) - f(x0)`.

    Cost: a forward for each segment, and one for the input, shared; on a text for each of its own tokens or words.
    Superpixels that an image lacks are run, too, so that all images have the same number.

    Differs from the paper: the paper removes single dimensions, and divides the drop of the log-probability by it;
    here, as in Captum, whole segments are removed, and the drop is that of the logit.

    Attributes:
        segments: grid or slic (superpixels).
        grid: Patches per side; SLIC cuts the square of it at most.
        removal: What replaces a segment.

    Raises:
        ValueError: Segments that do not exist.
    """

    units: ClassVar[str] = "contribution"
    reference: ClassVar[str] = "arXiv:1612.08220"
    exceptions: ClassVar[dict[str, str]] = {"linear_contribution": "a segment's drop is spread evenly over its pixels"}
    segments: str = "grid"
    grid: int = 14
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the options."""
        check_segments("FeatureAblation", self.segments)

    @property
    def syncs(self) -> str:  # type: ignore[override]
        """SLIC needs the host."""
        return SEGMENTS[self.segments]

    def attribute(self, explicand: Explicand) -> Tensor:
        """The drops of the logit, spread over the segments, `(N, 1, *F)`."""
        segments, removal = segments_of(explicand, self.segments, self.grid), explicand.removal(self.removal)
        numbers = torch.arange(segments.count, device=explicand.device)

        def inputs(batch: Batch, number: Tensor) -> Tensor:
            alone = (number[:, None] == numbers).float()
            return removal(batch, segments.of(batch).spread(alone))

        return segments.share(explicand.clean.logit[:, None] - scores_by_piece(explicand, segments, inputs))
