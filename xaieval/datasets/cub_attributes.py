"""The attributes of CUB-200-2011: labels with certainty, what a class is said to have, and where attributes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xaieval.datasets.cub_files import Birds, names_in, numbers_in
from xaieval.datasets.preprocess import DatasetError

NOT_VISIBLE = 1
"""The least of the certainties in `certainties.txt`: guessing is 2, probably 3, definitely 4."""

PLACES = {
    "bill": "beak",
    "head": "crown",
    "upperparts": "back",
    "underparts": "belly",
    "upper_tail": "tail",
    "under_tail": "tail",
}
"""The part of an attribute `has_<word>_...` that is called otherwise; other words are the part's own name."""


def place_of(attribute: str, parts: Sequence[str]) -> int:
    """Number of the part where an attribute is, -1 where it has no place, as `has_size::small` or primary color."""
    subject = attribute.partition("::")[0].removeprefix("has_").rpartition("_")[0]
    part = PLACES.get(subject, subject)
    return parts.index(part) if part in parts else -1


@dataclass(frozen=True, eq=False)
class Labels:
    """What annotators said of every picture.

    Attributes:
        names: Names of the A attributes.
        present: `(n, A)`, bool: said to be there, with enough certainty.
        absent: `(n, A)`, bool: said not to be there, with enough certainty, and not because it is not visible.
    """

    names: tuple[str, ...]
    present: np.ndarray
    absent: np.ndarray

    def majority(self, birds: Birds) -> np.ndarray:
        """Which attributes hold for each class `(K, A)`: those that at least half of its training pictures have.

        Pictures without a label are not counted, and without any vote an attribute holds, as any tie.

        Raises:
            DatasetError: A class without a training picture.
        """
        voters = np.arange(len(birds.classes))[:, None] == np.where(birds.training, birds.targets, -1)
        silent = ~voters.any(1)
        if silent.any():
            raise DatasetError(
                f"{silent.sum()} of {len(birds.classes)} classes have no training picture that could vote on their "
                f"attributes, the first is {birds.classes[silent.argmax()]!r}; copy the release again, or take "
                "denoised=false and min_classes=0"
            )
        weights = voters.astype(np.float32)  # sums of 0 and 1 are exact
        holds: np.ndarray = weights @ self.present.astype(np.float32) >= weights @ self.absent.astype(np.float32)
        return holds


def read_labels(root: Path, birds: Birds, certainty: int) -> Labels:
    """The labels of all pictures; those of less certainty are as if there were none.

    Of a line only image, attribute, presence and certainty are read: a few of the release have a number too many
    before the time.

    Raises:
        DatasetError: A table that is not there or does not fit.
    """
    names = names_in(_attributes_file(root))
    path = root / "attributes" / "image_attribute_labels.txt"
    rows = numbers_in(path, 4).astype(np.int32)
    numbers = np.array(sorted(names))
    _check(path, rows, numbers)
    order = birds.ids.argsort()
    place = np.searchsorted(birds.ids[order], rows[:, 0]).clip(max=len(order) - 1)
    image = order[place]
    rows, image = rows[birds.ids[image] == rows[:, 0]], image[birds.ids[image] == rows[:, 0]]
    said = np.zeros((len(birds.ids), len(numbers)), dtype=bool)
    present, absent = said.copy(), said.copy()
    attribute = np.searchsorted(numbers, rows[:, 1])
    said[image, attribute] = True
    if not said.any(1).all():
        raise DatasetError(
            f"{path} has no label of {(~said.any(1)).sum()} images, the first is {_first(birds, said)!r}"
        )
    there, sure = rows[:, 2] == 1, rows[:, 3] >= certainty
    present[image, attribute] = there & sure
    absent[image, attribute] = ~there & sure & (rows[:, 3] != NOT_VISIBLE)
    return Labels(tuple(names[number] for number in numbers.tolist()), present, absent)


def _first(birds: Birds, said: np.ndarray) -> str:
    return birds.files[int((~said.any(1)).argmax())]


def _attributes_file(root: Path) -> Path:
    """The release has the names of the attributes beside its folder."""
    places = (root / "attributes" / "attributes.txt", root.parent / "attributes.txt", root / "attributes.txt")
    for path in places:
        if path.is_file():
            return path
    raise DatasetError(f"Cub expected attributes.txt in {' or '.join(str(path.parent) for path in places)}")


def _check(path: Path, rows: np.ndarray, numbers: np.ndarray) -> None:
    for wrong, sentence in (
        (~np.isin(rows[:, 1], numbers), "there is no attribute {1} in attributes.txt"),
        (~np.isin(rows[:, 2], (0, 1)), "is_present is {2}, expected 0 or 1"),
        (~np.isin(rows[:, 3], (1, 2, 3, 4)), "the certainty is {3}, expected 1 to 4"),
    ):
        if wrong.any():
            line = int(wrong.argmax())
            raise DatasetError(f"{path}, line {line + 1}: {sentence.format(*rows[line].tolist())}")
