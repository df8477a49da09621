"""Random draws that depend on what they are for, never on what was drawn before.

The generator is reseeded for every draw from a hash of its key (seed, sample, purpose, index), so a sample's noise is
the same in any batch, order, shard or resumed run. Draws are bit-identical on one type of device and never touch the
global random state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

Key = tuple[str | int, ...]


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed from any strings and integers."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Draws:
    """Draws of one device in float32."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # A generator for `meta` does not exist: the CPU draws for it.
        self._generator = torch.Generator("cpu" if device.type == "meta" else device)

    def normal(self, shape: Sequence[int], keys: Sequence[Key]) -> Tensor:
        """Standard normal values `(len(keys), *shape)`, one draw for each key."""
        return self._fill(shape, keys, lambda row: row.normal_(generator=self._generator))

    def uniform(self, shape: Sequence[int], keys: Sequence[Key]) -> Tensor:
        """Uniform values in [0, 1), `(len(keys), *shape)`, one draw for each key."""
        return self._fill(shape, keys, lambda row: row.uniform_(generator=self._generator))

    def _fill(self, shape: Sequence[int], keys: Sequence[Key], draw: Callable[[Tensor], Tensor]) -> Tensor:
        values = torch.empty((len(keys), *shape), dtype=torch.float32, device=self._generator.device)
        for row, key in zip(values, keys, strict=True):
            self._generator.manual_seed(seed_of(*key))
            draw(row)
        return values.to(self.device)
