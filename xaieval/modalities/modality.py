"""What every kind of input can be asked for; a kind for which something means nothing refuses it in a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn, Protocol

import torch
from torch import Tensor

from xaieval.unsupported import UnsupportedError

if TYPE_CHECKING:
    from xaieval.batch import Batch


class Patches(Protocol):
    """The pieces of the inputs that responses and curves remove at once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pieces, such as rows and columns of a grid."""

    @property
    def count(self) -> int:
        """Number of pieces P."""

    @property
    def area(self) -> Tensor:
        """Features of each piece, `(P,)` or `(N, P)`."""

    @property
    def present(self) -> Tensor | None:
        """Which pieces a sample has, bool `(N, P)`; None: all have all."""

    def of(self, batch: Batch) -> Patches:
        """The pieces of each pair's sample."""

    def sum(self, features: Tensor) -> Tensor:
        """Sums over each piece, `(N, *F)` to `(N, P)`."""

    def spread(self, values: Tensor) -> Tensor:
        """Each piece's value at all its features, `(N, P)` to `(N, 1, *F)`."""

    def share(self, values: Tensor) -> Tensor:
        """Each piece's value divided among its features, so that sums keep, `(N, P)` to `(N, 1, *F)`."""

    def upsample(self, values: Tensor) -> Tensor:
        """A map of importance `(N, P)` at the resolution of the features, `(N, 1, *F)`; values keep."""

    def smooth(self, values: Tensor, shifts: Tensor) -> Tensor:
        """A mask of the pieces `(N, P)` for all features, `(N, 1, *F)`, interpolated where pieces have neighbors.

        Args:
            values: `(N, P)` in [0, 1].
            shifts: By how much of a piece the grid is moved along each of its axes, `(N, axes)` in [0, 1).
        """


@dataclass(frozen=True)
class Modality:
    """How inputs are removed from, cut into pieces, upsampled and looked at without a model.

    Attributes:
        ragged: Whether inputs of a batch are padded to the longest of them, in the last dimension. Then nothing may
            depend on its length, nor on that of the pieces: an input is what is present of it.
        scaled: Whether inputs have no unit of their own, so that each is measured by its own size, see `scale`.
    """

    ragged: ClassVar[bool] = False
    scaled: ClassVar[bool] = False
    name: str = "input"
    zero_is_zero: bool = True  # removal by zero is a product, which saves a blend

    def _refuse(self, what: str, advice: str = "choose another removal or method") -> NoReturn:
        raise UnsupportedError(f"{what} means nothing for this kind of input ({self.name})", advice)

    def features(self, attribution: Tensor, units: str) -> Tensor:
        """Signed scores of the features, `(N, C, *F)` to `(N, *F)`."""
        return attribution.sum(1)

    def norm(self, gradient: Tensor, order: int, space: str) -> Tensor:
        """The norm of a gradient at each feature, `(N, C, *F)` to `(N, 1, *F)`.

        Args:
            gradient: At the inputs.
            order: 1 or 2.
            space: `features`: over the entries of a feature; `vocabulary`: over those of its one-hot code.
        """
        if space == "vocabulary":
            self._refuse("a vocabulary", "choose the space `features`")
        norm: Tensor = torch.linalg.vector_norm(gradient, order, dim=1, keepdim=True)
        return norm

    def patches(self, inputs: Tensor, grid: int, present: Tensor | None) -> Patches:
        """The pieces of the inputs that are removed at once, where nobody named others."""
        self._refuse("a piece")

    def upsample(self, maps: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
        """A coarse map `(N, 1, *cells)` at the size of the input; importance keeps its values."""
        self._refuse("upsampling")

    def dilate(self, masks: Tensor, distance: float) -> Tensor:
        """True features and all that are nearer than `distance` to one, bool `(N, *F)`."""
        self._refuse("a distance of features")

    def zero(self, inputs: Tensor) -> Tensor:
        """What stands for nothing, `(N, C, *F)`."""
        self._refuse("zero")

    def pad(self, inputs: Tensor) -> Tensor:
        """What is put at the end of an input that is too short, `(N, C, *F)`."""
        self._refuse("the pad token")

    def mean(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """Each input's mean over its features, `(N, C, *F)`."""
        feature = tuple(range(2, inputs.dim()))
        if present is None:
            return inputs.mean(feature, keepdim=True).expand_as(inputs)
        weight = present[:, None].float()
        mean = (inputs * weight).sum(feature, keepdim=True) / weight.sum(feature, keepdim=True).clamp(min=1)
        return mean.expand_as(inputs)

    def blur(self, inputs: Tensor, size: int, sigma: float, present: Tensor | None) -> Tensor:
        """Gaussian blur with a kernel of `size` features."""
        self._refuse("a blur")

    def impute(self, inputs: Tensor, gone: Tensor, present: Tensor | None) -> Tensor:
        """What is gone `(N, 1, *F)`, interpolated from what is left."""
        self._refuse("interpolating what is gone")

    def diffuse(self, inputs: Tensor, sigma: Tensor, reach: int, present: Tensor | None) -> Tensor:
        """Gaussian blur of each input with its own standard deviation `sigma` `(N,)`."""
        self._refuse("a blur")

    def edges(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """How much each feature stands out, `(N, 1, *F)`: an explanation that never saw the model."""
        self._refuse("an edge")

    def center_blob(self, inputs: Tensor, width: float, present: Tensor | None = None) -> Tensor:
        """A Gaussian in the middle with standard deviation `width` times the side, `(N, 1, *F)`."""
        self._refuse("a middle")

    def concepts(self) -> tuple[str, ...]:
        """What the features are called where they are concepts; empty where they have no names."""
        self._refuse("a concept", "choose the head of a concept bottleneck, such as model=scenes_bottleneck_head")

    def numbers(self, inputs: Tensor, present: Tensor | None) -> Tensor | None:
        """Each feature's number among those of its input, `(N, *F)`; None: its place in the tensor.

        A feature that is absent has that of a neighbor.
        """
        return None

    def scale(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """The unit `(N,)` in which radii and noise are given; 1 where inputs have a unit of their own, as pixels.

        Where they have none, the root mean square of the present features.
        """
        if not self.scaled:
            return inputs.new_ones(len(inputs))
        squares = inputs.square().mean(1).flatten(1)
        there = torch.ones_like(squares) if present is None else present.flatten(1).to(squares)
        return ((squares * there).sum(1) / there.sum(1)).sqrt()

    def range(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """Largest minus smallest value over channels and present features of each input, `(N,)`."""
        low = high = inputs
        if present is not None:
            absent = ~present[:, None]
            low, high = low.masked_fill(absent, torch.inf), high.masked_fill(absent, -torch.inf)
        return high.flatten(1).amax(1) - low.flatten(1).amin(1)

    def noise(self, numbers: Tensor, scale: Tensor) -> Tensor:
        """Noise that stands in for features, of uniform numbers in [0, 1) `(n, C, *F)` and units `(n,)`.

        The numbers themselves; where inputs have no unit of their own, around 0 with that root mean square.
        """
        if not self.scaled:
            return numbers
        return math.sqrt(3) * scale.view(-1, *[1] * (numbers.dim() - 1)) * (2 * numbers - 1)

    def clip(self, inputs: Tensor) -> Tensor:
        """The nearest inputs that there are, `(n, C, *F)`."""
        return inputs

    def sides(self, inputs: Tensor, present: Tensor | None) -> Tensor:
        """How long each input is along each axis, `(N, axes)`, without what it is padded with."""
        count, device = len(inputs), inputs.device
        return torch.stack([torch.full((count,), side, device=device) for side in inputs.shape[2:]], 1)

    def places(self, inputs: Tensor, axis: int) -> Tensor:
        """Where each feature lies along an axis, among its neighbors, `(N, side)`."""
        return torch.arange(inputs.shape[2 + axis], device=inputs.device).expand(len(inputs), -1)

    def superpixels(self, inputs: Tensor, count: int, present: Tensor | None) -> Tensor:
        """The number of each feature's superpixel, from 0 to `count` - 1 at most, `(N, *F)`."""
        self._refuse("a superpixel")
