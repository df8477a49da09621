"""Squares that are parts of a scene and can be left out of it, and models of which the use of each is known."""

from dataclasses import dataclass

import torch
from torch import nn

from xaieval.classifier import Classifier
from xaieval.parts import Parts, Scheme

SIDE, SQUARE, STEP = 24, 3, 0.2
CORNERS = ((2, 2), (2, 10), (2, 18), (10, 2), (10, 10), (10, 18))
OBJECTS = ((18, 2), (18, 10))
CLASSES = ((0, 0, 1, 1, 0, -1), (0, 0, 0, 0, 1, -1), (1, 1, 0, 0, 2, -1), (1, 1, 1, 1, 3, -1))
SCHEME = Scheme(tuple("abcdef"), tuple("abcdef"), tuple(range(6)))
BACK = 0.1


def square(corner):
    row, column = corner
    return slice(row, row + SQUARE), slice(column, column + SQUARE)


@dataclass
class Squares:
    """Parts are squares as bright as their variant in the first two channels; objects are squares in the third.

    `under` hides parts, `seen_objects` says which objects are painted at all.
    """

    variants: tuple[int, ...]
    drawn: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    under: tuple[int, ...] = ()
    objects: int = 2
    classes = CLASSES
    images = 0

    @property
    def parts(self):
        return self.drawn

    def image(self, without=(), objects=(), swapped=None):
        Squares.images += 1
        image = torch.full((3, SIDE, SIDE), BACK)
        for part in self.drawn:
            if part not in without and part not in self.under:
                variant = (swapped or {}).get(part, self.variants[part])
                image[:2, *square(CORNERS[part])] = STEP * (1 + variant)
        for number in range(self.objects):
            if number not in objects:
                image[2, *square(OBJECTS[number])] = 0.9
        return image


def parts_of(worlds):
    masks = torch.zeros(len(worlds), 6, SIDE, SIDE, dtype=torch.bool)
    for row, world in enumerate(worlds):
        for part in world.drawn:
            if part not in world.under:
                masks[row, part][square(CORNERS[part])] = True
    visible = masks.flatten(2).any(2).float()
    centers = torch.tensor(CORNERS).float().expand(len(worlds), -1, -1) + (SQUARE - 1) / 2
    return Parts(SCHEME, centers.masked_fill(visible[..., None] == 0, torch.nan), visible, visible > 0, masks)


class Use(nn.Module):
    """The logit of class k is the sum of `weights[p]` over its parts that are seen in its variant, and of objects.

    Args:
        weights: What each part counts; the sixth, of no class, counts for all.
        objects: What each object counts for all classes.
        power: Of the sum; above 1 parts work together.
    """

    def __init__(self, weights, objects=(0.0, 0.0), power=1.0, bias=0.5):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))
        self.objects = nn.Parameter(torch.tensor(objects))
        self.power, self.bias = power, bias
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        level = torch.stack([x[:, 0, *square(corner)].mean((1, 2)) for corner in CORNERS], 1)
        wanted = STEP * (1 + torch.tensor(CLASSES, dtype=torch.float32))
        match = (1 - (level[:, None] - wanted).abs() / STEP * 2).clamp(min=0)  # (n, K, P)
        match[:, :, 5] = (level[:, None, 5] > 1.5 * BACK).float()
        things = torch.stack([x[:, 2, *square(corner)].mean((1, 2)) > 0.5 for corner in OBJECTS], 1).float()
        total = (match * self.weights).sum(2) + (things * self.objects).sum(1, keepdim=True)
        return self.bias + total.clamp(min=0) ** self.power


def shown(number, **options):
    """A scene of a class; the part of no class has variant 0."""
    return Squares(tuple(max(variant, 0) for variant in CLASSES[number]), **options)


def bound(model, worlds, target=None, batch_size=4, **options):
    images = torch.stack([world.image() for world in worlds])
    classifier = model if isinstance(model, Classifier) else Classifier(model, batch_size=batch_size)
    names = options.pop("ids", [f"scene {row}" for row in range(len(worlds))])
    return classifier.explicand(images, target, names, parts=parts_of(worlds), worlds=worlds, **options)


def part_map(values, objects=(0.0, 0.0), back=0.0):
    """A map `(N, 1, H, W)` with these sums `(N, 6)` in the squares of the parts, and in those of the objects."""
    values = torch.as_tensor(values, dtype=torch.float32)
    made = torch.full((len(values), 1, SIDE, SIDE), back)
    for part, corner in enumerate(CORNERS):
        made[:, 0, *square(corner)] = (values[:, part] / SQUARE**2)[:, None, None]
    for number, corner in enumerate(OBJECTS):
        made[:, 0, *square(corner)] = objects[number] / SQUARE**2
    return made
