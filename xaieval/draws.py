"""Random draws that depend on what they are for, never on what was drawn before.

The generator is reseeded for every draw from a hash of its key (seed, sample, purpose, index), so a sample's noise is
the same in any batch, order, shard or resumed run. Draws are bit-identical on one type of device and never touch the
global random state.

Texts of a batch are padded to the longest of them. There the last dimension is drawn in blocks of a fixed size, each
with a seed of its own, so that what is drawn for a token or a piece depends on its number, not on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

Key = tuple[str | int, ...]

BLOCK = 32
"""Entries of the last dimension that are drawn together where it is ragged."""


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed from any strings and integers."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Draws:
    """Draws of one device in float32.

    Args:
        device: Where they are made.
        ragged: Whether the last dimension may be longer for the sake of others: then its first entries do not depend on
            its length.
    """

    def __init__(self, device: torch.device, ragged: bool = False) -> None:
        self.device = device
        self.ragged = ragged
        # A generator for `meta` does not exist: the CPU draws for it.
        self._generator = torch.Generator("cpu" if device.type == "meta" else device)

    def normal(self, shape: Sequence[int], keys: Sequence[Key]) -> Tensor:
        """Standard normal values `(len(keys), *shape)`, one draw for each key."""
        return self._fill(shape, keys, lambda row: row.normal_(generator=self._generator))

    def uniform(self, shape: Sequence[int], keys: Sequence[Key]) -> Tensor:
        """Uniform values in [0, 1), `(len(keys), *shape)`, one draw for each key."""
        return self._fill(shape, keys, lambda row: row.uniform_(generator=self._generator))

    def _fill(self, shape: Sequence[int], keys: Sequence[Key], draw: Callable[[Tensor], Tensor]) -> Tensor:
        if not self.ragged or not shape:
            return self._rows(shape, keys, draw).to(self.device)
        blocks = range(-(-shape[-1] // BLOCK))
        parts = [self._rows((*shape[:-1], BLOCK), [(*key, block) for key in keys], draw) for block in blocks]
        return torch.cat(parts, -1)[..., : shape[-1]].to(self.device)

    def _rows(self, shape: Sequence[int], keys: Sequence[Key], draw: Callable[[Tensor], Tensor]) -> Tensor:
        values = torch.empty((len(keys), *shape), dtype=torch.float32, device=self._generator.device)
        for row, key in zip(values, keys, strict=True):
            self._generator.manual_seed(seed_of(*key))
            draw(row)
        return values
