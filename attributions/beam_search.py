"""Beam search for the order of removal that lowers the score the most, the earlier the better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.ragged import Ragged, ragged_scores
from xaieval.removal import Removal
from xaieval.segments import Segments, segments_of


class Beams(NamedTuple):
    """The best orders begun so far, best first, B of them for each sample.

    Attributes:
        gone: Pieces that each has removed, bool `(N, B, P)`.
        place: The place of these pieces in it, from 0, `(N, B, P)`.
        value: Sum of minus the logits on the way `(N, B)`, float64; -inf where there are fewer orders than B.
    """

    gone: Tensor
    place: Tensor
    value: Tensor


@final
@dataclass(frozen=True)
class BeamSearch(Method):
    """The order of removal p_1, ..., p_n that maximizes `sum_k f_c(x) - f_c(x without p_1, ..., p_k)`, `(N, 1, *F)`.

    As Madsen 2023 (arXiv:2310.07819) searches it on texts, after Zhou 2022 (arXiv:2202.04549, unverified). A beam is a
    set of removed pieces with the sum on the way to it. In each step every piece left is removed from every beam, and
    the `beams` best are kept; of beams that reach one set, by other orders, only the one with the highest sum goes on,
    as what follows is the same for all. Of equal sums the order that was ahead before comes first, then the earlier
    piece. The piece in place r, from 0, has importance n - r: the first removed n, the last 1.

    Pieces are the words of a text where groups are given, else its tokens, and patches of a grid on images. Where the
    logit is additive in the pieces, the order is that of their effects, and that of leaving one out. With one beam the
    search is greedy; with as many beams as there are sets of one size it is exhaustive.

    Units: importance; a piece's is shared among its features, so that a curve on the same pieces follows the order. 0
    where a feature is absent.

    Cost: a forward for each different set that the beams reach, none for the input or for what is left when all is
    removed, which are the same for all orders: `n (n + 1) / 2 - 1` with one beam, at most `2^n - 2`, about `beams
    n^2 / 2`. Sets of all samples and beams share batches; pieces that a sample lacks cost nothing.

    Differs from the paper: words as pieces and grids of images; a set that two beams reach is evaluated once. A removal
    that is drawn anew for each mask is drawn for each set, so that luck has a part in the order.

    Attributes:
        beams: Orders that are kept in each step; 10, 20 and 50 in the paper.
        grid: Patches per side, at most one per pixel.
        removal: What replaces removed pieces.

    Raises:
        ValueError: No beam.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2310.07819"
    whole_order: ClassVar[bool] = True
    syncs: ClassVar[str] = "how many different sets the beams reach, and so what is evaluated, depends on the scores"
    beams: int = 10
    grid: int = 4
    removal: str | Removal = "zero"

    def __post_init__(self) -> None:
        """Check the option."""
        if self.beams < 1:
            raise ValueError(f"BeamSearch: beams must be at least 1, got {self.beams}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The importance `(N, 1, *F)`."""
        pieces = segments_of(explicand, "grid", self.grid)
        there = pieces.present
        number = there.sum(1, keepdim=True)
        nothing = torch.zeros_like(pieces.area)[:, None]
        beams = Beams(nothing.bool(), nothing, nothing[:, :, 0].double())
        for step in range(int(number.amax()) - 1):  # the last piece left is the last removed
            new = (there & (step < number - 1))[:, None] & (beams.value > -torch.inf)[:, :, None]
            new = new & ~beams.gone & ~_merged(beams)
            beams = _extended(beams, new, self._logits(explicand, pieces, beams, new), step, self.beams)
        best = torch.where(beams.gone[:, 0], beams.place[:, 0], number - 1.0)
        return pieces.share((number - best) * there)

    def _logits(self, explicand: Explicand, pieces: Segments, beams: Beams, new: Tensor) -> Tensor:
        """Logits `(N, B, P)` of the beams without one more piece, at the new ones `(N, B, P)`, infinite at others."""
        sample, beam, piece = new.nonzero().unbind(1)
        removal = explicand.removal(self.removal)

        def inputs(batch: Ragged) -> Tensor:
            gone = beams.gone[batch.rows(sample), batch.rows(beam)].float()
            return removal(batch, pieces.of(batch).spread(gone.scatter(1, batch.rows(piece)[:, None], 1.0)))

        found = torch.full(new.shape, torch.inf, device=explicand.device)
        found[new] = ragged_scores(explicand, inputs, new.sum((1, 2)).tolist())
        return found


def _merged(beams: Beams) -> Tensor:
    """Pieces `(N, B, P)` with which a beam reaches a set that a better one reaches too.

    All sets have one size, so two reach one set exactly if they differ by a single piece each, which the other takes.
    """
    gone = beams.gone.float()
    other = gone @ (1 - gone).mT  # (b', b): pieces that b' has removed and b has not
    better = torch.ones_like(other).triu(1)  # b' before b
    single = (other == 1) * better * (beams.value > -torch.inf)[:, :, None]
    return (single.mT @ gone > 0) & ~beams.gone


def _extended(beams: Beams, new: Tensor, logits: Tensor, step: int, width: int) -> Beams:
    """The best beams with one more of the new pieces `(N, B, P)`; where a sample has none its beams stay."""
    count, pieces = len(new), new.shape[2]
    values = (beams.value[:, :, None] - logits).masked_fill(~new, -torch.inf).flatten(1)
    chosen = values.argsort(dim=1, descending=True, stable=True)[:, :width]
    done = ~new.flatten(1).any(1, keepdim=True)
    # A sample that is done has its beams again in the same order, as far as there are places for them.
    stay = torch.arange(chosen.shape[1], device=new.device).clamp(max=new.shape[1] - 1).expand_as(chosen)
    parent = torch.where(done, stay, chosen // pieces)
    added = functional.one_hot(chosen % pieces, pieces).bool() & ~done[:, :, None]
    rows = torch.arange(count, device=new.device)[:, None]
    value = torch.where(done, beams.value[rows, parent], values.gather(1, chosen))
    place = torch.where(added, float(step), beams.place[rows, parent])
    return Beams(beams.gone[rows, parent] | added, place, value)
