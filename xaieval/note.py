"""What an explicand knows of an attribution for as long as the tensor lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from xaieval.cost import Ledger
from xaieval.curve import Curve

if TYPE_CHECKING:
    from xaieval.component import Method


@dataclass
class Note:
    """Units of a tensor that a method returned, what making it cost, and the curves and tables already made for it.

    `method` made it, and the tensor was at this `version` then; another one has been changed in place since. A curve is
    of a name (`xaieval.curve.curve_name`), the units by which pieces were ordered, and a version.
    """

    units: str = ""
    ledger: Ledger | None = None
    method: Method | None = None
    version: int | None = None
    curves: dict[tuple[str, str, int | None], tuple[Curve, Ledger]] = field(default_factory=dict)
    tables: dict[str, tuple[Tensor, Ledger]] = field(default_factory=dict)
