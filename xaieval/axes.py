"""Which axes of activations are places, told by their shapes beside those of the input and of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from xaieval.layers import Call

CHANNELS_FIRST = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
)


class Axes:
    """The axes of what the layers of one model give.

    Args:
        image: Shape of the input.
        calls: What the model's parts did in one call.

    Attributes:
        transformer: Whether there are tokens or channels-last activations; without them four axes are `(N, K, h, w)`.
    """

    def __init__(self, image: tuple[int, ...], calls: Sequence[Call]) -> None:
        sure = [one.gave[2:] for one in calls if isinstance(one.layer, CHANNELS_FIRST) and len(one.gave) == 4]
        self._grids = {grid for grid in (image[2:], *sure) if len(grid) == 2 and max(grid) > 1}
        self._fitting: dict[tuple[int, ...], bool] = {}
        self.transformer = True
        self.transformer = len(image) == 4 and any(self.transforms(one) for one in calls)

    def transforms(self, call: Call) -> bool:
        """Whether it gives tokens or channels-last activations."""
        return self.tokens(call.gave) or self.of(call.gave, call.layer) == "last"

    def tokens(self, shape: tuple[int, ...]) -> bool:
        """Whether it is the shape of tokens `(1, T, D)` of one input."""
        return self.transformer and len(shape) == 3 and shape[0] == 1 and shape[1] > 1

    def of(self, shape: tuple[int, ...], layer: nn.Module | None = None) -> str:
        """`first` for `(N, K, h, w)`, `last` for `(N, h, w, D)`, `both` if it could be either, `neither`, or empty.

        Args:
            shape: Of activations; if not of four axes, the answer is empty.
            layer: The module that gives them, if known.
        """
        if len(shape) != 4:
            return ""
        if not self.transformer or isinstance(layer, CHANNELS_FIRST):
            return "first"
        first, last = self._fits(shape[2:]), self._fits(shape[1:3])
        if first and last:  # what is derived from a layer norm may turn the axes before and after
            return "last" if isinstance(layer, nn.Linear) or type(layer) is nn.LayerNorm else "both"
        return "first" if first else "last" if last else "neither"

    def _fits(self, sides: tuple[int, ...]) -> bool:
        """Whether these are the sides of the input or of a convolution's output, or an n-th of them, rounded."""
        if sides not in self._fitting:
            self._fitting[sides] = max(sides) > 1 and any(
                all(side in (whole // part, -(-whole // part)) for side, whole in zip(sides, grid, strict=True))
                for grid in self._grids
                for part in range(1, max(grid) + 1)
            )
        return self._fitting[sides]
