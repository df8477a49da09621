"""From a picture on disk to pixels in [0, 1] of the size a model takes, checked here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

# What Pillow raises for a file that is no picture, cut off, damaged, or suspiciously large.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class DatasetError(ValueError):
    """What is wrong with the files or the options of a dataset, in a sentence."""


def open_image(path: Path) -> Image.Image:
    """The picture in a file, upright: a rotation that the camera noted in the EXIF data is carried out.

    Raises:
        DatasetError: The file is missing, empty or no readable picture.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such file; expected a picture")
    if path.stat().st_size == 0:
        raise DatasetError(f"{path} is empty (0 bytes); expected a picture: copy the file again or leave it out")
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        raise DatasetError(
            f"{path} cannot be read as a picture ({error}); expected a whole JPEG, PNG or other file that Pillow "
            "opens: copy it again or leave it out"
        ) from error


def open_mask(path: Path) -> Image.Image:
    """The mask in a file, for `Preprocess`.

    Raises:
        DatasetError: The file is missing, empty, no readable picture, or a JPEG, whose values are not those that were
            drawn.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise DatasetError(
            f"{path} is a JPEG, whose compression smears the values of a mask; save masks as PNG, 0 outside the object"
        )
    return open_image(path)


@dataclass(frozen=True)
class Preprocess:
    """Resizes a picture so that its shorter side is `resize` pixels and cuts the middle `crop` x `crop` pixels out.

    Bit for bit what torchvision's `Resize`, `CenterCrop` and `ToTensor` make of a Pillow image; normalization is the
    model's.

    Grayscale is repeated on three channels. 16-bit values are scaled to 8 bits (torchvision and Pillow's own
    conversion clip them), floating-point values are taken as [0, 1]. Transparency is laid on white, as viewers and
    notebooks show it: black would be what the removal `zero` puts there, so that removing the background would change
    nothing. In a mask, every value but 0 belongs to the object.

    Args:
        resize: Length of the shorter side after resizing, in pixels; at least `crop`.
        crop: Side of the square that the model sees, in pixels.
        interpolation: Filter of Pillow's resizing: `nearest`, `bilinear`, `bicubic`, `lanczos`, `box` or `hamming`.
            Masks are always resized to the nearest pixel.
        squash: Resize both sides to `resize` and give up the aspect ratio, as some of timm's models were trained.

    Raises:
        ValueError: A crop larger than the resized picture, or an unknown interpolation.
    """

    resize: int
    crop: int
    interpolation: str = "bicubic"
    squash: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise ValueError(
                f"Preprocess cuts a crop of 1 to resize pixels, got resize={self.resize} and crop={self.crop}; make "
                f"resize at least {self.crop}"
            )
        filters = [filter_.name.lower() for filter_ in Image.Resampling]
        if self.interpolation not in filters:
            raise ValueError(
                f"Preprocess knows the interpolations {', '.join(sorted(filters))}, got {self.interpolation!r}"
            )

    def __call__(self, image: Image.Image, mask: Image.Image | None = None) -> tuple[Tensor, Tensor | None]:
        """Pixels `(3, crop, crop)` in [0, 1], float32, and the mask `(crop, crop)`, bool, if one is given.

        Raises:
            DatasetError: A picture smaller than the crop, with NaN pixels or values outside its range, or a mask of
                another size.
        """
        picture = to_rgb(ImageOps.exif_transpose(image))
        self._check(picture.size, None if mask is None else mask.size)
        pixels = self._cut(picture, Image.Resampling[self.interpolation.upper()])
        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous().float() / 255
        if mask is None:
            return tensor, None
        return tensor, self.mask(mask)[0]

    def mask(self, mask: Image.Image) -> tuple[Tensor, float]:
        """A mask of a picture, of its size, cut as the picture is: `(crop, crop)`, bool, and how much of it is left.

        The share is of the pixels of the resized mask, 0 where it has none.
        """
        resized = to_binary(mask).resize(self._window(mask.size)[0], Image.Resampling.NEAREST)
        cut = np.array(self._middle(resized, mask.size)) > 0
        return torch.from_numpy(cut), float(cut.sum() / max(np.count_nonzero(np.asarray(resized)), 1))

    def points(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Where points of a picture come to lie in the crop, or beside it: rows and columns `(..., 2)`, float32.

        A whole number is the middle of a pixel, in the picture and in the crop.

        Args:
            points: Rows and columns in the upright picture, `(..., 2)`.
            size: Its width and height.
        """
        (width, height), (left, top) = self._window(size)
        scale = torch.tensor([height / size[1], width / size[0]], dtype=torch.float64)
        return ((points.double() + 0.5) * scale - 0.5 - torch.tensor([top, left])).float()

    def read(self, path: Path, mask: Path | None = None) -> tuple[Tensor, Tensor | None]:
        """The same for files; an error names the file."""
        image, drawn = open_image(path), None if mask is None else open_mask(mask)
        try:
            return self(image, drawn)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error

    def _check(self, size: tuple[int, int], mask: tuple[int, int] | None) -> None:
        if min(size) < self.crop:
            raise DatasetError(
                f"the picture has {size[0]} x {size[1]} pixels, fewer than the {self.crop} x {self.crop} that the "
                "model looks at; leave it out, or enlarge it yourself if an upsampled picture is what you want "
                "explained"
            )
        if mask is not None and mask != size:
            raise DatasetError(
                f"the mask has {mask[0]} x {mask[1]} pixels, expected the {size[0]} x {size[1]} of its picture; "
                "draw it on the upright picture at full size"
            )

    def _cut(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        return self._middle(image.resize(self._window(image.size)[0], resampling), image.size)

    def _middle(self, resized: Image.Image, size: tuple[int, int]) -> Image.Image:
        left, top = self._window(size)[1]
        return resized.crop((left, top, left + self.crop, top + self.crop))

    def _window(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height that a picture is resized to, and left and upper edge of the crop in it."""
        width, height = (self.resize, self.resize) if self.squash else self._resized(*size)
        return (width, height), (round((width - self.crop) / 2), round((height - self.crop) / 2))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit RGB; `Preprocess` says how.

    Raises:
        DatasetError: NaN pixels or values outside the range.
    """
    if image.mode == "F":
        image = Image.fromarray(_unit_to_bytes(np.asarray(image)))
    elif image.mode.startswith("I"):
        image = Image.fromarray(_words_to_bytes(np.asarray(image, dtype=np.int64)))
    elif image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")


def to_binary(mask: Image.Image) -> Image.Image:
    """A mask of any mode as 0 and 255: 255 where any value (in a palette: any index) but 0 stands; alpha is ignored."""
    values = np.asarray(mask.convert("RGB") if mask.mode in ("RGBA", "LA", "PA", "CMYK") else mask) != 0
    selected = values if values.ndim == 2 else values.any(axis=2)
    return Image.fromarray(selected.astype(np.uint8) * 255)


def _unit_to_bytes(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise DatasetError(
            f"the picture holds {int((~np.isfinite(values)).sum())} NaN or infinite pixels; expected numbers in [0, "
            "1]: replace them"
        )
    if values.min() < 0 or values.max() > 1:
        raise DatasetError(
            f"the picture's floating-point pixels run from {values.min():g} to {values.max():g}, expected [0, 1]; "
            "rescale them"
        )
    return np.round(values * 255).astype(np.uint8)


def _words_to_bytes(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise DatasetError(
            f"the picture's integer pixels run from {values.min()} to {values.max()}, expected 16 bits (0 to 65535); "
            "rescale them"
        )
    return np.round(values / 257).astype(np.uint8)
