"""Drawn creatures among objects, of whose parts and concepts everything is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from xaieval.creature import CLASSES
from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.scene_draws import Chances, draw_scene

SPLITS = ("train", "validation", "test")
SMALLEST = 32
"""Pixels a side below which variants cannot be told apart."""


@dataclass(frozen=True)
class Shot:
    """A sample before it is drawn: its class and its number."""

    id: str
    target: int
    number: int


@dataclass(frozen=True)
class Scenes(Dataset):
    """Creatures of ten classes, each a combination of variants of five parts, drawn when they are asked for.

    Beak, eyes, wing, tail and feet make the class; each has four variants that differ in shape, color and texture. Hat
    and collar, with three variants each, tell nothing of it, nor does the torso. Pose, size, place, light, backdrop,
    objects in the background and before the creature are drawn at random. One object, the cue, has one of ten colors.
    As in FunnyBirds (Hesse et al. 2023, arXiv 2308.06248), parts and objects can be left out of a scene or swapped.

    Differs from the paper: figures are flat and drawn by the project, with ten classes, nuisance parts and a cue.

    Everything depends on `seed`, `split` and the sample's number alone, so that a larger `count` keeps the first
    samples, and every size shows the same scenes. Classes take turns.

    Args:
        count: Number of samples.
        seed: Of all draws.
        split: `train`, `validation` or `test`, which are drawn from different seeds.
        correlated: Probability that a nuisance part follows a class part, the hat the beak and the collar the wing:
            then variant v of it is drawn if and only if the class part is drawn in variant v. Otherwise all its
            variants are equally probable.
        spurious: Probability that the cue in the background is that of the class; otherwise it is drawn evenly.
        dropped: Probability that a part is not drawn, each for itself. A draw that leaves class parts which fit
            several classes is repeated, so that the class can always be told; so parts are missing less often.
        size: Side of the images in pixels, which has to be the model's crop; None: the model's crop.
        name: What to call the dataset in tables.

    Raises:
        ValueError: No sample, an unknown split, a probability outside [0, 1] (of `dropped` [0, .9], since parts have to
            be left), or a size below 32.
    """

    count: int = 200
    seed: int = 0
    split: str = "test"
    correlated: float = 0.0
    spurious: float = 0.0
    dropped: float = 0.0
    size: int | None = None
    name: str = "scenes"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Scenes expected count to be at least 1, got {self.count}")
        if self.split not in SPLITS:
            raise ValueError(f"Scenes expected split to be one of {', '.join(SPLITS)}, got {self.split!r}")
        for name in ("correlated", "spurious", "dropped"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Scenes expected {name} to be a probability in [0, 1], got {getattr(self, name)}")
        if self.dropped > 0.9:
            raise ValueError(f"Scenes expected dropped to be at most .9, so that parts are left, got {self.dropped}")
        if self.size is not None and self.size < SMALLEST:
            raise ValueError(f"Scenes expected a size of at least {SMALLEST} pixels, got {self.size}")

    def load(self, preprocess: Preprocess) -> Samples[Shot]:
        """The samples; each is drawn when it is indexed.

        Raises:
            DatasetError: A crop below 32 pixels, or another than `size`.
        """
        side = preprocess.crop
        if side < SMALLEST or side != (self.size or side):
            raise DatasetError(
                f"Scenes(size={self.size}) draws images of at least {SMALLEST} pixels a side, the model takes {side}; "
                "leave size out, or choose a model that takes it"
            )
        stem = f"{self.name}_{self.split}_{self.seed}"
        shots = [Shot(f"{stem}_{number}", number % len(CLASSES), number) for number in range(self.count)]
        return Samples(shots, partial(self._read, side))

    def _read(self, side: int, shot: Shot) -> Sample:
        chances = Chances(self.correlated, self.spurious, self.dropped)
        scene = draw_scene((self.split, self.seed, shot.number), shot.target, side, chances)
        image, mask, parts = scene.seen()
        return Sample(shot.id, image, shot.target, mask, (shot.id,), parts=parts, world=scene)
