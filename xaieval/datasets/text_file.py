"""A file of labeled texts: JSON lines, a table with a header, or lines of text TAB label."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.texts import TextDataset, TextSample, TextSamples

CLASSES = 10_000
"""An integer label is the index of a class below this number."""

Row = tuple[int, dict[str, Any]]
"""Number of a line, from 1, and what it says."""


@dataclass(frozen=True)
class TextFile(TextDataset):
    """The texts of a file in UTF-8, in its order; each line is one sample.

    - `jsonl`: an object a line, with `text` and `label`, and optionally `id`, `rationale`, `protected` and `second`,
      the second text of a pair. A rationale is a list of spans `[start, end]` in characters of the text (code points,
      the end outside), a single one may stand without the outer list; spans `[start, end, sign]` say with +1 or -1
      whether they support or oppose the label.
    - `csv`: a header with the same names, spans as JSON in their cell; an empty cell is the same as no column.
    - `tsv`: text TAB label without quotation marks, as SST-2 comes; a first line whose label is `label` is a header.

    Other columns are ignored, empty lines passed over. Integer labels are the indices of the classes; strings are
    sorted, so that `negative` is 0 and `positive` 1. Without ids, `<file>_<line>` is the id.

    Args:
        path: The file.
        format: `jsonl`, `csv` or `tsv`; empty: what the file's name ends with.
        labels: Names of the classes in the model's order; empty: as found in the file.
        name: What to call the dataset in tables; empty: the file's name without its end.

    Raises:
        ValueError: Another format.
    """

    path: str
    format: str = ""
    labels: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(map(str, self.labels)))
        if not self.format:
            object.__setattr__(self, "format", Path(self.path).suffix.lower().removeprefix("."))
        if self.format not in READERS:
            raise ValueError(
                f"TextFile expected the format {' or '.join(READERS)}, got {self.format!r} for {self.path}"
            )
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).stem)

    def texts(self) -> TextSamples:
        """The texts; all of them are checked now.

        Raises:
            DatasetError: No such file, or a line that does not fit: its number and why.
        """
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise DatasetError(f"TextFile expected a file of texts at {path}, which is not there")
        try:
            rows = list(READERS[self.format](path))
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path} cannot be read ({error}); expected {self.format} in UTF-8") from error
        if not rows:
            raise DatasetError(f"{path} holds no text; expected at least one line of {self.format}")
        labels = [(line, _label(_where(path, line), row)) for line, row in rows]
        categories = self.labels or _categories(path, labels)
        targets = [_target(_where(path, line), label, categories) for line, label in labels]
        samples = [_sample(path, line, row, target) for (line, row), target in zip(rows, targets, strict=True)]
        return TextSamples(samples, categories)


def _where(path: Path, line: int) -> str:
    return f"{path}, line {line}"


# -- formats ---------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty; they end at a line feed and nowhere else, so that a text may hold any separator."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits are a ValueError
            raise DatasetError(f"{_where(path, number)}: this is no JSON ({error}); expected an object") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{_where(path, number)}: expected an object with `text` and `label`, got {line[:40]!r}")
        yield number, row


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        try:
            _check_columns(_where(path, 1), reader.fieldnames or ())
            for row in reader:
                yield reader.line_num, _cells(_where(path, reader.line_num), row)
        except csv.Error as error:
            raise DatasetError(f"{_where(path, reader.reader.line_num)}: this is no CSV ({error})") from error


def _cells(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """The cells of a row that are not empty, spans and label decoded."""
    if "" in row:
        raise DatasetError(
            f"{where}: {len(row[''])} cells more than the header has columns; put a text with commas in quotation marks"
        )
    cells = {"text": ""} | {key: value for key, value in row.items() if value}
    spans = {key: _decoded(where, key, cells[key]) for key in ("rationale", "protected") if key in cells}
    return cells | spans | {"label": _integer(cells.get("label"))}


def _tsv(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        cells = line.split("\t")
        if len(cells) != 2:
            raise DatasetError(f"{_where(path, number)}: {len(cells)} cells, expected two: text TAB label")
        if number > 1 or cells[1] != "label":
            yield number, {"text": cells[0], "label": _integer(cells[1])}


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {"jsonl": _jsonl, "csv": _csv, "tsv": _tsv}


def _check_columns(where: str, columns: Sequence[str]) -> None:
    if not {"text", "label"} <= set(columns):
        raise DatasetError(
            f"{where}: the columns are {', '.join(map(repr, columns)) or 'those of an empty file'}; expected `text` "
            "and `label`, and optionally `id`, `rationale`, `protected` and `second`"
        )


def _decoded(where: str, column: str, cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: {column} is {cell!r}, expected spans as JSON, such as [[0, 4]]") from error


def _integer(cell: str | None) -> int | str | None:
    """What a cell says: digits are an index, if they could be one."""
    text = (cell or "").strip()
    digits = text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20
    return int(text) if digits else text or None


# -- labels ----------------------------------------------------------------------------------------------------------


def _label(where: str, row: dict[str, Any]) -> int | str:
    if "text" not in row or "label" not in row:
        _check_columns(where, tuple(row))
    label = row["label"]
    if label is None or label == "":
        raise DatasetError(f"{where}: the label is missing; expected a string, or the index of the class")
    if type(label) not in (int, str):
        raise DatasetError(f"{where}: the label is {label!r}, expected a string, or the index of the class")
    return label  # type: ignore[no-any-return]


def _categories(path: Path, labels: Sequence[tuple[int, int | str]]) -> tuple[str, ...]:
    """Names of the classes as the file has them."""
    first_line, first = labels[0]
    for line, label in labels:
        if type(label) is not type(first):
            raise DatasetError(
                f"{_where(path, line)}: the label is {label!r}, but {first!r} in line {first_line}; expected strings "
                "in all lines or integers in all"
            )
        if isinstance(label, int) and not 0 <= label < CLASSES:
            raise DatasetError(f"{_where(path, line)}: the label is {label}, expected an index from 0 to {CLASSES - 1}")
    integers = [label for _, label in labels if isinstance(label, int)]
    if integers:
        return tuple(str(index) for index in range(max(integers) + 1))
    return tuple(sorted({str(label) for _, label in labels}))


def _target(where: str, label: int | str, categories: tuple[str, ...]) -> int:
    """Index of the class; names go first, so that given labels may be numbers in another order."""
    if str(label) in categories:
        return categories.index(str(label))
    shown = ", ".join(map(repr, categories[:9])) + (", ..." if len(categories) > 9 else "")
    if isinstance(label, int) and 0 <= label < len(categories):
        return label
    raise DatasetError(f"{where}: the label is {label!r}, expected one of {shown}, or its index")


# -- samples ---------------------------------------------------------------------------------------------------------


def _sample(path: Path, line: int, row: dict[str, Any], target: int) -> TextSample:
    name = row.get("id")
    if name is not None and type(name) not in (int, str):
        raise DatasetError(f"{_where(path, line)}: the id is {name!r}, expected a string or an integer")
    rationale, signs = _signed(row.get("rationale"))
    protected, _ = _signed(row.get("protected"))
    try:
        return TextSample(
            f"{path.stem}_{line}" if name is None or name == "" else str(name),
            row["text"],
            target,
            rationale,
            signs,
            protected or (),
            row.get("second"),
        )
    except DatasetError as error:
        raise DatasetError(f"{_where(path, line)}: {error}") from error


def _signed(spans: Any) -> tuple[Any, Any]:
    """Spans and their signs, None where there are none; what is no list of spans is left for the sample to refuse."""
    if not isinstance(spans, list):
        return (None if spans is None else (spans,)), None
    if len(spans) == 2 and not any(isinstance(span, list) for span in spans):
        return (tuple(spans),), None
    if spans and all(isinstance(span, list) and len(span) == 3 for span in spans):
        return tuple(tuple(span[:2]) for span in spans), tuple(span[2] for span in spans)
    return tuple(spans), None
