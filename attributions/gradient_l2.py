"""The norm of the gradient at each feature, over its channels or over the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from xaieval.component import Method
from xaieval.explicand import Explicand

SPACES = ("features", "vocabulary")


@final
@dataclass(frozen=True)
class GradientL2(Method):
    """`|df_c/dx_t|`, a norm of the gradient at each feature t, `(N, 1, *F)` (Madsen 2023, arXiv:2310.07819).

    In the space `features` it is taken over the channels: the colors of a pixel, or the embedding of a token. In the
    space `vocabulary`, as the paper's code does it, over what the token might be: with the embeddings W `(V, D)` of
    all tokens and `x_t = W' e_t` the gradient at the one-hot code e_t is `W g_t`, and the map `|W g_t|`. Neither
    depends on the sign; in the space `features` with order 2 neither does it on the basis of the embedding.

    Units: importance. On a linear bag of embeddings `f = sum_t w.x_t` it is `|w|` or `|W w|` for every token.

    Cost: one forward and one backward, shared with everything else that needs the gradient at the input. The norm over
    the vocabulary takes `V D` (order 1) or `D^2` (order 2) products a token; its memory does not grow with V.

    Differs from the paper: the space is `features` by default, which every modality has. That of images is no
    vocabulary, and is refused.

    Attributes:
        order: 2 (Euclidean) or 1 (sum of absolute values).
        space: features or vocabulary.

    Raises:
        ValueError: An order or space that does not exist.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2310.07819"
    order: int = 2
    space: str = "features"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.order not in (1, 2):
            raise ValueError(f"GradientL2: order must be 1 or 2, got {self.order!r}")
        if self.space not in SPACES:
            raise ValueError(f"GradientL2: space must be one of {', '.join(SPACES)}, got {self.space!r}")

    def attribute(self, explicand: Explicand) -> Tensor:
        """The norms `(N, 1, *F)`."""
        return explicand.modality.norm(explicand.gradient, self.order, self.space)
