"""Small images with known concepts, and models that see them."""

from dataclasses import dataclass

import torch
from torch import nn

from xaieval.classifier import Classifier
from xaieval.datasets.base import Dataset, Sample
from xaieval.datasets.preprocess import Preprocess
from xaieval.laws.toys import seeded
from xaieval.parts import Parts, Scheme

SIDE = 12
SCHEME = Scheme(("left", "right"), ("left: red", "left: green", "right: blue"), (0, 0, 1))
"""Which concept is which channel of a patch at which side."""


def sample(number: int, seed: int = 0) -> Sample:
    """Noise with a colored patch at the left (red or green) and perhaps a blue one at the right; four classes."""
    random = torch.Generator().manual_seed(1000 * seed + number)
    red, blue = number % 2 == 0, (number // 2) % 2 == 0
    image = 0.2 * torch.rand(3, SIDE, SIDE, generator=random)
    row, low = (int(value) for value in torch.randint(0, 8, (2,), generator=random))
    image[0 if red else 1, row : row + 4, 1:5] += 0.7
    if blue:
        image[2, low : low + 4, 7:11] += 0.7
    centers = torch.tensor([[row + 1.5, 2.5], [low + 1.5 if blue else torch.nan, 8.5 if blue else torch.nan]])
    parts = Parts(SCHEME, centers, torch.tensor([1.0, float(blue)]), torch.tensor([red, not red, blue]))
    return Sample(f"sample {number}", image, 2 * red + blue, None, (f"sample {number}",), parts=parts)


def samples(count: int = 40, seed: int = 0) -> list[Sample]:
    return [sample(number, seed) for number in range(count)]


@dataclass(frozen=True)
class Patches(Dataset):
    """The samples as a dataset."""

    count: int = 40
    seed: int = 0
    name: str = "patches"

    def load(self, preprocess: Preprocess) -> list[Sample]:
        return samples(self.count, self.seed)


class Colors(nn.Sequential):
    """Channels that grow with red, green and blue and three that mix them, pooled, and four classes."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
        with torch.no_grad():
            self.get_parameter("0.weight")[:3] = torch.eye(3)[:, :, None, None] / 3


def colors(**options):
    preprocess = Preprocess(SIDE, SIDE)
    return Classifier(seeded(Colors), batch_size=16, name="colors", preprocess=preprocess, **options)
