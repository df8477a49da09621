"""The photographs in the wheels of scikit-image, scikit-learn and matplotlib that an ImageNet network recognizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess, open_image

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the file; right and bottom are outside


@dataclass(frozen=True)
class Photo:
    """A photograph in a wheel; `target` is the index of its ImageNet class, `boxes` enclose the object meant."""

    id: str
    target: int
    package: str
    file: str
    boxes: tuple[Box, ...] = ()


PHOTOS = (
    Photo("camera", 872, "skimage", "data/camera.png", ((229, 176, 409, 512),)),  # tripod
    Photo("chelsea", 282, "skimage", "data/chelsea.png"),  # tiger cat
    Photo("china", 698, "sklearn", "datasets/images/china.jpg", ((62, 29, 374, 427),)),  # palace
    Photo("coffee", 967, "skimage", "data/coffee.png", ((172, 17, 410, 309),)),  # espresso
    # daisy: two dahlias, the second cut by the lower edge
    Photo("flower", 985, "sklearn", "datasets/images/flower.jpg", ((168, 84, 447, 361), (288, 374, 468, 427))),
    Photo("grace_hopper", 652, "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),  # military uniform
    Photo("motorcycle_left", 665, "skimage", "data/motorcycle_left.png"),  # moped
    Photo("rocket", 657, "skimage", "data/rocket.jpg", ((307, 126, 337, 406),)),  # missile
)
_DISTRIBUTION = {"skimage": "scikit-image", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}


@dataclass(frozen=True)
class Photos(Dataset):
    """Eight photographs that are on the disk already: nothing is downloaded.

    `target` is the photo's ImageNet class or, where ImageNet has none (dahlia, motorcycle, rocket), the nearest one.
    Boxes were drawn by hand around the object of that class. A photo that its object fills (cat, motorcycle,
    portrait) has no mask: a box as large as the crop finds nothing. The other pictures of these wheels are textures,
    drawings and microscopy, or not recognized (astronaut), or the second eye of a stereo pair (motorcycle_right).
    """

    name: str = "photos"

    def load(self, preprocess: Preprocess) -> Samples[Photo]:
        """The photos in the order of their names.

        Raises:
            DatasetError: A package is not installed, or lacks its pictures.
        """
        for photo in PHOTOS:
            _path(photo)
        return Samples(PHOTOS, partial(_read, preprocess))


def _path(photo: Photo) -> Path:
    """The file in the installed package, which is not imported."""
    distribution = _DISTRIBUTION[photo.package]
    spec = find_spec(photo.package)
    if spec is None or spec.origin is None:
        raise DatasetError(
            f"Photos takes {photo.id} from {distribution}, which is not installed: pip install "
            f"{' '.join(_DISTRIBUTION.values())}"
        )
    path = Path(spec.origin).parent / photo.file
    if not path.is_file():
        raise DatasetError(
            f"Photos expected the file {path}, which this {distribution} came without: pip install --force-reinstall "
            f"{distribution}"
        )
    return path


def _read(preprocess: Preprocess, photo: Photo) -> Sample:
    picture = open_image(_path(photo))
    try:
        image, mask = preprocess(picture, _drawn(photo.boxes, picture.size))
    except DatasetError as error:
        raise DatasetError(f"{photo.id}: {error}") from error
    return Sample(photo.id, image, photo.target, mask, (photo.id,))


def _drawn(boxes: tuple[Box, ...], size: tuple[int, int]) -> Image.Image | None:
    """The boxes filled, in the pixels of the file, so that they go the way of the picture."""
    if not boxes:
        return None
    mask = Image.new("L", size)
    for left, top, right, bottom in boxes:
        ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill=255)
    return mask
