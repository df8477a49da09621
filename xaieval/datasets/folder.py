"""A folder of pictures, with an optional table of labels and masks."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess, open_mask
from xaieval.datasets.seen_parts import seen_mask, told
from xaieval.parts import Scheme

# Those of torchvision's ImageFolder.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Picture:
    """A file of a folder; `id` is its path below the folder, `concept` the name of what its mask shows."""

    id: str
    path: Path
    target: int | None = None
    mask: Path | None = None
    concept: str = ""


@dataclass(frozen=True)
class Folder(Dataset):
    """The pictures of a folder and of the folders below it, ordered by their paths.

    With a table (CSV with a header) the samples are its rows, so masks may lie beside the pictures. Columns: `file`,
    relative to the folder; `label`, the index of the class, optional; `mask`, relative to the table's own folder or
    else to the pictures', optional. Other columns are ignored; an empty cell is the same as no column.

    Args:
        path: The folder.
        labels: The table; None: `labels.csv` in the folder if there is one, otherwise every picture without label and
            mask.
        concept: Column of the table that names what the mask shows. Each name is a part, seen at the mask, and a
            concept that holds in these pictures; all need a name and a mask then. Empty: samples tell no parts.
        name: What to call the dataset in tables; empty: the folder's name.
    """

    path: str
    labels: str | None = None
    concept: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).expanduser().resolve().name)

    def load(self, preprocess: Preprocess) -> Samples[Picture]:
        """The pictures; that the files are there is checked now, what is in them when one is indexed.

        Raises:
            DatasetError: No such folder, no picture in it, or a table that does not fit.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DatasetError(
                f"Folder expected a folder of pictures, but {root} is {'a file' if root.exists() else 'not there'}"
            )
        table = self._table(root)
        pictures = list(_found(root) if table is None else _listed(root, table, self.concept))
        if not pictures:
            expected = f"a picture ({', '.join(EXTENSIONS)})" if table is None else f"a row in {table}"
            raise DatasetError(f"Folder found nothing in {root}; expected at least {expected}")
        scheme = self._scheme(pictures) if self.concept else None
        return Samples(sorted(pictures, key=lambda picture: picture.id), partial(_read, preprocess, scheme))

    def _table(self, root: Path) -> Path | None:
        table = root / "labels.csv" if self.labels is None else Path(self.labels).expanduser()
        if self.labels is not None and not table.is_file():
            raise DatasetError(f"Folder expected a table of labels at {table}, which is not there")
        if self.concept and not table.is_file():
            raise DatasetError(f"Folder expected a table with the column {self.concept!r} at {table}; it is not there")
        return table if table.is_file() else None

    def _scheme(self, pictures: Sequence[Picture]) -> Scheme:
        """The names of what the masks show, sorted."""
        for picture in pictures:
            if not picture.concept or picture.mask is None:
                raise DatasetError(
                    f"Folder expected {self.concept!r} and `mask` in every row of the table, since concept="
                    f"{self.concept} names what masks show; {picture.id} lacks one of them"
                )
        names = tuple(sorted({picture.concept for picture in pictures}))
        return Scheme(names, names, tuple(range(len(names))))


def _read(preprocess: Preprocess, scheme: Scheme | None, picture: Picture) -> Sample:
    image, mask = preprocess.read(picture.path, picture.mask)
    parts = None
    if scheme is not None and picture.mask is not None:
        number = scheme.parts.index(picture.concept)
        seen = seen_mask(preprocess, open_mask(picture.mask))
        parts = told(scheme, {number: seen}, (number,), preprocess.crop)
    return Sample(picture.id, image, picture.target, mask, (picture.id,), parts=parts)


def _found(root: Path) -> Iterator[Picture]:
    """Every picture below `root`; hidden files and folders are passed over."""
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() in EXTENSIONS and not hidden and path.is_file():
            yield Picture(relative.as_posix(), path)


def _listed(root: Path, table: Path, concept: str) -> Iterator[Picture]:
    """The pictures of the rows of a table."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_header(table, reader.fieldnames, concept)
            for row in reader:
                yield _row(
                    root,
                    table,
                    {key: value.strip() for key, value in row.items() if isinstance(value, str)},
                    reader.line_num,
                    concept,
                )
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a table ({error}); expected CSV in UTF-8") from error


def _check_header(table: Path, columns: object, concept: str) -> None:
    names = list(columns) if isinstance(columns, (list, tuple)) else []
    if "file" not in names:
        raise DatasetError(
            f"{table} has the columns {', '.join(map(repr, names)) or 'of an empty file'}; expected `file` and "
            "optionally `label` and `mask`, separated by commas"
        )
    if concept and concept not in names:
        raise DatasetError(f"{table} has no column {concept!r}; concept= names one of {', '.join(names)}")


def _row(root: Path, table: Path, row: dict[str, str], line: int, concept: str) -> Picture:
    where = f"{table}, line {line}"
    file = row.get("file", "")
    if not file:
        raise DatasetError(f"{where}: the cell `file` is empty; expected the path of a picture below {root}")
    return Picture(
        PurePath(file).as_posix(),
        _existing(where, file, root),
        _label(where, row.get("label", "")),
        _existing(where, row["mask"], table.parent, root) if row.get("mask") else None,
        row.get(concept, ""),
    )


def _existing(where: str, file: str, *folders: Path) -> Path:
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    raise DatasetError(f"{where}: there is no file {file!r} in {' or '.join(map(str, dict.fromkeys(folders)))}")


def _label(where: str, text: str) -> int | None:
    if text and not text.isdecimal():
        raise DatasetError(
            f"{where}: the label is {text!r}, expected the index of the class (0, 1, ...) in the model's order, or "
            "nothing"
        )
    return int(text) if text else None
