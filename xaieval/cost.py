"""What an explanation or a score costs: counted evaluations, and seconds without stopping the device.

A *ledger* is open while something is computed. Model evaluations are booked to the innermost open ledger. A thing that
several methods or metrics share is made inside a ledger of its own, so that everyone who uses it later can say what it
would have cost them alone (``standalone``) beside what this run really spent (``paid``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch


class Cost(NamedTuple):
    """Model evaluations and seconds; a gradient is one forward and one backward."""

    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0

    def plus(self, other: Cost) -> Cost:
        """The sum, entry by entry."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def per(self, count: int) -> Cost:
        """The cost of one of ``count`` samples."""
        return Cost(*(a / count for a in self))


class Clock:
    """Time marks that never wait for the device: CUDA events there, ``perf_counter`` elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"

    def mark(self) -> torch.cuda.Event | float:
        """The present moment in the device's own queue."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def seconds_between(start: torch.cuda.Event | float, stop: torch.cuda.Event | float) -> float:
    """Seconds from one mark to another; on CUDA only after a synchronization."""
    if isinstance(start, float) and isinstance(stop, float):
        return stop - start
    assert not isinstance(start, float)
    assert not isinstance(stop, float)
    return float(start.elapsed_time(stop)) / 1000.0


class Ledger:
    """The cost of one piece of work. Read ``seconds`` on CUDA only after a synchronization."""

    def __init__(self, clock: Clock) -> None:
        self.forwards = 0
        self.backwards = 0
        self.made: list[Ledger] = []
        self.used: dict[int, Ledger] = {}
        self._known: Cost | None = None
        self._clock = clock
        self._start = self._stop = clock.mark()

    @classmethod
    def known(cls, clock: Clock, cost: Cost) -> Ledger:
        """A closed ledger with a cost from an earlier run."""
        ledger = cls(clock)
        ledger._known = cost
        return ledger

    def close(self) -> None:
        """Stop the clock."""
        self._stop = self._clock.mark()

    @property
    def own(self) -> Cost:
        """What was spent here, without the shared things that were made on the way."""
        if self._known is not None:
            return self._known
        inner = sum(seconds_between(made._start, made._stop) for made in self.made)
        return Cost(self.forwards, self.backwards, max(0.0, seconds_between(self._start, self._stop) - inner))

    @property
    def paid(self) -> Cost:
        """What this run spent: own work and the shared things made here for the first time."""
        total = self.own
        for made in self.made:
            total = total.plus(made.paid)
        return total

    @property
    def standalone(self) -> Cost:
        """What the work would have cost alone: own work and every shared thing it used, each once."""
        total = self.own
        for used in self._everything_used().values():
            total = total.plus(used.own)
        return total

    def _everything_used(self) -> dict[int, Ledger]:
        found: dict[int, Ledger] = {}
        for key, ledger in self.used.items():
            found[key] = ledger
            found.update(ledger._everything_used())
        return found


class Meter:
    """Counts the evaluations of one explicand; perturbed copies and wrapped methods book here too."""

    def __init__(self, device: torch.device) -> None:
        self.clock = Clock(device)
        self.forwards = 0
        self.backwards = 0
        self._open: list[Ledger] = []

    def spend(self, forwards: int, backwards: int = 0) -> None:
        """Book evaluations to the innermost open ledger."""
        self.forwards += forwards
        self.backwards += backwards
        if self._open:
            self._open[-1].forwards += forwards
            self._open[-1].backwards += backwards

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Measure the work in the block; what an inner ledger spends counts for the outer one as well."""
        ledger = Ledger(self.clock)
        try:
            with self._opened(ledger):
                yield ledger
        finally:
            if self._open:
                outer = self._open[-1]
                outer.forwards += ledger.forwards
                outer.backwards += ledger.backwards
                outer.made += ledger.made
                outer.used |= ledger.used

    @contextmanager
    def making(self) -> Iterator[Ledger]:
        """Measure the making of something shared: the outer ledger uses it, but does not own its cost."""
        ledger = Ledger(self.clock)
        try:
            with self._opened(ledger):
                yield ledger
        finally:
            if self._open:
                self._open[-1].made.append(ledger)

    @contextmanager
    def _opened(self, ledger: Ledger) -> Iterator[None]:
        """The innermost ledger within the block, closed afterwards."""
        self._open.append(ledger)
        try:
            yield
        finally:
            self._open.pop()
            ledger.close()

    def use(self, ledger: Ledger) -> None:
        """Note that the work in progress used something shared."""
        if self._open:
            self._open[-1].used[id(ledger)] = ledger
