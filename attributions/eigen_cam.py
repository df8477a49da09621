"""Eigen-CAM: the first principal component of a late layer's output, whatever the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from xaieval.cam import outputs
from xaieval.component import Method
from xaieval.explicand import Explicand

SQUARINGS = 20


@final
@dataclass(frozen=True)
class EigenCAM(Method):
    """`O v`, the layer's output projected on its first right singular vector, upsampled, `(N, 1, *F)`.

    Source: Muhammad 2020, arXiv:2008.00299, section III. O `(h w, K)` is a layer's output with a row for each
    position; `O = U S V^T` is its singular value decomposition and v, of length 1, the first column of V. The class
    has no part in it.

    The sign of v is arbitrary and chosen so that the map's sum is not negative. After a rectifier O has no negative
    entries, nor then has the map (Perron and Frobenius). O is not centered, as in the paper; some implementations do,
    and then need another rule for the sign.

    v is computed by squaring O's smaller Gram matrix 20 times in double precision, which is power iteration with 2^20
    steps that never waits for the device: exact to rounding unless the two largest singular values differ by less than
    1e-5 of their size. Where they are equal v is not unique, and the projection of the rows' sum on their common space
    is taken.

    Units: importance. Upsampling is bilinear and keeps values.

    Cost: one forward, shared by all methods that read the layer alone.

    Differs from the paper: the rule for the sign.

    Attributes:
        layer: Dotted name; empty: the model's default, the last output with places that the logits depend on.
    """

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "arXiv:2008.00299"
    layer: str = ""

    @property
    def signed(self) -> bool:
        """Where the layer gives negative values, a part of the first component may be negative, too."""
        return True

    def attribute(self, explicand: Explicand) -> Tensor:
        """The map `(N, 1, *F)`."""
        activation = outputs(explicand, self.layer)
        rows = activation.flatten(2).mT.double()
        maps = (rows @ _first(rows)[..., None]).mT.float()
        return explicand.upsample(maps.unflatten(2, activation.shape[2:]))


def _first(rows: Tensor) -> Tensor:
    """The first right singular vector `(N, K)` of matrices `(N, P, K)`, on the side of the sum of their rows."""
    if rows.shape[1] < rows.shape[2]:
        left = _power(rows @ rows.mT).sum(2)  # the first left singular vector, on the side of the ones
        vector = (left[:, None] @ rows)[:, 0]
    else:
        vector = (_power(rows.mT @ rows) @ rows.sum(1)[..., None])[..., 0]
    return _unit(vector, 1)


def _power(gram: Tensor) -> Tensor:
    """A high power of symmetric matrices `(N, m, m)`, in the end the projection on the largest eigenvalue's space."""
    power = _unit(gram, (1, 2))
    for _ in range(SQUARINGS):
        power = _unit(power @ power, (1, 2))
    return power


def _unit(values: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """Values divided by their norm over these axes; zeros stay zeros."""
    norm = (values**2).sum(axes, keepdim=True).sqrt()
    return values / norm.clamp(min=torch.finfo(values.dtype).tiny)
