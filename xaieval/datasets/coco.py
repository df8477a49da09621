"""Pictures with the instances of COCO's annotation format as parts and concepts."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.json_file import read_json
from xaieval.datasets.preprocess import DatasetError, Preprocess, open_image
from xaieval.datasets.seen_parts import Seen, middle, seen_mask, told
from xaieval.models.loading import suggest
from xaieval.parts import Scheme


@dataclass(frozen=True, eq=False)
class Instance:
    """One object, or with `crowd` a region of many.

    Attributes:
        part: Number of its category among those chosen.
        area: In pixels as the file tells it; 0 where pictures get no label.
    """

    id: Any
    part: int
    crowd: bool
    area: float
    segmentation: Any


@dataclass(frozen=True, eq=False)
class Annotated:
    """A picture with its instances of the chosen categories; `size` is width and height as the file tells them."""

    id: str
    path: Path
    target: int | None
    size: tuple[int, int]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Coco(Dataset):
    """The pictures of a file of instance annotations in COCO's format (Lin et al. 2014, arXiv:1405.0312).

    Each category is a part and a concept that is at it: it holds where the picture has an instance of it. The mask of
    a part is the union of its instances, its center the middle of the one of which the crop shows most, its
    visibility the share of the union's pixels that the crop keeps. Pictures without an instance of the chosen
    categories are left out.

    Regions of crowds (`iscrowd`), in which instances are not told apart, belong to the mask, so that an explanation
    is not called wrong there, and make the concept hold. A center and a label they give only where the picture has no
    single instance.

    The mask of a sample, which an explanation should find, is the union of all its parts, or with `labeled` the part
    of its label. All masks of a sample are held: 80 categories at 224 x 224 pixels are 4 MB.

    Args:
        images: The folder of the pictures.
        annotations: The JSON file, such as `instances_val2017.json`.
        categories: Names of the categories, in the order that the parts shall have; empty: all of the file.
        labeled: The label of a picture is the category of its largest instance by `area`, as its number among the
            chosen, for models whose classes these are; else pictures have no label.
        name: What to call the dataset in tables; empty: the name of the file without its end.
    """

    images: str
    annotations: str
    categories: tuple[str, ...] = ()
    labeled: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(map(str, self.categories)))
        if not self.name:
            object.__setattr__(self, "name", Path(self.annotations).stem)

    def load(self, preprocess: Preprocess) -> Samples[Annotated]:
        """The pictures in the order of the file; polygons are drawn when one is indexed.

        Raises:
            DatasetError: pycocotools is not installed, a folder or file is not there, or what it says does not fit.
        """
        if find_spec("pycocotools") is None:
            raise DatasetError(f"{self.name} needs the package pycocotools: pip install 'xaieval[coco]'")
        path, root = Path(self.annotations).expanduser(), Path(self.images).expanduser()
        if not root.is_dir():
            raise DatasetError(f"Coco expected the folder of the pictures at {root}, which is not there")
        content = read_json(path, "COCO's annotations: images, annotations and categories")
        parts = self._parts(path, content)
        instances = self._instances(path, content, parts)
        entries = [
            self._annotated(path, root, row, instances.get(row["id"], ()))
            for row in _rows(path, content, "images", ("id", "file_name", "width", "height"))
        ]
        scheme = Scheme(tuple(parts.values()), tuple(parts.values()), tuple(range(len(parts))))
        self._check(path, entries, scheme)
        shown = [entry for entry in entries if entry.instances]
        return Samples(shown, partial(_read, preprocess, scheme, self.labeled))

    def _parts(self, path: Path, content: Any) -> dict[Any, str]:
        """Names of the chosen categories by their ids."""
        known = {row["id"]: str(row["name"]) for row in _rows(path, content, "categories", ("id", "name"))}
        repeated = [name for name, times in Counter(known.values()).items() if times > 1]
        if repeated:
            raise DatasetError(f"{path} has two categories {repeated[0]!r}; rename one of them")
        ids = {name: id_ for id_, name in known.items()}
        for name in self.categories:
            if name not in ids:
                raise DatasetError(f"{path} has no category {name!r}{suggest(name, ids)}; it has {', '.join(ids)}")
        return {ids[name]: name for name in self.categories} or known

    def _instances(self, path: Path, content: Any, parts: Mapping[Any, str]) -> dict[Any, list[Instance]]:
        """Those of the chosen categories, by the ids of their images."""
        numbers = {id_: number for number, id_ in enumerate(parts)}
        known = {row["id"] for row in content["categories"]}
        images = {row["id"] for row in _rows(path, content, "images", ("id",))}
        needed = ("id", "image_id", "category_id", "segmentation", *(("area",) if self.labeled else ()))
        found: dict[Any, list[Instance]] = {}
        for row in _rows(path, content, "annotations", needed):
            for key, ids in (("image_id", images), ("category_id", known)):
                if row[key] not in ids:
                    raise DatasetError(f"{path}, annotation {row['id']}: there is no {key} {row[key]} in the file")
            if row["category_id"] in numbers:
                area = row["area"] if self.labeled else 0
                if not isinstance(area, int | float):
                    raise DatasetError(f"{path}, annotation {row['id']}: the area is {area!r}, expected a number")
                crowd, part = bool(row.get("iscrowd")), numbers[row["category_id"]]
                one = Instance(row["id"], part, crowd, area, row["segmentation"])
                found.setdefault(row["image_id"], []).append(one)
        return found

    def _annotated(self, path: Path, root: Path, row: Mapping[str, Any], instances: Sequence[Instance]) -> Annotated:
        file = root / row["file_name"]
        if instances and not file.is_file():
            raise DatasetError(f"{path}, image {row['id']}: there is no file {row['file_name']!r} in {root}")
        target = None
        if self.labeled and instances:
            target = max(instances, key=lambda one: (not one.crowd, one.area)).part
        return Annotated(row["file_name"], file, target, (row["width"], row["height"]), tuple(instances))

    def _check(self, path: Path, entries: Sequence[Annotated], scheme: Scheme) -> None:
        shown = {one.part for entry in entries for one in entry.instances}
        if not shown:
            raise DatasetError(f"{path} has no image with an instance of {', '.join(scheme.parts)}; expected one")
        for number, name in enumerate(scheme.parts):
            if self.categories and number not in shown:
                raise DatasetError(f"{path} has no image with an instance of {name!r}; leave this category out")


def _rows(path: Path, content: Any, key: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """A list of the file, whose entries have the fields."""
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"{path} has no list of {key}; expected COCO's images, annotations and categories")
    for place, row in enumerate(rows):
        for name in fields:
            if not isinstance(row, dict) or name not in row:
                raise DatasetError(f"{path}, {key}[{place}] has no {name!r}; expected {', '.join(fields)}")
    return rows


def _read(preprocess: Preprocess, scheme: Scheme, labeled: bool, entry: Annotated) -> Sample:
    picture = open_image(entry.path)
    try:
        if picture.size != entry.size:
            raise DatasetError(
                f"the picture has {picture.size[0]} x {picture.size[1]} pixels, its annotation says {entry.size[0]} x "
                f"{entry.size[1]}; use the pictures that were annotated, upright"
            )
        drawn = {one: _drawn(one, entry.size) for one in entry.instances}
        seen = {part: _seen(preprocess, part, drawn) for part in {one.part for one in drawn}}
        inside = (mask for one, mask in drawn.items() if not labeled or one.part == entry.target)
        pixels, mask = preprocess(picture, _image(np.logical_or.reduce(list(inside))))
    except DatasetError as error:
        raise DatasetError(f"{entry.path}: {error}") from error
    parts = told(scheme, seen, seen, preprocess.crop)
    return Sample(entry.id, pixels, entry.target, mask, (entry.id,), parts=parts)


def _seen(preprocess: Preprocess, part: int, drawn: Mapping[Instance, np.ndarray]) -> Seen:
    """A category in the crop."""
    own = {one: mask for one, mask in drawn.items() if one.part == part}
    union = seen_mask(preprocess, _image(np.logical_or.reduce(list(own.values()))))
    cuts = [(not one.crowd, preprocess.mask(_image(mask))[0]) for one, mask in own.items()]
    largest = max(cuts, key=lambda cut: (bool(cut[1].any()), cut[0], int(cut[1].sum())))[1]
    return Seen(middle(largest), union.visible, union.mask) if largest.any() else union


def _image(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _drawn(instance: Instance, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an instance `(height, width)`, bool; of polygons, of counts, or of counts as a string."""
    width, height = size
    given = instance.segmentation
    try:
        drawn = _decoded(given, width, height)
    except Exception as error:  # its compiled code raises whatever it meets
        raise DatasetError(
            f"the segmentation of annotation {instance.id} cannot be drawn ({error!r}); expected polygons of at least "
            "three points, or counts with their size"
        ) from error
    if drawn.shape != (height, width):
        raise DatasetError(
            f"the segmentation of annotation {instance.id} is of a picture of {drawn.shape[1]} x {drawn.shape[0]} "
            f"pixels, expected {width} x {height}"
        )
    if isinstance(given, list) and not drawn.any():
        _check_inside(instance, size)
    return drawn.astype(bool)


def _decoded(given: Any, width: int, height: int) -> np.ndarray:
    """What pycocotools draws."""
    from pycocotools import mask as masks

    if isinstance(given, list):
        runs = masks.merge(masks.frPyObjects(given, height, width))
    elif isinstance(given["counts"], list):
        runs = masks.frPyObjects(given, height, width)
    else:
        runs = given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 2.0.11 does not know the copy keyword of NumPy 2
        drawn: np.ndarray = masks.decode(runs)
    short = isinstance(given, dict) and isinstance(given["counts"], list) and sum(given["counts"]) != drawn.size
    if short or drawn.max() > 1:
        raise ValueError("the counts do not fill the picture")  # what they leave out is memory as it was
    return drawn


def _check_inside(instance: Instance, size: tuple[int, int]) -> None:
    """That an instance which fills no pixel is small, and not outside."""
    rows, columns = ([value for polygon in instance.segmentation for value in polygon[start::2]] for start in (1, 0))
    if min(rows) > size[1] or max(rows) < 0 or min(columns) > size[0] or max(columns) < 0:
        raise DatasetError(
            f"annotation {instance.id} lies outside the picture of {size[0]} x {size[1]} pixels; give x and y in its "
            "pixels"
        )
