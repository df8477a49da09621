"""What every dataset of texts gives: samples with their label and, where people or a rule marked them, the evidence."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn, overload

from xaieval.datasets.base import Dataset, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess

if TYPE_CHECKING:
    from xaieval.datasets.encode import Encoder

Span = tuple[int, int]
"""Characters [start, end) of a text, as Python counts them: code points, neither bytes nor UTF-16 units."""


@dataclass(frozen=True)
class TextSample:
    """One text to be explained.

    Spans may come as any sequences of integers and are kept as tuples; they say something of `text`, never of `second`.

    Args:
        id: Its name, stable and unique in its dataset; the random draws depend on it.
        text: The text, as it is: neither its case nor its spaces are touched.
        target: Index of its class; None where it is not known.
        rationale: Spans of the evidence, in any order; None where nobody looked for any.
        signs: For each span +1 where it supports the class `target` and -1 where it opposes it; None: all support it.
        protected: Spans of words that a fair decision must not depend on.
        second: The second text of a pair, such as the hypothesis of an inference; None for a single text.
        sources: Names of the texts it is made of: itself where nothing else is given. What counts as independent is
            counted by them.

    Raises:
        DatasetError: An empty text, one that is no Unicode, or spans that are no integers, empty, outside the text or
            overlapping.
    """

    id: str
    text: str
    target: int | None = None
    rationale: tuple[Span, ...] | None = None
    signs: tuple[int, ...] | None = None
    protected: tuple[Span, ...] = ()
    second: str | None = None
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_text("text", self.text)
        if self.second is not None:
            self._check_text("second text", self.second)
        for what in ("rationale", "protected"):
            if getattr(self, what) is not None:
                object.__setattr__(self, what, self._checked(what, getattr(self, what)))
        if self.signs is not None:
            object.__setattr__(self, "signs", tuple(self.signs))
            self._check_signs(self.signs)
        if not self.sources:
            object.__setattr__(self, "sources", (self.id,))

    @property
    def supporting(self) -> tuple[Span, ...]:
        """Spans of the rationale that speak for the class."""
        return self._signed(1)

    @property
    def opposing(self) -> tuple[Span, ...]:
        """Spans of the rationale that speak against the class."""
        return self._signed(-1)

    def _signed(self, wanted: int) -> tuple[Span, ...]:
        spans = self.rationale or ()
        signs = (1,) * len(spans) if self.signs is None else self.signs
        return tuple(span for span, sign in zip(spans, signs, strict=True) if sign == wanted)

    def _check_text(self, what: str, text: object) -> None:
        if not isinstance(text, str):
            self._refuse(f"the {what} is {text!r}, expected a string")
        if not text.strip():
            self._refuse(f"the {what} is empty; expected at least one word")
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._refuse(
                f"the {what} holds half of a surrogate pair, which is no character; decode it again from UTF-8"
            )

    def _checked(self, what: str, spans: Sequence[Sequence[int]]) -> tuple[Span, ...]:
        """The spans as tuples, in the order given."""
        for span in spans:
            if not _is_pair(span):
                self._refuse(f"{what} holds {span!r}, expected two integers [start, end) for each span")
            start, end = span
            if not 0 <= start < end <= len(self.text):
                self._refuse(
                    f"{what} [{start}, {end}) is no part of the text, which has {len(self.text)} characters; expected "
                    "0 <= start < end <= that"
                )
        found = tuple((start, end) for start, end in spans)
        for before, after in pairwise(sorted(found)):
            if before[1] > after[0]:
                self._refuse(f"{what} [{before[0]}, {before[1]}) and [{after[0]}, {after[1]}) overlap; make them one")
        return found

    def _check_signs(self, signs: tuple[int, ...]) -> None:
        if len(signs) != len(self.rationale or ()) or not set(signs) <= {1, -1}:
            self._refuse(f"signs are {signs}, expected +1 or -1 for each of {len(self.rationale or ())} spans")

    def _refuse(self, why: str) -> NoReturn:
        raise DatasetError(f"text {self.id!r}: {why}")


def _is_pair(span: object) -> bool:
    return isinstance(span, Sequence) and len(span) == 2 and all(type(place) is int for place in span)


class TextSamples(Sequence[TextSample]):
    """The texts of a dataset, always in the same order.

    Args:
        samples: The texts.
        categories: Name of each class, in the order of `target`; empty where there are none.

    Raises:
        DatasetError: Two texts of one name.
    """

    def __init__(self, samples: Sequence[TextSample], categories: Sequence[str] = ()) -> None:
        self.samples = tuple(samples)
        self.categories = tuple(categories)
        repeated = [name for name, times in Counter(self.ids).items() if times > 1]
        if repeated:
            raise DatasetError(f"{len(repeated)} texts occur twice, the first is {repeated[0]!r}; list each once")

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the texts."""
        return tuple(sample.id for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> TextSample: ...

    @overload
    def __getitem__(self, index: slice) -> TextSamples: ...

    def __getitem__(self, index: int | slice) -> TextSample | TextSamples:
        if isinstance(index, slice):
            return TextSamples(self.samples[index], self.categories)
        return self.samples[index]


class TextDataset(Dataset):
    """Where texts come from: a frozen dataclass of numbers and strings, the configuration and not the content."""

    @abstractmethod
    def texts(self) -> TextSamples:
        """The texts, always in the same order."""

    def load(self, preprocess: Preprocess | Encoder) -> Samples[TextSample]:
        """The texts as a model takes them; one is encoded when it is indexed.

        Raises:
            DatasetError: The model takes images, or has other classes.
        """
        if isinstance(preprocess, Preprocess):
            raise DatasetError(
                f"{self.name} holds texts, and the model takes images: choose a model of texts, such as model=minilm"
            )
        return preprocess.samples(self.texts())
