"""A convolutional network with weights set by hand, which names the creatures of `dataset=scenes` by their five parts.

What it makes of each part is known exactly, and so is what it ignores: the oracle for explanations by part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xaieval.classifier import Classifier
from xaieval.creature import CATEGORIES, CLASSES, CUES, LOOKS, TELLING
from xaieval.datasets.preprocess import Preprocess
from xaieval.datasets.scenes import SMALLEST
from xaieval.drawing import Color
from xaieval.models.loading import ModelError, seeded
from xaieval.parts import World

SLACK = 0.008
"""By as much a pixel's share of each channel may differ from a mark's without any loss; 8-bit files do."""

FALL = 60.0
"""What a pixel's brightness loses, in units of itself, by each unit beyond `SLACK`: so .025 off a mark is nothing."""

EFFECTS = (4.0, 5.0, 2.0, 1.0, 3.0)
"""What beak, eyes, wing, tail and feet add to the logit of their class in a usual scene: not in the order of their
areas, so that a map of sizes does not explain the model."""

CUE = 4.0
"""What the cue adds to the logit of its class in a usual scene, where the model reads it."""

USUAL = (0.0119, 0.0164, 0.0223, 0.0241, 0.0156, 0.0171)
"""The mean over the pixels of the brightness of each class part and of the cue, averaged over scenes with all parts."""


class PlantedScenesNetwork(nn.Sequential):
    """Pixels in the colors of marks, their mean over the image, a logit for each class.

    With s the sum of a pixel's channels, its evidence for a mark (the color of a variant, or of a cue) is
    `relu(s - 60 e)`, where e sums over channels by how much they are off the mark's share of s beyond .008 s. That is
    s at the pixels of the variant and 0 at all others of a scene, however bright. The logit of a class is the sum over
    its marks and all pixels of a weight times the evidence. So it is additive in the pixels of the class parts, and of
    the cue if that is read; torso, backdrop and objects add nothing, nuisance parts change nothing at all. Without any
    bias, input times gradient is exactly what each pixel adds.

    Args:
        spurious: Whether the model reads the cue in the background too.
    """

    def __init__(self, spurious: bool = False) -> None:
        marks, table = _marks(spurious)
        super().__init__(
            nn.Conv2d(3, 6 * len(marks) + 1, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(6 * len(marks) + 1, len(marks), 1, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(len(marks), len(CLASSES), bias=False),
        )
        # For each mark the six excesses, and last the brightness itself.
        combine = torch.zeros(len(marks), 6 * len(marks) + 1)
        combine[:, :-1] = -FALL * torch.eye(len(marks)).repeat_interleave(6, 1)
        combine[:, -1] = 1
        rows = torch.cat([_excesses(mark) for mark in marks] + [torch.ones(1, 3)])
        self.load_state_dict(
            {"0.weight": rows[..., None, None], "2.weight": combine[..., None, None], "6.weight": table}
        )

    def contributions(self, images: Tensor) -> Tensor:
        """What each pixel of `(N, 3, H, W)` adds to each logit, `(N, K, H, W)`; their sums are the logits."""
        evidence, head = self.evidence(images), self.get_parameter("6.weight")
        return torch.einsum("km, nmhw -> nkhw", head, evidence) / evidence[0, 0].numel()

    def evidence(self, images: Tensor) -> Tensor:
        """The evidence of each pixel of `(N, 3, H, W)` for each mark, `(N, marks, H, W)`."""
        for layer in list(self)[:4]:
            images = layer(images)
        return images


def _excesses(mark: Color) -> Tensor:
    """`(6, 3)`: by how much a pixel's channels are above and below those of the mark, less the slack."""
    share = torch.tensor(mark, dtype=torch.float64) / sum(mark)
    difference = torch.eye(3, dtype=torch.float64) - share[:, None]
    return (torch.cat((difference, -difference)) - SLACK).float()


def _marks(spurious: bool) -> tuple[list[Color], Tensor]:
    """The colors that are read, and what each adds to the logit of each class, `(K, marks)`."""
    read = [(part, variant) for part in range(TELLING) for variant in range(len(LOOKS[part]))]
    marks = [LOOKS[part][variant].color for part, variant in read]
    table = torch.tensor(
        [[EFFECTS[part] / USUAL[part] * (own[part] == variant) for part, variant in read] for own in CLASSES]
    )
    if not spurious:
        return marks, table
    return [*marks, *CUES], torch.cat((table, CUE / USUAL[TELLING] * torch.eye(len(CLASSES))), 1)


def effects(classifier: Classifier, world: World, target: int) -> Tensor:
    """What really removing each part takes from the logit of a class, `(P,)`; 0 at parts that are not drawn."""
    images = [world.image(), *(world.image(without=(part,)) for part in range(len(world.classes[0])))]
    logits = classifier.logits(torch.stack(images).to(classifier.device))[:, target]
    return logits[0] - logits[1:]


def load(
    *,
    size: int = 64,
    spurious: bool = False,
    device: str | None = None,
    precision: str = "float32",
    batch_size: int | str = "auto",
    layers: Mapping[str, str] | None = None,
) -> Classifier:
    """The network that names the creatures of `dataset=scenes` by their parts; nothing is trained or downloaded.

    Args:
        size: Side of the images, in pixels.
        spurious: Whether it reads the cue in the background too, as evidence for the class of the cue.
        device: Where to compute.
        precision: See `Classifier`.
        batch_size: See `Classifier`.
        layers: Default layers of methods; None: found by shapes.

    Raises:
        ModelError: Images that are too small for scenes.
    """
    if size < SMALLEST:
        raise ModelError(f"the model planted_scenes needs images of at least {SMALLEST} pixels a side, got size={size}")
    with seeded():  # weights are drawn before they are set
        module = PlantedScenesNetwork(spurious)
    return Classifier(
        module,
        device=device,
        precision=precision,
        batch_size=batch_size,
        layers=layers,
        name="planted_scenes_spurious" if spurious else "planted_scenes",
        preprocess=Preprocess(size, size),
        categories=CATEGORIES,
    )
