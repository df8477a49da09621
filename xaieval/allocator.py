"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # numbers of glibc's malloc.h
_NEVER, _STEP = 2**31 - 1, 64 * 2**20


def keep_freed_memory() -> None:
    """Use freed memory again instead of asking the system for it.

    The activations of a network are allocations of many megabytes. glibc gives each back to the system when it is
    freed, and the next one pays for every page anew: on two CPU cores that is a sixth of EfficientNet-Lite0's time.
    The process keeps its peak memory instead. C libraries other than glibc are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_TOP_PAD, _STEP)
