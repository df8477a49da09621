"""What every dataset gives: samples that are read when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, overload

import torch
from torch import Tensor

from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.parts import Parts, World


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model reads of a text beside the embeddings, for each of its T tokens.

    Attributes:
        present: `(T,)`, bool: the features, tokens that are not special.
        attended: `(T,)`, what the model reads: True, as a sample is not padded; of a pair the integers 1 and 2 for
            tokens of the first and the second text, with the special ones beside them.
        groups: `(T,)`, the number of each token's word from 0, -1 at special tokens; None: each token by itself.
        protected: `(T,)`, bool: tokens that a fair decision must not depend on; None where none are marked.
        spelled: The characters of each token with the blanks before them, by which a text is shown; those that tokens
            share are the first one's alone, those of no token belong to the one before them. What special tokens are
            called.
        note: What was cut off, in a sentence; empty where all of it is there.
    """

    present: Tensor
    attended: Tensor
    groups: Tensor | None
    protected: Tensor | None
    spelled: tuple[str, ...]
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The tokens without blanks."""
        return tuple(token.strip() for token in self.spelled)


@dataclass(frozen=True, eq=False)
class Sample:
    """One input to be explained.

    Args:
        id: Its name, stable and unique in its dataset; the random draws depend on it.
        input: Pixels in [0, 1], `(3, H, W)`, the embeddings of a text's tokens, `(D, T)`, or the scores of concepts,
            `(1, L)`; float32.
        target: Index of its class; None where it is not known.
        mask: True on what an explanation should find, the object `(H, W)`, the tokens of the rationale `(T,)` or the
            concepts that hold `(L,)`; None where none is marked.
        sources: Names of the photos it is made of: itself, or those of a mosaic. What counts as independent is
            counted by them.
        reading: What a text has beside its embeddings; None for all else.
        parts: Its parts and concepts, where they are known.
        world: What draws it anew with parts changed, where it was drawn.

    Raises:
        DatasetError: A tensor of another shape or dtype, or NaN, infinite or normalized pixels.
    """

    id: str
    input: Tensor
    target: int | None
    mask: Tensor | None
    sources: tuple[str, ...]
    reading: Reading | None = None
    parts: Parts | None = None
    world: World | None = None

    def __post_init__(self) -> None:
        given, mask = self.input, self.mask
        if self.reading is None:
            self._check_finite(given)
            if given.ndim != 2:
                self._check_range(given)
        elif given.ndim != 2 or given.dtype != torch.float32 or given.shape[1:] != self.reading.present.shape:
            self._refuse("input", given, f"float32 of shape (dimensions, {len(self.reading.present)} tokens)")
        if mask is not None and (mask.shape != given.shape[1:] or mask.dtype != torch.bool):
            self._refuse("mask", mask, f"bool of shape {tuple(given.shape[1:])}")

    def _check_finite(self, given: Tensor) -> None:
        scores = given.ndim == 2 and len(given) == 1
        if (given.ndim != 3 and not scores) or given.dtype != torch.float32:
            self._refuse("input", given, "float32 of shape (channels, height, width), or (1, concepts)")
        if not given.isfinite().all():
            raise DatasetError(
                f"sample {self.id!r}: {int((~given.isfinite()).sum())} {'scores' if scores else 'pixels'} are NaN or "
                "infinite; replace them"
            )

    def _check_range(self, image: Tensor) -> None:
        if image.min() < 0 or image.max() > 1:
            raise DatasetError(
                f"sample {self.id!r}: pixels run from {image.min():.3g} to {image.max():.3g}, expected [0, 1]; "
                "normalization is the model's first layer (mean and std of the Classifier), not the dataset's"
            )

    def _refuse(self, what: str, tensor: Tensor, expected: str) -> None:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise DatasetError(
            f"sample {self.id!r}: expected the {what} as {expected}, got {dtype} of shape {tuple(tensor.shape)}"
        )


class Entry(Protocol):
    """What is known of a sample before its picture is read."""

    @property
    def id(self) -> str:
        """Name of the sample."""

    @property
    def target(self) -> int | None:
        """Index of its class, if known."""


E = TypeVar("E", bound=Entry)


class Samples(Sequence[Sample], Generic[E]):
    """A sequence that reads a sample when it is indexed; a slice of it reads nothing.

    Args:
        entries: What is known of each sample beforehand.
        read: Makes the sample of an entry.

    Raises:
        DatasetError: Two samples of one name.
    """

    def __init__(self, entries: Sequence[E], read: Callable[[E], Sample]) -> None:
        self.entries = tuple(entries)
        self._read = read
        repeated = [name for name, times in Counter(entry.id for entry in self.entries).items() if times > 1]
        if repeated:
            raise DatasetError(f"{len(repeated)} samples occur twice, the first is {repeated[0]!r}; list each once")

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the samples."""
        return tuple(entry.id for entry in self.entries)

    def changed(self, change: Callable[[Sample], Sample]) -> Samples[E]:
        """The same samples, each changed when it is read."""
        return Samples(self.entries, lambda entry: change(self._read(entry)))

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Samples[E]: ...

    def __getitem__(self, index: int | slice) -> Sample | Samples[E]:
        if isinstance(index, slice):
            return Samples(self.entries[index], self._read)
        return self._read(self.entries[index])


class Dataset(ABC):
    """Where samples come from: a frozen dataclass of numbers and strings, the configuration and not the content."""

    name: str

    @abstractmethod
    def load(self, preprocess: Preprocess) -> Sequence[Sample]:
        """The samples, always in the same order; pictures are read one by one when indexed."""
