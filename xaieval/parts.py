"""What is known of the parts of a sample, of the concepts at them, and how it looks without some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scheme:
    """The parts and concepts that a dataset tells.

    A part is a place that samples may have, such as a beak; a concept may hold or not, such as `beak: red`.

    Attributes:
        parts: Names of the P parts.
        concepts: Names of the L concepts.
        part_of: For each concept the number of the part where it is; -1 where it has no place.
    """

    parts: tuple[str, ...]
    concepts: tuple[str, ...]
    part_of: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.part_of) != len(self.concepts):
            raise ValueError(
                f"Scheme: part_of must name a part for each of the {len(self.concepts)} concepts, got "
                f"{len(self.part_of)}"
            )
        if any(not -1 <= part < len(self.parts) for part in self.part_of):
            raise ValueError(f"Scheme: part_of must lie in -1 to {len(self.parts) - 1}, got {self.part_of}")


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts and concepts of one sample, or with a first dimension N of many.

    Attributes:
        scheme: Their names.
        centers: `(P, 2)`, float32: row and column of each part in pixels; NaN where it is not seen.
        visible: `(P,)`, float32 in [0, 1]: the share of each part that is seen; 0 where it is hidden or not there.
        concepts: `(L,)`, bool: which concepts hold.
        masks: `(P, H, W)`, bool: the pixels where each part is seen; None where only centers are known.
    """

    scheme: Scheme
    centers: Tensor
    visible: Tensor
    concepts: Tensor
    masks: Tensor | None = None

    @classmethod
    def stack(cls, parts: Sequence[Parts]) -> Parts:
        """Those of single samples, of one scheme, as one batch.

        Raises:
            ValueError: They have different schemes, or some have masks and others have not.
        """
        schemes = {one.scheme for one in parts}
        if len(schemes) > 1 or len({one.masks is None for one in parts}) > 1:
            raise ValueError(
                f"samples of one run must tell the same parts and concepts, all with masks or all without, got "
                f"{len(schemes)} schemes"
            )
        masks = [one.masks for one in parts if one.masks is not None]
        return cls(
            parts[0].scheme,
            torch.stack([one.centers for one in parts]),
            torch.stack([one.visible for one in parts]),
            torch.stack([one.concepts for one in parts]),
            torch.stack(masks) if masks else None,
        )

    def each(self, change: Callable[[Tensor], Tensor]) -> Parts:
        """The same with every tensor changed, such as some rows of a batch chosen, or moved to a device."""
        return Parts(
            self.scheme,
            change(self.centers),
            change(self.visible),
            change(self.concepts),
            None if self.masks is None else change(self.masks),
        )


class World(Protocol):
    """A sample that can be drawn anew with something changed, all else as it was; it stays usual to the model."""

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """`(K, P)`: the variant of each part that each class has; -1 for parts that tell nothing of the class."""

    @property
    def objects(self) -> int:
        """Number of objects in the background."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of the parts that are drawn, whether they are seen or hidden behind others."""

    def image(
        self, without: Sequence[int] = (), objects: Sequence[int] = (), swapped: Mapping[int, int] | None = None
    ) -> Tensor:
        """Pixels `(C, H, W)` in [0, 1], in the size of the sample.

        Args:
            without: Parts that are left out.
            objects: Objects of the background that are left out.
            swapped: Variants, by the numbers of the parts that have them in place of their own.
        """
