"""The file `parts.json` of a dataset, checked."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from xaieval.datasets.json_file import read_json
from xaieval.datasets.preprocess import DatasetError
from xaieval.models.loading import suggest
from xaieval.parts import Scheme

KEYS = {
    "the file": ("parts", "concepts", "classes", "images"),
    "a picture": ("file", "label", "mask", "parts", "concepts"),
    "a part": ("point", "mask", "visible"),
}


@dataclass(frozen=True)
class Place:
    """Where a part of a picture is: `point` is x and y, and one of point and mask is there."""

    point: tuple[float, float] | None
    mask: Path | None
    visible: float


@dataclass(frozen=True)
class Annotated:
    """A picture of the file; parts that are seen and concepts that hold by their numbers."""

    id: str
    path: Path
    target: int | None
    mask: Path | None
    parts: Mapping[int, Place]
    concepts: tuple[int, ...]


@dataclass(frozen=True)
class PartsFile:
    """What the file tells; `masks` says whether parts have masks or are points alone."""

    scheme: Scheme
    images: tuple[Annotated, ...]
    masks: bool


def read_parts(path: Path) -> PartsFile:
    """What a file tells.

    Raises:
        DatasetError: No such file, no JSON, or something in it that does not fit.
    """
    content = _object(str(path), read_json(path, "parts, concepts and images"), "the file")
    for key in ("parts", "concepts", "images"):
        if key not in content:
            raise DatasetError(f"{path} lacks {key!r}; expected an object with parts, concepts and images")
    scheme = _scheme(path, content)
    classes = _names(f"{path}, classes", content.get("classes", []))
    entries = _list(f"{path}, images", content["images"])
    if not entries:
        raise DatasetError(f"{path} lists no images; expected at least one")
    images = tuple(
        _image(f"{path}, image {place}", path.parent, entry, scheme, classes) for place, entry in enumerate(entries, 1)
    )
    _check_once(path, images)
    _check_classes(path, images, classes)
    return PartsFile(scheme, images, _masks(path, images, scheme))


# -- values ----------------------------------------------------------------------------------------------------------


def _object(where: str, value: Any, what: str) -> dict[str, Any]:
    known = KEYS[what]
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: expected {what} as an object with {', '.join(known)}, got {_shown(value)}")
    for key in value:
        if key not in known:
            raise DatasetError(f"{where}: unknown key {key!r}{suggest(key, known)}; {what} has {', '.join(known)}")
    return value


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise DatasetError(f"{where}: expected a list, got {_shown(value)}")
    return value


def _names(where: str, value: Any) -> tuple[str, ...]:
    names = _list(where, value)
    for name in names:
        if not isinstance(name, str) or not name:
            raise DatasetError(f"{where}: expected names, got {_shown(name)}")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DatasetError(f"{where}: the name {repeated[0]!r} occurs twice; give each once")
    return tuple(names)


def _number(where: str, name: Any, names: Sequence[str], what: str) -> int:
    if name not in names:
        close = suggest(name, names) if isinstance(name, str) else ""
        shown = ", ".join(names[:9]) + (", ..." if len(names) > 9 else "")
        raise DatasetError(f"{where}: unknown {what} {_shown(name)}{close}; the file lists {shown or 'none'}")
    return names.index(name)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- entries ---------------------------------------------------------------------------------------------------------


def _scheme(path: Path, content: Mapping[str, Any]) -> Scheme:
    parts = _names(f"{path}, parts", content["parts"])
    if not parts:
        raise DatasetError(f"{path} lists no parts; expected the name of at least one")
    concepts = content["concepts"]
    if not isinstance(concepts, dict) or not concepts:
        raise DatasetError(
            f"{path}, concepts: expected an object with the part of each concept, null where it has no place, got "
            f"{_shown(concepts)}"
        )
    where = f"{path}, concepts"
    places = (-1 if part is None else _number(where, part, parts, "part") for part in concepts.values())
    return Scheme(parts, tuple(concepts), tuple(places))


def _image(where: str, root: Path, value: Any, scheme: Scheme, classes: tuple[str, ...]) -> Annotated:
    entry = _object(where, value, "a picture")
    path = _file(where, root, entry.get("file"))
    where = f"{where} ({entry['file']})"
    parts = {
        _number(where, name, scheme.parts, "part"): _place(f"{where}, part {name!r}", root, part)
        for name, part in _mapping(where, entry.get("parts", {})).items()
    }
    return Annotated(
        PurePath(entry["file"]).as_posix(),
        path,
        _target(where, entry.get("label"), classes),
        _file(where, root, entry["mask"]) if entry.get("mask") is not None else None,
        {number: place for number, place in parts.items() if place is not None},
        tuple(_number(where, name, scheme.concepts, "concept") for name in _list(where, entry.get("concepts", []))),
    )


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetError(
            f"{where}: expected its parts as an object, each name with a point or a mask, got {_shown(value)}"
        )
    return value


def _place(where: str, root: Path, value: Any) -> Place | None:
    """Where a part is; None where it is hidden."""
    part = _object(where, value, "a part")
    visible = part.get("visible", True)
    if not (isinstance(visible, bool) or (_real(visible) and 0 <= visible <= 1)):
        raise DatasetError(f"{where}: visible is {_shown(visible)}, expected true, false or a share in [0, 1]")
    if not visible:
        return None
    point, mask = part.get("point"), part.get("mask")
    if point is None and mask is None:
        raise DatasetError(f'{where}: expected a point [x, y] or the file of a mask, or "visible": false')
    if point is not None and not (isinstance(point, list) and len(point) == 2 and all(map(_real, point))):
        raise DatasetError(f"{where}: the point is {_shown(point)}, expected [x, y] in pixels")
    return Place(
        None if point is None else (float(point[0]), float(point[1])),
        None if mask is None else _file(where, root, mask),
        float(visible),
    )


def _file(where: str, root: Path, file: Any) -> Path:
    if not isinstance(file, str) or not file:
        raise DatasetError(f"{where}: expected the path of a file below {root}, got {_shown(file)}")
    if not (root / file).is_file():
        raise DatasetError(f"{where}: there is no file {file!r} in {root}")
    return root / file


def _target(where: str, label: Any, classes: tuple[str, ...]) -> int | None:
    if label is None:
        return None
    if isinstance(label, str) and classes:
        return _number(where, label, classes, "class")
    if type(label) is not int or label < 0 or (classes and label >= len(classes)):
        raise DatasetError(
            f"{where}: the label is {_shown(label)}, expected the index of the class (0, 1, ...) in the model's "
            f"order{', or its name' if classes else '; names need a list of classes'}"
        )
    return label


# -- the file as a whole ---------------------------------------------------------------------------------------------


def _check_once(path: Path, images: Sequence[Annotated]) -> None:
    repeated = [name for name, times in Counter(image.id for image in images).items() if times > 1]
    if repeated:
        raise DatasetError(f"{path} lists {len(repeated)} images twice, the first is {repeated[0]!r}; list each once")
    without = [image.id for image in images if image.mask is None]
    if 0 < len(without) < len(images):
        raise DatasetError(
            f"{path}: {len(without)} of {len(images)} images lack the mask of the object that the "
            f"others have, the first is {without[0]!r}; give it to all or to none"
        )


def _check_classes(path: Path, images: Sequence[Annotated], classes: Sequence[str]) -> None:
    shown = {image.target for image in images}
    missing = [name for number, name in enumerate(classes) if number not in shown]
    if missing:
        raise DatasetError(
            f"{path}: {len(missing)} of {len(classes)} classes have no image, the first is {missing[0]!r}; leave "
            "classes out and give labels as indices, where the model knows more classes"
        )


def _masks(path: Path, images: Sequence[Annotated], scheme: Scheme) -> bool:
    """Whether parts have masks."""
    kinds: dict[bool, tuple[str, str]] = {}
    for image in images:
        for number, place in image.parts.items():
            kinds.setdefault(place.mask is not None, (image.id, scheme.parts[number]))
    if len(kinds) == 2:
        raise DatasetError(
            f"{path}: the part {kinds[True][1]!r} of {kinds[True][0]!r} has a mask, but {kinds[False][1]!r} of "
            f"{kinds[False][0]!r} a point alone; give masks to all parts that are seen, or to none"
        )
    return True in kinds
