"""CUB-200-2011: birds with their parts and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from xaieval.datasets.base import Dataset, Sample, Samples
from xaieval.datasets.cub_attributes import place_of, read_labels
from xaieval.datasets.cub_files import Birds, names_in, numbers_in, of_images, read_birds
from xaieval.datasets.preprocess import DatasetError, Preprocess, open_image, open_mask
from xaieval.datasets.seen_parts import NOWHERE, Seen, seen_point, told
from xaieval.parts import Scheme

SPLITS = ("test", "train", "all")

Points = tuple[tuple[tuple[float, float], ...], ...]
"""For each part of the scheme, the points x and y of those of the release that are seen."""


@dataclass(frozen=True, eq=False)
class Bird:
    """A picture of the split.

    Attributes:
        box: Left, top, width and height of the bird.
        points: Where its parts are seen.
        concepts: Numbers of the concepts that hold.
        segmentation: File of the bird's mask; None where there are only boxes.
    """

    id: str
    path: Path
    target: int
    box: tuple[float, float, float, float]
    points: Points
    concepts: tuple[int, ...]
    segmentation: Path | None


@dataclass(frozen=True)
class Cub(Dataset):
    """Caltech-UCSD Birds-200-2011 (Wah et al. 2011) from the folder of its release: 200 classes, 11,788 pictures.

    **Parts.** The 15 points of `parts/`, left and right eye, leg and wing as one part `eye`, `leg` and `wing`: 12.
    Where both sides are seen in the crop the left one is the center. There are no masks of parts. What an explanation
    should find as a whole is the segmentation (half of the annotators or more), where `segmentations/` lies in the
    folder or beside it; else the bounding box.

    **Concepts** are attributes, each at the part that its name tells: `has_bill_shape::needle` at the beak; upper parts
    at the back, underparts at the belly, the pattern of the head at the crown, upper and under tail at the tail. Size,
    shape and primary color have no place.

    Labels of single pictures are noisy, so concept-bottleneck papers (Koh et al. 2020, arXiv:2007.04612) give all
    pictures of a class the majority of its training pictures. As there, a label "absent, not visible" is no vote, a
    tie holds, also that of no votes, and only attributes that hold for `min_classes` classes are kept.

    Differs from the paper: all training pictures vote, not the 80 % that a random split left for training, so an
    attribute near `min_classes` may be kept here and not there, or the other way.

    Args:
        path: The folder `CUB_200_2011`, or the one that it lies in.
        split: `test`, `train` or `all`, as `train_test_split.txt` tells.
        denoised: Concepts of the class, by vote; else those of the picture itself. Both are of the same attributes.
        certainty: Labels of less certainty are as if there were none: 1 not visible, 2 guessing, 3 probably, 4
            definitely. The papers take all.
        min_classes: Keep attributes that hold, by vote, for so many classes; 0: all.
        name: What to call the dataset in tables.

    Raises:
        ValueError: An option outside its range.
    """

    path: str
    split: str = "test"
    denoised: bool = True
    certainty: int = 1
    min_classes: int = 10
    name: str = "cub"

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"Cub expected the split {', '.join(SPLITS)}, got {self.split!r}")
        if not 1 <= self.certainty <= 4:
            raise ValueError(f"Cub expected certainty 1 (not visible) to 4 (definitely), got {self.certainty}")
        if self.min_classes < 0:
            raise ValueError(f"Cub expected min_classes to be at least 0, got {self.min_classes}")

    def load(self, preprocess: Preprocess) -> Samples[Bird]:
        """The birds of the split in the order of `images.txt`; the tables are read now, pictures when indexed.

        Raises:
            DatasetError: A file that is not there or does not fit.
        """
        root = self._root()
        birds = read_birds(root)
        labels = read_labels(root, birds, self.certainty)
        votes = labels.majority(birds) if self.denoised or self.min_classes else None
        kept = np.arange(len(labels.names)) if votes is None else np.flatnonzero(votes.sum(0) >= self.min_classes)
        if not len(kept):
            raise DatasetError(
                f"Cub found no attribute that holds for {self.min_classes} of the {len(birds.classes)} classes; lower "
                "min_classes"
            )
        holds = votes[birds.targets] if votes is not None and self.denoised else labels.present
        names = names_in(root / "parts" / "parts.txt")
        scheme = _scheme(tuple(names.values()), [labels.names[number] for number in kept])
        entries = self._birds(root, birds, _points(root, birds, names, scheme.parts), holds[:, kept])
        return Samples(entries, partial(_read, preprocess, scheme))

    def _root(self) -> Path:
        root = Path(self.path).expanduser()
        for folder in (root, root / "CUB_200_2011"):
            if (folder / "images.txt").is_file():
                return folder
        raise DatasetError(f"Cub expected the folder CUB_200_2011 with images.txt at {root}, which has none")

    def _birds(self, root: Path, birds: Birds, points: Sequence[Points], holds: np.ndarray) -> list[Bird]:
        """The pictures of the split."""
        boxes = of_images(root / "bounding_boxes.txt", birds.ids, 4)
        masks = next((place for place in (root, root.parent) if (place / "segmentations").is_dir()), None)
        chosen = {"train": birds.training, "test": ~birds.training, "all": np.ones_like(birds.training)}[self.split]
        found = []
        for row in np.flatnonzero(chosen).tolist():
            file = birds.files[row]
            mask = None if masks is None else masks / "segmentations" / Path(file).with_suffix(".png")
            for path in (root / "images" / file, mask):
                if path is not None and not path.is_file():
                    raise DatasetError(f"Cub expected the file {path} of {root / 'images.txt'}, which is not there")
            left, top, width, height = boxes[row].tolist()
            concepts = tuple(np.flatnonzero(holds[row]).tolist())
            box = (left, top, width, height)
            target = int(birds.targets[row])
            found.append(Bird(file, root / "images" / file, target, box, points[row], concepts, mask))
        if not found:
            raise DatasetError(f"Cub found no picture of the split {self.split} in {root / 'train_test_split.txt'}")
        return found


def _merged(name: str) -> str:
    """Left and right as one part."""
    return name.removeprefix("left ").removeprefix("right ")


def _scheme(parts: Sequence[str], concepts: Sequence[str]) -> Scheme:
    merged = tuple(dict.fromkeys(map(_merged, parts)))
    return Scheme(merged, tuple(concepts), tuple(place_of(name, merged) for name in concepts))


def _points(root: Path, birds: Birds, names: Mapping[int, str], parts: Sequence[str]) -> list[Points]:
    """For each picture and each part, the points that are seen, left before right as in the files."""
    path = root / "parts" / "part_locs.txt"
    rows = numbers_in(path, 5)
    unknown = set(rows[:, 1].tolist()) - set(names)
    if unknown:
        raise DatasetError(f"{path}: parts.txt has no part {min(unknown):g}")
    found: dict[int, list[list[tuple[float, float]]]] = {int(id_): [[] for _ in parts] for id_ in birds.ids}
    for image, part, x, y, visible in rows.tolist():
        if visible and image in found:
            found[int(image)][parts.index(_merged(names[int(part)]))].append((x, y))
    return [tuple(map(tuple, places)) for places in found.values()]


def _read(preprocess: Preprocess, scheme: Scheme, bird: Bird) -> Sample:
    picture = open_image(bird.path)
    try:
        seen = {part: _seen(preprocess, picture.size, scheme.parts[part], at) for part, at in enumerate(bird.points)}
        image, mask = preprocess(picture, _mask(bird, picture.size))
    except DatasetError as error:
        raise DatasetError(f"{bird.path}: {error}") from error
    parts = told(scheme, seen, bird.concepts, None)
    return Sample(bird.id, image, bird.target, mask, (bird.id,), parts=parts)


def _seen(preprocess: Preprocess, size: tuple[int, int], name: str, points: Sequence[tuple[float, float]]) -> Seen:
    """The first point of a part that lies in the crop."""
    for x, y in points:
        if not (0 <= x <= size[0] and 0 <= y <= size[1]):
            raise DatasetError(
                f"the {name} lies at x {x:g}, y {y:g}, outside the picture of {size[0]} x {size[1]} pixels; "
                "parts/part_locs.txt belongs to other pictures"
            )
    seen = [seen_point(preprocess, (y, x), size) for x, y in points]
    return next((one for one in seen if one.visible), Seen(NOWHERE, 0.0))


def _mask(bird: Bird, size: tuple[int, int]) -> Image.Image:
    """The bird: what at least half of the annotators segmented, or its box."""
    if bird.segmentation is not None:
        return open_mask(bird.segmentation).convert("L").point(lambda share: 255 * (share > 127))
    left, top, width, height = bird.box
    mask = Image.new("L", size)
    corners = (round(left), round(top), round(left + width) - 1, round(top + height) - 1)
    ImageDraw.Draw(mask).rectangle(corners, fill=255)
    return mask
