"""How many inputs go through the model at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from xaieval.cost import Clock, seconds_between

Result = TypeVar("Result")


class BatchSize:
    """A batch size that is given or found on the first real batches, and that shrinks when memory runs out.

    `auto` runs 8, 16 and 32 inputs twice each (of texts also 64, on CUDA up to 256), takes the better time of
    the two for each number of an input, as texts come sorted by their length, stops as soon as a size is clearly worse,
    and keeps the best. No evaluation is spent on it; only the timing itself waits for the device.

    Args:
        size: `auto`, or the size.
        device: Where the model runs.
        small: Whether inputs are so small, as texts are, that more of them fill a call.

    Raises:
        ValueError: The size is neither.
    """

    def __init__(self, size: int | str, device: torch.device, small: bool = False) -> None:
        if size != "auto" and (not isinstance(size, int) or size < 1):
            raise ValueError(f"batch_size must be 'auto' or a positive integer, got {size!r}")
        self._device = device
        self._clock = Clock(device)
        self._candidates: list[int] = []
        self._times: dict[int, list[float]] = {}
        self.current = 8 if isinstance(size, str) else size
        if isinstance(size, str) and device.type != "meta":
            most = 256 if device.type == "cuda" else 64 if small else 32
            self._candidates = [size for size in (8, 16, 32, 64, 128, 256) if size <= most]

    @contextmanager
    def observing(self, count: int, numbers: int = 1) -> Iterator[None]:
        """Time the run of so many inputs in the block as a sample of the size under trial, if it is one."""
        if count != self.current or not self._candidates:
            yield
            return
        start = self._clock.mark()
        yield
        stop = self._clock.mark()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._times.setdefault(count, []).append(seconds_between(start, stop) / (count * numbers))
        if len(self._times[count]) == 2:
            self._next()

    def _next(self) -> None:
        best = {size: min(times) for size, times in self._times.items()}
        worse = best[self.current] > 1.15 * min(best.values())
        larger = [size for size in self._candidates if size > self.current]
        if worse or not larger:
            self.current = min(best, key=best.__getitem__)
            self._candidates = []
        else:
            self.current = larger[0]

    def shrink(self, failed: int) -> None:
        """Never again run as many inputs as `failed`: half of them from now on."""
        self._candidates = []  # no more trials
        self.current = max(1, failed // 2)

    def packed(self, run: Callable[[slice], Result], count: int, numbers: int = 1, rows: int = 1) -> Iterator[Result]:
        """Results of `run` on slices that fit: halved when memory runs out, and smaller from then on.

        Args:
            run: What is done with some of the samples.
            count: How many samples there are.
            numbers: How many numbers a row has, to which the time of a call is related.
            rows: How many rows of a call each takes.
        """
        start = 0
        while start < count:
            stop = min(count, start + max(1, self.current // rows))
            try:
                with self.observing(rows * (stop - start), numbers):
                    result = run(slice(start, stop))
            except torch.OutOfMemoryError:
                if stop - start == 1:
                    raise
                self.shrink(rows * (stop - start))
                continue
            yield result
            start = stop
