"""A folder of pictures whose parts and concepts are told in a JSON file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

from PIL import Image, ImageChops

from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.parts_file import Annotated, PartsFile, Place, read_parts
from xaieval.datasets.preprocess import DatasetError, Preprocess, open_image, open_mask, to_binary
from xaieval.datasets.seen_parts import Seen, seen_mask, seen_point, told


@dataclass(frozen=True)
class PartsFolder(Dataset):
    """Pictures with parts, as points or masks, and concepts, as `parts.json` in their folder tells them.

    In UTF-8; paths are relative to the folder. All but `parts`, `concepts`, `images` and `file` may be left out:

        {
          "parts": ["beak", "wing"],
          "concepts": {"beak: red": "beak", "wing: long": "wing", "small": null},
          "classes": ["robin", "wren"],
          "images": [
            {
              "file": "photos/a.jpg",
              "label": "robin",
              "mask": "masks/a.png",
              "parts": {
                "beak": {"mask": "masks/a_beak.png", "point": [140, 31.5]},
                "wing": {"mask": "masks/a_wing.png", "visible": 0.5}
              },
              "concepts": ["beak: red", "small"]
            }
          ]
        }

    - `concepts`: each with the part where it is, `null` where it has no place.
    - `classes`: their names in the order of the model; each must have a picture. Without them a `label` is the index
      of the class.
    - `mask` of a picture: the object as a whole, in all pictures or in none. Else it is the union of the masks of its
      parts, and none where parts are points.
    - `parts` of a picture: those that are not named are not there. A `point` is x and y in pixels of the upright
      picture, whole numbers in the middle of a pixel. A `mask` is a PNG of the size of the picture with the pixels
      where the part is seen, 0 outside; its `point` may say where its center is, which else is the middle of what is
      seen. Either all parts of all pictures have masks, or all have points alone. `visible` is the share of the part
      that is not hidden, or `true` or `false`; of a hidden part nothing else is read.
    - `concepts` of a picture: those that hold, whether their part is seen or not.

    What the crop cuts off is not seen: a point outside, or its share of the mask's pixels.

    Args:
        path: The folder.
        name: What to call the dataset in tables; empty: the folder's name.
    """

    path: str
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).expanduser().resolve().name)

    def load(self, preprocess: Preprocess) -> Samples[Annotated]:
        """The pictures in the order of the file; that it fits and the files are there is checked now.

        Raises:
            DatasetError: No such folder or file, or one that does not fit: which picture and why.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DatasetError(
                f"PartsFolder expected a folder with pictures and parts.json, but {root} is "
                f"{'a file' if root.exists() else 'not there'}"
            )
        file = read_parts(root / "parts.json")
        return Samples(file.images, partial(_read, preprocess, file))


def _read(preprocess: Preprocess, file: PartsFile, image: Annotated) -> Sample:
    picture = open_image(image.path)
    names = file.scheme.parts
    try:
        drawn = {
            number: _drawn(names[number], part.mask, picture.size)
            for number, part in image.parts.items()
            if part.mask is not None
        }
        seen = {
            number: _seen(preprocess, names[number], part, drawn.get(number), picture.size)
            for number, part in image.parts.items()
        }
        whole = _union(drawn.values(), picture.size) if file.masks else None
        pixels, mask = preprocess(picture, whole if image.mask is None else open_mask(image.mask))
    except DatasetError as error:
        raise DatasetError(f"{image.path}: {error}") from error
    parts = told(file.scheme, seen, image.concepts, preprocess.crop if file.masks else None)
    return Sample(image.id, pixels, image.target, mask, (image.id,), parts=parts)


def _seen(preprocess: Preprocess, name: str, part: Place, mask: Image.Image | None, size: tuple[int, int]) -> Seen:
    point = None if part.point is None else _inside(name, part.point, size)
    if mask is not None:
        return seen_mask(preprocess, mask, point, part.visible)
    assert point is not None  # the file is checked: each place has one of them
    return seen_point(preprocess, point, size, part.visible)


def _inside(name: str, point: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """Row and column of a point."""
    x, y = point
    if not (-0.5 <= x < size[0] - 0.5 and -0.5 <= y < size[1] - 0.5):
        raise DatasetError(
            f"the part {name!r} lies at x {x:g}, y {y:g}, outside the picture of {size[0]} x {size[1]} pixels; give "
            'x and y in its pixels, or "visible": false'
        )
    return y, x


def _drawn(name: str, path: Path, size: tuple[int, int]) -> Image.Image:
    """The mask of a part, 0 and 255."""
    mask = to_binary(open_mask(path))
    if mask.size != size:
        raise DatasetError(
            f"the mask {path} of the part {name!r} has {mask.size[0]} x {mask.size[1]} pixels, expected the "
            f"{size[0]} x {size[1]} of its picture; draw it on the upright picture at full size"
        )
    if mask.getbbox() is None:
        raise DatasetError(
            f"the mask {path} of the part {name!r} is empty; leave the part out where it is not there, or say "
            '"visible": false where it is hidden'
        )
    return mask


def _union(masks: Iterable[Image.Image], size: tuple[int, int]) -> Image.Image:
    return reduce(ImageChops.lighter, masks, Image.new("L", size))
