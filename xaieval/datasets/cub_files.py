"""The tables of CUB-200-2011: text files of a line for each image, class, part or attribute, by their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xaieval.datasets.preprocess import DatasetError


@dataclass(frozen=True, eq=False)
class Birds:
    """The pictures of the release in the order of `images.txt`, and the classes in that of their numbers.

    Attributes:
        ids: Numbers of the pictures, `(n,)`.
        files: Their paths below `images`.
        targets: Index of the class of each, `(n,)`.
        training: Whether each is of the training split, `(n,)`.
        classes: Names of the classes.
    """

    ids: np.ndarray
    files: tuple[str, ...]
    targets: np.ndarray
    training: np.ndarray
    classes: tuple[str, ...]


def read_birds(root: Path) -> Birds:
    """The pictures and classes of a release.

    Raises:
        DatasetError: A table that is not there or does not fit, or a class without pictures.
    """
    images, classes = names_in(root / "images.txt"), names_in(root / "classes.txt")
    ids, numbers = np.array(list(images)), sorted(classes)
    repeated = len(images) - len(set(images.values()))
    if repeated:
        raise DatasetError(f"{root / 'images.txt'} lists {repeated} images twice; list each once")
    labels = of_images(root / "image_class_labels.txt", ids, 1)[:, 0].astype(int)
    unknown = set(labels.tolist()) - set(numbers)
    if unknown:
        raise DatasetError(f"{root / 'image_class_labels.txt'}: classes.txt has no class {min(unknown)}")
    empty = [number for number in numbers if number not in labels]
    if empty:
        raise DatasetError(
            f"{len(empty)} of {len(numbers)} classes in {root / 'classes.txt'} have no image, the first is "
            f"{classes[empty[0]]!r}; take them out of the file, or copy the release again"
        )
    training = of_images(root / "train_test_split.txt", ids, 1)[:, 0] == 1
    return Birds(
        ids,
        tuple(images.values()),
        np.searchsorted(numbers, labels),
        training,
        tuple(classes[number] for number in numbers),
    )


def names_in(path: Path) -> dict[int, str]:
    """Numbers and names, in the order of the lines `<number> <name>`.

    Raises:
        DatasetError: No such file, or a line that does not fit.
    """
    found: dict[int, str] = {}
    try:
        lines = _existing(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} cannot be read ({error}); expected text in UTF-8") from error
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        number, _, name = text.strip().partition(" ")
        if not number.isdecimal() or not name:
            raise DatasetError(f"{path}, line {line}: expected a number and a name, got {text.strip()[:60]!r}")
        if int(number) in found:
            raise DatasetError(f"{path}, line {line}: the number {number} occurs twice")
        found[int(number)] = name.strip()
    if not found:
        raise DatasetError(f"{path} is empty; expected a number and a name a line")
    return found


def of_images(path: Path, ids: np.ndarray, columns: int) -> np.ndarray:
    """Numbers `(n, columns)` of the images of the given ids, from lines `<image> <number> ...`.

    Raises:
        DatasetError: See `numbers_in`, or an image without a line.
    """
    rows = numbers_in(path, columns + 1)
    lacking = ~np.isin(ids, rows[:, 0])
    if lacking.any():
        raise DatasetError(
            f"{path} has no line for {lacking.sum()} images of images.txt, the first is {ids[lacking][0]}"
        )
    order = rows[:, 0].argsort(kind="stable")
    return rows[order][np.searchsorted(rows[order, 0], ids), 1:]


def numbers_in(path: Path, columns: int) -> np.ndarray:
    """The first numbers of each line, `(lines, columns)`; what stands behind them is not read.

    Raises:
        DatasetError: No such file, or a line with fewer numbers.
    """
    first = range(columns)
    with _existing(path).open(encoding="ascii", errors="replace") as file:
        try:
            table = pd.read_csv(file, sep=r"\s+", header=None, names=first, usecols=first, index_col=False, dtype=float)
        except ValueError as error:
            raise DatasetError(_first_bad(path, columns) or f"{path} cannot be read as a table ({error})") from error
    if table.empty or table.isna().to_numpy().any():
        raise DatasetError(_first_bad(path, columns) or f"{path} is empty; expected lines of {columns} numbers")
    return table.to_numpy()


def _first_bad(path: Path, columns: int) -> str:
    """What is wrong with the first line that does not fit; looked for only where one does not."""
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = line.split()[:columns]
            if fields and (len(fields) < columns or not all(map(_finite, fields))):
                return f"{path}, line {number}: expected {columns} numbers, got {line.strip()[:60]!r}"
    return ""


def _finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DatasetError(f"Cub expected the file {path}, which is not there; unpack CUB_200_2011.tgz again")
    return path
