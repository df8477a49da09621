"""What a run is doing, how fast, and for how much longer: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from xaieval.cost import Meter

SECONDS = 10.0
"""Between two lines where there is no terminal."""

Step = tuple[str, ...]
"""What a step does, the wider class first: `("score", "insertion", "sobol")`, `("explain", "sobol")`."""


class Progress:
    """Follows a run whose steps are known beforehand; use as a context manager.

    Args:
        shown: Show anything at all.
        label: Put before every line, such as the number of a job.
        plain: Lines even on a terminal, for processes that share one.
        stream: Where to write; None: standard error.
    """

    def __init__(self, shown: bool = True, label: str = "", plain: bool = False, stream: TextIO | None = None) -> None:
        self._shown = shown
        self._label = f"{label} " if label else ""
        self._stream = stream or sys.stderr
        self._plain = plain or not self._stream.isatty()
        self._bar: Bar | None = None
        self._over = threading.Event()
        self._coming: dict[Step, int] = defaultdict(int)
        self._seen: dict[Step, tuple[int, float]] = {}
        self._running: tuple[Step, int, float] | None = None
        self._done = self._total = 0
        self._meter: Meter | None = None
        self._evaluations = 0
        self._start = time.perf_counter()

    # -- what the run tells --------------------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self._shown:
            print(f"{self._label}{line}", file=self._stream, flush=True)

    def expect(self, step: Step, samples: int) -> None:
        """A step on so many samples will come."""
        self._coming[step] += samples
        self._total += samples

    def forget(self, step: Step, samples: int) -> None:
        """An expected step is over, or will not come."""
        self._coming[step] -= samples
        self._done += samples

    def watch(self, meter: Meter) -> None:
        """Read evaluations from this meter from now on."""
        self._evaluations, self._meter = self.evaluations, meter

    @contextmanager
    def step(self, step: Step, samples: int) -> Iterator[None]:
        """The step in the block is running."""
        start = time.perf_counter()
        self._running = (step, samples, start)
        try:
            yield
        finally:
            count, seconds = self._seen.get(step, (0, 0.0))
            self._seen[step] = (count + samples, seconds + time.perf_counter() - start)
            self._running = None
            self.forget(step, samples)

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def evaluations(self) -> int:
        """Forward passes of single inputs so far."""
        return self._evaluations + (self._meter.forwards if self._meter is not None else 0)

    @property
    def left(self) -> float | None:
        """Seconds left, from what steps took before; None while there are steps of which no like was seen."""
        seen, running = dict(self._seen), self._running
        left = 0.0
        for step, samples in list(self._coming.items()):
            seconds = _typical(step, seen) if samples else 0.0
            if seconds is None:
                return None
            left += samples * seconds
        if running is not None:
            step, samples, start = running
            left -= min(time.perf_counter() - start, samples * (_typical(step, seen) or 0.0))
        return max(0.0, left)

    @property
    def part(self) -> float:
        """Part done, in [0, 1]: of the time if that is known, else of the steps."""
        left = self.left
        if left is None:
            return self._done / max(1, self._total)
        spent = time.perf_counter() - self._start
        return spent / max(1e-9, spent + left)

    def line(self) -> str:
        """The state in one line: part done, what is running, rate, time left."""
        return ", ".join(filter(None, (f"{100 * self.part:.0f} %", *self._parts())))

    def _parts(self) -> tuple[str, str, str]:
        running, left = self._running, self.left
        rate = self.evaluations / max(1e-9, time.perf_counter() - self._start)
        text = "" if running is None else _sentence(running[0])
        return text, f"{rate:.1f} evaluations/s", "" if left is None else f"{_duration(left)} left"

    # -- what is shown -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Progress:
        self._start = time.perf_counter()
        if self._shown and self._total:
            if not self._plain:
                self._bar = _bar(self._stream)
                self._bar.start()
            threading.Thread(target=self._refresh, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._bar is not None:
            self._bar.stop()
        if self._shown and self._total:
            seconds = time.perf_counter() - self._start
            self.say(f"{self.evaluations} evaluations in {_duration(seconds)}")

    def _refresh(self) -> None:
        task = None if self._bar is None else self._bar.add_task("", total=1.0, rate="", left="")
        while not self._over.wait(SECONDS if self._bar is None else 0.2):
            if self._bar is None or task is None:
                self.say(self.line())
            else:
                text, rate, left = self._parts()
                self._bar.update(task, completed=self.part, description=text, rate=rate, left=left)


def _typical(step: Step, seen: dict[Step, tuple[int, float]]) -> float | None:
    """Seconds a sample for a step: its own, else the mean over its likes, the closest there are."""
    for depth in range(len(step), 0, -1):
        likes = [seconds / count for other, (count, seconds) in seen.items() if other[:depth] == step[:depth]]
        if likes:
            return sum(likes) / len(likes)
    return None


def _sentence(step: Step) -> str:
    if step[0] == "score":
        return f"scoring {step[2]} by {step[1]}"
    return f"explaining with {step[1]}" if step[0] == "explain" else " ".join(step)


def _bar(stream: TextIO) -> Bar:
    fields = ("{task.percentage:>3.0f}%", "{task.fields[rate]}", "{task.fields[left]}", "{task.description}")
    columns = (BarColumn(bar_width=24), *(TextColumn(field, markup=False) for field in fields))
    return Bar(*columns, console=Console(file=stream), transient=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
