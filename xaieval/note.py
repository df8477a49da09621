"""What an explicand knows of an attribution for as long as the tensor lives."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from xaieval.cost import Ledger
from xaieval.curve import Curve


@dataclass
class Note:
    """Units of a tensor that a method returned, what making it cost, and the curves and tables already made for it."""

    units: str = ""
    ledger: Ledger | None = None
    curves: dict[str, tuple[Curve, Ledger]] = field(default_factory=dict)
    tables: dict[str, tuple[Tensor, Ledger]] = field(default_factory=dict)
