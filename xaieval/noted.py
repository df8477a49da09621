"""What is known of the attributions of a batch: units, cost, the method that made each, curves and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from xaieval.cost import Cost, Ledger
from xaieval.inner import Inner
from xaieval.module_call import keepable
from xaieval.note import Note

if TYPE_CHECKING:
    from xaieval.component import Method

UNITS = ("gradient", "contribution", "importance")


class Noted(Inner):
    """Inputs bound to a model, with notes on tensors that methods returned. No tensor lives longer for its note."""

    @cached_property
    def _notes(self) -> WeakTensorKeyDictionary:
        return WeakTensorKeyDictionary()

    def made_by(self, method: Method) -> Tensor | None:
        """The attribution of a method that lives, as the method made it; None where there is none."""
        return next((made for made, note in self._notes.items() if _is_of(made, note, method)), None)

    def remember(self, attribution: Tensor, units: str, cost: Ledger | Cost, method: Method | None = None) -> None:
        """Note the units of a tensor, what making it cost and which method made it, for as long as it lives."""
        note = self.noted(attribution)
        note.units, note.method, note.version = units, method, version_of(attribution)
        note.ledger = cost if isinstance(cost, Ledger) else Ledger.known(self.meter.clock, cost)

    def evaluations_of(self, attribution: Tensor) -> float | None:
        """Evaluations per sample that making the attribution would cost alone, or None where nobody noted it."""
        note = self.note(attribution)
        return None if note is None or note.ledger is None else note.ledger.standalone.forwards / self.count

    def note(self, attribution: Tensor) -> Note | None:
        """What is known of a tensor that a method returned."""
        note: Note | None = self._notes.get(attribution)
        return note

    def known(self, attribution: Tensor, key: str, make: Callable[[], Tensor]) -> Tensor:
        """What `make` computes of an attribution, once for as long as the tensor lives unchanged.

        Each user's standalone cost includes it; only the first pays.
        """
        tables = self.noted(attribution).tables
        key += f":{self.units_of(attribution)}:{version_of(attribution)}"
        if key not in tables:
            with keepable(), self.meter.making() as ledger:
                table = make()
            tables[key] = (table, ledger)
        found, ledger = tables[key]
        self.meter.use(ledger)
        return found

    def units_of(self, attribution: Tensor) -> str:
        """Units of an attribution as its method noted them, else by shape.

        A tensor with the input's channels counts as a gradient, any other as importance.
        """
        note = self.note(attribution)
        if note is not None and note.units:
            return note.units
        return "gradient" if attribution.shape[1] == self.shape[1] else "importance"

    @contextmanager
    def taken_as(self, attribution: Tensor, units: str) -> Iterator[None]:
        """In the block an attribution has these units, whatever was noted."""
        note = self.noted(attribution)
        before, note.units = note.units, units
        try:
            yield
        finally:
            note.units = before

    def noted(self, attribution: Tensor) -> Note:
        """The same, made where there is nothing yet."""
        if attribution not in self._notes:
            self._notes[attribution] = Note()
        note: Note = self._notes[attribution]
        return note


def version_of(tensor: Tensor) -> int | None:
    """Rises with every change in place; None where that is not counted."""
    return None if tensor.is_inference() else tensor._version


def _is_of(attribution: Tensor, note: Note, method: Method) -> bool:
    """Whether an attribution is as the method made it."""
    return note.method == method and note.version == version_of(attribution)
