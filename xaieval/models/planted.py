"""A convolutional network with weights set by hand, which answers from the patch of `dataset=planted` alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from xaieval.classifier import Classifier
from xaieval.datasets.planted import BRIGHTEST, CELL, CHROMA, DARKEST, PATTERNS, patch_cells, patterns
from xaieval.datasets.preprocess import Preprocess
from xaieval.models.loading import ModelError, seeded

OTHERS = 0.25
"""What a color takes from each of the two other channels."""

LEVEL = 0.55
"""What a pixel's color has to exceed. Gray, black and white give .5 at most and red and green in equal parts, which a
blur makes of them, .43; a red or green pixel of a patch gives .65 to .8."""

MISMATCH = 3.0
"""What a pixel of the wrong color takes, where one of the right color adds 1: half right, as the pattern of another
class is, is nothing."""

LOGIT = 5.0
"""The logit of a patch of medium brightness."""

CATEGORIES = (*PATTERNS, "nothing")
"""The classes: that of the patch, or that there is none, which the dataset never has."""


class PlantedNetwork(nn.Sequential):
    """Red and green pixels, their patterns in cells of 4 x 4 pixels, the mean over the cells, a logit for each class.

    With h the excess of a pixel's own color, `relu(x_own - (x_blue + x_other) / 4 - .55)`, the logit of a patch's class
    is a constant times the sum of h over its pixels, that of `nothing` is 2.5, and every other is 0: the model is
    additive in the pixels of the patch and ignores all others. Once half of the patch is gone it sees nothing.

    Args:
        side: Of the images, in pixels.
    """

    def __init__(self, side: int) -> None:
        classes = len(PATTERNS)
        super().__init__(
            nn.Conv2d(3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2, classes, CELL, stride=CELL, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(classes, classes + 1),
        )
        colors = torch.full((2, 3, 1, 1), -OTHERS)
        colors[0, 0], colors[1, 1] = 1.0, 1.0
        own = torch.stack((patterns(), -patterns()), 1) > 0
        self.load_state_dict(
            {
                "0.weight": colors,
                "0.bias": torch.full((2,), -LEVEL),
                "2.weight": torch.where(own, 1.0, -MISMATCH),
                "6.weight": LOGIT / _medium(side) * torch.eye(classes + 1, classes),
                "6.bias": torch.eye(classes + 1)[classes] * LOGIT / 2,
            }
        )


def _medium(side: int) -> float:
    """What the pooling makes of a patch of medium brightness."""
    excess = (1 - 2 * OTHERS) * (DARKEST + BRIGHTEST) / 2 + 2 * (1 + OTHERS) * CHROMA - LEVEL
    return excess * (CELL * patch_cells(side)) ** 2 / (side // CELL) ** 2


def load(
    *,
    size: int = 56,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """The network that answers from the patch of `dataset=planted` alone; nothing is trained or downloaded.

    Every other pixel may become any gray, black or white, the image's mean color or its blur: the logits stay, bit by
    bit. 56 pixels a side are 14 x 14 cells, the patches that curves and responses remove by default.

    Args:
        size: Side of the images, in pixels.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: Images too small for a patch.
    """
    if not patch_cells(size):
        raise ModelError(f"the model planted needs images of at least {7 * CELL // 2} pixels a side, got size={size}")
    with seeded():  # weights are drawn before they are set
        module = PlantedNetwork(size)
    return Classifier(
        module,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name="planted",
        preprocess=Preprocess(size, size),
        categories=CATEGORIES,
    )
