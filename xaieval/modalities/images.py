"""Images: inputs `(N, C, H, W)` as pixels in [0, 1], features `(H, W)`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from xaieval.imputation import impute
from xaieval.modalities.modality import Modality

if TYPE_CHECKING:
    from xaieval.batch import Batch


class ImagePatches:
    """A fixed grid of equal patches, the units removed by responses and curves.

    Pixel `(y, x)` belongs to the patch `(y * g // H, x * g // W)`; where the grid does not divide the side, areas
    differ by one row or column. A patch is never smaller than a pixel.

    Attributes:
        shape: Rows and columns of the grid.
        count: Number of patches P.
        area: Pixels of each patch, `(P,)`.
        present: Always None: every image has every patch.
    """

    present: Tensor | None = None

    def __init__(self, size: tuple[int, int], grid: int, device: torch.device) -> None:
        if grid < 1:
            raise ValueError(f"grid must be at least 1 patch per side, got {grid}")
        self.shape = (min(grid, size[0]), min(grid, size[1]))
        self.count = self.shape[0] * self.shape[1]
        self._rows, self._columns = (
            torch.arange(side, device=device) * cells // side for side, cells in zip(size, self.shape, strict=True)
        )
        # One-hot membership, so that sums are two small matrix products: deterministic on CUDA, where a scatter is not.
        self._in_row, self._in_column = (
            (index[:, None] == torch.arange(cells, device=device)).float()
            for index, cells in zip((self._rows, self._columns), self.shape, strict=True)
        )
        self.area = (self._in_row.sum(0)[:, None] * self._in_column.sum(0)).flatten()

    def of(self, batch: Batch) -> ImagePatches:
        """These: they are the same for all images."""
        return self

    def sum(self, features: Tensor) -> Tensor:
        """Sums over each patch, `(N, H, W)` to `(N, P)`; in double precision inside, so that equal patches tie."""
        return (self._in_row.T.double() @ features.double() @ self._in_column.double()).flatten(1).float()

    def spread(self, values: Tensor) -> Tensor:
        """Each patch's value at all its pixels, `(n, P)` to `(n, 1, H, W)`."""
        grid: Tensor = values.unflatten(1, self.shape)[:, None]
        return grid.index_select(-2, self._rows).index_select(-1, self._columns)

    def share(self, values: Tensor) -> Tensor:
        """Each patch's value divided among its pixels, so that sums keep, `(n, P)` to `(n, 1, H, W)`."""
        return self.spread(values / self.area)

    def upsample(self, values: Tensor) -> Tensor:
        """A coarse map of importance, interpolated bilinearly, `(n, P)` to `(n, 1, H, W)`; it keeps its values."""
        size = (len(self._rows), len(self._columns))
        return _interpolated(values.unflatten(1, (1, *self.shape)), size, "bilinear")

    def smooth(self, values: Tensor, shifts: Tensor) -> Tensor:
        """A mask of the patches, interpolated to one patch more per side and cropped at a shift (RISE).

        Args:
            values: `(n, P)`.
            shifts: In patches, `(n, 2)` in [0, 1); each is rounded down to pixels.
        """
        masks: Tensor = values.unflatten(1, self.shape)
        sides = (len(self._rows), len(self._columns))
        for shift, count, side in zip(shifts.unbind(1), self.shape, sides, strict=True):
            # The first axis of cells becomes the last axis of pixels, so after all axes they are in order again.
            masks = torch.einsum("nc...,nfc->n...f", masks, _bilinear(shift, count, side))
        return masks[:, None]


@dataclass(frozen=True)
class Images(Modality):
    """How images are removed from, cut into patches, upsampled and looked at without a model."""

    name: str = "image"
    zero_is_zero: bool = True  # removal by zero is a product, which saves a blend

    def features(self, attribution: Tensor, units: str) -> Tensor:
        """Signed scores of the pixels, `(N, C, H, W)` to `(N, H, W)`: the sum over channels for all units."""
        return attribution.sum(1)

    def patches(self, inputs: Tensor, grid: int, present: Tensor | None) -> ImagePatches:
        """The fixed grid of patches of these images, `grid` per side at most."""
        patches = ImagePatches((inputs.shape[2], inputs.shape[3]), grid, inputs.device)
        if present is not None:
            patches.present = patches.sum(present) > 0
        return patches

    def upsample(self, maps: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
        """A coarse map `(N, 1, h, w)` at the size of the input; importance keeps its values."""
        return _interpolated(maps, size, mode)

    def dilate(self, masks: Tensor, distance: float) -> Tensor:
        """True pixels and all pixels nearer than `distance` to one (Euclidean, between centers), bool `(N, H, W)`."""
        reach = max(0, math.ceil(distance) - 1)
        offsets = torch.arange(-reach, reach + 1, device=masks.device) ** 2
        squared = offsets[:, None] + offsets
        disc = (squared < distance**2) | (squared == 0)
        near = functional.conv2d(masks[:, None].float(), disc[None, None].float(), padding=reach)
        return near[:, 0] > 0.5

    def zero(self, inputs: Tensor) -> Tensor:
        """Black."""
        return torch.zeros_like(inputs)

    def clip(self, inputs: Tensor) -> Tensor:
        """Pixels in [0, 1]."""
        return inputs.clamp(0, 1)

    def blur(self, inputs: Tensor, size: int, sigma: float, present: Tensor | None) -> Tensor:
        """Gaussian blur with a kernel of `size` pixels, borders reflected (replicated where the image is too small).

        What is absent has no part in it: the weights of the present pixels are made to sum to one.
        """
        if present is not None:
            weight = present[:, None].float()
            blurred, total = self.blur(inputs * weight, size, sigma, None), self.blur(weight, size, sigma, None)
            return blurred / total.clamp(min=torch.finfo(total.dtype).tiny)
        offsets = torch.arange(size, device=inputs.device) - (size - 1) / 2
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2)).to(inputs.dtype)
        kernel = kernel / kernel.sum()
        channels, pad = inputs.shape[1], size // 2
        mode = "reflect" if pad < min(inputs.shape[2:]) else "replicate"
        padded = functional.pad(inputs, (pad, size - 1 - pad, pad, size - 1 - pad), mode=mode)
        rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    def impute(self, inputs: Tensor, gone: Tensor, present: Tensor | None) -> Tensor:
        """What is gone `(N, 1, H, W)`, interpolated from what is left, see `xaieval.imputation`."""
        return impute(inputs, gone, present)

    def diffuse(self, inputs: Tensor, sigma: Tensor, reach: int, present: Tensor | None) -> Tensor:
        """Gaussian blur of each image with its own standard deviation `sigma` `(N,)` in pixels, 0 for none.

        Kernels end `reach` pixels away and borders are reflected with the border pixel repeated, as often as the reach
        needs (SciPy's `reflect`). What is absent has no part in it, as in `blur`.
        """
        if present is not None:
            weight = present[:, None].to(inputs.dtype)
            blurred, total = (self.diffuse(values, sigma, reach, None) for values in (inputs * weight, weight))
            return blurred / total.clamp(min=torch.finfo(total.dtype).eps)
        offsets = torch.arange(reach + 1, device=inputs.device)
        kernel = torch.exp(-((offsets / sigma[:, None].clamp(min=1e-3)) ** 2) / 2) * (1 + (offsets > 0))  # both sides
        kernel = kernel / kernel.sum(1, keepdim=True)
        (rows, tall), (columns, wide) = (_waves(kernel, offsets, side) for side in inputs.shape[2:])
        center = inputs.mean((2, 3), keepdim=True)  # else rounding hides what a wide blur leaves of the contrast
        spectrum = rows.T @ (inputs - center) @ columns
        return center + rows @ (spectrum * tall[:, None, :, None] * wide[:, None, None]) @ columns.T

    def edges(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """Sobel magnitude of the channel mean, `(N, 1, H, W)`: an explanation that never saw the model.

        Zero at pixels beside absent ones, where there is no edge of the image.
        """
        gray = functional.pad(inputs.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        sobel = inputs.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
        horizontal, vertical = (functional.conv2d(gray, kernel[None, None]) for kernel in (sobel, sobel.T))
        edges = (horizontal**2 + vertical**2).sqrt()
        if present is None:
            return edges
        beside = functional.max_pool2d((~present[:, None]).float(), 3, stride=1, padding=1) > 0
        return edges.masked_fill(beside, 0.0)

    def center_blob(self, inputs: Tensor, width: float, present: Tensor | None = None) -> Tensor:
        """A Gaussian at the image's center with standard deviation `width` times the side, `(N, 1, H, W)`."""
        rows, columns = (
            torch.exp(-(((torch.arange(side, device=inputs.device) + 0.5) / side - 0.5) ** 2) / (2 * width**2))
            for side in inputs.shape[2:]
        )
        return (rows[:, None] * columns).expand(inputs.shape[0], 1, -1, -1).contiguous()

    def superpixels(self, inputs: Tensor, count: int, present: Tensor | None) -> Tensor:
        """The number of each pixel's SLIC superpixel, from 0 to `count` - 1 at most, `(N, H, W)`; made on the host.

        Source: Achanta 2012, 10.1109/TPAMI.2012.120. Colors are blurred with sigma 3 and compactness is 30, with which
        photos have nearly as many superpixels as asked for. Absent pixels are black, so that their values do not count.
        """
        shown = inputs if present is None else inputs * present[:, None]
        photos = shown.detach().float().cpu().permute(0, 2, 3, 1).numpy()
        labels = torch.stack([torch.from_numpy(_slic(photo, count)) for photo in photos])
        return labels.to(inputs.device)


def _interpolated(maps: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    return functional.interpolate(maps, size=size, mode=mode, align_corners=None if mode == "nearest" else False)


def _bilinear(shift: Tensor, cells: int, side: int) -> Tensor:
    """Weights `(n, side, cells)` that interpolate cells to (cells + 1) ceil(side / cells) pixels and crop `side`.

    Pixel centers are aligned as in `interpolate(..., align_corners=False)`; shifts `(n,)` are in [0, 1) cells.
    """
    size = -(-side // cells)
    pixels = torch.arange(side, device=shift.device) + torch.floor(shift * size)[:, None]
    place = ((pixels + 0.5) * (cells / ((cells + 1) * size)) - 0.5).clamp(0, cells - 1)
    distance = place[..., None] - torch.arange(cells, device=shift.device)
    return (1 - distance.abs()).clamp(min=0)


def _slic(photo: Any, count: int) -> Any:
    """SLIC of one photo `(H, W, C)`; asked for fewer superpixels until there are `count` at most."""
    from skimage.segmentation import slic  # half a second, which only superpixels need

    asked = count
    while (labels := slic(photo, asked, compactness=30, sigma=3, start_label=0)).max() >= count and asked > 1:
        asked = min(asked - 1, asked * count // (int(labels.max()) + 1))
    return labels


def _waves(kernel: Tensor, offsets: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Cosines `(side, waves)`, orthonormal, and how symmetric kernels `(N, offsets)` damp each of them, `(N, waves)`.

    With borders reflected, cosines are the eigenvectors of every symmetric kernel, and its transform the eigenvalues:
    a kernel much wider than the image costs no more than a small one.
    """
    waves = torch.arange(side, device=kernel.device)

    def cosines(phases: Tensor) -> Tensor:  # cos(pi phases / (2 side)), reduced while they are exact integers
        return torch.cos((phases % (4 * side)).to(kernel.dtype) * (math.pi / (2 * side)))

    vectors = cosines((2 * waves[:, None] + 1) * waves) * ((1 + (waves > 0)) / side).to(kernel.dtype).sqrt()
    return vectors, kernel @ cosines(2 * offsets[:, None] * waves)
