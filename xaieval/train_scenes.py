"""`xaieval train scenes`: a network that tells the creatures of drawn scenes, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from xaieval.allocator import keep_freed_memory
from xaieval.config import ConfigError
from xaieval.creature import CATEGORIES
from xaieval.datasets.base import Samples
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.datasets.scenes import SMALLEST, Scenes, Shot
from xaieval.epochs import Schedule, TrainingError
from xaieval.keys import key_of, source_hash, state_hash, versions
from xaieval.models.loading import seeded, suggest
from xaieval.progress import Progress
from xaieval.recipes import RECIPE, cache, is_there, make, recipe_values
from xaieval.scene_networks import MEAN, NETWORKS, PATCH, STD
from xaieval.scene_training import Drawn, SceneTraining, accuracies, moved

WEIGHTS = "model.safetensors"
"""What a finished folder holds beside the recipe."""

PROBES = 8
"""Scenes of each split whose pixels are in the recipe's hash, so that scenes drawn otherwise are learned anew."""


@dataclass(frozen=True)
class Recipe:
    """All that a trained network depends on, and where it goes.

    Args:
        network: One of `NETWORKS`.
        size: Side of the images in pixels, a multiple of 8 from 32.
        count: Scenes to learn from.
        validation: Further scenes that choose the epoch; as many of the split `test` are counted at the end.
        dropped: How often a part is left out in training, see `Scenes`; never in validation and test.
        correlated: How often nuisance parts follow class parts, in all splits.
        spurious: How often the cue in the background is that of the class, in all splits.
        epochs: How often each scene is seen, the best one is kept; None: as often as the network needs.
        lr: The highest learning rate of AdamW; None: that of the network.
        batch: Scenes in a step.
        seed: Of the scenes, their order and how they are moved.
        folder: Where to write; None: a folder of the user's cache, named by the recipe's hash.
        device: Where to train. It is no part of the recipe, nor is the number of threads, though with others the
            weights differ a little.

    Raises:
        TrainingError: An unknown network, or a value that is none.
    """

    network: str = "cnn"
    size: int = 64
    count: int = 8000
    validation: int = 500
    dropped: float = 0.25
    correlated: float = 0.0
    spurious: float = 0.0
    epochs: int | None = None
    lr: float | None = None
    batch: int = 32
    seed: int = 0
    folder: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise TrainingError(
                f"network must be one of {', '.join(NETWORKS)}, got {self.network!r}{suggest(self.network, NETWORKS)}"
            )
        if type(self.size) is not int or self.size % PATCH or self.size < SMALLEST:
            raise TrainingError(f"size must be a multiple of {PATCH} from {SMALLEST}, in pixels, got {self.size!r}")
        for name in ("count", "validation"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise TrainingError(f"{name} must be an integer of at least 1, got {value!r}")
        for name in ("dropped", "correlated", "spurious"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TrainingError(f"{name} must be a probability, got {value!r}")
        _ = self.schedule, self.scenes("train")

    @property
    def schedule(self) -> Schedule:
        """How often and how fast the network learns."""
        usual = NETWORKS[self.network]
        epochs = usual.epochs if self.epochs is None else self.epochs
        return Schedule(epochs, usual.lr if self.lr is None else self.lr, self.batch, self.seed)

    def scenes(self, split: str) -> Samples[Shot]:
        """The scenes of a split, drawn when they are indexed.

        Raises:
            TrainingError: A value that the dataset refuses.
        """
        train = split == "train"
        chances = (self.correlated, self.spurious, self.dropped if train else 0.0)
        try:
            scenes = Scenes(self.count if train else self.validation, self.seed, split, *chances)
            return scenes.load(Preprocess(self.size, self.size))
        except (DatasetError, ValueError) as error:
            raise TrainingError(str(error)) from error

    @property
    def key(self) -> str:
        """The hash of all that decides what comes out."""
        digest = hashlib.blake2b(digest_size=20)
        for split in ("train", "validation"):
            probes = Drawn.of(self.scenes(split)[:PROBES])
            digest.update(probes.images.numpy().tobytes() + probes.targets.numpy().tobytes())
        places = ("folder", "device", "epochs", "lr")
        return key_of(
            recipe={name: value for name, value in asdict(self).items() if name not in places},
            schedule=asdict(self.schedule),
            decay=NETWORKS[self.network].decay,
            normalization=[MEAN, STD],
            network=state_hash(self.untrained()),
            scenes=digest.hexdigest(),
            training=source_hash(moved),
        )

    def untrained(self) -> nn.Module:
        """The network before its first step, the same in every process."""
        with seeded():
            return NETWORKS[self.network].build(self.size, len(CATEGORIES))

    def trained(self, progress: Progress | None = None) -> Path:
        """The folder of the network, which is trained if it is not there yet.

        Args:
            progress: Told how far it is; None: shown on standard error.

        Raises:
            TrainingError: The folder holds something else.
        """
        key = self.key
        folder = cache("scenes") / key if self.folder is None else Path(self.folder).expanduser()
        if not is_there(folder, key):
            Job(self, key, folder, progress or Progress()).run()
        return folder


@dataclass(frozen=True, eq=False)
class Job:
    """A recipe that is about to be trained.

    Attributes:
        recipe: The recipe.
        key: Its hash.
        folder: Where it goes.
        progress: Told how far it is.
    """

    recipe: Recipe
    key: str
    folder: Path
    progress: Progress

    def run(self) -> None:
        """Train, going on where it was cut off, and write the folder."""
        recipe, network = self.recipe, NETWORKS[self.recipe.network]
        usual = ""
        if recipe == Recipe(recipe.network, folder=recipe.folder, device=recipe.device):
            usual = f"; this takes about {network.minutes} on two quiet cores"
        self.progress.say(
            f"training {recipe.network} on {recipe.count} scenes of {recipe.size} pixels, kept in {self.folder}{usual}"
        )
        keep_freed_memory()
        drawn = self.folder.with_name(f".{self.folder.name}-{self.key[:12]}.scenes")
        model = recipe.untrained().to(recipe.device or "cpu").to(memory_format=torch.channels_last)
        samples = (recipe.scenes("train"), recipe.scenes("validation"))
        training = SceneTraining(model, *samples, recipe.schedule, network.decay, drawn, self.progress)
        make(self.folder, self.key, training.run, lambda folder: self._write(training, folder))
        drawn.unlink(missing_ok=True)

    def _write(self, training: SceneTraining, folder: Path) -> None:
        start = time.perf_counter()
        found = accuracies(training, self.recipe.scenes("test"))
        training.state.seconds += time.perf_counter() - start
        folder.mkdir(parents=True)
        weights = training.model.cpu().state_dict()
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
        (folder / RECIPE).write_text(json.dumps(self._said(training, found), indent=1), encoding="utf-8")

    def _said(self, training: SceneTraining, found: dict[str, float]) -> dict[str, Any]:
        recipe = asdict(self.recipe) | asdict(self.recipe.schedule)
        return {
            "key": self.key,
            **{name: value for name, value in recipe.items() if name != "folder"},
            "categories": CATEGORIES,
            "epoch_results": training.state.epochs,
            "kept_epoch": training.state.best + 1,
            "test": found,
            "seconds": round(training.state.seconds, 1),
            "threads": torch.get_num_threads(),
            "versions": json.loads(versions()),
        }


def recipe_of(words: Sequence[str]) -> Recipe:
    """The recipe that `KEY=VALUE` words compose with `conf/train_scenes.yaml`.

    Raises:
        ConfigError: A key that does not exist.
        TrainingError: A value that is none.
    """
    values = recipe_values("train scenes", "train_scenes", words, "network=vit")
    return Recipe(**{entry.name: values[entry.name] for entry in fields(Recipe)})


def train_scenes(words: Sequence[str]) -> None:
    """`train scenes [KEY=VALUE ...]`: see `Recipe`; the folder is the last line on standard output.

    Raises:
        ConfigError: Something is wrong with the words.
    """
    try:
        folder = recipe_of(words).trained()
    except TrainingError as error:
        raise ConfigError(str(error)) from error
    for line in said(json.loads((folder / RECIPE).read_text(encoding="utf-8"))):
        print(line)  # noqa: T201
    print(folder)  # noqa: T201


def said(found: dict[str, Any]) -> list[str]:
    """How good a network is and how long it took, from its `recipe.json`."""
    best, (minutes, seconds) = found["epoch_results"][found["kept_epoch"] - 1], divmod(round(found["seconds"]), 60)
    parts = ", ".join(f"{name} {part:.1%}" for name, part in found["test"].items() if name != "whole")
    return [
        f"validation accuracy {best['accuracy']:.1%}, epoch {found['kept_epoch']} of {found['epochs']}, "
        f"in {minutes}:{seconds:02} minutes",
        f"test accuracy {found['test']['whole']:.1%}; without one part: {parts}",
    ]
