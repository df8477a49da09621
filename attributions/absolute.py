"""The absolute values of a method's scores: how much, and not in which direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.wrapper import Wrapper


@final
@dataclass(frozen=True)
class Absolute(Wrapper):
    """`|a_t|`, where a_t is the score that a method gives feature t, `(N, 1, *F)` (Madsen 2023, arXiv:2310.07819).

    A map `(N, C, *F)` first becomes scores of features, as for every metric: the signed sum over channels, or the norm
    over the embedding where a text's map is a gradient. The absolute value is taken after it: what speaks for the
    class in one channel and against it in another cancels. In a word each token has that of its own score.

    Units: importance. Absolute contributions sum to nothing.

    Cost: that of the method, and nothing is spent where its map of these samples is there already.

    Differs from the paper: any method is wrapped; the paper has the absolute values of input x gradient, of integrated
    gradients and of leaving one out.

    Attributes:
        method: Whose scores these are.
    """

    reference: ClassVar[str] = "arXiv:2310.07819"
    units: ClassVar[str] = "importance"
    method: Method = Gradient()

    def attribute(self, explicand: Explicand) -> Tensor:
        """The absolute scores `(N, 1, *F)`."""
        maps = explicand.attribution(self.method)
        return explicand.features(maps, self.method.units or None).abs()[:, None]
