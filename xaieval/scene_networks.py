"""The networks that learn to tell the creatures of scenes: small, and of two kinds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import ConvStemConfig
from torchvision.ops import Conv2dNormActivation

PATCH = 8
"""Pixels per side of what becomes one position of the last layer, in both networks."""

MEAN, STD = 0.4, 0.15
"""Of the pixels of scenes, about; both networks take normalized pixels."""

STAGES = ((32, 2), (64, 2), (128, 2), (256, 1))
"""Channels and stride of each convolution."""


@dataclass(frozen=True)
class Network:
    """A network and how it learns best.

    Attributes:
        build: Makes it for images of a side and a number of classes.
        epochs: How often it sees each scene.
        lr: Its highest learning rate.
        decay: Its weight decay.
        minutes: About how long it learns on two quiet cores.
    """

    build: Callable[[int, int], nn.Module]
    epochs: int
    lr: float
    decay: float
    minutes: str


def cnn(side: int, classes: int) -> nn.Sequential:
    """Convolutions of 3 x 3 with batch norm and ReLU down to side / 8, their mean over all places, a linear layer.

    As nothing stands between the mean and the linear layer, a logit is the mean of a map of the last convolution's
    channels, plus a constant.
    """
    channels, layers = 3, []
    for width, stride in STAGES:
        layers.append(Conv2dNormActivation(channels, width, 3, stride))
        channels = width
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Linear(channels, classes),
        )
    )


def vit(side: int, classes: int) -> nn.Module:
    """A vision transformer of torchvision: patches of 8 x 8 pixels, 4 layers of 4 heads, 96 channels.

    Patches come out of three convolutions, with which transformers learn from far fewer images (Xiao et al. 2021,
    arXiv 2106.14881).
    """
    stem = [ConvStemConfig(channels, 3, 2) for channels in (24, 48, 96)]
    module: nn.Module = VisionTransformer(side, PATCH, 4, 4, 96, 192, num_classes=classes, conv_stem_configs=stem)
    return module


NETWORKS = {
    "cnn": Network(cnn, epochs=6, lr=3e-3, decay=0.01, minutes="two minutes"),
    "vit": Network(vit, epochs=8, lr=1e-3, decay=0.05, minutes="four minutes"),
}
