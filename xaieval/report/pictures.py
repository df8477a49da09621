"""Photos and maps as small pictures inside of a page: WEBP, of maps one byte a pixel that the page gives its color."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xaieval.plots import limits

PHOTO, MAP = 224, 128
"""Most pixels of the longer side."""

QUALITY = 80


def photo(pixels: NDArray[np.floating]) -> str:
    """A photo `(H, W, 3)` with pixels in [0, 1] as WEBP in base 64."""
    return _webp(_small(Image.fromarray(_bytes(pixels)), PHOTO), quality=QUALITY)


def mask(where: NDArray[np.bool_]) -> str:
    """A mask `(H, W)` likewise, 255 where it is True."""
    return _webp(_small(Image.fromarray(_bytes(where.astype(np.float32))), MAP), lossless=True)


def map_bytes(values: NDArray[np.floating], signed: bool) -> tuple[str, float, float]:
    """A map `(H, W)` likewise, and the scores at 0 and at 255; those beyond are clipped, as in `xaieval.plots`."""
    low, high = limits(values, signed)
    place = (np.nan_to_num(values.astype(np.float64)) - low) / (high - low)
    return _webp(_small(Image.fromarray(_bytes(place)), MAP), quality=QUALITY), low, high


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return scaled


def _small(image: Image.Image, side: int) -> Image.Image:
    """At most so many pixels per side, each the mean of those that it takes the place of."""
    longer = max(image.size)
    if longer <= side:
        return image
    width, height = (max(1, round(one * side / longer)) for one in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _webp(image: Image.Image, **options: object) -> str:
    data = io.BytesIO()
    image.save(data, "WEBP", method=4, **options)
    return base64.b64encode(data.getvalue()).decode()
